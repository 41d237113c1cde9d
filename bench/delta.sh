#!/usr/bin/env bash
# What a new version costs: the bundle from one directory to another, beside `zstd --patch-from` of their tars.
#
#   bench/delta.sh [--level N]... OLD NEW
#
# Bytes, seconds of CPU to make it and to take it in, peak memory of both, for each level of Packhorse (3 and 9 by default)
# and of zstd (3 and 9, --long=31). What comes out is checked against NEW by digest.
#
# Needs: zstd, tar; memory for zstd as large as both directories.
set -euo pipefail

bench=$(cd "$(dirname "$0")" && pwd)
levels=()
while [[ $# -gt 0 && $1 == --level ]]; do
  levels+=("$2")
  shift 2
done
if [[ $# -ne 2 ]]; then
  sed -n '4p' "$0" >&2
  exit 2
fi
if [[ ${#levels[@]} -eq 0 ]]; then levels=(3 9); fi
old=$(realpath "$1") new=$(realpath "$2")

cargo build --quiet --release --manifest-path "$bench/../Cargo.toml" -p packhorse-content --example step
step=$bench/../target/release/examples/step
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
figures=$dir/figures

tarred() { tar --sort=name --owner=0 --group=0 --mtime=@0 -cf "$dir/$1.tar" -C "$2" .; }
tarred old "$old"
tarred new "$new"
TIMEFORMAT='%U %S'
for level in 3 9; do
  took=$({ time zstd -q -f "-$level" --long=31 --patch-from "$dir/old.tar" "$dir/new.tar" -o "$dir/patch"; } 2>&1)
  echo "zstd_${level}_bytes $(stat -c %s "$dir/patch")" >>"$figures"
  echo "zstd_${level}_make_cpu_s $(awk '{ print $1 + $2 }' <<<"$took")" >>"$figures"
done
for level in "${levels[@]}"; do
  "$step" "$old" "$new" "$level" | sed "s/^/packhorse_${level}_/" >>"$figures"
done
ratio=$(awk -v ours="packhorse_${levels[0]}_bytes" '{ value[$1] = $2 } END {
  printf "%.3f", value[ours] / value["zstd_9_bytes"] }' "$figures")
echo "packhorse_to_zstd_9_bytes $ratio" >>"$figures"
python3 "$bench/figures.py" end delta "$figures" 'packhorse_to_zstd_9_bytes<=1.0'
