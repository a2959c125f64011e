#!/bin/bash
# run.sh BUILD STAGE...: runs the tests of the stages (units, replay, http, conformance, cli, smoke, proxies, trust), shows the output of what fails, and closes with
# the sum of all. A test program's own count is cmocka's, or a last line "N passed, N failed[, N skipped]".
set -u
export OMP_WAIT_POLICY=passive # tests run side by side, and threads that wait busily would be in each other's way
# What a user's surroundings say is not the tests': settings of the service, proxies in front of 127.0.0.1, another language, numbers of threads, a strict umask.
for name in $(compgen -e); do
    case $name in
    CAJAL_SEED) ;;
    CAJAL_* | [Hh][Tt][Tt][Pp]*_[Pp][Rr][Oo][Xx][Yy] | [Aa][Ll][Ll]_[Pp][Rr][Oo][Xx][Yy] | OMP_NUM_THREADS | OPENBLAS_NUM_THREADS | OPENBLAS_CORETYPE | LC_* | LANGUAGE | TZ)
        unset "$name" ;;
    esac
done
export LANG=C.UTF-8
umask 022
cd "$(dirname "$0")/.." || exit 1
build=$1
shift
passed=0 failed=0 skipped=0
log=$(mktemp)
group=
trap 'rm -f "$log"; stop_group' EXIT

# What a test leaves that fails half-way: its daemon, and the daemon's workers.
stop_group() {
    [ -z "$group" ] || kill -KILL -- "-$group" 2>/dev/null
    group= # another may have the number soon
}

# The number in front of a word, in the last line that has it; 0 when there is none.
count() { sed -n "s/$1/\\1/p" "$log" | tail -n 1 | grep . || echo 0; }

run() { # name command...
    local name=$1 began=$SECONDS code p f s
    shift
    timeout -k 10 900 "$@" >"$log" 2>&1 </dev/null & # which makes itself a process group
    group=$!
    wait "$group"
    code=$?
    stop_group
    if grep -q '^\[  PASSED  \]' "$log"; then
        p=$(count '^\[  PASSED  \] \([0-9]*\) test.*') f=$(count '^\[  FAILED  \] \([0-9]*\) test.*') s=$(count '^\[  SKIPPED \] \([0-9]*\) test.*')
    else
        p=$(count '^\([0-9]*\) passed, .*') f=$(count '^[0-9]* passed, \([0-9]*\) failed.*') s=$(count '^.* failed, \([0-9]*\) skipped$')
    fi
    [ "$code" -eq 0 ] || [ "$f" -gt 0 ] || f=1           # it died
    [ "$((p + f + s))" -gt 0 ] || { f=1; echo "it counted no test" >>"$log"; }
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$f" -eq 0 ]; then
        printf 'ok    %-28s %6d  (%d s)\n' "$name" "$p" "$((SECONDS - began))"
        # why something was skipped: the line before cmocka's, or the script's own
        [ "$s" -eq 0 ] || grep -B 1 -e '^\[  SKIPPED \] [a-z]' -e '^[a-z]*: skipped' "$log" | grep -v -e '^\[ *\(RUN\|OK\|SKIPPED\) *\]' -e '^--' -e '^ok' | sed 's/^/      | /'
    else
        printf 'FAIL  %-28s %6d of %d failed, exit code %d\n' "$name" "$f" "$((p + f))" "$code"
        # cmocka's lines of what went well are left out, and its counts: the closing line has them
        grep -v -e '^\[ *\(RUN\|OK\|PASSED\|=*\) *\]' -e '^[0-9]* passed, ' "$log" | head -n 200 | sed 's/^/      | /'
    fi
}

for stage in "$@"; do
    case $stage in
    units) for t in "$build"/tests/test_*; do [ -x "$t" ] && run "$(basename "$t")" "$t"; done ;;
    replay)
        for t in "$build"/tests/replay_*; do
            [ -x "$t" ] && run "$(basename "$t")" "$t" "tests/fuzz/corpus/${t##*/replay_}"
        done ;;
    http) for t in "$build"/tests/http_*; do [ -x "$t" ] && run "$(basename "$t")" env "CAJAL_BUILD=$build" "$t"; done ;;
    conformance)
        run conformance tests/support/with_daemon.sh "$build" tests/conformance.py
        run numpy_files tests/support/with_daemon.sh "$build" tests/numpy_files.py ;;
    cli)
        run cli tests/support/with_daemon.sh "$build" tests/cli.sh
        run campaign tests/support/with_daemon.sh "$build" /usr/bin/python3 -B tests/campaign.py ;;
    proxies) run proxies /usr/bin/python3 -B tests/proxies.py "$build" ;;
    trust) run trust /usr/bin/python3 -B tests/trust/trust.py "$build" --short ;;
    smoke) run smoke tests/support/with_daemon.sh "$build" tests/smoke.sh ;;
    *) echo "run.sh: no such stage: $stage" >&2; exit 2 ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
