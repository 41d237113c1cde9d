#!/usr/bin/env bash
# Parcels between two site servers that have no line, by `packhorse courier` and on real file systems: spread over several
# media and received with volumes mixed up, missing, twice, foreign and damaged; media that are full, write-protected, pulled
# out or fail while they are written; site servers killed while they write and receive; media that may only be read.
#
#   bench/stick.sh [--mb N] [--volume-mb N] [--only fat32|exfat|ext4|failures|readonly]...
#
# CEN and PAR meet once over 127.0.0.1; then PAR looks for its parent where nobody is. Each medium is a file on a loop device;
# FAT32 and exFAT are mounted by the kernel or, where it cannot, by fusefat and exfat-fuse. What cannot be mounted is told and
# left out. A device that fails is one that shrinks under its file system, and grows again for the next look at it. Failures
# have packages of at most 240 MB. After each, what CEN says it has written is compared with what `verify` finds whole when
# the medium is mounted anew, and PAR must get all of it; errors are shown as they came.
#
# PACKHORSE_BIN says where the programs are [default: target/release of this repository], TMPDIR where all of it lies: it takes
# up to eight times --mb.
#
# Needs: root; jq, losetup, mkfs.ext4; for their parts mkfs.vfat, mkfs.exfat.
# shellcheck disable=SC1091,SC2034,SC2154
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mb=2000 volume_mb=512 only=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --volume-mb) volume_mb=$2 ;;
    --only) only+=("$2") ;;
    *)
      sed -n '6p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then only=(fat32 exfat ext4 failures readonly); fi

# Both sites are here: neither lines nor namespaces.
line_bench=$bench
line_in() { "${@:2}"; }
line_need() {
  local tool
  if [[ $EUID -ne 0 ]]; then echo "mounting needs root: run this as root" >&2 && exit 2; fi
  for tool in losetup mkfs.ext4 python3 "$@"; do
    command -v "$tool" >/dev/null || { echo "$tool is needed and not here" >&2 && exit 2; }
  done
}
source "$bench/hierarchy.sh"
site_start() { # CODE
  "$site_bin/site-server" serve --dir "$site_dir/$1" >>"$site_dir/$1.log" 2>&1 &
  site_pid[$1]=$!
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if console "$1" site list >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  tail -5 "$site_dir/$1.log" >&2
  return 1
}

