# shellcheck shell=bash
# Lines between network namespaces, to be sourced; needs root, ip, tc, ss, python3.
#
#   line_make NUMBER PARENT CHILD RATE_KBIT RTT_MS LOSS_PERCENT [SEED]
#
# makes line NUMBER between the namespaces of PARENT and CHILD (made if they are not there; a site in the middle of a
# chain is the child on one line and the parent on the next):
#
#   PREFIX-PARENT --veth-- PREFIX-lineNUMBER --veth-- PREFIX-CHILD
#   10.77.NUMBER.1         line.py and tbf            10.77.NUMBER.2
#
# In the middle namespace line.py adds half of the round trip and the loss to each direction, and the interface towards
# each end is shaped with tbf. The rate counts whole Ethernet frames: of a frame of 1514 bytes at most 1448 are TCP
# payload, so the best goodput of one TCP connection is 95.6 % of the line. The queue before the line holds one
# bandwidth-delay product, at least 16 full frames, and drops at its tail. The ends see no queue of their own: what they
# send leaves at once, as into a switch.
set -euo pipefail

LINE_PREFIX=${LINE_PREFIX:-ph$$}
line_bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
line_dir=$(mktemp -d)
line_relays=()
line_namespaces=()
declare -A line_of_namespace=()

line_need() { # TOOL...
  if [[ $EUID -ne 0 ]]; then
    echo "network namespaces need root: run this as root" >&2
    exit 2
  fi
  local tool
  for tool in ip tc ss python3 "$@"; do
    if ! command -v "$tool" >/dev/null; then
      echo "$tool is needed and not here" >&2
      exit 2
    fi
  done
}

line_in() { # SITE COMMAND...
  ip netns exec "$LINE_PREFIX-$1" "${@:2}"
}

line_parent_address() { echo "10.77.$1.1"; }
line_child_address() { echo "10.77.$1.2"; }

line_namespace() { # NAME
  if [[ -n ${line_of_namespace[$1]:-} ]]; then return; fi
  ip netns add "$LINE_PREFIX-$1"
  line_of_namespace[$1]=1
  line_namespaces+=("$LINE_PREFIX-$1")
  ip -n "$LINE_PREFIX-$1" link set lo up
  # Neighbour discovery would be counted; and what one connection learned of the line must not help the next.
  line_in "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 \
    net.ipv4.tcp_no_metrics_save=1
}

line_make() { # NUMBER PARENT CHILD RATE_KBIT RTT_MS LOSS_PERCENT [SEED]
  local number=$1 parent=$2 child=$3 rate=$4 rtt=$5 loss=$6 seed=${7:-1}
  local middle=line$number end_name
  line_namespace "$parent"
  line_namespace "$child"
  line_namespace "$middle"
  local in_middle="$LINE_PREFIX-$middle"
  ip -n "$in_middle" link add parent type veth peer name "line$number" netns "$LINE_PREFIX-$parent"
  ip -n "$in_middle" link add child type veth peer name "line$number" netns "$LINE_PREFIX-$child"
  line_end "$number" "$parent" "$child" "$(line_parent_address "$number")" "$(line_child_address "$number")"
  line_end "$number" "$child" "$parent" "$(line_child_address "$number")" "$(line_parent_address "$number")"
  line_in "$middle" python3 "$line_bench/line.py" plain parent child

  local queue=$((rate * rtt / 8)) burst=$((rate / 4))
  if ((queue < 16 * 1514)); then queue=$((16 * 1514)); fi
  # Two frames, or 2 ms of the line: more would let trains of frames through, less would lose time to late timers.
  if ((burst < 2 * 1514)); then burst=$((2 * 1514)); fi
  for end_name in parent child; do
    ip -n "$in_middle" link set "$end_name" up
    tc -n "$in_middle" qdisc add dev "$end_name" root tbf rate "${rate}kbit" burst "$burst" limit "$queue"
  done
  ip netns exec "$in_middle" python3 "$line_bench/line.py" relay --parent parent --child child \
    --control "$line_dir/$middle.socket" --delay-ms "$((rtt / 2)).$((rtt % 2 * 5))" --loss "$loss" --seed "$seed" \
    >"$line_dir/$middle.json" 2>"$line_dir/$middle.log" &
  line_relays+=($!)
  until [[ -S $line_dir/$middle.socket ]]; do
    kill -0 "${line_relays[-1]}" || { cat "$line_dir/$middle.log" >&2; return 1; }
    sleep 0.05
  done
}

line_end() { # NUMBER SITE PEER ADDRESS PEER_ADDRESS
  local space="$LINE_PREFIX-$2" peer="$LINE_PREFIX-$3" device="line$1" peer_mac
  ip -n "$space" address add "$4/24" dev "$device"
  ip -n "$space" link set "$device" up
  line_in "$2" python3 "$line_bench/line.py" plain "$device"
  peer_mac=$(ip -n "$peer" -o link show "$device" | sed 's/.*link\/ether \([0-9a-f:]*\).*/\1/')
  # A line has no ARP to lose: while it is cut, packets must vanish and not be refused.
  ip -n "$space" neigh replace "$5" lladdr "$peer_mac" dev "$device" nud permanent
}

line_ask() { # NUMBER cut|restore|counts
  python3 "$line_bench/line.py" ask "$line_dir/line$1.socket" "$2"
}

# Bytes of whole frames that came out at the far ends, both ways together, or one way with `.down` or `.up`.
line_crossed() { # NUMBER [down|up]
  line_ask "$1" counts | python3 -c '
import json, sys
counts = json.load(sys.stdin)
print(sum(counts[way]["crossed_bytes"] for way in (sys.argv[1:] or ["down", "up"])))' "${@:2}"
}

# Connections of both ends are torn down at once, without a word to the other end: on a cut line it would not arrive.
line_reset() { # NUMBER PARENT CHILD
  line_in "$2" ss -K dst "$(line_child_address "$1")" >/dev/null 2>&1 || true
  line_in "$3" ss -K dst "$(line_parent_address "$1")" >/dev/null 2>&1 || true
}

# The default in these namespaces. A namespace may only choose what the whole system allows: that is widened for as long
# as it takes to choose.
line_congestion() { # NAME SITE...
  local site allowed
  allowed=$(sysctl -n net.ipv4.tcp_allowed_congestion_control)
  if [[ " $allowed " != *" $1 "* ]]; then sysctl -qw "net.ipv4.tcp_allowed_congestion_control=$allowed $1"; fi
  for site in "${@:2}"; do line_in "$site" sysctl -qw net.ipv4.tcp_congestion_control="$1"; done
  sysctl -qw "net.ipv4.tcp_allowed_congestion_control=$allowed"
}

# Removes the namespaces made so far and ends what runs in them; more lines can be made afterwards.
line_clean() {
  local space pid
  for space in "${line_namespaces[@]}"; do
    for pid in $(ip netns pids "$space" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  done
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    pid=
    for space in "${line_namespaces[@]}"; do pid+=$(ip netns pids "$space" 2>/dev/null || true); done
    if [[ -z $pid ]]; then break; fi
    sleep 0.1
  done
  for space in "${line_namespaces[@]}"; do
    for pid in $(ip netns pids "$space" 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
    ip netns delete "$space" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -f "$line_dir"/*.socket
  line_relays=()
  line_namespaces=()
  line_of_namespace=()
}
