#!/usr/bin/env bash
# Parcels on real file systems: volumes mixed up, missing, twice, foreign and damaged; media that are full, fail or are
# write-protected; and how fast it is beside `age`.
#
#   bench/media.sh [--mb N] [--volume-mb N] [--only fat32|exfat|ext4|failures|speed]...
#
# Each file system is in a file on a loop device; FAT32 and exFAT are mounted by the kernel or, where it cannot, by fusefat
# and exfat-fuse. What cannot be mounted is told and left out. A device that fails is one that shrank under its file system.
# Speeds are the best of three of 1 GB, with the program as `cargo build` makes it; PACKHORSE_MEDIA names another one. `age`
# is followed by `sync` of what it wrote. TMPDIR says where all of it lies: it takes up to four times --mb.
#
# Needs: root; losetup, mkfs.ext4; for their parts mkfs.vfat, mkfs.exfat, age.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mb=2000 volume_mb=512 only=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --volume-mb) volume_mb=$2 ;;
    --only) only+=("$2") ;;
    *)
      sed -n '5p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then only=(fat32 exfat ext4 failures speed); fi

if [[ -z ${PACKHORSE_MEDIA:-} ]]; then
  cargo build --quiet --manifest-path "$bench/../Cargo.toml" -p packhorse-parcel --example media
fi
media=${PACKHORSE_MEDIA:-${CARGO_TARGET_DIR:-$bench/../target}/debug/examples/media}
dir=$(mktemp -d)
mnt=$dir/mnt
device=
figures=$dir/figures
mkdir "$mnt" "$dir/state" "$dir/other" "$dir/out" "$dir/aside"
: >"$figures"

leave() {
  if mountpoint -q "$mnt"; then umount "$mnt" || umount -l "$mnt"; fi
  if [[ -n $device ]]; then losetup -d "$device"; fi
  device=
}
stop() {
  leave
  rm -rf "$dir"
}
trap stop EXIT
record() { echo "$1 $2" >>"$figures"; }
value() { awk -v name="$1" '$1 == name { print $2 }' "$dir/said"; }
say() { "$media" "$@" >"$dir/said"; }
# What must hold, by name; 0 in the figures if it does not.
holds() { # NAME COMMAND...
  local name=$1 held=1
  shift
  "$@" || held=0
  echo "  $name: $([[ $held == 1 ]] && echo yes || echo NO)"
  record "$name" "$held"
}
refused() { # WHAT COMMAND...: it fails, with that in its error, and no volume is there
  local what=$1
  shift
  if "$@" >/dev/null 2>"$dir/error"; then return 1; fi
  sed 's/^/    /' "$dir/error"
  grep -q "$what" "$dir/error" && [[ -z $(find "$mnt" -name '*.PHV' 2>/dev/null) ]]
}

enter() { # KIND MB
  truncate -s "$(($2 * 1048576))" "$dir/image"
  case $1 in
    fat32) mkfs.vfat -F 32 "$dir/image" >/dev/null ;;
    exfat) mkfs.exfat "$dir/image" >/dev/null ;;
    ext4) mkfs.ext4 -q -F "$dir/image" ;;
  esac || return 1
  device=$(losetup --show -f "$dir/image")
  how=kernel
  mount "$device" "$mnt" 2>/dev/null && return
  how=fuse
  case $1 in
    fat32) fusefat -o rw+ "$dir/image" "$mnt" ;;
    exfat) mount.exfat-fuse "$device" "$mnt" ;;
    *) false ;;
  esac >/dev/null 2>&1 && mountpoint -q "$mnt"
}

# Of every MiB all bytes are those of the source, or all are zero; told is how many bytes are not there.
compare() { # SOURCE COPY
  python3 - "$1" "$2" <<'END'
import sys

lacking = 0
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "rb") as copy:
    while wanted := source.read(4096):
        got = copy.read(len(wanted)).ljust(len(wanted), b"\0")
        if got == wanted:
            continue
        # A piece ends anywhere.
        wrong = sum(1 for one, other in zip(wanted, got) if one != other and other != 0)
        if wrong:
            sys.exit("wrong bytes")
        lacking += len(wanted)
print(lacking)
END
}

