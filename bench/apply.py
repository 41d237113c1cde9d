#!/usr/bin/env python3
"""apply.py SPOOL POINT PACKAGE LIMIT_S: prints the seconds from the first byte of a bundle in the spool until the
directory shows the package and is durable."""

import os
import sys
import time


def first_byte(spool):
    with os.scandir(spool) as entries:
        return any(entry.name.endswith(".part") and entry.stat().st_blocks > 0 for entry in entries)


def wait(what, limit, condition):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() >= end:
            sys.exit(f"in vain: {what}")
        time.sleep(0.001)
    return time.monotonic()


if __name__ == "__main__":
    spool, point, package, limit = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
    begun = wait("the first byte", limit, lambda: first_byte(spool))
    wait("the tree", limit, lambda: os.path.islink(os.path.join(point, package)))
    # The name is the last that is made durable.
    directory = os.open(point, os.O_RDONLY)
    os.fsync(directory)
    print(f"{time.monotonic() - begun:.3f}")
