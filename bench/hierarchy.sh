# shellcheck shell=bash disable=SC2154
# Real site servers at the ends of lines, to be sourced after line.sh; needs jq.
#
# PACKHORSE_BIN   the programs [default: target/release of this repository]
# SITE_SETTINGS   lines of settings for each site.toml, as 'link.congestion_control = "system"'
set -euo pipefail

site_bin=$(realpath "${PACKHORSE_BIN:-$(dirname "${BASH_SOURCE[0]}")/../target/release}")
site_dir=$(mktemp -d "${TMPDIR:-/tmp}/packhorse-bench.XXXXXX")
site_port=7443
declare -A site_place=() site_pid=()

site_need() {
  local program
  line_need jq
  for program in site-server packhorse; do
    if [[ ! -x $site_bin/$program ]]; then
      echo "$site_bin/$program is not there: cargo build --release, or set PACKHORSE_BIN" >&2
      exit 2
    fi
  done
}

console() { # CODE ARGUMENT...
  line_in "${site_place[$1]}" "$site_bin/packhorse" --admin "$site_dir/$1/admin" "${@:2}"
}

site_start() { # CODE
  ip netns exec "$LINE_PREFIX-${site_place[$1]}" "$site_bin/site-server" serve --dir "$site_dir/$1" \
    >>"$site_dir/$1.log" 2>&1 &
  site_pid[$1]=$!
  local tries
  for ((tries = 0; tries < 300; tries++)); do
    if console "$1" site list >/dev/null 2>&1; then return; fi
    if ! kill -0 "${site_pid[$1]}" 2>/dev/null; then break; fi
    sleep 0.1
  done
  echo "site $1 does not come up:" >&2
  tail -5 "$site_dir/$1.log" >&2
  return 1
}

site_stop() { # CODE [SIGNAL]
  kill "-${2:-TERM}" "${site_pid[$1]}" 2>/dev/null || true
  wait "${site_pid[$1]}" 2>/dev/null || true
  unset "site_pid[$1]"
}

# In the namespace of PLACE; ADDRESS is where children reach it.
site_make() { # PLACE CODE ADDRESS [PARENT]
  local place=$1 code=$2 endpoint="$3:$site_port" join=()
  site_place[$code]=$place
  if [[ $# -gt 3 ]]; then
    console "$4" site token "$code" --out "$site_dir/$code.token" >/dev/null
    join=(--join "$site_dir/$code.token")
  fi
  local tries=0
  # A line that loses may lose the enrolment too; the same command is then repeated.
  until line_in "$place" "$site_bin/site-server" init --dir "$site_dir/$code" --code "$code" --name "$code" \
    --listen "0.0.0.0:$site_port" --endpoint "$endpoint" "${join[@]}" >"$site_dir/$code.log" 2>&1; do
    if ((++tries == 3)); then
      cat "$site_dir/$code.log" >&2
      return 1
    fi
  done
  site_set "$code" "${SITE_SETTINGS:-}"
  site_start "$code"
}

# Replaces what stands in the file, where a table may be only once.
site_set() { # CODE LINES, each TABLE.KEY = VALUE
  python3 - "$site_dir/$1/site.toml" "$2" <<'END'
import sys
path, settings = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    lines = file.read().splitlines()
for setting in filter(str.strip, settings.splitlines()):
    name, _, value = setting.partition("=")
    table, _, key = name.strip().rpartition(".")
    header = f"[{table}]"
    if header not in lines:
        lines += ["", header]
    at = lines.index(header) + 1
    end = next((n for n in range(at, len(lines)) if lines[n].startswith("[")), len(lines))
    lines[at:end] = [f"{key} = {value.strip()}"] + [one for one in lines[at:end] if one.partition("=")[0].strip() != key]
with open(path, "w", encoding="utf-8") as file:
    file.write("\n".join(lines) + "\n")
END
}

# A directory at the site that receives packages, known at the site FROM.
site_point() { # CODE NAME FROM
  mkdir -p "$site_dir/point-$1"
  console "$1" dp add "$2" --path "$site_dir/point-$1" >/dev/null
  until console "$3" -o json dp list | grep -q "\"$2\""; do sleep 0.2; done
}

# Prints the new package's id.
site_package() { # CODE NAME ARGUMENT...
  console "$1" -o json package create "${@:2}" | jq -r .id
}

# Waits until an SQL query on the site's database has a row, and prints the first row.
site_row() { # CODE LIMIT_S QUERY [ARGUMENT...]
  python3 "$line_bench/rows.py" "$site_dir/$1/site.db" "${@:2}"
}

site_clean() {
  local code
  for code in "${!site_pid[@]}"; do site_stop "$code"; done
  rm -rf "$site_dir"
  mkdir -p "$site_dir"
  site_place=()
}
