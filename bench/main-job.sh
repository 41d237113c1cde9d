#!/usr/bin/env bash
# The main job on one package: three levels of sites, a CAP agent at each, three clients, all as processes on this
# machine. Prints how long each station took, what crossed each link against `tar | zstd -3` of the same source, and the
# peak memory of every process.
#
#   bench/main-job.sh SOURCE_DIRECTORY
#
# Needs: cargo build --release, tar, zstd, jq.
set -euo pipefail

source_dir=$(realpath "${1:?usage: bench/main-job.sh SOURCE_DIRECTORY}")
bin=$(realpath "$(dirname "$0")/../target/release")
dir=$(mktemp -d)
pids=()
names=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT
cd "$dir"

port=24000
start() { # NAME COMMAND...
  local name=$1
  shift
  "$@" >"$name.log" 2>&1 &
  pids+=($!)
  names+=("$name")
}
console() { "$bin/packhorse" --admin "$dir/$1/admin" "${@:2}"; }
until_up() { until console "$1" site list >/dev/null 2>&1; do sleep 0.1; done; }
site() { # CODE [PARENT]
  port=$((port + 1))
  local join=()
  if [[ $# -gt 1 ]]; then
    console "$2" site token "$1" --out "$1.token" >/dev/null
    join=(--join "$1.token")
  fi
  "$bin/site-server" init --dir "$1" --code "$1" --name "$1" --listen "127.0.0.1:$port" \
    --endpoint "127.0.0.1:$port" "${join[@]}" >/dev/null
  start "site-$1" "$bin/site-server" serve --dir "$1"
  until_up "$1"
  console "$1" cap token cap1 --out "cap-$1.token" >/dev/null
  port=$((port + 1))
  "$bin/cap-agent" enroll --dir "cap-$1" --token "cap-$1.token" --listen "127.0.0.1:$port" \
    --endpoint "127.0.0.1:$port" >/dev/null
  start "cap-$1" "$bin/cap-agent" serve --dir "cap-$1"
  until console "$1" -o json status site | jq -e '.caps[] | select(.connected)' >/dev/null; do sleep 0.1; done
}
client() { # SITE NAME
  console "$1" client token --out "$2.token" >/dev/null
  "$bin/client-agent" enroll --dir "$2" --token "$2.token" --hostname "$2" --poll-interval 2 >/dev/null
  start "client-$2" "$bin/client-agent" serve --dir "$2"
}
since() { echo "$(date +%s.%N) - $began" | bc; }
link_bytes() { # SITE PEER
  console "$1" -o json status site | jq "[.links[] | select(.peer == \"$2\") | .bytes_sent + .bytes_received] | add"
}

site CEN
site PAR CEN
site LYO PAR
client LYO lyo-1
client LYO lyo-2
client PAR par-1
until [[ $(console CEN -o json client list | jq '.clients | length') == 3 ]]; do sleep 0.2; done
until [[ $(console CEN -o json dp list | jq '.distribution_points | length') == 3 ]]; do sleep 0.2; done

tar_bytes=$(tar -C "$source_dir" -cf - . | zstd -q -3 | wc -c)
files=$(find "$source_dir" -type f | wc -l)
plain_bytes=$(du -sb "$source_dir" | cut -f1)

before_par=$(link_bytes CEN PAR)
before_lyo=$(link_bytes PAR LYO)
began=$(date +%s.%N)
package=$(console CEN -o json package create Bench --source "$source_dir" --to PAR/cap1 --to LYO/cap1 \
  --program 'count=sh -c "find . -type f | wc -l"' | jq -r .id)
created=$(since)
collection=$(console CEN -o json collection create All --all | jq -r .id)
offer=$(console CEN -o json advertise "$package" count "$collection" | jq -r .id)
on_point='.places[] | select(.site == "LYO" and .distribution_point == "cap1" and .state == "installed")'
until console CEN -o json status package "$package" | jq -e "$on_point" >/dev/null; do sleep 0.1; done
on_lyo=$(since)
succeeded='[.clients[] | select(.delivery == "succeeded" and .exit_code == 0)] | length'
until [[ $(console CEN -o json status advertisement "$offer" | jq "$succeeded") == 3 ]]; do sleep 0.2; done
ran=$(since)
par_bytes=$(($(link_bytes CEN PAR) - before_par))
lyo_bytes=$(($(link_bytes PAR LYO) - before_lyo))

peak=0
for at in "${!pids[@]}"; do
  kib=$(awk '/VmHWM/ { print $2 }' "/proc/${pids[$at]}/status")
  printf '%-14s peak %4d MiB\n' "${names[$at]}" $((kib / 1024))
  if ((kib > peak)); then peak=$kib; fi
done
peak_mib=$((peak / 1024))
ratio() { echo "scale=3; $1 / $tar_bytes" | bc; }
holds=$([[ $peak_mib -lt 200 ]] && echo true || echo false)
printf '%s files, %s bytes; tar | zstd -3: %s bytes\n' "$files" "$plain_bytes" "$tar_bytes"
printf 'created %.1f s, on the point of LYO %.1f s, run on all clients %.1f s\n' "$created" "$on_lyo" "$ran"
printf '{"bench": "main-job", "figures": {"files": %d, "plain_bytes": %d, "tar_zstd3_bytes": %d, ' "$files" "$plain_bytes" "$tar_bytes"
printf '"link_cen_par_bytes": %d, "link_par_lyo_bytes": %d, ' "$par_bytes" "$lyo_bytes"
printf '"link_cen_par_ratio": %s, "link_par_lyo_ratio": %s, ' "0$(ratio "$par_bytes")" "0$(ratio "$lyo_bytes")"
printf '"created_s": %.1f, "on_point_s": %.1f, "ran_s": %.1f, "peak_mib": %d}, ' "$created" "$on_lyo" "$ran" "$peak_mib"
printf '"goal": {"peak_mib": 200}, "holds": %s}\n' "$holds"
