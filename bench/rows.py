#!/usr/bin/env python3
"""rows.py DATABASE LIMIT_S QUERY [ARGUMENT...]: waits until the query has a row and prints its columns, tab-separated.

Only reads: what it looks at is in use. Ends with 1 if there is no row within the limit.
"""

import sqlite3
import sys
import time


def first_row(path, limit, query, arguments=()):
    end = time.monotonic() + limit
    while True:
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as database:
                row = database.execute(query, arguments).fetchone()
            database.close()
            if row is not None:
                return row
        except sqlite3.OperationalError:
            pass
        if time.monotonic() >= end:
            return None
        time.sleep(0.02)


if __name__ == "__main__":
    found = first_row(sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4:])
    if found is None:
        sys.exit(1)
    print(*found, sep="\t")
