# shellcheck shell=bash disable=SC2154
# NNCP on the line of urgent.sh, to be sourced by it: two nodes, the child calls the parent and stays online.
set -euo pipefail

nncp_config() { # NODE: its configuration as JSON, which is HJSON too
  python3 - "$site_dir/nncp" "$1" <<'END'
import json, sys
top, me = sys.argv[1:]
def keys(node):
    found = {}
    with open(f"{top}/{node}.new", encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.strip().partition(": ")
            if name in ("id", "exchpub", "exchprv", "signpub", "signprv", "noiseprv", "noisepub"):
                found.setdefault(name, value)
    return found
def public(node):
    return {name: value for name, value in keys(node).items() if not name.endswith("prv")}
other = {"cen": "par", "par": "cen"}[me]
neighbour = public(other) | {"incoming": f"{top}/{me}/incoming"}
if me == "par":
    neighbour["addrs"] = {"line": "10.77.1.1:5400"}
print(json.dumps({
    "spool": f"{top}/{me}/spool", "log": f"{top}/{me}/log", "noprogress": True,
    "self": keys(me), "neigh": {"self": public(me), other: neighbour},
}))
END
}

nncp_spooled() { # what PAR has of packets that are not whole, and of whole ones
  find "$site_dir/nncp/par/spool" -path '*/rx/*' -type f -printf '%s\n' 2>/dev/null |
    awk '{ sum += $1 } END { print sum + 0 }'
}

# Prints when an urgent packet was whole in the spool (the bulk's is not yet), and when its file was at its place.
nncp_watch() { # FILE
  timeout 300 python3 - "$site_dir/nncp/par/spool" "$1" <<'END'
import os, pathlib, sys, time
spool, file = pathlib.Path(sys.argv[1]), sys.argv[2]
spooled = None
while True:
    there = os.path.exists(file)
    whole = [one for one in spool.glob("*/rx/*") if one.is_file() and not one.suffix and len(one.name) == 52]
    if spooled is None and (whole or there):
        spooled = time.time()
    if there:
        print(f"{spooled:.3f} {time.time():.3f}", flush=True)
        break
    time.sleep(0.01)
END
}

nncp_case() { # NAME RATE_KBIT RTT_MS LOSS
  local name=$1 top="$site_dir/nncp" node at sent watching
  echo "$name: $2 kbit/s, $3 ms, $4 % loss"
  mkdir -p "$top"
  for node in cen par; do
    mkdir -p "$top/$node/spool" "$top/$node/incoming"
    nncp-cfgnew -nocomments >"$top/$node.new"
  done
  for node in cen par; do nncp_config "$node" >"$top/$node.hjson"; done
  line_make 1 parent child "$2" "$3" "$4" "$seed"
  head -c "${bulk_mb}000000" /dev/urandom >"$top/bulk"
  line_in parent nncp-file -quiet -cfg "$top/cen.hjson" -nice B "$top/bulk" par:
  ip netns exec "$LINE_PREFIX-parent" nncp-daemon -quiet -cfg "$top/cen.hjson" -bind 0.0.0.0:5400 \
    >"$top/daemon.log" 2>&1 &
  sleep 1
  ip netns exec "$LINE_PREFIX-child" nncp-call -quiet -cfg "$top/par.hjson" -onlinedeadline 3600 cen:line \
    >"$top/call.log" 2>&1 &
  ip netns exec "$LINE_PREFIX-child" nncp-toss -quiet -cfg "$top/par.hjson" -cycle 1 >"$top/toss.log" 2>&1 &
  sleep 15
  bulk_alone "$name" "$2" 30 nncp_spooled
  for ((at = 1; at <= nncp_count; at++)); do
    pause 1000 3000
    head -c 10000 /dev/urandom >"$top/urgent-$at"
    nncp_watch "$top/par/incoming/urgent-$at" >"$top/watched" &
    watching=$!
    line_in parent nncp-file -quiet -cfg "$top/cen.hjson" -nice F "$top/urgent-$at" par:
    sent=$(date +%s.%N)
    wait "$watching"
    awk -v sent="$sent" '{ printf "%.3f %.3f\n", $1 - sent, $2 - sent }' "$top/watched"
  done >"$top/times"
  cut -d ' ' -f 1 "$top/times" | python3 "$line_bench/figures.py" spread "${name}_spool_s" "$figures"
  cut -d ' ' -f 2 "$top/times" | python3 "$line_bench/figures.py" spread "${name}_file_s" "$figures"
  echo "  each (spool, file): $(paste -sd ';' "$top/times")"
  if [[ -e $top/par/incoming/bulk ]]; then
    echo "the bulk was there before the last urgent one: take a larger --bulk-mb" >&2
    exit 1
  fi
  line_ask 1 counts
  site_clean
  line_clean
}
