#!/bin/sh
# Installs the Debian 12 packages of the given lists (default: packages.txt beside this script) that are missing.
# Quick and silent when nothing is. Needs root or sudo only when something is.
set -eu
here=$(dirname "$0")
[ $# -gt 0 ] || set -- "$here/packages.txt"

missing=
for package in $(sed 's/#.*//' "$@"); do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=absent
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "install-deps: no apt-get here; install the equivalents of:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "install-deps: as root, or with sudo:  apt-get install$missing" >&2; exit 1; }
    as_root=sudo
fi

# shellcheck disable=SC2086 # the list is words
# RUNLEVEL=1: a package that brings a service (nginx) is not to start it.
install_them() {
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}

echo "Installing:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists on the machine may know the packages already; only if not are they fetched.
if ! install_them; then
    $as_root apt-get update -q >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    install_them || { cat "$log" >&2; exit 1; }
fi
