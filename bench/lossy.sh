#!/usr/bin/env bash
# Goodput of one large file over a line that loses: Packhorse beside rsync and HTTP, each with two congestion controls.
#
#   bench/lossy.sh [--mb N] [--rate KBIT] [--rtt MS] [--loss PERCENT] [--only WHAT]... [--control NAME]... [--seed N]
#
# WHAT is raw (iperf3 if it is there), rsync (daemon), http (nginx), packhorse, packhorse-system; NAME is bbr or cubic, as
# the system's default in both namespaces. packhorse-system is Packhorse told to keep to that default, where it otherwise
# chooses for itself. The file is incompressible; the child fetches it, with Packhorse from the answer to `package create`
# until it is whole at the child's distribution point.
#
# Needs: root; cargo build --release or PACKHORSE_BIN; rsync, nginx, curl; see line.sh.
source "$(dirname "$0")/line.sh"
source "$(dirname "$0")/hierarchy.sh"

figures=$site_dir.figures
mine=$site_dir.files
: >"$figures"
stop() {
  site_clean
  line_clean
  rm -rf "$site_dir" "$line_dir" "$figures" "$mine"
}
trap stop EXIT

mb=60 rate=20000 rtt=100 loss=0.5 seed=1 only=() controls=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --mb) mb=$2 ;;
    --rate) rate=$2 ;;
    --rtt) rtt=$2 ;;
    --loss) loss=$2 ;;
    --only) only+=("$2") ;;
    --control) controls+=("$2") ;;
    --seed) seed=$2 ;;
    *)
      sed -n '4p' "$0" >&2
      exit 2
      ;;
  esac
  shift 2
done
if [[ ${#only[@]} -eq 0 ]]; then
  only=(rsync http packhorse packhorse-system)
  if command -v iperf3 >/dev/null; then only=(raw "${only[@]}"); fi
fi
if [[ ${#controls[@]} -eq 0 ]]; then controls=(bbr cubic); fi

line_need
for what in "${only[@]}"; do
  case $what in
    raw) line_need iperf3 ;;
    rsync) line_need rsync ;;
    http) line_need nginx curl ;;
    packhorse*) site_need ;;
  esac
done

bytes=$((mb * 1000000))
mkdir "$mine" "$mine/source" "$mine/got"
head -c "$bytes" /dev/urandom >"$mine/source/file"
# Servers that give up root must be able to read it.
chmod 755 "$mine" "$mine/source"

run_raw() {
  line_in parent iperf3 -s -1 -D >/dev/null
  sleep 0.5
  began=$(date +%s.%N)
  line_in child iperf3 -c "$parent" -R -n "$bytes" >/dev/null
  ended=$(date +%s.%N)
}

run_rsync() {
  printf 'use chroot = no\n[source]\npath = %s\n' "$mine/source" >"$mine/rsyncd.conf"
  ip netns exec "$LINE_PREFIX-parent" rsync --daemon --no-detach --port 8730 --config "$mine/rsyncd.conf" \
    >"$mine/rsync.log" 2>&1 &
  sleep 0.5
  began=$(date +%s.%N)
  line_in child rsync --whole-file "rsync://$parent:8730/source/file" "$mine/got/rsync"
  ended=$(date +%s.%N)
  cmp "$mine/source/file" "$mine/got/rsync"
}

run_http() {
  cat >"$mine/nginx.conf" <<END
daemon off;
pid $mine/nginx.pid;
error_log $mine/nginx.log;
user root;
worker_processes 1;
events {}
http {
  access_log off;
  sendfile on;
  server { listen 8080; root $mine/source; }
}
END
  ip netns exec "$LINE_PREFIX-parent" nginx -c "$mine/nginx.conf" >"$mine/nginx.out" 2>&1 &
  sleep 0.5
  began=$(date +%s.%N)
  line_in child curl -sS -o "$mine/got/http" "http://$parent:8080/file"
  ended=$(date +%s.%N)
  cmp "$mine/source/file" "$mine/got/http"
}

run_packhorse() {
  site_make parent CEN "$parent"
  site_make child PAR "$(line_child_address 1)" CEN
  site_point PAR hall CEN
  local there
  site_package CEN File --source "$mine/source" --to PAR/hall --priority low >/dev/null
  began=$(date +%s.%N)
  until
    there=$(find "$site_dir/point-PAR" -type f -name file -not -path '*/part/*' -size "${bytes}c")
    [[ -n $there ]]
  do sleep 0.05; done
  ended=$(date +%s.%N)
  cmp "$mine/source/file" "$there"
  site_clean
}

run_packhorse-system() {
  SITE_SETTINGS='link.congestion_control = "system"'
  run_packhorse
  SITE_SETTINGS=
}

printf '%d kbit/s, %d ms, %s %% loss, %d MB\n' "$rate" "$rtt" "$loss" "$mb"
printf '%-18s %-6s %9s %9s %8s %10s\n' what system seconds Mbit/s percent 'line bytes'
parent=$(line_parent_address 1)
for control in "${controls[@]}"; do
  for what in "${only[@]}"; do
    # A new line each time: all meet the same losses, and nobody meets what another one left in the queue.
    line_make 1 parent child "$rate" "$rtt" "$loss" "$seed"
    line_congestion "$control" parent child
    "run_$what"
    seconds=$(awk -v from="$began" -v to="$ended" 'BEGIN { print to - from }')
    percent=$(awk -v bytes="$bytes" -v s="$seconds" -v rate="$rate" 'BEGIN { printf "%.1f", bytes * 8 / s / rate / 10 }')
    printf '%-18s %-6s %9.1f %9.2f %8s %10d\n' "$what" "$control" "$seconds" \
      "$(awk -v bytes="$bytes" -v s="$seconds" 'BEGIN { print bytes * 8 / s / 1e6 }')" "$percent" "$(line_crossed 1)"
    echo "${what//-/_}_${control}_percent $percent" >>"$figures"
    line_clean
  done
done
python3 "$line_bench/figures.py" end lossy "$figures" 'packhorse_bbr_percent>=85.0' 'packhorse_cubic_percent>=85.0'
