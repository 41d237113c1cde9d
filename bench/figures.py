#!/usr/bin/env python3
"""Figures of a bench, gathered in a file of `name value` lines.

  figures.py spread NAME FILE < VALUES          adds NAME_p50, NAME_p99, NAME_max and NAME_count of one value a line
  figures.py end BENCH FILE [NAME<=VALUE...]    prints the figures and, last, one line of JSON; `>=` is known too

A goal for a figure that was not measured is left out. Percentiles are of the nearest rank: of 30 values the 99th is the
largest.
"""

import json
import math
import re
import sys


def rank(values, percent):
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(name, path):
    values = sorted(float(line) for line in sys.stdin if line.strip())
    if not values:
        sys.exit(f"no values for {name}")
    with open(path, "a", encoding="utf-8") as out:
        out.write(f"{name}_p50 {rank(values, 50):.3f}\n{name}_p99 {rank(values, 99):.3f}\n")
        out.write(f"{name}_max {values[-1]:.3f}\n{name}_count {len(values)}\n")
    print(
        f"{name}: p50 {rank(values, 50):.3f}, p99 {rank(values, 99):.3f}, min {values[0]:.3f}, "
        f"max {values[-1]:.3f}, of {len(values)}"
    )


def end(bench, path, goals):
    figures = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            name, value = line.split()
            figures[name] = float(value) if "." in value else int(value)
    goal, holds = {}, True
    for text in goals:
        name, sign, value = re.fullmatch(r"(\w+)([<>]=)([\d.]+)", text).groups()
        if name in figures:
            goal[name] = f"{sign} {value}"
            met = figures[name] <= float(value) if sign == "<=" else figures[name] >= float(value)
            holds = holds and met
    width = max(map(len, figures), default=0)
    print()
    for name, value in figures.items():
        print(f"  {name:<{width}}  {value}" + (f"   goal {goal[name]}" if name in goal else ""))
    print(json.dumps({"bench": bench, "figures": figures, "goal": goal, "holds": holds}))


if __name__ == "__main__":
    if sys.argv[1] == "spread":
        spread(sys.argv[2], sys.argv[3])
    else:
        end(sys.argv[2], sys.argv[3], sys.argv[4:])
