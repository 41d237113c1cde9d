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

jq -c '{bench: "status", figures: ., goal: {packages_ms: "<= 100", package_by_site_ms: "<= 100", advertisements_ms: "<= 100"}}
  | .holds = all(.figures.packages_ms, .figures.package_by_site_ms, .figures.advertisements_ms; . <= 100)' <<<"$figures"
