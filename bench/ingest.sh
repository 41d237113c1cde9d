#!/usr/bin/env bash
# Taking a source in: `package create` until it is durable in the content library, and until the bundle for a child site is
# ready, beside `restic backup`, `borg create` and `rsync -a` of the same directory, each into a fresh place, with the
# source in memory. The best of three rounds, in turns. Then an update with nothing changed. Once the child is connected, over
# loopback, which is a fast line; once it is not (`small`): then its bundle is made as small as bundles are.
#
#   bench/ingest.sh [SMALL_FILES_DIRECTORY [LARGE_FILES_DIRECTORY]]
#
# Without directories it makes its own: 20,000 small files, and 1 GB of large ones.
# Needs: cargo build --release (or PACKHORSE_BIN), jq, restic, borg, rsync; 10 GB of disk.
needed=(restic borg rsync)
# shellcheck source=bench/single.sh
source "$(dirname "$0")/single.sh"
rounds=${ROUNDS:-3}
figures=$dir/figures
: >"$figures"
export RESTIC_PASSWORD=x RESTIC_CACHE_DIR=$dir/restic-cache BORG_BASE_DIR=$dir/borg-base

packhorse_round() { # NAME SOURCE FIGURE connected|alone
  local began created
  parent_and_child
  if [[ $4 == connected ]]; then site_connected PAR CEN; fi
  sync -f "$dir"
  began=$EPOCHREALTIME
  console CEN -o json package create Bench --source "$2" --to PAR/hall >"$dir/created"
  created=$EPOCHREALTIME
  bundle_ready >"$dir/bundle"
  best "$1_$3_s" "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }')" "$figures"
  best "$1_created_s" "$(awk -v a="$began" -v b="$created" 'BEGIN { printf "%.3f", b - a }')" "$figures"
  best "$1_$3_bytes" "$(cat "$dir/bundle")" "$figures"
  if [[ $4 == connected ]]; then site_stop PAR; fi
  measure "$1_update_unchanged_s" console CEN package update "$(jq -r .id "$dir/created")"
  site_stop CEN
}
one() { # NAME SOURCE
  local round
  # What was just written is read from memory by all, and counts as old.
  find "$2" -type f -exec cat {} + >/dev/null
  sync -f "$2"
  sleep 3
  for ((round = 0; round < rounds; round++)); do
    packhorse_round "$1" "$2" bundle_ready connected
    packhorse_round "$1" "$2" small_bundle_ready alone
    restic init -q -r "$home/restic"
    borg init -e none "$home/borg"
    sync -f "$dir"
    measure "$1_restic_s" restic backup -q -r "$home/restic" "$2"
    measure "$1_borg_s" borg create "$home/borg::one" "$2"
    measure "$1_rsync_s" rsync -a "$2/" "$home/rsync"
  done
  echo "$1_files $(find "$2" -type f | wc -l)" >>"$figures"
  echo "$1_bytes $(du -sb "$2" | cut -f1)" >>"$figures"
  for other in restic borg rsync; do ratio "$1_to_$other" "$1_bundle_ready_s" "$1_${other}_s" "$figures"; done
}

small=${1:-} large=${2:-}
if [[ -z $small ]]; then
  python3 "$bench/trees.py" small "$dir/small"
  python3 "$bench/trees.py" large "$dir/large"
  small=$dir/small large=$dir/large
fi
one small "$(realpath "$small")"
if [[ -n $large ]]; then one large "$(realpath "$large")"; fi
python3 "$bench/figures.py" end ingest "$figures" 'small_to_restic<=1.0' 'small_to_borg<=1.0' 'large_to_restic<=1.0' \
  'large_to_borg<=1.0'