dir=$(mktemp -d)
mnt=$dir/mnt source=$dir/source figures=$dir/figures
declare -A device=()
mkdir "$mnt"
: >"$figures"
unplug() { # NAME
  if mountpoint -q "$mnt/$1"; then umount "$mnt/$1" || umount -l "$mnt/$1"; fi
  if [[ -n ${device[$1]:-} ]]; then losetup -d "${device[$1]}"; fi
  unset "device[$1]"
}
unplug_all() {
  local place
  for place in "$mnt"/*; do
    [[ ! -d $place ]] || unplug "$(basename "$place")"
  done
  rm -rf --one-file-system "$mnt" "$dir"/*.image
  mkdir "$mnt"
}
stop() {
  site_clean
  unplug_all
  rm -rf --one-file-system "$dir" "$site_dir"
}
trap stop EXIT

plug() { # NAME KIND [ro]: mounts its image; by what is in $how
  local image=$dir/$1.image place=$mnt/$1 way=${3:-rw} fuse
  mkdir -p "$place"
  device[$1]=$(losetup --show -f "$image")
  how=kernel
  mount -o "$way" "${device[$1]}" "$place" 2>/dev/null && return
  how=fuse
  case $2 in
    fat32) fusefat -o "${way/rw/rw+}" "$image" "$place" ;;
    exfat) mount.exfat-fuse -o "$way" "${device[$1]}" "$place" ;;
    *) false ;;
  esac >/dev/null 2>&1 && mountpoint -q "$place"
}
new_medium() { # NAME KIND MB
  local size=$3
  # Smaller ones are not FAT32 to everybody, and fusefat does not know how much is free there.
  if [[ $2 == fat32 ]] && ((size < 300)); then size=300; fi
  rm -f "$dir/$1.image"
  truncate -s "${size}M" "$dir/$1.image"
  case $2 in
    fat32) mkfs.vfat -F 32 "$dir/$1.image" ;;
    exfat) mkfs.exfat "$dir/$1.image" ;;
    ext4) mkfs.ext4 -q -F -m 0 "$dir/$1.image" ;;
  esac >/dev/null 2>&1 && plug "$1" "$2"
}
new_tmpfs() { mkdir -p "$mnt/$1" && mount -t tmpfs -o "size=$2m" tmpfs "$mnt/$1"; } # NAME MB
again() { # NAME KIND: as if it was put into another machine
  unplug "$1"
  echo 3 >/proc/sys/vm/drop_caches
  plug "$@"
}
stick() { python3 "$bench/stick.py" "$@"; }

record() { echo "$1 $2" >>"$figures"; }
# What must hold, by name; 0 in the figures if it does not.
holds() { # NAME COMMAND...
  local name=$1 held=1
  shift
  "$@" || held=0
  echo "  $name: $([[ $held == 1 ]] && echo yes || echo NO)"
  record "$name" "$held"
}
courier() { console "$1" -o json courier "${@:2}"; }
# What went wrong, as it is told, and what is wrong with parcels.
errors() {
  sed '/^parcel .* is laid out; if/d; s/^/    /' "$dir/error"
  jq -r '.parcels[]? | (.faults, .refused) | .. | strings | select(. != "") | "    " + .' "$dir/said" 2>/dev/null || true
}
# Leaves what it answered in `said`, its error in `error`, and its exit code in $code.
try() { # CODE ARGUMENT...
  code=0
  courier "$@" >"$dir/said" 2>"$dir/error" || code=$?
  errors
}
succeeds() { try "$@" && [[ $code == 0 ]]; }
told() { jq -e "any(.parcels[]; $1)" "$dir/said" >/dev/null; } # JQ_CONDITION: for one of the parcels
seconds_of() { # FIGURE COMMAND...
  local began
  began=$(date +%s.%N)
  "${@:2}"
  record "$1" "$(awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { printf "%.2f\n", to - from }')"
}
peak_anew() { echo 5 >"/proc/${site_pid[$1]}/clear_refs"; } # CODE
peak() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/${site_pid[$1]}/status"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }
sites() { # a pair that met once
  site_clean
  site_port=$(free_port)
  site_make CEN CEN 127.0.0.1
  site_port=$(free_port)
  site_make PAR PAR 127.0.0.1 CEN
  site_point PAR hall CEN
  site_stop PAR
  site_set PAR 'parent.endpoints = ["127.0.0.1:9"]'
  site_start PAR
}
has_no_line() { [[ $(grep -c "the link is up" "$site_dir/CEN.log") == 1 ]]; }
package() { # MB: a new one, its id is in $package
  local number
  rm -rf "$source"
  mkdir -p "$source/some/where" "$source/empty" "$source/small"
  head -c $(($1 * 500000)) /dev/urandom >"$source/large"
  for number in {1..20}; do head -c $(($1 * 25000)) /dev/urandom >"$source/some/where/$number"; done
  for number in {1..300}; do head -c "$number" /dev/urandom >"$source/small/$number"; done
  package=$(site_package CEN Stick --source "$source" --to PAR/hall)
}
lay_out() { parcel=$(courier CEN create --to PAR --volume-size "$1M" 2>/dev/null | jq -r .id); } # VOLUME_MB
newest() { parcel=$(courier CEN list | jq -r '[.parcels[] | select(.incoming | not)][0].id'); }
claims_no_more_than_is_whole() { # on all media that are in
  local place
  courier CEN show "$parcel" | jq '.volumes_done[]' | sort >"$dir/claimed"
  for place in "$mnt"/*; do
    courier CEN verify "$parcel" "$place" 2>/dev/null | jq '.whole[]' || true
  done | sort -u >"$dir/whole"
  echo "    said to be written: $(sort -n "$dir/claimed" | xargs); whole: $(sort -n "$dir/whole" | xargs)"
  [[ -z $(comm -23 "$dir/claimed" "$dir/whole") ]]
}
is_the_same() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do
    if [[ -e $site_dir/point-PAR/$package ]]; then break; fi
    sleep 0.1
  done
  diff -r "$source" "$site_dir/point-PAR/$package/"
}
# PAR's receipt goes back on the medium.
is_confirmed() { # NAME
  succeeds PAR create --to CEN --medium "$mnt/$1" && try CEN receive "$mnt/$1" &&
    [[ $(courier CEN show "$parcel" | jq -r .state) == confirmed ]]
}

writes_to_many() { # KIND: two volumes to each medium
  local size=$((volume_mb * 12 / 5 + 20)) volumes number
  volumes=$(courier CEN show "$parcel" | jq .volumes)
  for ((media = 0; 2 * media < volumes; )); do
    number=$((2 * media++ + 1))
    new_medium "m$media" "$1" "$size" || return 1
    succeeds CEN write "$parcel" "$mnt/m$media" --volume "$number" || return 1
    ((number == volumes)) || succeeds CEN write "$parcel" "$mnt/m$media" --volume $((number + 1)) || return 1
  done
}
file_system() { # KIND
  local kind=$1 name
  echo "$kind"
  if ! new_medium x "$kind" $((volume_mb * 18 / 5 + 60)); then
    echo "  cannot be mounted here, left out"
    unplug_all
    return
  fi
  echo "  mounted by $how"
  sites
  package "$mb"
  lay_out "$volume_mb"
  peak_anew CEN
  seconds_of "${kind}_write_s" holds "${kind}_written_to_many_media" writes_to_many "$kind"
  for name in $(seq -f 'm%g' "$media"); do again "$name" "$kind"; done
  holds "${kind}_claims_no_more_than_is_whole" claims_no_more_than_is_whole
  record "${kind}_media_used" "$media"
  record "${kind}_write_peak_mib" "$(peak CEN)"
  # Mixed up, the second missing, the third damaged, the first twice, one of another parcel, one that is none.
  if cd "$mnt/m1/PARCELS"/* && mv 002.PHV "$dir/aside" && mv 001.PHV 004.PHV; then
    cd "$bench"
    stick flip "$(echo "$mnt"/m2/PARCELS/*/003.PHV)" 3
    try CEN write "$parcel" "$mnt/x" --volume 1
    console PAR dp add other --path "$site_dir/point-other" >/dev/null
    try PAR create --to CEN --medium "$mnt/x"
    mkdir "$mnt/x/a"
    echo "no volume" >"$mnt/x/a/009.PHV"
    for name in x m1 m2; do again "$name" "$kind"; done
    received_with_faults "$kind"
  fi
  holds "${kind}_no_line" has_no_line
  unplug_all
}
received_with_faults() { # KIND
  local kind=$1
  peak_anew PAR
  seconds_of "${kind}_receive_s" try PAR receive "$mnt"
  holds "${kind}_not_all_is_exit_code_1" test "$code" == 1
  holds "${kind}_missing_is_named" told ".volumes_missing == [2]"
  holds "${kind}_damaged_is_named" told 'any(.faults[]; test("volume 3: .* damaged"))'
  holds "${kind}_twice_is_named" told 'any(.faults[]; test("volume 1 is there twice"))'
  holds "${kind}_foreign_is_named" told .for_others
  holds "${kind}_no_volume_is_named" told 'any(.faults[]; test("009.PHV is no volume"))'
  cp "$dir/aside" "$mnt/x/a/LATER.PHV"
  try PAR receive "$mnt/x"
  holds "${kind}_missing_one_alone_is_not_all" told ".items_left == 1"
  try CEN write "$parcel" "$mnt/x" --volume 3
  again x "$kind"
  holds "${kind}_rewritten_one_completes" succeeds PAR receive "$mnt/x"
  holds "${kind}_nothing_left" told ".items_left == 0 and .items_taken > 0"
  holds "${kind}_same_at_the_point" is_the_same
  holds "${kind}_confirmed" is_confirmed x
  record "${kind}_receive_peak_mib" "$(peak PAR)"
}

