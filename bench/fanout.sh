#!/usr/bin/env bash
# shellcheck disable=SC1091,SC2154
# Fan-out: one parent and many children, each of which gets the same package.
#
#   bench/fanout.sh [--children N] [--mb N]
#
# The children are played by one process, each over a connection of its own; they take everything and throw it away. The
# package does not compress, so that its bundle is as long as its source. Measured from the order to send the package
# until every child has it: the parent's peak of memory since it started, what it read from disks (the content library is
# put out of the page cache before), how many bundles it made, and its CPU time for each GB sent. Before and after, a
# plain TLS sender of the same file sends it to as many sinks over the same TLS: the ratio is to the mean of both.
#
# Needs: cargo build --release, jq, ss.
source "$(dirname "$0")/loopback.sh"

children=200 mb=100
while [[ $# -gt 0 ]]; do
  case $1 in
    --children) children=$2 ;;
    --mb) mb=$2 ;;
    *)
      echo "usage: bench/fanout.sh [--children N] [--mb N]" >&2
      exit 2
      ;;
  esac
  shift 2
done

site CEN
make_source "$mb"
"$bin/load" children --admin "$dir/CEN/admin" --count "$children" >"$dir/children" &
pid[load]=$!
until_line "$dir/children" ready "${pid[load]}"
figure idle_mib "$(peak_mib "${pid[CEN]}")"
plain tls CEN "$children"
tls_before=$(jq '.cpu_s / .bytes * 1e9' "$dir/sent.json")
tls_seconds=$(jq .seconds "$dir/taken.json")

id=$(package CEN)
find "$dir/CEN/library" -type f -exec dd if={} iflag=nocache count=0 status=none \;
figure created_mib "$(peak_mib "${pid[CEN]}")"
targets=$(console CEN -o json dp list | jq -r '.distribution_points[] | "\(.site)/\(.name)"')
cpu=$(cpu_s "${pid[CEN]}")
from_disk=$(read_bytes "${pid[CEN]}")
# shellcheck disable=SC2086
console CEN package send "$id" --to $targets >/dev/null
wait "${pid[load]}"
unset "pid[load]"
cpu=$(calculate "$(cpu_s "${pid[CEN]}") - $cpu")
from_disk=$(($(read_bytes "${pid[CEN]}") - from_disk))
peak=$(peak_mib "${pid[CEN]}")

tail -1 "$dir/children" >"$dir/got.json"
plain tls CEN "$children"
tls_after=$(jq '.cpu_s / .bytes * 1e9' "$dir/sent.json")
gb=$(jq '.bytes / 1e9' "$dir/got.json")
tls=$(calculate "($tls_before + $tls_after) / 2")

figure children "$children"
figure sent_gb "$(calculate "$gb")"
figure seconds "$(calculate "$(jq .seconds "$dir/got.json")")"
figure tls_seconds "$(calculate "$tls_seconds")"
figure parent_peak_mib "$peak"
figure bundles_made "$(grep -c 'a bundle was made' "$dir/CEN.log")"
figure read_from_disk_mb "$(calculate "$from_disk / 1e6")"
figure read_from_disk_ratio "$(calculate "$from_disk / 1e6 / $mb")"
figure parent_cpu_s_per_gb "$(calculate "$cpu / $gb")"
figure tls_cpu_s_per_gb "$tls"
figure cpu_ratio "$(calculate "$cpu / $gb / $tls")"
python3 "$bench/figures.py" end fanout "$figures" 'parent_peak_mib<=300' 'bundles_made<=1' 'read_from_disk_ratio<=1.1'
