#!/usr/bin/env bash
# Builds pairs of consecutive releases of real software to measure bundles with: CORPUS/v1 and CORPUS/v2, and in
# CORPUS/versions what they hold.
#
#   bench/corpora.sh [--only CORPUS]... DESTINATION
#
#   text     sources in JavaScript and Python        small    20,000 small files
#   native   large binaries                          packed   such software as it comes: wheels, tgz, deb
#   mixed    a desktop's programs and its kernel, 1.2 GB
#
# What is there already is left alone. Debian keeps old versions for a time only: where one cannot be had any more, the two
# newest are taken instead.
#
# Needs: python3 with pip, npm, and for the last two apt-get and dpkg-deb of Debian with its lists up to date; 5 GB of disk.
set -euo pipefail
shopt -s inherit_errexit

# CORPUS PLACE CLIENT OLD NEW; a place in `packed` is a file, all others are directories to unpack into.
parts='
text   typescript             npm typescript=5.6.3 typescript=5.7.2
text   sympy                  pip sympy=1.13.0 sympy=1.13.1
text   django                 pip django=5.1.3 django=5.1.4
small  .                      pip ansible=10.6.0 ansible=10.7.0
native pyside6                pip PySide6-Essentials=6.8.1 PySide6-Essentials=6.8.2
native scipy                  pip scipy=1.14.0 scipy=1.14.1
native esbuild                npm @esbuild/linux-x64=0.24.0 @esbuild/linux-x64=0.24.2
packed pyside6-essentials.whl pip PySide6-Essentials=6.8.1 PySide6-Essentials=6.8.2
packed scipy.whl              pip scipy=1.14.0 scipy=1.14.1
packed esbuild-linux-x64.tgz  npm @esbuild/linux-x64=0.24.0 @esbuild/linux-x64=0.24.2
packed typescript.tgz         npm typescript=5.6.3 typescript=5.7.2
packed libreoffice-core.deb   apt libreoffice-core=4:7.4.7-1+deb12u13 libreoffice-core=4:7.4.7-1+deb12u14
packed libreoffice-common.deb apt libreoffice-common=4:7.4.7-1+deb12u13 libreoffice-common=4:7.4.7-1+deb12u14
mixed  chromium               apt chromium=150.0.7871.100-1~deb12u1 chromium=156.0.8078.108-1~deb12u1
mixed  chromium               apt chromium-common=150.0.7871.100-1~deb12u1 chromium-common=156.0.8078.108-1~deb12u1
mixed  firefox                apt firefox-esr=140.12.0esr-1~deb12u1 firefox-esr=153.7.0esr-1~deb12u1
mixed  libreoffice            apt libreoffice-core=4:7.4.7-1+deb12u13 libreoffice-core=4:7.4.7-1+deb12u14
mixed  libreoffice            apt libreoffice-common=4:7.4.7-1+deb12u13 libreoffice-common=4:7.4.7-1+deb12u14
mixed  linux                  apt linux-image-6.1.0-55-amd64=6.1.192-1 linux-image-6.1.0-56-amd64=6.1.192-2
'

