#!/usr/bin/env bash
# How long something urgent takes to a child site while a large package is on its way there.
#
#   bench/urgent.sh [--only fast|slow|nncp]... [--count N] [--nncp-count N] [--bulk-mb N] [--seed N]
#
# fast   10 Mbit/s, 100 ms round trip, 0.5 % loss
# slow   256 kbit/s, 600 ms round trip, 0.5 % loss
# nncp   NNCP on the fast line, with its own niceness: bulk B, urgent F
#
# A low-priority package of incompressible bytes is in flight from CEN to PAR. Urgent is a high-priority package of 10 KB
# that is all definition (a random command line). Measured is from its commit in CEN's database to its commit in PAR's;
# both read one clock. Before the first urgent one the bulk is measured alone, as a share of the line's rate.
#
# Needs: root; cargo build --release or PACKHORSE_BIN; see line.sh. For nncp: nncp (tested with 8.8).
source "$(dirname "$0")/line.sh"
source "$(dirname "$0")/hierarchy.sh"
source "$(dirname "$0")/nncp.sh"

figures=$site_dir.figures
: >"$figures"
stop() {
  site_clean
  line_clean
  rm -rf "$site_dir" "$line_dir" "$figures"
}
trap stop EXIT

only=() count=30 nncp_count=15 bulk_mb=500 seed=1
while [[ $# -gt 0 ]]; do
  case $1 in
    --only) only+=("$2") ;;
    --count) count=$2 ;;
    --nncp-count) nncp_count=$2 ;;
    --bulk-mb) bulk_mb=$2 ;;
    --seed) seed=$2 ;;
    *)
      echo "usage: bench/urgent.sh [--only fast|slow|nncp]... [--count N] [--nncp-count N] [--bulk-mb N] [--seed N]" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then only=(fast slow nncp); fi
wanted() { [[ " ${only[*]} " == *" $1 "* ]]; }

line_need
if wanted fast || wanted slow; then site_need; fi
if wanted nncp; then line_need nncp-file nncp-call nncp-daemon nncp-toss; fi

RANDOM=$seed
pause() { # LEAST_MS MOST_MS
  local ms=$(($1 + RANDOM % ($2 - $1)))
  sleep "$((ms / 1000)).$(printf '%03d' $((ms % 1000)))"
}
spooled() { # of the bundle that PAR receives
  find "$site_dir/PAR/spool/incoming" -type f -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}
share() { # BYTES SECONDS RATE_KBIT: percent of the line
  awk -v bytes="$1" -v seconds="$2" -v rate="$3" 'BEGIN { printf "%.1f", bytes * 8 / seconds / rate / 10 }'
}

# The bulk alone: what it adds to its file, and what crosses the line with headers and what was sent twice.
bulk_alone() { # NAME RATE_KBIT SECONDS MEASURE
  local began file line
  began=$(date +%s.%N) file=$("$4") line=$(line_crossed 1 down)
  sleep "$3"
  file=$(($("$4") - file)) line=$(($(line_crossed 1 down) - line))
  local seconds
  seconds=$(awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { print to - from }')
  echo "$1_bulk_percent $(share "$file" "$seconds" "$2")" | tee -a "$figures"
  echo "$1_bulk_line_percent $(share "$line" "$seconds" "$2")" | tee -a "$figures"
}

packhorse_case() { # NAME RATE_KBIT RTT_MS LOSS WARM_S ALONE_S GAP_LEAST_MS GAP_MOST_MS
  local name=$1 rate=$2 at id committed took
  echo "$name: $rate kbit/s, $3 ms, $4 % loss"
  line_make 1 parent child "$rate" "$3" "$4" "$seed"
  site_make parent CEN "$(line_parent_address 1)"
  site_make child PAR "$(line_child_address 1)" CEN
  site_point PAR hall CEN
  mkdir "$site_dir/source"
  head -c "${bulk_mb}000000" /dev/urandom >"$site_dir/source/bulk"
  site_package CEN Bulk --source "$site_dir/source" --to PAR/hall --priority low >/dev/null
  site_row PAR 120 "SELECT digest FROM arrival WHERE state = 'receiving'" >/dev/null
  sleep "$5"
  bulk_alone "$name" "$rate" "$6" spooled
  local query="SELECT changed_at FROM object WHERE kind = 'package' AND id = ?"
  for ((at = 1; at <= count; at++)); do
    pause "$7" "$8"
    # 7,350 random bytes in base64: 10 KB with the signature and the envelope.
    id=$(site_package CEN "Urgent $at" --priority high --program "run=run $(head -c 7350 /dev/urandom | base64 -w0)")
    committed=$(site_row CEN 10 "$query" "$id")
    took=$((($(site_row PAR 300 "$query" "$id") - committed) / 1000))
    printf '%d.%03d\n' $((took / 1000)) $((took % 1000))
  done >"$site_dir/urgent.times"
  python3 "$line_bench/figures.py" spread "$name" "$figures" <"$site_dir/urgent.times"
  echo "  each: $(tr '\n' ' ' <"$site_dir/urgent.times")"
  if ! site_row PAR 0 "SELECT digest FROM arrival WHERE state = 'receiving'" >/dev/null; then
    echo "the bulk was there before the last urgent one: take a larger --bulk-mb" >&2
    exit 1
  fi
  line_ask 1 counts
  site_clean
  line_clean
}

if wanted fast; then packhorse_case fast_s 10000 100 0.5 15 30 1000 3000; fi
if wanted slow; then packhorse_case slow_s 256 600 0.5 30 60 2000 6000; fi
if wanted nncp; then nncp_case nncp 10000 100 0.5; fi

# Ten round trips of the fast line; on the slow one the object alone takes 0.33 s, and the round trip 0.6 s.
python3 "$line_bench/figures.py" end urgent "$figures" 'fast_s_p50<=0.35' 'fast_s_p99<=1.0' \
  'slow_s_p50<=1.5' 'slow_s_p99<=3.0' 'fast_s_bulk_line_percent>=90.0' 'slow_s_bulk_line_percent>=90.0'
