#!/usr/bin/env bash
# shellcheck disable=SC1091,SC2154
# Throughput without a line in the way: how fast one bundle goes over the product's link, a plain gRPC stream and plain
# TLS, on loopback.
#
#   bench/throughput.sh [--mb N] [--rounds N]
#
# link       to a child that throws everything away: from its first byte to its receipt
# child      to a child site, which makes it durable and checks it: from its first byte until all are in its file
# grpc       messages of 256 KiB of one stream of a server, frames of 256 KiB, windows of 1 and 2 MiB
# tls        pieces of 256 KiB
#
# All send the same bytes from the page cache with the same cipher and certificates on both sides. The rounds take turns,
# and of each kind the fastest and the cheapest count; the child comes once, at the end. CPU is of the sending process and
# of the receiving one, each in seconds for a GiB.
#
# Needs: cargo build --release, jq, ss; four times N MB of disk.
source "$(dirname "$0")/loopback.sh"

mb=1000 rounds=5
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --rounds) rounds=$2 ;;
    *)
      echo "usage: bench/throughput.sh [--mb N] [--rounds N]" >&2
      exit 2
      ;;
  esac
  shift 2
done

note() { # KIND BYTES SECONDS SENDER_CPU_S RECEIVER_CPU_S
  local line
  line=$(awk -v bytes="$2" -v seconds="$3" -v sent="$4" -v taken="$5" \
    'BEGIN { gib = bytes / 2 ^ 30; printf "%.3f %.3f %.3f", gib / seconds, sent / gib, taken / gib }')
  echo "$line" >>"$dir/$1.rounds"
  echo "$1: $line"
}
plain_round() { # KIND
  plain "$1" CEN 1
  note "$1" "$(jq .bytes "$dir/taken.json")" "$(jq .seconds "$dir/taken.json")" "$(jq .cpu_s "$dir/sent.json")" \
    "$(jq .cpu_s "$dir/taken.json")"
}
link_round() { # ROUND
  local cpu said=$dir/child-$1
  "$bin/load" children --admin "$dir/CEN/admin" --skip "$1" >"$said" &
  pid[load]=$!
  until_line "$said" ready "${pid[load]}"
  cpu=$(cpu_s "${pid[CEN]}")
  console CEN package send "$id" --to "A$(printf '%02d' "$1")/hall" >/dev/null
  wait "${pid[load]}"
  unset "pid[load]"
  cpu=$(calculate "$(cpu_s "${pid[CEN]}") - $cpu")
  tail -1 "$said" >"$dir/got.json"
  note link "$(jq .bytes "$dir/got.json")" "$(jq .seconds "$dir/got.json")" "$cpu" "$(jq .cpu_s "$dir/got.json")"
}

site CEN
site PAR CEN
console PAR dp add hall --path "$dir/PAR-hall" >/dev/null
until console CEN -o json dp list | grep -q '"PAR"'; do sleep 0.1; done
# While the child is away the bundle waits for it in the spool: the others get the same, and nobody waits for its making.
site_stop PAR
make_source "$mb"
id=$(package CEN)
console CEN package send "$id" --to PAR/hall >/dev/null
until grep -q 'a bundle was made' "$dir/CEN.log"; do sleep 0.1; done
# What was written until here is on the disk, and costs nobody anything later.
sync -f "$dir"

echo "kind: GiB/s, CPU-s/GiB of the sender, of the receiver"
for ((round = 0; round < rounds; round++)); do
  plain_round tls
  plain_round grpc
  link_round "$round"
done

length=$(stat -c %s "$dir"/CEN/spool/outgoing/*.bundle)
"$bin/site-server" serve --dir "$dir/PAR" >>"$dir/PAR.log" 2>&1 &
pid[PAR]=$!
read -r seconds sent taken < <(python3 "$bench/arrival.py" "$dir/PAR/spool/incoming" "$length" "${pid[CEN]}" "${pid[PAR]}")
note child "$length" "$seconds" "$sent" "$taken"

best() { sort -n "$dir/$1.rounds" | tail -1 | cut -d' ' -f1; }
least() { cut -d' ' -f"$2" "$dir/$1.rounds" | sort -n | head -1; }
for kind in tls grpc link child; do
  figure "${kind}_gib_per_s" "$(best "$kind")"
  figure "${kind}_sender_cpu_s_per_gib" "$(least "$kind" 2)"
  figure "${kind}_receiver_cpu_s_per_gib" "$(least "$kind" 3)"
done
for kind in tls grpc; do
  figure "link_to_${kind}" "$(calculate "$(best link) / $(best "$kind")")"
  figure "child_to_${kind}" "$(calculate "$(best child) / $(best "$kind")")"
  figure "link_to_${kind}_sender_cpu" "$(calculate "$(least link 2) / $(least "$kind" 2)")"
done
python3 "$bench/figures.py" end throughput "$figures"
