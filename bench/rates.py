#!/usr/bin/env python3
"""What an interface sends, read from its counters, and how that keeps to a limit; `rates.sh` uses it.

  rates.py sample INTERFACE FILE [EVERY_MS]      appends `time sent packets` until it is ended
  rates.py rate FILE FROM TO BYTES_PER_S         any 10 s against a rate
  rates.py pulse FILE FROM TO BLOCK PAUSE_S [BYTES_PER_S]
  rates.py change FILE AT UPTO BYTES_PER_S       after how long a new rate holds
  rates.py stop FILE AT UPTO                     when the last bulk left, and how much after it
  rates.py start FILE AT UPTO                    when the first bulk left
  rates.py data FILE FROM TO                     bytes of the connection, without the headers of IP and TCP

Counted are bytes of IP: frames without their 14 bytes of Ethernet. Figures go to stdout as `name value` lines.
"""

import bisect
import os
import statistics
import sys
import time

WINDOW_S = 10.0
ETHERNET_BYTES = 14
# IP, TCP and its time stamps: of every packet but the first of a connection.
HEADER_BYTES = 52
# More than this within two samples is no acknowledgement and no ping.
BULK_BYTES = 1000
# A rate holds when every window is that near that begins from there on, and not so long after the change that it has to
# do with something else. A window is a second, or as long as so many bytes take.
NEAR = 0.15
NEAR_BYTES = 32_000
NEAR_FOR_S = 4.0


def sample(interface, path, every_ms="20"):
    try:
        os.nice(-15)
    except OSError:
        pass
    places = [f"/sys/class/net/{interface}/statistics/tx_{what}" for what in ("bytes", "packets")]
    files = [open(place, encoding="ascii") for place in places]
    every, due = float(every_ms) / 1000, time.monotonic()
    with open(path, "a", buffering=1, encoding="ascii") as out:
        while True:
            frames = []
            now = time.time()
            for file in files:
                file.seek(0)
                frames.append(int(file.read()))
            out.write(f"{now:.4f} {frames[0] - ETHERNET_BYTES * frames[1]} {frames[1]}\n")
            due = max(due + every, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))


def read(path, begin, end):
    times, sent, packets = [], [], []
    with open(path, encoding="ascii") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break
            at, count, number = line.split()
            if begin <= float(at) <= end:
                times.append(float(at))
                sent.append(int(count))
                packets.append(int(number))
    if len(times) < 2:
        sys.exit(f"no samples between {begin} and {end}")
    return times, sent, packets


def windows(times, sent, length):
    """(begin, bytes a second) of every window that begins at a sample."""
    for first, begin in enumerate(times):
        last = bisect.bisect_left(times, begin + length)
        if last == len(times):
            return
        yield begin, (sent[last] - sent[first]) / (times[last] - begin)


def tell(**figures):
    for name, value in figures.items():
        print(name, f"{value:.3f}" if isinstance(value, float) else value)


def off(values, limit):
    """How far the highest is above the limit and the lowest below, in percent; what is on the right side is 0 or less."""
    return {
        "over_percent": 100 * (max(values) / limit - 1),
        "under_percent": 100 * (1 - min(values) / limit),
    }


def rate(path, begin, end, limit):
    times, sent, _ = read(path, begin, end)
    seen = [one for _, one in windows(times, sent, WINDOW_S)]
    mean = (sent[-1] - sent[0]) / (times[-1] - times[0])
    tell(mean_percent=100 * (mean / limit - 1), **off(seen, limit), windows=len(seen))


def blocks(times, sent, gap, least):
    """(begin, end, bytes sent before it) of each run of bulk without a gap in it: the samples that show its first and its
    last packets, both late by as much, so that no length of time is longer for it. One that may have begun before the
    samples is left out. Less than `least` bytes in a pause are no block, as a packet by which QUIC finds out how long
    packets may be; they count with the block before."""
    found = []
    for at in range(1, len(times)):
        # A packet may lie between two samples of which neither alone would show it.
        if sent[at] - sent[at - 1] < BULK_BYTES / 2:
            continue
        if found and times[at] - found[-1][1] < gap:
            found[-1][1] = times[at]
            found[-1][3] = sent[at]
        else:
            found.append([times[at], times[at], sent[at - 1], sent[at]])
    return [block[:3] for block in found if block[0] - times[0] >= gap and block[3] - block[2] >= least]


def pulse(path, begin, end, block, pause, limit=None):
    """Whole cycles that take 10 s or little more, from the begin of a block to the begin of another."""
    times, sent, _ = read(path, begin, end)
    found = blocks(times, sent, pause / 2, block / 2)
    if len(found) < 3:
        sys.exit(f"{len(found)} blocks only")
    busy = statistics.median(end - begin for begin, end, _ in found[1:-1])
    leads = block / limit if limit else busy
    expected = block / (pause + leads)
    seen = []
    for first in range(len(found)):
        for last in range(first + 1, len(found)):
            took = found[last][0] - found[first][0]
            if took >= WINDOW_S:
                seen.append((found[last][2] - found[first][2]) / took)
                break
    if not seen:
        sys.exit("no whole cycles in 10 s")
    sizes = [later[2] - one[2] for one, later in zip(found, found[1:])]
    gaps = [later[0] - one[1] for one, later in zip(found, found[1:])]
    tell(
        **off(seen, expected),
        block_bytes_median=int(statistics.median(sizes)),
        block_bytes_max=max(sizes),
        block_s=busy,
        pause_s_min=min(gaps),
        pause_s_median=statistics.median(gaps),
        blocks=len(found),
    )


def change(path, at, upto, limit):
    times, sent, _ = read(path, at, upto)
    # Of the slowest rates a second is a handful of packets.
    length = max(1.0, NEAR_BYTES / limit)
    held_at = at
    for begin, one in windows(times, sent, length):
        if begin <= at + NEAR_FOR_S and abs(one / limit - 1) > NEAR:
            held_at = begin
    tell(s=held_at - at)


def stop(path, at, upto):
    times, sent, _ = read(path, at - 0.2, upto)
    found = [later for later in range(1, len(times)) if sent[later] - sent[later - 1] >= BULK_BYTES]
    last = found[-1] if found else 0
    tell(stop_s=times[last] - at, still_bytes_per_s=(sent[-1] - sent[last]) / max(0.1, times[-1] - times[last]))


def start(path, at, upto):
    times, sent, _ = read(path, at, upto)
    for later in range(1, len(times)):
        if sent[later] - sent[later - 1] >= BULK_BYTES:
            tell(start_s=times[later - 1] - at)
            return
    sys.exit("nothing goes")


def data(path, begin, end):
    _, sent, packets = read(path, begin, end)
    tell(data_bytes=sent[-1] - sent[0] - HEADER_BYTES * (packets[-1] - packets[0]))


if __name__ == "__main__":
    known = {"rate": rate, "pulse": pulse, "change": change, "stop": stop, "start": start, "data": data}
    if sys.argv[1] == "sample":
        sample(*sys.argv[2:])
    else:
        known[sys.argv[1]](sys.argv[2], *map(float, sys.argv[3:]))
