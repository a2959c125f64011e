#!/bin/bash
# with_daemon.sh BUILD COMMAND [ARG...]: runs the command beside a daemon of BUILD that it has for itself: free port, empty data
# directory, $CAJAL_URL set. Ends with the command's exit code; 70 when the daemon does not start or does not end well.
set -u
build=$(realpath "$1")
shift
work=$(mktemp -d)
export CAJAL_URL='' PATH="$build:$PATH" CAJAL_RESERVE=1M # whatever room this machine has
unset CAJAL_TOKEN
daemon=

finish() {
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "with_daemon: $1; the daemon said:" >&2
    tail -n 40 "$work/log" >&2
    exit 70
}

"$build/cajald" --listen 127.0.0.1:0 --data "$work/data" >"$work/log" 2>&1 &
daemon=$!
for _ in $(seq 1200); do
    CAJAL_URL=$(grep -o -m1 'ready on http://[^ ]*' "$work/log" | cut -c10-)
    [ -z "$CAJAL_URL" ] || break
    kill -0 "$daemon" 2>/dev/null || { daemon=; fail "no start"; }
    sleep 0.1
done
[ -n "$CAJAL_URL" ] || fail "not ready after two minutes"

"$@"
code=$?

kill -TERM "$daemon" 2>/dev/null || fail "the daemon died on the way"
wait "$daemon"
ended=$?
daemon=
[ "$ended" -eq 0 ] || fail "the daemon ended with $ended"
exit "$code"