flip() { # FILE COUNT
  python3 - "$1" "$2" <<'END'
import os
import random
import sys

random.seed(5)
with open(sys.argv[1], "r+b") as file:
    length = os.path.getsize(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        at = random.randrange(length // 4, length * 3 // 4)
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    os.fsync(file.fileno())
END
}

file_system() { # KIND
  local kind=$1 numbers parcel
  echo "$kind"
  if ! enter "$kind" $((mb * 6 / 5 + volume_mb * 6 / 5 + 100)); then
    echo "  cannot be mounted here, left out"
    leave
    return
  fi
  echo "  mounted by $how"
  say plan "$dir/state" $((volume_mb * 1048576)) "$dir/source"
  mapfile -t numbers < <(seq "$(value volumes)")
  parcel=$mnt/$(value directory)
  say write "$dir/state" "$mnt" "${numbers[@]}"
  record "${kind}_write_s" "$(value write_s)"
  record "${kind}_write_peak_mib" "$(value write_peak_mib)"
  holds "${kind}_verified_again" say verify "$dir/state" "$mnt" "${numbers[@]}"
  rm -f "$dir/out"/*
  say read "$dir/state" "$mnt" "$dir/out"
  record "${kind}_read_s" "$(value read_s)"
  record "${kind}_read_peak_mib" "$(value read_peak_mib)"
  holds "${kind}_whole" cmp "$dir/source" "$dir/out"/*

  # Shuffled, the second missing, the third damaged, the first twice, and one of another parcel.
  mkdir -p "$mnt/b/c" "$mnt/a"
  mv "$parcel/002.PHV" "$dir/aside/"
  mv "$parcel/001.PHV" "$mnt/b/c/FIRST.PHV"
  cp "$mnt/b/c/FIRST.PHV" "$mnt/a/COPY.PHV"
  flip "$parcel/003.PHV" 3
  head -c 3000000 /dev/urandom >"$dir/foreign"
  say plan "$dir/other" 4294967295 "$dir/foreign"
  say write "$dir/other" "$mnt" 1
  echo "no volume" >"$mnt/a/004.PHV"
  rm -f "$dir/out"/*
  say read "$dir/state" "$mnt" "$dir/out"
  local lacking
  lacking=$(compare "$dir/source" "$dir/out"/*) || lacking=-1
  holds "${kind}_nothing_wrong" test "$lacking" -ge 0
  holds "${kind}_missing_is_named" test "$(value missing)" == 1
  holds "${kind}_twice_is_named" test "$(value twice)" == 1
  holds "${kind}_foreign_is_named" test "$(value foreign)" == 1
  holds "${kind}_no_volume_is_named" test "$(value others)" == 1
  # Three pieces of a MiB; what was not given is those and the missing volume.
  holds "${kind}_damage_is_named" test "$(value damaged_bytes)" -gt 0 -a "$(value damaged_bytes)" -le $((3 * 1048576))
  holds "${kind}_all_else_is_given" test "$lacking" -le $((volume_mb * 1048576 + 4 * 1048576))
  cp "$dir/aside/002.PHV" "$mnt/a/LATER.PHV"
  say read "$dir/state" "$mnt" "$dir/out"
  holds "${kind}_missing_one_came" test "$(value missing)" == 0
  rm "$dir/aside"/*
  leave
}

failures() {
  echo "failures"
  head -c 40000000 /dev/urandom >"$dir/foreign"
  say plan "$dir/other" 4294967295 "$dir/foreign"
  mount -t tmpfs -o size=20m tmpfs "$mnt"
  holds full refused Full "$media" write "$dir/other" "$mnt" 1
  # Full in the middle: what is free at first goes while it is written.
  mount -o remount,size=45m "$mnt"
  holds full_in_the_middle full_in_the_middle
  rm -f "$mnt/filler"
  mount -o remount,ro "$mnt"
  holds read_only refused ReadOnly "$media" write "$dir/other" "$mnt" 1
  leave

  # The device shrinks under its file system.
  truncate -s 100M "$dir/image"
  mkfs.ext4 -q -F -E nodiscard -O ^has_journal "$dir/image"
  device=$(losetup --show -f "$dir/image")
  mount -o errors=continue "$device" "$mnt"
  truncate -s 20M "$dir/image"
  losetup -c "$device"
  holds failing_device refused Failed "$media" write "$dir/other" "$mnt" 1
  leave
}
full_in_the_middle() {
  local writing
  "$media" write "$dir/other" "$mnt" 1 >/dev/null 2>"$dir/error" &
  writing=$!
  until [[ -n $(find "$mnt" -name '*.TMP') ]] || ! kill -0 "$writing" 2>/dev/null; do :; done
  head -c 50000000 /dev/zero >"$mnt/filler" 2>/dev/null || true
  if wait "$writing"; then return 1; fi
  sed 's/^/    /' "$dir/error"
  grep -q Full "$dir/error" && [[ -z $(find "$mnt" -name '*.PHV' -o -name '*.TMP') ]]
}

least() { sort -n | head -1; }
seconds() { # COMMAND...
  local began
  began=$(date +%s.%N)
  "$@"
  awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { printf "%.2f\n", to - from }'
}
age_writes() { age -r "$recipient" -o "$dir/aside/age" "$dir/source" && sync "$dir/aside/age"; }
age_reads() { age -d -i "$dir/key" -o "$dir/out/age" "$dir/aside/age" && sync "$dir/out/age"; }
speed() {
  echo "speed"
  if ! command -v age >/dev/null; then
    echo "  age is not here, left out"
    return
  fi
  rm -f "$dir/key"
  age-keygen -o "$dir/key" 2>/dev/null
  recipient=$(age-keygen -y "$dir/key")
  truncate -s 1000000000 "$dir/source"
  for _ in 1 2 3; do
    rm -rf "$dir/aside"/* "$dir/out"/*
    say plan "$dir/state" 4294967295 "$dir/source"
    say write "$dir/state" "$dir/aside" 1
    value write_s >>"$dir/write"
    say read "$dir/state" "$dir/aside" "$dir/out"
    value read_s >>"$dir/read"
    rm -rf "$dir/aside"/* "$dir/out"/*
    seconds age_writes >>"$dir/age_write"
    seconds age_reads >>"$dir/age_read"
  done
  for what in write read; do
    record "speed_${what}_s" "$(least <"$dir/$what")"
    record "speed_age_${what}_s" "$(least <"$dir/age_$what")"
    record "speed_${what}_to_age" "$(awk -v a="$(least <"$dir/$what")" -v b="$(least <"$dir/age_$what")" \
      'BEGIN { printf "%.3f", a / b }')"
  done
}

head -c $((mb * 1000000)) /dev/urandom >"$dir/source"
for what in "${only[@]}"; do
  case $what in
    failures | speed) "$what" ;;
    *) file_system "$what" ;;
  esac
done
goals=('speed_write_to_age<=1.3' 'speed_read_to_age<=1.3')
while read -r name; do goals+=("$name>=1"); done < <(awk '$2 ~ /^[01]$/ && $1 !~ /_s$/ { print $1 }' "$figures")
python3 "$bench/figures.py" end media "$figures" "${goals[@]}"
