#!/usr/bin/env bash
# What keeping a child site informed, and its parent, costs the line between them: bytes each way of two sites that have
# nothing to tell, of each package that a point of the child receives without its content, and of each program that a client of
# the child runs. What the kernel counts of the link's TCP connection, and 52 bytes of IP and TCP for each segment.
#
#   bench/upkeep.sh [IDLE_SECONDS [COUNT]]
#
# From that, a day of a child with 100 packages that change twice and 200 clients that run one program each is reckoned.
# Needs: cargo build --release (or PACKHORSE_BIN), jq, ss.
needed=(ss)
idle_s=${1:-600} count=${2:-20}
# shellcheck source=bench/single.sh
source "$(dirname "$0")/single.sh"
figures=$dir/figures
: >"$figures"

until_json() { # CODE EXPRESSION COMMAND...
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    if console "$1" -o json "${@:3}" | jq -e "$2" >/dev/null; then return; fi
    sleep 0.2
  done
  echo "in vain: $2 of ${*:3}" >&2
  return 1
}
# Bytes up and down of the child's connections to its parent since they began.
line() {
  ss -tinHp state established "dport = :$parent_port" | awk -v "pid=pid=${pid[PAR]}," '
    index($0, pid) { ours = 1; next }
    ours {
      for (nth = 1; nth <= NF; nth++) {
        split($nth, part, ":")
        value[part[1]] = part[2]
      }
      up += value["bytes_sent"] + 52 * value["segs_out"]
      down += value["bytes_received"] + 52 * value["segs_in"]
      delete value
      ours = 0
    }
    END { print up + 0, down + 0 }'
}
since() { # UP DOWN
  local up down
  read -r up down < <(line)
  echo "$((up - $1)) $((down - $2))"
}
# What a command and all that follows of it took of the line, less what the line takes anyway.
each() { # NAME COMMAND...
  local before took began spent
  before=$(line) began=$EPOCHREALTIME
  "${@:2}"
  # What follows of it, as a site's health, comes within a minute.
  sleep 60
  # shellcheck disable=SC2086
  took=$(since $before)
  spent=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')
  awk -v name="$1" -v took="$took" -v idle="$idle" -v s="$spent" -v idle_s="$idle_s" -v count="$count" 'BEGIN {
    split(took, all); split(idle, rest)
    for (way = 1; way <= 2; way++)
      printf "%s_%s_bytes %d\n", name, way == 1 ? "up" : "down", (all[way] - rest[way] * s / idle_s) / count
  }' | tee -a "$figures"
}

packages() {
  local nth
  for ((nth = 0; nth < count; nth++)); do
    echo "$nth" >"$dir/source/file"
    console CEN -o json package create "Package $nth" --source "$dir/source" --to PAR/cap1 --program run=true |
      jq -r .id >>"$dir/packages"
  done
  while read -r package; do
    until_json CEN '[.places[] | select(.state == "installed")] | length > 0' status package "$package"
  done <"$dir/packages"
}
programs() {
  local package
  while read -r package; do
    console CEN -o json advertise "$package" run "$collection" | jq -r .id >>"$dir/offers"
  done <"$dir/packages"
  while read -r offer; do
    until_json CEN '[.clients[] | select(.delivery == "succeeded")] | length > 0' status advertisement "$offer"
  done <"$dir/offers"
}

mkdir "$dir/source"
site_make CEN
parent_port=$(sed -n 's/^listen = ".*:\([0-9]*\)"/\1/p' "$home/CEN/site.toml")
site_make PAR CEN
console PAR cap token cap1 --out "$dir/cap.token" >/dev/null
port=$(free_port)
"$bin/cap-agent" enroll --dir "$dir/cap" --token "$dir/cap.token" --listen "127.0.0.1:$port" --endpoint "127.0.0.1:$port" >/dev/null
"$bin/cap-agent" serve --dir "$dir/cap" >"$dir/cap.log" 2>&1 &
pid[cap]=$!
until_json PAR '.caps[] | select(.connected)' status site
console PAR client token --out "$dir/client.token" >/dev/null
"$bin/client-agent" enroll --dir "$dir/client" --token "$dir/client.token" --hostname till --poll-interval 2 >/dev/null
"$bin/client-agent" serve --dir "$dir/client" >"$dir/client.log" 2>&1 &
pid[client]=$!
until_json CEN '.clients | length == 1' client list
until_json CEN '.distribution_points | length == 1' dp list
collection=$(console CEN -o json collection create All --all | jq -r .id)
sleep 60

before=$(line)
sleep "$idle_s"
# shellcheck disable=SC2086
idle=$(since $before)
read -r up down <<<"$idle"
echo "idle for $idle_s s: $up bytes up, $down down"
printf 'idle_up_bytes_per_day %d\nidle_down_bytes_per_day %d\n' $((up * 86400 / idle_s)) $((down * 86400 / idle_s)) >>"$figures"
each package packages
each program programs
for way in up down; do
  awk -v way="$way" '
    { value[$1] = $2 }
    END { printf "day_%s_bytes %d\n", way, value["idle_" way "_bytes_per_day"] + 200 * value["package_" way "_bytes"] + 200 * value["program_" way "_bytes"] }
  ' "$figures" >"$dir/day"
  cat "$dir/day" >>"$figures"
done
python3 "$bench/figures.py" end upkeep "$figures" 'day_up_bytes<=10000000'
