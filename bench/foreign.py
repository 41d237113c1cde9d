#!/usr/bin/env python3
"""A foreign client against a site server: finds the services by reflection and calls InspectService, over mutual TLS.

Nothing of Packhorse is used but what the server says of itself. Needs grpcio, grpcio-reflection and protobuf:

    pip install grpcio grpcio-reflection
    python3 bench/foreign.py DIR/admin [HOST:PORT]

DIR/admin is an administrator's directory; without HOST:PORT the endpoint in its console.toml counts. Ends with an error if
anything is not as a tool like grpcurl expects it.
"""
import json
import pathlib
import sys
import tomllib

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "packhorse.provider.v1.InspectService"


def channel(admin: pathlib.Path, endpoint: str, site: str) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(admin / "authority.pem").read_bytes(),
        private_key=(admin / "key.pem").read_bytes(),
        certificate_chain=(admin / "cert.pem").read_bytes(),
    )
    name = f"{site}.site.{site}.packhorse.internal".lower()
    return grpc.secure_channel(endpoint, credentials, [("grpc.ssl_target_name_override", name)])


def main() -> None:
    admin = pathlib.Path(sys.argv[1])
    settings = tomllib.loads((admin / "console.toml").read_text())
    endpoint = sys.argv[2] if len(sys.argv) > 2 else settings["endpoint"]
    with channel(admin, endpoint, settings["site"]) as line:
        database = ProtoReflectionDescriptorDatabase(line)
        services = sorted(database.get_services())
        print("services:", *services, sep="\n  ")
        assert SERVICE in services, f"{SERVICE} is not listed"
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        calls = {call.name: call for call in service.methods}

        def stub(name, kind):
            call = calls[name]
            return GetMessageClass(call.input_type), kind(
                f"/{SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(call.output_type).FromString,
            )

        for name in ("ListWorkers", "ListLinks", "ListQueues", "ListStreams"):
            request, ask = stub(name, line.unary_unary)
            answer = json_format.MessageToDict(ask(request(), timeout=10))
            print(f"{name}:", json.dumps(answer, indent=2))
            assert answer["at"].endswith("Z"), answer
        request, watch = stub("Watch", line.unary_stream)
        asked = request()
        asked.interval.FromMilliseconds(100)
        looks = watch(asked, timeout=10)
        times = [json_format.MessageToDict(look)["at"] for look, _ in zip(looks, range(3))]
        looks.cancel()
        assert len(set(times)) == 3, times
        print("Watch:", *times)


if __name__ == "__main__":
    main()
