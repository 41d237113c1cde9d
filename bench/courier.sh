#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154
# Parcels beside NNCP and a plain pipe: 1 GB in large files and 20,000 small files from one site to another on a medium, and
# what the update of real software puts there.
#
#   bench/courier.sh [--mb N] [--files N] [--rounds N] [--corpora DIRECTORY] [--only large|small|update]...
#
# packhorse     two site servers that joined over loopback and then run one at a time, so that no link carries anything:
#               `courier create --medium` when the bundle is made, and `courier receive` until the directory point shows the
#               tree; `package create` until the bundle is made is told beside it, and the whole of `courier receive`, which
#               ends when the content library has the version too and the receipt is written
# nncp_bundle   `nncp-file`, which makes a tar, and `nncp-bundle -tx`; `nncp-bundle -rx`, `nncp-toss`, and tar
# nncp_xfer     the same with `nncp-xfer`
# pipe          `tar | zstd -3 | age`; `age -d | zstd -d | tar`
#
# All but Packhorse, which makes durable what it writes, are followed by a sync. The tools take turns; before each command
# what is dirty is written and the system's caches are dropped, but for the programs. The best of --rounds counts [default: 3],
# of a total the best of one round. Every tree that arrived is compared with its source. All lies in TMPDIR, also the media;
# give it a fresh file system: for minutes ext4 searches around inodes that were freed, which whoever comes first pays.
#
# For the updates --corpora names a directory that bench/corpora.sh made; `text`, `small` and `native` of it are taken. The
# first version is taken in from a parcel, a parcel back brings the receipt, and the next parcel is measured, beside what
# the others make of the second version.
#
# Needs: root; cargo build --release (or PACKHORSE_BIN), jq, nncp, age, zstd, tar; 10 GB of disk.
needed=(nncp-file nncp-bundle nncp-xfer nncp-toss nncp-cfgnew age age-keygen zstd tar)
mb=1000 files=20000 rounds=3 corpora=/ only=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --files) files=$2 ;;
    --rounds) rounds=$2 ;;
    --corpora) corpora=$(realpath "$2") ;;
    --only) only+=("$2") ;;
    *)
      sed -n '6s/^# *//p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