# Does something as soon as a file is there, while a command runs that answers as after `try`.
midst() { # FILES DO CODE ARGUMENT...
  local running
  code=0
  courier "${@:3}" >"$dir/said" 2>"$dir/error" &
  running=$!
  until compgen -G "$1" >/dev/null || ! kill -0 "$running" 2>/dev/null; do :; done
  kill -0 "$running" 2>/dev/null || echo "    it ended too early"
  $2
  wait "$running" || code=$?
  errors
}
create() { create=(CEN create --to PAR --volume-size "${each_mb}M" --medium "$mnt/a"); }
on_the_second() { # DO: while the second volume is written
  create
  midst "$mnt/a/PARCELS/*/002.TMP" "$1" "${create[@]}"
}
on_arrival() { # DO: while PAR receives what was written before
  lay_out "$each_mb"
  try CEN write "$parcel" "$mnt/a"
  midst "$site_dir/PAR/spool/incoming/*" "$1" PAR receive "$mnt/a"
}
fill_up() { head -c 4G /dev/zero >"$mnt/a/filler" 2>/dev/null || true; }
pull_out() { umount -l "$mnt/a"; }

full() {
  new_tmpfs a $((each_mb * 5 / 2))
  create
  try "${create[@]}"
  new_tmpfs b $((some_mb * 2))
  medium=b
}
full_in_the_middle() {
  new_tmpfs a $((some_mb * 2))
  on_the_second fill_up
  rm "$mnt/a/filler"
}
write_protected() {
  lay_out "$each_mb"
  try CEN write "$parcel" "$mnt/a" --volume 1
  mount -o remount,ro "$mnt/a"
  try CEN write "$parcel" "$mnt/a"
}
pulled_out() { on_the_second pull_out; }
pulled_out_between() { # one volume and the next
  lay_out 1
  stick detach "$mnt/a" "$site_dir/CEN/courier/outgoing/$parcel/plan" 5 &
  local helper=$!
  try CEN write "$parcel" "$mnt/a"
  wait "$helper"
  holds pulled_out_between_nothing_beside test -z "$(find "$mnt/a" -type f)"
}
failing_device() {
  stick resize "${device[a]}" 1048576 "$mnt/a/PARCELS/*/002.TMP" &
  local helper=$!
  on_the_second true
  wait "$helper"
  umount -l "$mnt/a"
  stick resize "${device[a]}" 0
}
killed_while_writing() { on_the_second "site_stop CEN KILL" && site_start CEN; }
killed_while_receiving() { on_arrival "site_stop PAR KILL" && site_start PAR; }
pulled_out_while_receiving() { on_arrival pull_out; }