only=()
while [[ $# -gt 1 && $1 == --only ]]; do
  only+=("$2")
  shift 2
done
if [[ $# -ne 1 || $1 == -* ]]; then
  sed -n '5p' "$0" >&2
  exit 2
fi
if [[ ${#only[@]} -eq 0 ]]; then only=(text small native packed mixed); fi
mkdir -p "$1"
destination=$(realpath "$1")
work=$(mktemp -d "$destination/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The one file that a command left in an empty directory.
fetched() { # KEY COMMAND...
  local into=$work/fetched/$1
  if [[ ! -d $into ]]; then
    mkdir -p "$into"
    (cd "$into" && "${@:2}" >/dev/null)
  fi
  find "$into" -type f
}
# Wheels for one fixed Python, whichever runs this; pip takes only what is named.
pip_fetch() { # PACKAGE=VERSION
  local platform platforms=(any manylinux_2_28_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64) wanted=()
  for platform in "${platforms[@]}"; do wanted+=(--platform "$platform"); done
  fetched "pip/$1" python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --implementation cp --python-version 3.12 --abi cp312 --abi abi3 --abi none "${wanted[@]}" "${1/=/==}"
}
npm_fetch() { fetched "npm/$1" npm pack --silent "${1/=/@}"; }
apt_fetch() { fetched "apt/$1" apt-get -qq -o APT::Sandbox::User=root download "$1"; }

has() { apt-cache madison "${1%%=*}" | awk -F ' *[|] *' -v version="${1#*=}" '$2 == version { found = 1 } END { exit !found }'; }
versions() { apt-cache madison "$1" | awk -v name="$1" -F ' *[|] *' '{ print name "=" $2 }'; }
# All that can be had of a package, the oldest first; a kernel has its release in the package's name.
available() { # PACKAGE
  local name
  if [[ $1 =~ ^(linux-image-[0-9.]+)-[0-9]+-([a-z0-9]+)$ ]]; then
    apt-cache pkgnames "${BASH_REMATCH[1]}-" | grep -E "^${BASH_REMATCH[1]}-[0-9]+-${BASH_REMATCH[2]}$" |
      while read -r name; do versions "$name"; done | sort -Vu
  else
    versions "$1" | sort -Vu
  fi
}
# Sets `old` and `new` to what Debian has.
settle() {
  local newest
  if has "$old" && has "$new"; then return; fi
  mapfile -t newest < <(available "${new%%=*}" | tail -2)
  if [[ ${#newest[@]} -lt 2 ]]; then
    echo "${old%%=*}: neither $old and $new nor two other versions can be had" >&2
    return 1
  fi
  echo "$old to $new cannot be had any more: ${newest[0]} to ${newest[1]} instead"
  old=${newest[0]} new=${newest[1]}
}

put() { # CORPUS PLACE CLIENT WHAT TREE
  local file into=$5/$2
  file=$("$3_fetch" "$4")
  if [[ $1 == packed ]]; then
    cp "$file" "$into"
    return
  fi
  mkdir -p "$into"
  case $3 in
    pip) python3 -m zipfile -e "$file" "$into" ;;
    npm) tar -xzf "$file" -C "$into" --strip-components 1 ;;
    apt) dpkg-deb -x "$file" "$into" ;;
  esac
}
# Packhorse takes in no link that leads out of its tree; programs of a whole system have some.
without_leaving_links() { # TREE NAME
  local link target count=0
  while IFS= read -r -d '' link; do
    target=$(readlink "$link")
    if [[ $target == /* || $(realpath -ms "$(dirname "$link")/$target") != "$1"/* ]]; then
      rm "$link"
      count=$((count + 1))
    fi
  done < <(find "$1" -type l -print0)
  if ((count)); then echo "$2: $count symbolic links that lead out of the tree are left out: Packhorse refuses them"; fi
}
build() { # CORPUS
  local corpus place client old new tree=$work/$1
  mkdir -p "$tree/v1" "$tree/v2"
  while read -r corpus place client old new; do
    if [[ $corpus != "$1" ]]; then continue; fi
    if [[ $client == apt ]]; then settle; fi
    put "$1" "$place" "$client" "$old" "$tree/v1"
    put "$1" "$place" "$client" "$new" "$tree/v2"
    echo "$place ${old/=/ } ${new/=/ }" >>"$tree/versions"
  done <<<"$parts"
  without_leaving_links "$tree/v1" "$1/v1"
  without_leaving_links "$tree/v2" "$1/v2"
  # Whole or not there: a corpus that was cut off is built anew.
  mv "$tree" "$destination/$1"
}

for corpus in "${only[@]}"; do
  if ! grep -q "^$corpus " <<<"$parts"; then
    echo "no corpus is called $corpus" >&2
    exit 2
  fi
  if [[ -e $destination/$corpus/versions ]]; then
    echo "$corpus is there"
  else
    build "$corpus"
  fi
  for version in v1 v2; do
    find "$destination/$corpus/$version" -type f -printf '%s\n' |
      awk -v name="$corpus/$version" '{ sum += $1 } END { printf "%s: %d files, %d bytes\n", name, NR, sum }'
  done
done
