#!/usr/bin/env bash
# How exactly a site keeps to the limits of an address: rates, pulses, changes of them, hours that close.
#
#   bench/rates.sh [--only rates|pulse|change|calendar|hour]... [--rate RATE]... [--pulse BLOCK/PAUSE[@RATE]]...
#                  [--seconds N]
#
# rates     every RATE is set in turn at the parent while a package is on its way; of any 10 s between 5 s after the
#           setting and its end the worst counts, above and below
# pulse     the same with pulses. The average of a pulse is a block per pause and time of the block (at its rate, if it has
#           one, else as it was seen); windows are whole cycles, as many as take 10 s
# change    from one rate to another: how long after the command begins every second (at 64 kbit/s: every four seconds) is
#           within 15 % of the new rate
# calendar  closed while a package is on its way, and opened again, twice: how long after the command begins the last
#           packet of more than an acknowledgement leaves, and what the connection carried in all for a file that arrives
# hour      the same by the clock: an hour of the calendar begins in which the line is closed, and ends again
#
# The line is a pair of interfaces with nothing between: what limits is Packhorse alone. Counted are bytes of IP that leave
# the parent's interface, every 20 ms. The package is incompressible.
#
# Needs: root; cargo build --release or PACKHORSE_BIN; zic for hour; see line.sh.
source "$(dirname "$0")/line.sh"
source "$(dirname "$0")/hierarchy.sh"

figures=$site_dir.figures
samples=$site_dir.samples
: >"$figures"
stop() {
  site_clean
  line_clean
  rm -rf "$site_dir" "$line_dir" "$figures" "$samples"
}
trap stop EXIT

only=() rates=() pulses=() seconds=45
while [[ $# -gt 0 ]]; do
  case $1 in
    --only) only+=("$2") ;;
    --rate) rates+=("$2") ;;
    --pulse) pulses+=("$2") ;;
    --seconds) seconds=$2 ;;
    *)
      sed -n '4,5p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then only=(rates pulse change calendar hour); fi
