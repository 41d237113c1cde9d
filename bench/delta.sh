#!/usr/bin/env bash
# What a new version costs: the bundle from one directory to another, beside what other tools make of the same two.
#
#   bench/delta.sh [--level N]... [--tool NAME]... [--slow] [--large] [CORPORA_DIRECTORY [CORPUS]... | --pair OLD NEW]
#
# Bytes, seconds of CPU to make it, and peak memory; of Packhorse (levels 8 and 19 by default) also of taking it in, and what
# comes out is checked against NEW by digest. Packhorse makes it from a library that holds both versions. The tools:
#
#   rsync    -a -c -z, from NEW over a copy of OLD on this machine without whole files; the bytes that it counts itself,
#            sent and received; its CPU and memory are those of both sides
#   zstd     --patch-from at 3 and 9, of one tar from the other
#   xdelta3  -9, of one tar from the other
#   bsdiff   file by file, each from the one with its path
#
# `--tool none` leaves all out, `--slow` adds zstd at 19, and bsdiff where there are more than 100 MB; `--large` a file of
# 2 GB and the same edited, made here, for memory alone. The corpora are those of bench/corpora.sh.
#
# Needs: python3, and those of the tools that are to be compared; memory for zstd and xdelta3 as large as both directories.
set -euo pipefail

levels=() tools=() names=() olds=() news=() slow='' large=''
while [[ $# -gt 0 && $1 == --* && $1 != --pair ]]; do
  case $1 in
    --level) levels+=("${2:?a level}"); shift ;;
    --tool)
      if [[ ! ${2:-} =~ ^(rsync|zstd|xdelta3|bsdiff|none)$ ]]; then echo "no such tool: ${2:-}" >&2; exit 2; fi
      tools+=("$2")
      shift
      ;;
    --slow) slow=yes ;;
    --large) large=yes ;;
    *) sed -n '4p' "$0" >&2; exit 2 ;;
  esac
  shift
