#!/usr/bin/env bash
# A package three levels down, over three equal lines: how much later it is at the last site than at the first.
#
#   bench/relay.sh [--only all|last]... [--mb N] [--rate KBIT] [--rtt MS] [--loss PERCENT] [--seed N]
#
# all   for a directory point at each of BBB, CCC and DDD, in the chain AAA - BBB - CCC - DDD
# last  for a point at DDD only: the sites between only pass it on
#
# Measured is from the package's commit in AAA's database until it is held in each site's library (a row of its own in that
# site's database; all read one clock), and until the file is on the site's point. The ratio is last by first; beside it
# stands what the last would take if each site had the whole before it passed anything on. A second ratio counts from the
# moment when AAA has made the bundle, which the first site cannot see sooner either. The file is incompressible.
#
# Needs: root; cargo build --release or PACKHORSE_BIN; see line.sh.
source "$(dirname "$0")/line.sh"
source "$(dirname "$0")/hierarchy.sh"

figures=$site_dir.figures
: >"$figures"
stop() {
  site_clean
  line_clean
  rm -rf "$site_dir" "$line_dir" "$figures"
}
trap stop EXIT

only=() mb=60 rate=10000 rtt=100 loss=0 seed=1
while [[ $# -gt 0 ]]; do
  case $1 in
    --only) only+=("$2") ;;
    --mb) mb=$2 ;;
    --rate) rate=$2 ;;
    --rtt) rtt=$2 ;;
    --loss) loss=$2 ;;
    --seed) seed=$2 ;;
    *)
      sed -n '4p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then only=(all last); fi
line_need
site_need

chain=(AAA BBB CCC DDD)
bytes=$((mb * 1000000))
# Four times what the line takes for it; in microseconds are the times of the databases.
limit=$((bytes * 32 / rate / 1000 + 120))
seconds() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.3f", (to - from) / 1e6 }'; }
by() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

# Writes when the file is whole at a point, in microseconds.
watch_point() { # CODE
  local there
  until
    there=$(find "$site_dir/point-$1" -type f -name file -not -path '*/part/*' -size "${bytes}c" 2>/dev/null)
    [[ -n $there ]]
  do sleep 0.1; done
  date +%s%6N >"$site_dir/point-$1.time"
}

run() { # NAME SITE_WITH_POINT...
  local name=$1 at parent child id committed made held on_point first last crossed
  local points=("${@:2}") to=() watching=()
  for ((at = 1; at < ${#chain[@]}; at++)); do
    line_make "$at" "${chain[at - 1]}" "${chain[at]}" "$rate" "$rtt" "$loss" "$((seed * 10 + at))"
  done
  site_make AAA AAA "$(line_parent_address 1)"
  for ((at = 1; at < ${#chain[@]}; at++)); do
    parent=${chain[at - 1]} child=${chain[at]}
    # Nobody asks the last one; its own side of its line will do.
    if ((at + 1 < ${#chain[@]})); then
      site_make "$child" "$child" "$(line_parent_address $((at + 1)))" "$parent"
    else
      site_make "$child" "$child" "$(line_child_address "$at")" "$parent"
    fi
  done
  for child in "${points[@]}"; do
    site_point "$child" "hall-${child,,}" AAA
    to+=("$child/hall-${child,,}")
  done
  mkdir "$site_dir/source"
  head -c "$bytes" /dev/urandom >"$site_dir/source/file"
  # What the sites tell one another at first belongs to no package.
  sleep 3
  crossed=()
  for ((at = 1; at < ${#chain[@]}; at++)); do crossed+=("$(line_crossed "$at")"); done
  id=$(site_package AAA File --source "$site_dir/source" --to "${to[@]}" --priority low)
  for child in "${points[@]}"; do
    watch_point "$child" &
    watching+=($!)
  done
  committed=$(site_row AAA 10 "SELECT changed_at FROM object WHERE kind = 'package' AND id = ?" "$id")
  made=$(site_row AAA 120 "SELECT made_at FROM bundle WHERE package = ?" "$id")
  echo "$name: $mb MB over three lines of $rate kbit/s, $rtt ms, $loss % loss; the bundle is made after" \
    "$(seconds "$committed" "$made") s"
  echo "${name}_bundle_s $(seconds "$committed" "$made")" >>"$figures"
  printf '  %-5s %12s %12s %16s\n' site 'in library' 'on point' 'line bytes'
  first=
  for ((at = 1; at < ${#chain[@]}; at++)); do
    child=${chain[at]}
    if ! held=$(site_row "$child" "$limit" "SELECT held_at FROM content WHERE package = ?" "$id"); then
      if [[ " ${points[*]} " == *" $child "* ]]; then
        echo "$child has not got it within $limit s" >&2
        tail -5 "$site_dir/$child.log" >&2
        exit 1
      fi
      echo "$child passes it on and does not keep it" >&2
      continue
    fi
    if [[ -z $first ]]; then first=$held; fi
    last=$held on_point=-
    if [[ " ${points[*]} " == *" $child "* ]]; then
      until [[ -s $site_dir/point-$child.time ]]; do sleep 0.1; done
      on_point=$(seconds "$committed" "$(cat "$site_dir/point-$child.time")")
      echo "${name}_${child}_point_s $on_point" >>"$figures"
      cmp "$site_dir/source/file" "$(find "$site_dir/point-$child" -type f -name file -not -path '*/part/*')"
    fi
    held=$(seconds "$committed" "$held")
    echo "${name}_${child}_library_s $held" >>"$figures"
    printf '  %-5s %12s %12s %16d\n' "$child" "$held" "$on_point" "$(($(line_crossed "$at") - crossed[at - 1]))"
  done
  wait "${watching[@]}"
  {
    echo "${name}_ratio $(by $((last - committed)) $((first - committed)))"
    echo "${name}_ratio_from_bundle $(by $((last - made)) $((first - made)))"
    echo "${name}_store_and_forward_ratio $((${#chain[@]} - 1)).0"
    echo "${name}_against_store_and_forward $(by $((last - committed)) $(((${#chain[@]} - 1) * (first - committed))))"
    # What the first line took of what it could carry: 1448 bytes of a frame of 1514 are the connection's.
    echo "${name}_first_percent_of_line $(awk -v bytes="$bytes" -v us="$((first - made))" -v rate="$rate" \
      'BEGIN { printf "%.1f", bytes * 8 * 1e6 / us / rate / 10 }')"
  } >>"$figures"
  for ((at = 1; at < ${#chain[@]}; at++)); do line_ask "$at" counts; done
  site_clean
  line_clean
}

for name in "${only[@]}"; do
  case $name in
    all) run all "${chain[@]:1}" ;;
    last) run last "${chain[-1]}" ;;
    *)
      sed -n '4p' "$0" >&2
      exit 2
      ;;
  esac
done
python3 "$line_bench/figures.py" end relay "$figures" 'all_ratio<=1.15' 'last_ratio<=1.15'