if [[ ${#rates[@]} -eq 0 ]]; then rates=(64kbit/s 256kbit/s 1Mbit/s 10Mbit/s 100Mbit/s); fi
if [[ ${#pulses[@]} -eq 0 ]]; then pulses=(50kB/2s 5kB/1s 50kB/2s@256kbit/s); fi
wanted() { [[ " ${only[*]} " == *" $1 "* ]]; }

line_need
site_need
if wanted hour; then line_need zic; fi

declare -A sizes=([bit]=1 [kbit]=1000 [Mbit]=1000000 [B]=8 [kB]=8000 [MB]=8000000)
bytes_of() { # AMOUNT, as 64kbit/s or 50kB
  local text=${1%/s} number
  number=${text%%[a-zA-Z]*}
  echo $((number * ${sizes[${text#"$number"}]} / 8))
}
name_of() { tr -c 'a-zA-Z0-9\n' _ <<<"${1%/s}"; }
now() { date +%s.%N; }
later() { awk -v at="$1" -v by="$2" 'BEGIN { printf "%.4f", at + by }'; }
measure() { python3 "$line_bench/rates.py" "$1" "$samples" "${@:2}"; }
# Takes figures on, and shows them in one line.
note() { # NAME < FIGURES
  sed "s/^/$1_/" | tee -a "$figures" | awk -v name="$1" '
    { sub(name "_", "", $1); line = line sprintf("  %s %s", $1, $2) }
    END { printf "%-24s%s\n", name, line }'
}
# What is asked for once is asked for over one connection: it tells when the command began.
address() { # OPTION...
  console CEN address set PAR "$@" >/dev/null
}

begin() { # MB
  line_namespace parent
  line_namespace child
  ip -n "$LINE_PREFIX-parent" link add line1 type veth peer name line1 netns "$LINE_PREFIX-child"
  line_end 1 parent child "$(line_parent_address 1)" "$(line_child_address 1)"
  line_end 1 child parent "$(line_child_address 1)" "$(line_parent_address 1)"
  : >"$samples"
  ip netns exec "$LINE_PREFIX-parent" python3 "$line_bench/rates.py" sample line1 "$samples" &
  site_make parent CEN "$(line_parent_address 1)"
  site_make child PAR "$(line_child_address 1)" CEN
  site_point PAR hall CEN
  mkdir "$site_dir/source"
  head -c "${1}000000" /dev/urandom >"$site_dir/source/file"
  sleep 2
}
send() {
  site_package CEN Bulk --source "$site_dir/source" --to PAR/hall --priority low >/dev/null
  site_row PAR 120 "SELECT digest FROM arrival WHERE state = 'receiving'" >/dev/null
}
still_going() {
  if ! site_row PAR 0 "SELECT digest FROM arrival WHERE state = 'receiving'" >/dev/null; then
    echo "the package was there before $1 was measured" >&2
    exit 1
  fi
}
finish() {
  site_clean
  line_clean
}

run_rates() {
  local rate at all=0
  for rate in "${rates[@]}"; do all=$((all + $(bytes_of "$rate") * (seconds + 5))); done
  begin $((all * 11 / 10000000 + 5))
  address --rate "${rates[0]}"
  send
  for rate in "${rates[@]}"; do
    address --rate "$rate"
    at=$(now)
    sleep "$seconds"
    still_going "$rate"
    measure rate "$(later "$at" 5)" "$(now)" "$(bytes_of "$rate")" | note "rate_$(name_of "$rate")"
  done
  finish
}

run_pulse() {
  local pulse at block pause rate limit
  begin 60
  address --rate 64kbit/s
  send
  for pulse in "${pulses[@]}"; do
    rate=none limit=()
    if [[ $pulse == *@* ]]; then rate=${pulse#*@} limit=("$(bytes_of "${pulse#*@}")"); fi
    block=${pulse%%/*} pause=${pulse#*/} pause=${pause%%@*}
    address --pulse "${pulse%@*}" --rate "$rate"
    at=$(now)
    sleep "$seconds"
    still_going "$pulse"
    measure pulse "$(later "$at" 5)" "$(now)" "$(bytes_of "$block")" "${pause%s}" "${limit[@]}" |
      note "pulse_$(name_of "$pulse")"
  done
  finish
}

run_change() {
  local steps=(10Mbit/s 1Mbit/s 10Mbit/s 64kbit/s 10Mbit/s 256kbit/s 64kbit/s) before rate at
  begin 60
  address --rate "${steps[0]}"
  send
  sleep 5
  before=${steps[0]}
  for rate in "${steps[@]:1}"; do
    at=$(now)
    address --rate "$rate"
    sleep 10
    still_going "$before to $rate"
    measure change "$at" "$(now)" "$(bytes_of "$rate")" | note "change_$(name_of "$before")_to_$(name_of "$rate")"
    before=$rate
  done
  finish
}

# Closed, and opened again, while the file is on its way; the second time for longer than the pings are apart.
run_calendar() {
  local mb=30 at closed_at opened_at closed_s there began times
  begin "$mb"
  address --rate 10Mbit/s
  began=$(now)
  send
  times=0
  for closed_s in 4 20; do
    times=$((times + 1))
    sleep 5
    still_going calendar
    closed_at=$(now)
    address --calendar closed
    sleep "$closed_s"
    opened_at=$(now)
    address --open-always
    sleep 2
    measure stop "$closed_at" "$opened_at" | note "calendar_$times"
    measure start "$opened_at" "$(now)" | note "calendar_$times"
  done
  arrive calendar "$mb" "$began"
  finish
}

arrive() { # NAME MB BEGAN
  local there
  local -i tries=0
  until
    there=$(find "$site_dir/point-PAR" -type f -name file -not -path '*/part/*' -size "${2}000000c")
    [[ -n $there ]]
  do
    if ((++tries == 2400)); then
      echo "the file has not come within four minutes" >&2
      exit 1
    fi
    sleep 0.1
  done
  cmp "$site_dir/source/file" "$there"
  sleep 1
  local carried
  carried=$(measure data "$3" "$(now)")
  echo "$carried" | awk -v file="${2}000000" \
    '{ print "data_bytes", $2; printf "more_than_the_file_percent %.3f\n", 100 * ($2 / file - 1) }' | note "$1"
}

# A zone whose clock is put on by an hour twice, as if for summer: so hours end when it suits.
hours_zone() { # NAME CLOSES_AT OPENS_AT
  local offset=$((10 * 3600 + 20 * 60 - $2 % 86400)) at
  if ((offset < -12 * 3600)); then offset=$((offset + 86400)); fi
  hours_of() { # SECONDS
    local seconds=$1 sign=
    if ((seconds < 0)); then seconds=$((-seconds)) sign=-; fi
    printf '%s%d:%02d:%02d' "$sign" $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60))
  }
  at='+%Y %b %d %H:%M:%Su'
  {
    echo "Zone $1 $(hours_of "$offset") - AAA $(LC_ALL=C date -u -d "@$2" "$at")"
    echo "  $(hours_of $((offset + 3600))) - BBB $(LC_ALL=C date -u -d "@$3" "$at")"
    echo "  $(hours_of $((offset + 7200))) - CCC"
  } >"$site_dir/zone"
  zic -d "$site_dir/zones" "$site_dir/zone"
}

run_hour() {
  local mb=30 closes_at opens_at began
  closes_at=$(($(date +%s) + 60))
  opens_at=$((closes_at + 10))
  hours_zone Bench/Hours "$closes_at" "$opens_at"
  export TZDIR=$site_dir/zones
  begin "$mb"
  unset TZDIR
  address --rate 10Mbit/s --time-zone Bench/Hours --calendar '11:00-12:00 closed'
  wait_until $((closes_at - 8))
  began=$(now)
  send
  wait_until $((opens_at + 2))
  still_going hour
  measure stop "$closes_at" "$opens_at" | note hour
  measure start "$opens_at" "$(now)" | note hour
  arrive hour "$mb" "$began"
  finish
}
wait_until() { # TIME
  local left
  left=$(awk -v at="$1" -v now="$(now)" 'BEGIN { print at - now }')
  if [[ $left == -* ]]; then
    echo "this machine was too slow to be ready when the hour ended" >&2
    exit 1
  fi
  sleep "$left"
}

if wanted rates; then run_rates; fi
if wanted pulse; then run_pulse; fi
if wanted change; then run_change; fi
if wanted calendar; then run_calendar; fi
if wanted hour; then run_hour; fi

goals=()
while read -r name _; do
  case $name in
    rate_*_percent | pulse_*_percent) if [[ $name != *mean* ]]; then goals+=("$name<=3.0"); fi ;;
    change_*_s | *_stop_s | *_start_s) goals+=("$name<=1.0") ;;
    *_more_than_the_file_percent) goals+=("$name<=1.0") ;;
    *_still_bytes_per_s) goals+=("$name<=500") ;;
  esac
done <"$figures"
python3 "$line_bench/figures.py" end rates "$figures" "${goals[@]}"
