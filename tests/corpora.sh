#!/bin/sh
# corpora.sh DIR [PACKAGE…] — download Debian's documentation packages and unpack them below DIR/tree. Installs nothing
# and needs no root, only package lists (`apt-get update`) and dpkg-deb.
set -eu
dir=$1; shift
[ $# -gt 0 ] || set -- python3.11-doc postgresql-doc-15 sqlite3-doc git-doc nodejs-doc octave-doc libadwaita-1-doc libeigen3-doc \
    rust-doc python-pandas-doc linux-doc-6.1
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "make corpora needs Debian's apt-get and dpkg-deb" >&2; exit 1; }
mkdir -p "$dir/debs" "$dir/tree"
cd "$dir/debs"
apt-get -q -o APT::Sandbox::User="$(id -un)" download "$@"
for package in "$@"; do
    newest=$(ls -t "$package"_*.deb | head -n 1)
    dpkg-deb -x "$newest" ../tree
    dpkg-deb -W "$newest"
done | tee ../versions.tsv
