#!/usr/bin/env python3
"""Makes directories to measure with, the same each time.

  trees.py small DIRECTORY     20,000 files of some 8 KB in 200 directories, 160 MB that compress to a fourth
  trees.py large DIRECTORY     8 files of 128 MB, a half of each of which does not compress
  trees.py edited DIRECTORY    v1 and v2 with a file of 2 GB each, a half of which does not compress; v2 is v1 with an edit
                               for each megabyte: something written over, put in, or taken out
"""

import os
import random
import sys


def words(source, count):
    letters = "etaoinshrdlucmfw"
    return ["".join(source.choices(letters, k=source.randint(2, 10))) for _ in range(count)]


def text(source, vocabulary, length):
    out, size = [], 0
    while size < length:
        line = " ".join(source.choices(vocabulary, k=12)) + "\n"
        out.append(line)
        size += len(line)
    return "".join(out).encode()[:length]


def small(into):
    source = random.Random(1)
    vocabulary = words(source, 3000)
    for number in range(20_000):
        directory = os.path.join(into, f"d{number % 200:03}")
        os.makedirs(directory, exist_ok=True)
        length = min(200_000, int(source.expovariate(1 / 8000)) + 1)
        with open(os.path.join(directory, f"f{number:05}"), "wb") as file:
            file.write(text(source, vocabulary, length))


def large(into):
    source = random.Random(2)
    vocabulary = words(source, 3000)
    for number in range(8):
        plain = text(source, vocabulary, 8_000_000)
        with open(os.path.join(into, f"f{number}"), "wb") as file:
            for _ in range(64):
                file.write(source.randbytes(1_000_000))
                at = source.randrange(len(plain) - 1_000_000)
                file.write(plain[at : at + 1_000_000])


def edited(into):
    source = random.Random(3)
    plain = text(source, words(source, 3000), 8_000_000)
    for version in ("v1", "v2"):
        os.makedirs(os.path.join(into, version), exist_ok=True)
    with open(os.path.join(into, "v1", "file"), "wb") as old, open(os.path.join(into, "v2", "file"), "wb") as new:
        for number in range(2000):
            at = source.randrange(len(plain) - 500_000)
            block = source.randbytes(500_000) + plain[at : at + 500_000]
            old.write(block)
            at, length = source.randrange(len(block)), source.randint(1, 2000)
            put = b"" if number % 3 == 2 else source.randbytes(length)
            new.write(block[:at] + put + block[at + (0 if number % 3 == 1 else length) :])


if __name__ == "__main__":
    os.makedirs(sys.argv[2], exist_ok=True)
    {"small": small, "large": large, "edited": edited}[sys.argv[1]](sys.argv[2])