[[ ${#only[@]} -gt 0 ]] || only=(large small update)
if [[ $EUID -ne 0 ]]; then
  echo "only root drops the system's caches: run this as root" >&2
  exit 2
fi
# shellcheck source=bench/single.sh
source "$(dirname "$0")/single.sh"
# shellcheck source=bench/nncp.sh
source "$bench/nncp.sh"
tools=(packhorse nncp_bundle nncp_xfer pipe) goals=()
figures=$dir/figures && : >"$figures"
mapfile -t programs < <(type -P "${needed[@]}" "$bin/packhorse")

cold() {
  sync -f "$dir"
  echo 3 >/proc/sys/vm/drop_caches
  cat "${programs[@]}" >/dev/null
}
# A program for each look would take a tenth of a processor from what is measured.
exec {nothing}<> <(:)
until_holds() { # COMMAND...
  local tries
  for ((tries = 0; tries < 10000; tries++)); do
    if "$@"; then return; fi
    read -rt 0.01 -u "$nothing" || :
  done
  echo "in vain: $*" >&2
  return 1
}
record() { echo "$1 $2" >>"$figures"; } # NAME VALUE
plus() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a + b }'; }
on_medium() { find "$medium" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }'; }

# Of each tool: what comes before, for a source; how a parcel is made of it on $medium; how $tree is made of that. Commands that
# are timed are joined by &&, as nothing else ends there at an error. Packhorse has something between, too.
packhorse_new() { # SOURCE
  console CEN -o json package create Bench --source "$1" --to PAR/hall >"$dir/created" && bundle_ready
}
packhorse_before() { # SOURCE
  cold
  took_package=$(timed packhorse_new "$1")
  package=$(jq -r .id "$dir/created")
}
packhorse_create() { console CEN courier create --to PAR --medium "$medium"; }
packhorse_between() {
  site_stop CEN
  site_start PAR
  site_up PAR
  tree=$home/hall/$package
}
packhorse_receive() {
  { console PAR courier receive "$medium" && echo "$EPOCHREALTIME" >"$dir/received"; } &
  # The name is the last that is made durable.
  until_holds test -L "$tree" && sync "$home/hall"
}
# The seconds until the command itself ended.
packhorse_received() { # BEGUN
  until_holds test -s "$dir/received"
  awk -v a="$1" -v b="$(cat "$dir/received")" 'BEGIN { printf "%.3f\n", b - a }'
}

nncp_before() {
  local node top=$home/nncp
  rm -rf "$top"
  for node in cen par; do
    mkdir -p "$top/$node/spool" "$top/$node/incoming"
    nncp-cfgnew -nocomments >"$top/$node.new"
  done
  site_dir=$home # as nncp.sh names it
  for node in cen par; do nncp_config "$node" >"$top/$node.hjson"; done
}
nncp() { "nncp-$1" -quiet -cfg "$home/nncp/$2.hjson" "${@:3}"; } # PROGRAM NODE ARGUMENT...
nncp_unpacked() {
  nncp toss par && tar -xf "$home/nncp/par/incoming/tree" -C "$tree" --strip-components=1 && sync -f "$tree"
}
nncp_bundle_create() { # SOURCE
  nncp file cen "$1" par:tree && nncp bundle cen -tx par >"$medium/parcel" && sync -f "$medium"
}
nncp_bundle_receive() { nncp bundle par -rx <"$medium/parcel" && nncp_unpacked; }
nncp_xfer_create() { # SOURCE
  nncp file cen "$1" par:tree && nncp xfer cen -tx -keep -mkdir -node par "$medium" && sync -f "$medium"
}
nncp_xfer_receive() { nncp xfer par -rx -keep "$medium" && nncp_unpacked; }

pipe_before() {
  rm -f "$home/key"
  age-keygen -o "$home/key" 2>/dev/null
  recipient=$(age-keygen -y "$home/key")
}
pipe_create() { # SOURCE
  tar -C "$1" -c . | zstd -q -3 | age -r "$recipient" >"$medium/parcel" && sync -f "$medium"
}
pipe_receive() { age -d -i "$home/key" "$medium/parcel" | zstd -q -d | tar -x -C "$tree" && sync -f "$tree"; }

turn() { # NAME SOURCE TOOL
  local created received begun ended name=$1_$3
  medium=$home/$3-medium tree=$home/$3-tree
  mkdir "$medium" "$tree"
  "${3%%_*}_before" "$2"
  cold
  created=$(timed "$3_create" "$2")
  if [[ $3 == packhorse ]]; then packhorse_between; fi
  cold
  rm -f "$dir/received"
  begun=$EPOCHREALTIME
  received=$(timed "$3_receive")
  if [[ $3 == packhorse ]]; then ended=$(packhorse_received "$begun"); fi
  diff -r --no-dereference "$2" "$(realpath "$tree")" >/dev/null
  echo "  $3: created in $created s, received in $received s"
  best "${name}_create_s" "$created" "$figures"
  best "${name}_receive_s" "$received" "$figures"
  best "${name}_total_s" "$(plus "$created" "$received")" "$figures"
  if [[ $3 == packhorse ]]; then
    site_stop PAR
    echo "  package create until the bundle is made: $took_package s; courier receive ended after $ended s"
    best "${name}_receive_ended_s" "$ended" "$figures"
    best "${name}_package_s" "$took_package" "$figures"
    best "${name}_package_create_s" "$(plus "$took_package" "$created")" "$figures"
    best "${name}_package_total_s" "$(plus "$took_package" "$(plus "$created" "$received")")" "$figures"
  fi
  best "${name}_bytes" "$(on_medium)" "$figures"
  tidy
}
timings() { # NAME SOURCE
  local round tool what
  for ((round = 1; round <= rounds; round++)); do
    echo "$1, round $round"
    parent_and_child
    for tool in "${tools[@]}"; do turn "$1" "$2" "$tool"; done
  done
  for tool in "${tools[@]:1}"; do
    for what in create receive total; do
      ratio "$1_to_${tool}_$what" "$1_packhorse_${what}_s" "$1_${tool}_${what}_s" "$figures"
    done
    for what in create total; do
      ratio "$1_with_package_to_${tool}_$what" "$1_packhorse_package_${what}_s" "$1_${tool}_${what}_s" "$figures"
    done
    ratio "$1_to_${tool}_bytes" "$1_packhorse_bytes" "$1_${tool}_bytes" "$figures"
  done
  goals+=("$1"_to_nncp_{bundle,xfer}_{create,receive,total}'<=1.0' "$1"_to_pipe_{create,receive,total}'<=1.3')
}

large() {
  python3 "$bench/trees.py" large "$dir/large"
  truncate -s $((mb * 1000000 / 8)) "$dir/large"/*
  timings large "$dir/large"
  rm -rf "$dir/large"
}
small() {
  python3 "$bench/trees.py" small "$dir/small"
  find "$dir/small" -type f | sort | tail -n "+$((files + 1))" | xargs -r rm
  timings small "$dir/small"
}

# The sender is up and stops; the receiver starts.
carry() { # FROM TO NAME
  medium=$home/$3
  mkdir "$medium"
  timed console "$1" courier create --to "$2" --medium "$medium" >/dev/null
  site_stop "$1"
  site_start "$2"
  site_up "$2"
  timed console "$2" courier receive "$medium" >/dev/null
}
shows() { # VERSION: hall, of PAR
  local there=".places[] | select(.distribution_point == \"hall\" and .state == \"installed\" and .source_version == $1)"
  console PAR -o json status package "$package" | jq -e "$there" >/dev/null
}
installed() { # VERSION SOURCE
  until_holds shows "$1"
  diff -r --no-dereference "$2" "$(realpath "$home/hall/$package")" >/dev/null
}
updated() { # NAME V1 V2
  local name=update_$1 tool
  echo "update of $1"
  parent_and_child
  packhorse_new "$2" >/dev/null
  package=$(jq -r .id "$dir/created")
  carry CEN PAR first
  installed 1 "$2"
  record "${name}_first_packhorse_bytes" "$(on_medium)"
  carry PAR CEN back
  console CEN package update "$package" --source "$3" >/dev/null
  python3 "$bench/rows.py" "$home/CEN/site.db" 600 'SELECT 1 FROM bundle WHERE source_version = 2' >/dev/null
  carry CEN PAR second
  installed 2 "$3"
  record "${name}_packhorse_bytes" "$(on_medium)"
  site_stop PAR
  for tool in nncp_bundle pipe; do
    medium=$home/$tool-medium
    mkdir "$medium"
    "${tool%%_*}_before"
    "${tool}_create" "$3"
    record "${name}_${tool}_bytes" "$(on_medium)"
    ratio "${name}_to_$tool" "${name}_packhorse_bytes" "${name}_${tool}_bytes" "$figures"
    goals+=("${name}_to_$tool<=1.0")
  done
  tidy
}
update() {
  local name
  for name in text small native; do
    if [[ -d $corpora/$name/v1 && -d $corpora/$name/v2 ]]; then
      updated "$name" "$corpora/$name/v1" "$corpora/$name/v2"
    else
      echo "update of $name: --corpora names no directory that has it, left out"
    fi
  done
}

for what in "${only[@]}"; do
  case $what in
    large | small | update) "$what" ;;
    *) echo "--only $what is not known" >&2 && exit 2 ;;
  esac
done
[[ ${#goals[@]} -gt 0 ]] || { echo "nothing was measured" >&2 && exit 2; }
python3 "$bench/figures.py" end courier "$figures" "${goals[@]}"
