#!/usr/bin/env bash
# What a first version costs: the bundle of a directory that builds on nothing, beside `tar | zstd -9 --long=27`.
#
#   bench/full.sh [--level N]... CORPORA_DIRECTORY [CORPUS]...
#
# Bytes, seconds of CPU to make it, and peak memory; of Packhorse (level 8 by default) also of taking it in. The tar is there
# before zstd begins, and the library holds the version before Packhorse does. Of each pair in the corpora the new version.
#
# Needs: python3, zstd, tar.
set -euo pipefail

levels=() names=() olds=() news=() goals=()
while [[ $# -gt 1 && $1 == --level ]]; do
  levels+=("$2")
  shift 2
done
if [[ $# -lt 1 || $1 == -* ]]; then
  sed -n '4p' "$0" >&2
  exit 2
fi
# shellcheck source=bench/step.sh
source "$(dirname "$0")/step.sh"
if [[ ${#levels[@]} -eq 0 ]]; then levels=("$default"); fi
pairs "$@"

for at in "${!names[@]}"; do
  name=${names[$at]} new=${news[$at]}
  echo "$name"
  tarred "$dir/new.tar" "$new"
  cost zstd -q -f -9 --long=27 "$dir/new.tar" -o "$dir/whole"
  peer "$name" zstd_9 'tar | zstd -9 --long=27' "$(stat -c %s "$dir/whole")"
  rm "$dir/new.tar" "$dir/whole"
  for level in "${levels[@]}"; do
    packhorse "$name" - "$new" "$level"
    for what in bytes cpu_s; do
      ours=$(value "${name}_packhorse_${level}_${what/cpu_s/make_cpu_s}")
      record "${name}_packhorse_${level}_${what}_to_zstd_9" "$(ratio "$ours" "$(value "${name}_zstd_9_$what")")"
    done
  done
  record "${name}_peak_mib" "$(peaks "$name")"
  goals+=("${name}_packhorse_${default}_bytes_to_zstd_9<=1.0" "${name}_packhorse_${default}_cpu_s_to_zstd_9<=1.0"
    "${name}_peak_mib<=300")
done
python3 "$bench/figures.py" end full "$figures" "${goals[@]}"
