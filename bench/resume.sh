#!/usr/bin/env bash
# What cuts of the line cost: the bytes that cross it for a package that comes through whole, and for one of the same size
# whose transfer is cut again and again.
#
#   bench/resume.sh [--mb N] [--cuts N] [--down-ms MS] [--how reset|restart|mixed] [--rate KBIT] [--rtt MS]
#                   [--loss PERCENT] [--seed N] [--exact no|yes|only]
#
# A cut is at a random instant: the relay drops all, what is on its way too, for about --down-ms. Meanwhile, with `reset`,
# both ends lose their connection (`ss -K`), and with `restart` the child's site server is killed with SIGKILL and started
# again; `mixed` takes turns. Bytes are those of whole frames that came out of the line, both ways, headers and
# retransmissions included, from the package's creation until it is whole at the child's point. What was sent and did not
# come out is shown beside. With --exact yes the same is done to a plain TCP transfer that goes on at the exact byte: what
# it pays is TCP's own, mostly what came behind a loss and was not yet handed out; of Packhorse nothing better can be had.
#
# Needs: root; cargo build --release or PACKHORSE_BIN; a kernel with INET_DIAG_DESTROY; see line.sh.
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

mb=60 cuts=20 down_ms=2000 how=mixed rate=20000 rtt=100 loss=0.5 seed=1 exact=no
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --cuts) cuts=$2 ;;
    --down-ms) down_ms=$2 ;;
    --how) how=$2 ;;
    --rate) rate=$2 ;;
    --rtt) rtt=$2 ;;
    --loss) loss=$2 ;;
    --seed) seed=$2 ;;
    --exact) exact=$2 ;;
    *)
      sed -n '5,6p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
line_need
site_need

RANDOM=$seed
bytes=$((mb * 1000000))
sleep_ms() { sleep "$(($1 / 1000)).$(printf '%03d' $(($1 % 1000)))"; }
sent() {
  line_ask 1 counts | python3 -c '
import json, sys
counts = json.load(sys.stdin)
print(counts["down"]["sent_bytes"] + counts["up"]["sent_bytes"])'
}
is_there() { # NAME
  if [[ $system == exact ]]; then [[ $(spooled) == "$bytes" ]]; else is_on_point "$1"; fi
}
is_on_point() { [[ -n $(find "$site_dir/point-PAR" -type f -name "file-$1" -not -path '*/part/*' -size "${bytes}c") ]]; }
spooled() {
  local place=$site_dir/PAR/spool/incoming
  if [[ $system == exact ]]; then place=$site_dir/exact; fi
  find "$place" -type f -printf '%s\n' 2>/dev/null | awk '{ sum += $1 } END { print sum + 0 }'
}

begin() { # NAME
  line_make 1 parent child "$rate" "$rtt" "$loss" "$seed"
  mkdir "$site_dir/source"
  head -c "$bytes" /dev/urandom >"$site_dir/source/file-$1"
  if [[ $system == exact ]]; then
    local parent
    parent=$(line_parent_address 1)
    crossed_before=$(line_crossed 1) sent_before=$(sent) began=$(date +%s.%N)
    ip netns exec "$LINE_PREFIX-parent" python3 "$line_bench/exact.py" serve "$parent" 9000 "$site_dir/source/file-$1" &
    mkdir "$site_dir/exact"
    sleep 0.5
    ip netns exec "$LINE_PREFIX-child" python3 "$line_bench/exact.py" fetch "$parent" 9000 \
      "$site_dir/exact/file-$1" "$bytes" &
    return
  fi
  site_make parent CEN "$(line_parent_address 1)"
  site_make child PAR "$(line_child_address 1)" CEN
  site_point PAR hall CEN
  # What the two sites tell one another at first belongs to no package.
  sleep 3
  crossed_before=$(line_crossed 1) sent_before=$(sent) began=$(date +%s.%N)
  site_package CEN "$1" --source "$site_dir/source" --to PAR/hall --priority low >/dev/null
}
finish() { # NAME
  local tries=0
  until is_there "$1"; do
    sleep 0.2
    if ((++tries == 3000)); then
      echo "$1: not at the child after ten minutes more" >&2
      exit 1
    fi
  done
  # The receipts are part of it.
  sleep 2
  crossed=$(($(line_crossed 1) - crossed_before)) sent=$(($(sent) - sent_before))
  cmp "$site_dir/source/file-$1" "$(find "$site_dir/point-PAR" "$site_dir/exact" -type f -name "file-$1" 2>/dev/null)"
  printf '%-9s %-6s %10d bytes crossed, %10d sent, in %.1f s\n' "$system" "$1" "$crossed" "$sent" \
    "$(awk -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { print to - from - 2 }')"
  echo "${system}_$1_crossed_bytes $crossed" >>"$figures"
  echo "${system}_$1_sent_bytes $sent" >>"$figures"
  line_ask 1 counts
  site_clean
  line_clean
}

measure() { # SYSTEM
  system=$1
  begin whole
  finish whole
  whole=$crossed
  begin cut
  done_cuts=0
  # Each cut waits until a random amount more has come: so they are spread over the whole of the transfer.
  share=$((bytes / (cuts + 1)))
  for ((at = 1; at <= cuts; at++)); do
    due=$((share * at + (RANDOM * 32768 + RANDOM) % share - share / 2))
    until (($(spooled) >= due)); do
      if is_there cut; then break 2; fi
      sleep 0.02
    done
    line_ask 1 cut >/dev/null
    before=$(spooled)
    sleep_ms $((RANDOM % 200))
    this=$how
    if [[ $how == mixed ]]; then if ((at % 2)); then this=reset; else this=restart; fi; fi
    # Nothing to forget there: its connection is all.
    if [[ $system == exact ]]; then this=reset; fi
    if [[ $this == restart ]]; then
      site_stop PAR KILL
    fi
    # Both ends, whoever was killed: the parent has not heard of it.
    line_reset 1 parent child
    sleep_ms $((down_ms / 2 + RANDOM % down_ms))
    line_ask 1 restore >/dev/null
    if [[ $this == restart ]]; then site_start PAR; fi
    done_cuts=$((done_cuts + 1))
    echo "  cut $at ($this) at $((before * 100 / bytes)) %"
  done
  finish cut
  echo "$1_cuts $done_cuts" >>"$figures"
  if ((done_cuts)); then echo "$1_bytes_of_a_cut $(((crossed - whole) / done_cuts))" >>"$figures"; fi
  echo "$1_ratio $(awk -v cut="$crossed" -v whole="$whole" 'BEGIN { printf "%.4f", cut / whole }')" >>"$figures"
}

if [[ $exact != only ]]; then measure packhorse; fi
if [[ $exact != no ]]; then measure exact; fi
python3 "$line_bench/figures.py" end resume "$figures" 'packhorse_ratio<=1.03' "packhorse_cuts>=$cuts"
