#!/usr/bin/env bash
# At a child site: from the first byte of a bundle that comes over loopback until the directory point shows the tree, every
# digest checked and all durable, beside `zstd -d | tar x` of the same files and one sync. The best of three rounds. Once the child
# is connected when the package is made, over a line without any limit, and gets the bundle that is ready soonest; once it comes later
# (`small`), and gets the one that is as small as bundles are.
#
#   bench/apply.sh [SMALL_FILES_DIRECTORY [LARGE_FILES_DIRECTORY]]
#
# Without directories it makes its own: 20,000 small files, and 1 GB of large ones.
# Needs: cargo build --release (or PACKHORSE_BIN), jq, zstd, tar; 10 GB of disk.
needed=(zstd tar)
# shellcheck source=bench/single.sh
source "$(dirname "$0")/single.sh"
rounds=${ROUNDS:-3}
figures=$dir/figures
: >"$figures"

unpack() {
  mkdir "$home/unpacked"
  zstd -q -dc "$dir/packed" | tar -xf - -C "$home/unpacked"
  sync -f "$home/unpacked"
}
packhorse_round() { # NAME SOURCE FIGURE connected|later
  local package waiting
  parent_and_child
  if [[ $4 == connected ]]; then
    site_connected PAR CEN
    sync -f "$dir"
    python3 "$bench/apply.py" "$home/PAR/spool/incoming" "$home/hall" 600 >"$dir/took" &
    waiting=$!
    package=$(console CEN -o json package create Bench --source "$2" --to PAR/hall | jq -r .id)
  else
    package=$(console CEN -o json package create Bench --source "$2" --to PAR/hall | jq -r .id)
    bundle_ready >/dev/null
    sync -f "$dir"
    python3 "$bench/apply.py" "$home/PAR/spool/incoming" "$home/hall" 600 >"$dir/took" &
    waiting=$!
    site_start PAR
  fi
  wait "$waiting"
  best "$1_$3_s" "$(cat "$dir/took")" "$figures"
  diff -r --no-dereference "$2" "$(realpath "$home/hall/$package")" >/dev/null
  site_stop PAR
  site_stop CEN
  tidy
}
one() { # NAME SOURCE
  local round
  tar -C "$2" -cf - . | zstd -q -3 -o "$dir/packed" -f
  for ((round = 0; round < rounds; round++)); do
    packhorse_round "$1" "$2" packhorse connected
    packhorse_round "$1" "$2" small_bundle later
    sync -f "$dir"
    measure "$1_tar_s" unpack
    tidy
  done
  echo "$1_files $(find "$2" -type f | wc -l)" >>"$figures"
  echo "$1_bytes $(du -sb "$2" | cut -f1)" >>"$figures"
  ratio "$1_to_tar" "$1_packhorse_s" "$1_tar_s" "$figures"
  ratio "$1_small_bundle_to_tar" "$1_small_bundle_s" "$1_tar_s" "$figures"
}

small=${1:-} large=${2:-}
if [[ -z $small ]]; then
  python3 "$bench/trees.py" small "$dir/small"
  python3 "$bench/trees.py" large "$dir/large"
  small=$dir/small large=$dir/large
fi
one small "$(realpath "$small")"
if [[ -n $large ]]; then one large "$(realpath "$large")"; fi
python3 "$bench/figures.py" end apply "$figures" 'small_to_tar<=1.3' 'large_to_tar<=1.3'
