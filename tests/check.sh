#!/bin/bash
# check.sh BUILD: the rules of the house that a compiler does not see (README.md of each folder; rooms.py has those of includes). Names what breaks them.
set -u
shopt -s lastpipe # faults are counted at the end of pipes
cd "$(dirname "$0")/.." || exit 1
build=$1
faults=0
folders="schema compiler worker server client"

fault() {
    echo "check: $1"
    faults=$((faults + 1))
}
# Each line of standard input is a fault.
faults_in() {
    local line
    while IFS= read -r line; do fault "$1$line"; done
}

# Rooms and circles.
python3 tests/rooms.py "$build" | faults_in ""
grep -rnE '"compiler/language/interp' server | faults_in "the daemon uses the interpreter: "

# A rule of an op is a function of its name: no alias leads to it.
grep -rnE '^ *# *define +[a-z]+_[a-z0-9_]+ +[a-z]+_[a-z0-9_]+ *$' --include='*.[ch]' $folders | faults_in "an alias: "

# `make` alone builds the programs, whatever rule stands first.
[ "$(make -pnq 2>/dev/null | sed -n 's/^\.DEFAULT_GOAL := //p')" = all ] || fault "make without a goal does not make all"

# What the programs link. Symbols, because ldd follows the libraries' own needs.
needs() { readelf -d "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'; }
links() { # program pattern-of-what-is-forbidden
    if [ -e "$build/$1" ]; then needs "$build/$1" | grep -E "$2" | faults_in "$1 links "; else fault "$build/$1 is not built"; fi
}
links cajald 'blas|lapack|gomp|dnnl|curl'
links cajal-worker 'sqlite|microhttpd|curl'
links cajal 'blas|sqlite|microhttpd'
nm -u "$build/libcompiler.a" 2>/dev/null | grep -E ' (cblas_|sqlite3_|MHD_|curl_|pthread_create|fopen|socket$|open$)' | sort -u | faults_in "the compiler library calls"

# Mutable state at file scope: only main.c may have any.
for folder in $folders; do
    find "$build/obj/$folder" -name '*.o' ! -name main.o -exec objdump -t {} + 2>/dev/null |
        awk '/file format/ { file = $1 } $4 ~ /^\.(bss|data|tbss|tdata)$/ && $3 == "O" || $5 ~ /COM/ { print file " " $NF }' |
        grep -vE 'asan|ubsan|\.Lubsan' | faults_in "mutable state at file scope: "
done

# shellcheck disable=SC2086 # the list is words
sources() { find $folders tests deploy .ci -type f \( -name '*.c' -o -name '*.h' -o -name '*.def' -o -name '*.sh' -o -name '*.py' \); }
marker='TO''DO|FIX''ME|XX''X'
sources | xargs grep -nE "\\b($marker)\\b" Makefile | faults_in "marker: "
sources | xargs wc -l | awk '$2 != "total" && $1 > 600 { print $2 ", " $1 " lines" }' | faults_in "longer than 600 lines: "
for folder in $folders tests deploy; do [ -s "$folder/README.md" ] || fault "no $folder/README.md"; done
# A room with more than a handful of sources says what is in it.
find $folders -name "*.[ch]" -printf "%h\n" | sort | uniq -c | awk '$1 > 5 { print $2 }' | while IFS= read -r room; do
    [ -s "$room/README.md" ] || fault "no $room/README.md"
done

python3 tests/openapi.py | faults_in ""

if command -v clang >/dev/null; then
    find $folders -name '*.c' -print0 | xargs -0 -P 2 -n 8 clang -fsyntax-only -std=gnu17 -I. -I"$build" -D_GNU_SOURCE -Wall -Wextra -fopenmp 2>&1 |
        grep -E '(warning|error):' | faults_in "clang: "
fi
if command -v shellcheck >/dev/null; then
    find tests client deploy .ci -name '*.sh' -print0 | xargs -0 shellcheck -S warning -f gcc .ci/run | faults_in "shellcheck: "
fi

[ "$faults" -eq 0 ] && echo "check: nothing to complain about"
[ "$faults" -eq 0 ]
