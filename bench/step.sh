# shellcheck shell=bash
# Bundles and what others make of the same directories, to be sourced: the program that makes bundles, tars, and the cost of
# a command.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cargo build --quiet --release --manifest-path "$bench/../Cargo.toml" -p packhorse-content --example step
step=${CARGO_TARGET_DIR:-$bench/../target}/release/examples/step
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# What the programs put aside goes with the rest.
export TMPDIR=$dir
figures=$dir/figures
: >"$figures"
# shellcheck disable=SC2034 # for those that source this
default=8 highest=19

record() { echo "$1 $2" >>"$figures"; }                                     # NAME VALUE
value() { awk -v name="$1" '$1 == name { print $2 }' "$figures"; }          # NAME
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'; }     # A B
tarred() { tar --sort=name --owner=0 --group=0 --mtime=@0 -cf "$1" -C "$2" .; } # FILE DIRECTORY
# Runs a command, and sets `cpu` and `peak`.
cost() {
  python3 "$bench/cost.py" "$dir/cost" "$@"
  read -r cpu peak <"$dir/cost"
}
row() { printf '  %-34s %13s bytes %8s s %6s MiB   %s\n' "$@"; } # WHAT BYTES CPU PEAK REMARK
# A peer's figures, told and recorded.
peer() { # CORPUS NAME WHAT BYTES [REMARK]
  row "$3" "$4" "$cpu" "$peak" "${5:-}"
  record "$1_$2_bytes" "$4"
  record "$1_$2_cpu_s" "$cpu"
  record "$1_$2_peak_mib" "$peak"
}
# A bundle, from `-` for the first one; what comes out is checked against NEW by digest.
packhorse() { # CORPUS OLD NEW LEVEL
  local at=$1_packhorse_$4
  "$step" "$2" "$3" "$4" | sed "s/^/${at}_/" >>"$figures"
  row "Packhorse, level $4" "$(value "${at}_bytes")" "$(value "${at}_make_cpu_s")" "$(value "${at}_make_peak_mib")" \
    "taken in: $(value "${at}_apply_cpu_s") s, $(value "${at}_apply_peak_mib") MiB"
}
# The highest peak of all levels of a corpus, making and taking in.
peaks() { # CORPUS
  awk -v name="^$1_packhorse_[0-9]+_(make|apply)_peak_mib$" '$1 ~ name && $2 > most { most = $2 } END { print most }' "$figures"
}
# The pairs to measure: the corpora that are named, or all in the directory; in `names`, `olds` and `news`.
pairs() { # CORPORA_DIRECTORY [CORPUS]...
  local root name
  root=$(realpath "$1")
  shift
  if [[ $# -eq 0 ]]; then
    for name in "$root"/*/; do if [[ -d $name/v1 && -d $name/v2 ]]; then set -- "$@" "$(basename "$name")"; fi; done
  fi
  for name in "$@"; do
    if [[ ! -d $root/$name/v1 || ! -d $root/$name/v2 ]]; then
      echo "$root/$name is no pair of v1 and v2: see bench/corpora.sh" >&2
      exit 2
    fi
    # A figure's name is a word.
    names+=("${name//[^a-zA-Z0-9]/_}") olds+=("$root/$name/v1") news+=("$root/$name/v2")
  done
}