failure() { # NAME TOLD
  local name=$1
  echo "$name"
  package "$some_mb"
  medium=a parcel=
  case $name in
    full*) "$name" ;;
    *) new_medium a ext4 $((some_mb * 3 / 2 + 60)) && "$name" && again a ext4 ;;
  esac
  [[ -n $parcel ]] || newest
  holds "${name}_fails" test "$code" != 0
  holds "${name}_is_told" grep -qE "$2" "$dir/error"
  holds "${name}_claims_no_more_than_is_whole" claims_no_more_than_is_whole
  [[ $name == *receiving ]] || holds "${name}_completed_by_the_same" succeeds CEN write "$parcel" "$mnt/$medium"
  holds "${name}_received" succeeds PAR receive "$mnt"
  holds "${name}_same_at_the_point" is_the_same
  holds "${name}_confirmed" is_confirmed "$medium"
  unplug_all
  # What PAR did not get would be in the next parcel too.
  if grep -q "^${name}.* 0$" "$figures"; then sites; fi
}
failures() {
  echo "failures"
  some_mb=$((mb < 240 ? mb : 240))
  each_mb=$((some_mb / 5 + 1))
  sites
  failure full "is full"
  failure full_in_the_middle "is full"
  failure write_protected "write-protected"
  failure pulled_out "the medium failed"
  failure pulled_out_between "medium"
  failure failing_device "the medium failed"
  failure killed_while_writing "connection to the site server was lost"
  failure killed_while_receiving "connection to the site server was lost"
  failure pulled_out_while_receiving "not everything was taken in"
  holds failures_no_line has_no_line
}

readonly_medium() { # KIND
  local before
  if ! new_medium a "$1" 200; then
    echo "  $1 cannot be mounted here, left out"
    unplug_all
    return
  fi
  package "$some_mb"
  lay_out $((some_mb / 5 + 1))
  try CEN write "$parcel" "$mnt/a"
  unplug a
  sleep 1
  before=$(sha256sum <"$dir/a.image")
  plug a "$1" ro
  holds "readonly_${1}_cannot_be_written" test ! -w "$mnt/a"
  holds "readonly_${1}_received" succeeds PAR receive "$mnt/a"
  holds "readonly_${1}_same_at_the_point" is_the_same
  unplug a
  sleep 1
  holds "readonly_${1}_medium_is_unchanged" test "$before" == "$(sha256sum <"$dir/a.image")"
  unplug_all
}
readonly_media() {
  local kind
  echo "readonly"
  some_mb=$((mb < 60 ? mb : 60))
  sites
  for kind in fat32 exfat ext4; do readonly_medium "$kind"; done
}

site_need
for what in "${only[@]}"; do
  case $what in
    failures) failures ;;
    readonly) readonly_media ;;
    *) file_system "$what" ;;
  esac
done
goals=()
while read -r name; do goals+=("$name>=1"); done < <(awk '$2 ~ /^[01]$/ && $1 !~ /_(s|mib|used)$/ { print $1 }' "$figures")
python3 "$bench/figures.py" end stick "$figures" "${goals[@]}"
