#!/usr/bin/env python3
"""arrival.py DIRECTORY LENGTH PID...: waits until a file in the directory has come whole; prints the seconds that it took
from its first byte on, and the CPU seconds of each process in that time.
"""

import os
import sys
import time


def held(directory):
    """Bytes of the largest file."""
    largest = 0
    for entry in os.scandir(directory):
        try:
            largest = max(largest, entry.stat().st_size)
        except FileNotFoundError:
            pass
    return largest


def cpu(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(directory, length, pids, limit=600):
    end = time.monotonic() + limit
    began = None
    while time.monotonic() < end:
        size = held(directory)
        if began is None and size > 0:
            began = (time.monotonic(), [cpu(pid) for pid in pids])
        # Whoever takes it in may move it away at once.
        if began is not None and (size >= length or size == 0):
            used = [f"{cpu(pid) - before:.2f}" for pid, before in zip(pids, began[1])]
            print(f"{time.monotonic() - began[0]:.3f}", *used)
            return 0
        time.sleep(0.005)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
