#!/usr/bin/env python3
"""What bench/stick.sh does to media and cannot do with a tool, or not soon enough.

  stick.py flip FILE COUNT               that many bytes in the middle half of it become others
  stick.py resize DEVICE BYTES [FILE]    a loop device ends there, as soon as FILE (a pattern) is there; 0: at the end of its image
  stick.py detach DIRECTORY FILE COUNT   unmounts lazily as soon as FILE was replaced so often
"""

import ctypes
import fcntl
import glob
import os
import random
import struct
import sys
import time

GET_STATUS, SET_STATUS, STATUS_BYTES, SIZE_LIMIT = 0x4C05, 0x4C04, 232, 32
DETACH = 2
LIMIT_S = 60


def until(happened):
    end = time.monotonic() + LIMIT_S
    while not happened():
        if time.monotonic() > end:
            sys.exit("it did not happen")


def flip(path, count):
    random.seed(5)
    with open(path, "r+b") as file:
        length = os.path.getsize(path)
        for _ in range(count):
            at = random.randrange(length // 4, length * 3 // 4)
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))
        os.fsync(file.fileno())


def resize(device, length, pattern=None):
    status = bytearray(STATUS_BYTES)
    loop = os.open(device, os.O_RDWR)
    fcntl.ioctl(loop, GET_STATUS, status)
    struct.pack_into("<Q", status, SIZE_LIMIT, length)
    if pattern:
        until(lambda: glob.glob(pattern))
    fcntl.ioctl(loop, SET_STATUS, bytes(status))


def detach(directory, path, count):
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(count):
        before = os.stat(path).st_ino
        until(lambda before=before: os.stat(path).st_ino != before)
    if libc.umount2(directory.encode(), DETACH):
        sys.exit(os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    what, place, *rest = sys.argv[1:]
    if what == "flip":
        flip(place, int(rest[0]))
    elif what == "resize":
        resize(place, int(rest[0]), *rest[1:])
    else:
        detach(place, rest[0], int(rest[1]))
