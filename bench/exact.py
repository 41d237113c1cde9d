#!/usr/bin/env python3
"""The least that a resumed transfer over TCP can cost: every byte that the kernel hands out is kept, nothing else is said.

  exact.py serve ADDRESS PORT FILE
  exact.py fetch ADDRESS PORT FILE LENGTH    asks for what FILE lacks until it has LENGTH bytes, whatever breaks

Both use bbr where the kernel has it.
"""

import os
import socket
import sys
import time


def bbr(made):
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    except OSError:
        pass


def serve(address, port, path):
    listening = socket.create_server((address, port))
    bbr(listening)
    while True:
        asking, _ = listening.accept()
        with asking, open(path, "rb") as file:
            try:
                offset = int.from_bytes(asking.recv(8, socket.MSG_WAITALL), "big")
                asking.sendfile(file, offset)
                asking.shutdown(socket.SHUT_WR)
                asking.recv(1)
            except OSError:
                pass


def fetch(address, port, path, length):
    with open(path, "ab", buffering=0) as file:
        while (have := os.fstat(file.fileno()).st_size) < length:
            try:
                with socket.create_connection((address, port), timeout=5) as asking:
                    asking.sendall(have.to_bytes(8, "big"))
                    while part := asking.recv(1 << 20):
                        file.write(part)
            except OSError:
                time.sleep(0.2)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        fetch(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
