#!/usr/bin/env python3
"""apply.py SPOOL POINT LIMIT_S: prints the seconds from the first byte of a bundle in the spool until the
directory shows a package and is durable."""

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
        time.sleep(0.005)
    return time.monotonic()


def shows(point):
    # A package shows as a link to its present version, which is made under another name.
    with os.scandir(point) as entries:
        return any(entry.is_symlink() and not entry.name.startswith(".") for entry in entries)


if __name__ == "__main__":
    spool, point, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
    begun = wait("the first byte", limit, lambda: first_byte(spool))
    wait("the tree", limit, lambda: shows(point))
    # The name is the last that is made durable.
    directory = os.open(point, os.O_RDONLY)
    os.fsync(directory)
    print(f"{time.monotonic() - begun:.3f}")