done
if [[ $# -eq 0 && -z $large || ${1:-} == --pair && $# -ne 3 ]]; then
  sed -n '4p' "$0" >&2
  exit 2
fi
# shellcheck source=bench/step.sh
source "$(dirname "$0")/step.sh"
if [[ ${#levels[@]} -eq 0 ]]; then levels=("$default" "$highest"); fi
if [[ ${#tools[@]} -eq 0 ]]; then tools=(rsync zstd xdelta3 bsdiff); fi
if [[ ${1:-} == --pair ]]; then
  names=(pair) olds=("$(realpath "$2")") news=("$(realpath "$3")")
elif [[ $# -gt 0 ]]; then
  pairs "$@"
fi

# The fewest bytes that any of ten tools was once seen to need: CORPUS BYTES, then files and bytes of both versions, by which
# a pair is known again. HDiffPatch 4 needed them with zstd -21 (text, native and packed with -m-1, small with -s-64), and
# zstd --patch-from -9 for mixed. The versions are those that bench/corpora.sh names. A pair that is not among these, and one
# for which a tool does better here, has its goals from the run.
known='
text   112000    5334 72007041   5342 72314588
small  1129000   19647 188728829 21388 193832458
native 9500000   3682 409507064  3684 410073416
packed 142500000 6 201591149     6 201787803
mixed  221800000 6142 1218677470 6144 1260102752
'
size_of() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d %d\n", NR, sum }'; }
known_best() { # CORPUS OLD NEW
  awk -v name="$1" -v sizes="$(size_of "$2") $(size_of "$3")" '$1 == name && $3 " " $4 " " $5 " " $6 == sizes { print $2 }' \
    <<<"$known"
}

tool_rsync() { # CORPUS OLD NEW
  cp -a "$2" "$dir/copy"
  # Without -c it takes files for unchanged that are not: those in wheels all have one time.
  cost rsync -a -c -z --zc=zstd --no-whole-file --delete --stats "$3/" "$dir/copy/" >"$dir/stats"
  diff -r --no-dereference "$3" "$dir/copy" >&2
  peer "$1" rsync 'rsync -a -c -z --zc=zstd' \
    "$(awk '/^Total bytes (sent|received)/ { gsub(",", ""); sum += $NF } END { print sum }' "$dir/stats")" 'CPU of both sides'
  rm -rf "$dir/copy"
}
tool_zstd() {
  local level at=(3 9)
  if [[ -n $slow ]]; then at+=(19); fi
  for level in "${at[@]}"; do
    cost zstd -qq -f "-$level" --long=31 --patch-from "$dir/old.tar" "$dir/new.tar" -o "$dir/patch"
    peer "$1" "zstd_$level" "zstd --patch-from -$level --long=31" "$(stat -c %s "$dir/patch")"
  done
}
tool_xdelta3() {
  # All of the old tar is its window, as it is for zstd.
  cost xdelta3 -e -9 -f -B "$(stat -c %s "$dir/old.tar")" -s "$dir/old.tar" "$dir/new.tar" "$dir/patch"
  peer "$1" xdelta3 'xdelta3 -9' "$(stat -c %s "$dir/patch")"
}
each_bsdiff() { # OLD NEW DIRECTORY
  local path from
  while IFS= read -r -d '' path; do
    from=$1/$path
    # It takes no empty file: what is new, against one byte.
    if [[ ! -s $from || -L $from ]]; then from=$3/nothing; fi
    if [[ ! -s $2/$path ]] || cmp -s "$from" "$2/$path"; then continue; fi
    bsdiff "$from" "$2/$path" "$3/patch"
    stat -c %s "$3/patch"
  done < <(find "$2" -type f -printf '%P\0') >"$3/sizes"
}
export -f each_bsdiff
tool_bsdiff() {
  if [[ -z $slow && $(size_of "$3" | cut -d ' ' -f 2) -gt 100000000 ]]; then
    echo '  bsdiff: left out without --slow'
    return
  fi
  echo >"$dir/nothing"
  cost bash -euc 'each_bsdiff "$@"' - "$2" "$3" "$dir"
  peer "$1" bsdiff 'bsdiff, file by file' "$(awk '{ sum += $1 } END { print sum + 0 }' "$dir/sizes")"
}

# What the goals speak of, as far as it was measured.
compared() { # CORPUS OLD NEW
  local level best ours lowest='' zstd
  best=$(known_best "$@")
  if [[ -n $best ]]; then echo "  the fewest bytes that others were once seen to need for this very pair: $best"; fi
  best=$(awk -v best="$best" -v name="^$1_(rsync|zstd_[0-9]+|xdelta3|bsdiff)_bytes$" \
    '$1 ~ name && (best == "" || $2 < best) { best = $2 } END { print best }' "$figures")
  if [[ -n $best ]]; then echo "  the goals are against $best bytes"; fi
  record "$1_peak_mib" "$(peaks "$1")"
  if [[ -n $best ]]; then
    record "$1_best_bytes" "$best"
    for level in "${levels[@]}"; do
      ours=$(value "$1_packhorse_${level}_bytes")
      record "$1_packhorse_${level}_to_best" "$(ratio "$ours" "$best")"
      if [[ -z $lowest || $ours -lt $lowest ]]; then lowest=$ours; fi
    done
    record "$1_lowest_to_best" "$(ratio "$lowest" "$best")"
  fi
  zstd=$(value "$1_zstd_9_cpu_s") ours=$(value "$1_packhorse_${default}_make_cpu_s")
  if [[ -n $zstd && -n $ours ]]; then record "$1_default_cpu_to_zstd_9" "$(ratio "$ours" "$zstd")"; fi
}
goals=()
goals_of() { # CORPUS
  goals+=("$1_peak_mib<=300" "$1_default_cpu_to_zstd_9<=1.0")
  if [[ $1 == packed ]]; then
    goals+=("$1_lowest_to_best<=0.5")
  else
    goals+=("$1_packhorse_${default}_to_best<=1.25" "$1_packhorse_${highest}_to_best<=1.0")
  fi
}
pair() { # CORPUS OLD NEW
  local tool level
  echo "$1: $(size_of "$2") to $(size_of "$3") (files, bytes)"
  for level in "${levels[@]}"; do packhorse "$@" "$level"; done
  tarred "$dir/old.tar" "$2"
  tarred "$dir/new.tar" "$3"
  for tool in "${tools[@]}"; do
    if [[ $tool == none ]]; then continue; fi
    if command -v "$tool" >/dev/null; then "tool_$tool" "$@"; else echo "  $tool is not installed"; fi
  done
  rm -f "$dir"/*.tar "$dir/patch"
  compared "$@"
  goals_of "$1"
}

for at in "${!names[@]}"; do pair "${names[$at]}" "${olds[$at]}" "${news[$at]}"; done
if [[ -n $large ]]; then
  python3 "$bench/trees.py" edited "$dir/large"
  tools=(none)
  pair large "$dir/large/v1" "$dir/large/v2"
fi
python3 "$bench/figures.py" end delta "$figures" "${goals[@]}"
