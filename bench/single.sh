# shellcheck shell=bash
# Site servers as plain processes on this machine, to be sourced; needs jq and python3.
#
# PACKHORSE_BIN   the programs [default: target/release of this repository]
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$(realpath "${PACKHORSE_BIN:-$bench/../target/release}")
for program in site-server packhorse; do
  if [[ ! -x $bin/$program ]]; then
    echo "$bin/$program is not there: cargo build --release, or set PACKHORSE_BIN" >&2
    exit 2
  fi
done
for program in jq python3 "${needed[@]}"; do
  command -v "$program" >/dev/null || { echo "$program is needed" >&2; exit 2; }
done
dir=$(mktemp -d "${TMPDIR:-/tmp}/packhorse-bench.XXXXXX")
home=$dir
declare -A pid=()
clean() {
  local code
  for code in "${!pid[@]}"; do site_stop "$code"; done
  rm -rf "$dir"
}
trap clean EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
console() { "$bin/packhorse" --admin "$home/$1/admin" "${@:2}"; } # CODE ARGUMENT...
site_start() { # CODE
  "$bin/site-server" serve --dir "$home/$1" >>"$home/$1.log" 2>&1 &
  pid[$1]=$!
}
site_up() { # CODE
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if console "$1" site list >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  tail -5 "$home/$1.log" >&2
  return 1
}
site_stop() { # CODE
  kill "${pid[$1]}" 2>/dev/null || true
  wait "${pid[$1]}" 2>/dev/null || true
  unset "pid[$1]"
}
site_make() { # CODE [PARENT]
  local join=() port
  port=$(free_port)
  if [[ $# -gt 1 ]]; then
    console "$2" site token "$1" --out "$home/$1.token" >/dev/null
    join=(--join "$home/$1.token")
  fi
  "$bin/site-server" init --dir "$home/$1" --code "$1" --name "$1" --listen "127.0.0.1:$port" \
    --endpoint "127.0.0.1:$port" "${join[@]}" >/dev/null
  site_start "$1"
  site_up "$1"
}

# Starts a child, and waits until its parent has measured how short the way to it is: that is a fast line.
site_connected() { # CODE PARENT
  site_start "$1"
  until console "$2" -o json inspect links | jq -e --arg code "$1" \
    '.links[] | select(.peer == $code and .up) | .round_trip_us != null and .round_trip_us <= 2000' >/dev/null; do
    sleep 0.2
  done
}

# In a fresh directory $home: a parent CEN, and a child PAR with a directory point `hall`, which is stopped again. Nothing is
# removed before the end: for a minute ext4 avoids inodes that were freed, and every new file costs a search.
parent_and_child() {
  local known='.distribution_points[] | select(.name == "hall" or .distribution_point == "hall")'
  home=$(mktemp -d "$dir/round.XXXXXX")
  site_make CEN
  site_make PAR CEN
  console PAR dp add hall --path "$home/hall" >/dev/null
  until console CEN -o json dp list | jq -e "$known" >/dev/null; do sleep 0.1; done
  site_stop PAR
}
# Removes what is large, also of the servers that were stopped; small files stay to the end, as ext4 avoids inodes that were freed.
tidy() { find "$home" -type f -size +1M -delete; }
# Waits until the bundle of the one package is made.
bundle_ready() { python3 "$bench/rows.py" "$home/CEN/site.db" 600 'SELECT length FROM bundle'; }

# The seconds that a command takes.
timed() {
  local begun ended
  begun=$EPOCHREALTIME
  "$@" >"$dir/out" 2>&1 || { cat "$dir/out" >&2; return 1; }
  ended=$EPOCHREALTIME
  awk -v a="$begun" -v b="$ended" 'BEGIN { printf "%.3f\n", b - a }'
}
# The best of the times that a command took.
measure() { # NAME COMMAND...
  local took
  took=$(timed "${@:2}")
  best "$1" "$took" "$figures"
}
# Keeps the smallest value of NAME in the file.
best() { # NAME VALUE FILE
  awk -v name="$1" -v value="$2" '
    $1 == name { seen = 1; if (value + 0 < $2 + 0) $2 = value }
    { print }
    END { if (!seen) print name, value }' "$3" >"$3.next"
  mv "$3.next" "$3"
}
value() { awk -v name="$1" '$1 == name { print $2 }' "$2"; } # NAME FILE
ratio() { # NAME OURS THEIRS FILE
  awk -v name="$1" -v a="$(value "$2" "$4")" -v b="$(value "$3" "$4")" 'BEGIN { printf "%s %.3f\n", name, a / b }' >>"$4"
}
