#!/usr/bin/env python3
"""Runs a command, and tells the seconds of CPU of all its processes and the MiB that the largest had at its peak.

cost.py FILE COMMAND [ARGUMENT...]     writes `CPU_SECONDS PEAK_MIB` into the file
"""

import resource
import subprocess
import sys

code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w", encoding="utf-8") as out:
    out.write(f"{used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss // 1024}\n")
sys.exit(code)
