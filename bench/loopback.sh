# shellcheck shell=bash
# Sites on this machine with nothing between them, to be sourced; needs jq and python3.
#
# PACKHORSE_BIN   the programs [default: target/release of this repository]
# TMPDIR          where the sites are: on a disk, if what a disk costs is to count
set -euo pipefail

bench=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
bin=$(realpath "${PACKHORSE_BIN:-$bench/../target/release}")
dir=$(mktemp -d "${TMPDIR:-/tmp}/packhorse-bench.XXXXXX")
figures=$dir/figures
: >"$figures"
declare -A pid=()
stop() {
  for one in "${pid[@]}"; do kill "$one" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT

for program in site-server packhorse load; do
  if [[ ! -x $bin/$program ]]; then
    echo "$bin/$program is not there: cargo build --release, or set PACKHORSE_BIN" >&2
    exit 2
  fi
done

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
console() { "$bin/packhorse" --admin "$dir/$1/admin" "${@:2}"; }
figure() { echo "$1 $2" >>"$figures"; }
calculate() { # EXPRESSION: with three digits
  awk "BEGIN { printf \"%.3f\", $1 }"
}

# Both as long as what they wait for still runs.
until_line() { # FILE LINE PID
  until grep -qsx "$2" "$1"; do
    kill -0 "$3" || exit 1
    sleep 0.05
  done
}
until_up() { # CODE
  until console "$1" site list >/dev/null 2>&1; do
    kill -0 "${pid[$1]}" || exit 1
    sleep 0.05
  done
}

site_start() { # CODE
  "$bin/site-server" serve --dir "$dir/$1" >>"$dir/$1.log" 2>&1 &
  pid[$1]=$!
  until_up "$1"
}
site_stop() { # CODE
  kill "${pid[$1]}"
  wait "${pid[$1]}" || true
  unset "pid[$1]"
}
site() { # CODE [PARENT]
  local join=() endpoint
  if [[ $# -gt 1 ]]; then
    console "$2" site token "$1" --out "$dir/$1.token" >/dev/null
    join=(--join "$dir/$1.token")
  fi
  endpoint=127.0.0.1:$(free_port)
  "$bin/site-server" init --dir "$dir/$1" --code "$1" --name "$1" --listen "$endpoint" --endpoint "$endpoint" \
    "${join[@]}" >/dev/null
  site_start "$1"
}

# A source directory with one file that does not compress.
make_source() { # MB
  mkdir -p "$dir/source"
  head -c "$(($1 * 1000000))" /dev/urandom >"$dir/source/content"
}
package() { # CODE: makes one of the source, and prints its id
  console "$1" -o json package create Bench --source "$dir/source" | jq -r .id
}

# User and system time of a process so far.
cpu_s() { # PID
  awk -v tick="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%.2f", ($12 + $13) / tick }' "/proc/$1/stat"
}
peak_mib() { # PID
  awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$1/status"
}
read_bytes() { # PID: from disks
  awk '/^read_bytes/ { print $2 }' "/proc/$1/io"
}

# One file from the site's key to sinks with the administrator's; leaves the ends' figures in sent.json and taken.json.
plain() { # tls|grpc SITE COUNT
  local address
  address=127.0.0.1:$(free_port)
  "$bin/load" "$1-send" --credentials "$dir/$2/credentials/own" --listen "$address" --file "$dir/source/content" \
    --count "$3" >"$dir/sent.json" &
  pid[plain]=$!
  until ss -Hltn "src $address" | grep -q .; do
    kill -0 "${pid[plain]}" || exit 1
    sleep 0.05
  done
  "$bin/load" "$1-sink" --credentials "$dir/$2/admin" --connect "$address" --count "$3" >"$dir/taken.json"
  wait "${pid[plain]}"
  unset "pid[plain]"
}
