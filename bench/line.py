#!/usr/bin/env python3
"""The middle of a line between two network namespaces; `line.sh` makes the namespaces and starts this.

  line.py relay --parent IFACE --child IFACE --control SOCKET [--delay-ms MS] [--loss PERCENT] [--seed N]
  line.py ask SOCKET cut|restore|counts
  line.py plain IFACE...

`relay` carries Ethernet frames between two interfaces, holds each for the delay, and loses some at random; each
direction has its own random numbers, so that a seed gives the same losses whatever the other direction does. `ask`
cuts the line (all is dropped, what is on its way too), restores it, or prints the counts. `plain` turns offloads off:
frames then have the sizes and the checksums that they would have on a real line.
"""

import argparse
import collections
import ctypes
import errno
import fcntl
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SIOCETHTOOL = 0x8946
OFFLOADS = {"rx checksum": 0x15, "tx checksum": 0x17, "scatter-gather": 0x19, "TSO": 0x1F, "GSO": 0x24, "GRO": 0x2C}
BUFFER_BYTES = 64 * 1024 * 1024
FRAMES_AT_ONCE = 64


class Direction:
    """Frames that came in at one interface and leave at the other."""

    def __init__(self, source, target, delay, loss, seed):
        self.source, self.target = source, target
        self.delay, self.loss = delay, loss
        self.random = random.Random(seed).random
        self.held = collections.deque()
        self.sent_packets = self.sent_bytes = 0
        self.crossed_packets = self.crossed_bytes = 0
        self.lost = self.cut = self.overflowed = 0
        self.late_sum = self.late_max = 0.0

    def take_in(self, is_cut):
        """All that is there, up to a number after which the other direction has its turn."""
        recv, held, now = self.source.recv, self.held, time.monotonic
        for _ in range(FRAMES_AT_ONCE):
            try:
                frame = recv(65536)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    return
                raise
            self.sent_packets += 1
            self.sent_bytes += len(frame)
            if is_cut:
                self.cut += 1
            elif self.random() < self.loss:
                self.lost += 1
            else:
                held.append((now() + self.delay, frame))

    def let_out(self):
        """What has been held long enough."""
        held, send = self.held, self.target.send
        while held and held[0][0] <= (now := time.monotonic()):
            due, frame = held.popleft()
            self.late_sum += now - due
            self.late_max = max(self.late_max, now - due)
            try:
                send(frame)
            except OSError as error:
                # The queue before the line is full and drops at its tail, as a router's does.
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.ENETDOWN):
                    raise
                self.overflowed += 1
                continue
            self.crossed_packets += 1
            self.crossed_bytes += len(frame)

    def drop_held(self):
        self.cut += len(self.held)
        self.held.clear()

    def counts(self):
        return {
            "sent_packets": self.sent_packets,
            "sent_bytes": self.sent_bytes,
            "crossed_packets": self.crossed_packets,
            "crossed_bytes": self.crossed_bytes,
            "lost": self.lost,
            "cut": self.cut,
            "overflowed": self.overflowed,
            "late_ms_mean": round(1000 * self.late_sum / max(1, self.crossed_packets + self.overflowed), 3),
            "late_ms_max": round(1000 * self.late_max, 3),
        }


def packet_socket(interface):
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    # Nothing may be dropped or held back here: only the queue of the line does that.
    made.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    made.bind((interface, ETH_P_ALL))
    made.setblocking(False)
    return made


def relay(options):
    gc.disable()
    try:
        os.nice(-15)
    except OSError:
        pass
    parent, child = packet_socket(options.parent), packet_socket(options.child)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind(options.control)
    control.listen(8)
    delay, loss = options.delay_ms / 1000, options.loss / 100
    down = Direction(parent, child, delay, loss, f"{options.seed} down")
    up = Direction(child, parent, delay, loss, f"{options.seed} up")
    began = time.monotonic()
    is_cut = False

    def counts():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return json.dumps(
            {
                "at": time.time(),
                "seconds": round(time.monotonic() - began, 3),
                "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
                "cut": is_cut,
                "down": down.counts(),
                "up": up.counts(),
            }
        )

    def end(*_):
        print(counts(), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        dues = [way.held[0][0] for way in (down, up) if way.held]
        wait = max(0.0, min(dues) - time.monotonic()) if dues else None
        ready, _, _ = select.select([parent, child, control], [], [], wait)
        if parent in ready:
            down.take_in(is_cut)
        if child in ready:
            up.take_in(is_cut)
        down.let_out()
        up.let_out()
        if control in ready:
            asking, _ = control.accept()
            with asking:
                asking.settimeout(1)
                try:
                    word = asking.recv(64).decode().strip()
                    if word in ("cut", "restore"):
                        is_cut = word == "cut"
                        for way in (down, up):
                            # What was read too late is of the time before the restoration.
                            way.take_in(True)
                            way.drop_held()
                    asking.sendall(counts().encode() + b"\n")
                except OSError:
                    pass


def ask(path, word):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(10)
        asking.connect(path)
        asking.sendall(word.encode())
        answer = b""
        while part := asking.recv(65536):
            answer += part
    sys.stdout.write(answer.decode())


def plain(interface):
    """Each offload is set to 0 with the ioctl that `ethtool -K` used before netlink."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        for name, command in OFFLOADS.items():
            value = bytearray(struct.pack("II", command, 0))
            place = ctypes.addressof(ctypes.c_char.from_buffer(value))
            try:
                fcntl.ioctl(made, SIOCETHTOOL, struct.pack("16sP", interface.encode(), place).ljust(40, b"\0"))
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise SystemExit(f"cannot turn {name} off at {interface}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("relay")
    one.add_argument("--parent", required=True)
    one.add_argument("--child", required=True)
    one.add_argument("--control", required=True)
    one.add_argument("--delay-ms", type=float, default=0)
    one.add_argument("--loss", type=float, default=0)
    one.add_argument("--seed", default="1")
    one = commands.add_parser("ask")
    one.add_argument("socket")
    one.add_argument("word", choices=["cut", "restore", "counts"])
    one = commands.add_parser("plain")
    one.add_argument("interfaces", nargs="+")
    options = parser.parse_args()
    if options.command == "relay":
        relay(options)
    elif options.command == "ask":
        ask(options.socket, options.word)
    else:
        for interface in options.interfaces:
            plain(interface)


if __name__ == "__main__":
    main()
