#!/bin/sh
# fuzz.sh BUILD SECONDS TARGET...: each target in turn for so many seconds on one core. Inputs found go to tests/fuzz/work/TARGET,
# crashing ones to tests/fuzz/work/crashes; exit code 1 when there were any.
cd "$(dirname "$0")/../.." || exit 2
build=$1 seconds=$2 bad=0
shift 2
mkdir -p tests/fuzz/work/crashes
export OPENBLAS_NUM_THREADS=1
for target in "$@"; do
    mkdir -p "tests/fuzz/work/$target"
    dict=
    [ -f "tests/fuzz/$target.dict" ] && dict=-dict=tests/fuzz/$target.dict
    echo "== $target"
    nice -n 10 "$build/tests/fuzz_$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="tests/fuzz/work/crashes/$target-" $dict "tests/fuzz/work/$target" "tests/fuzz/corpus/$target" || bad=1
done
exit $bad
