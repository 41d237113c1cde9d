#!/usr/bin/env bash
# What summaries cost at the central site of a large organisation: 1,000 packages at 500 sites, and 20 advertisements on 100,000
# clients, in a real database through the real way of writing, asked for over the real service.
#
#   bench/status.sh [PACKAGES [SITES [CLIENTS [ADVERTISEMENTS]]]]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PACKHORSE_BENCH_PACKAGES=${1:-1000} PACKHORSE_BENCH_SITES=${2:-500}
export PACKHORSE_BENCH_CLIENTS=${3:-100000} PACKHORSE_BENCH_ADVERTISEMENTS=${4:-20}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --quiet --manifest-path "$root/Cargo.toml" -p packhorse-site-server --lib -- \
  --nocapture status::scale:: | tee "$log" | grep -v '^figures' || true
figures=$(sed -n 's/^.*figures //p' "$log" | tail -1)
test -n "$figures" || { echo "no figures: the test failed" >&2; exit 1; }

# Up the line of a child with 100 packages that change twice a day and 200 clients that report three states of one
# advertisement a day: each change is an object of so many bytes, and 12 bytes of frame and acknowledgement.
jq -c --argjson packages "$PACKHORSE_BENCH_PACKAGES" '. + {
  child_bytes_per_day: ((.bytes_per_change + 12) * (100 * 2 + 200 * 3))
}' <<<"$figures"
