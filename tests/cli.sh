#!/bin/bash
# The `cajal` command against a running daemon ($CAJAL_URL; the command on the path): its inputs, what it prints, its exit codes.
set -u
passed=0 failed=0 skipped=0
work=$(mktemp -d)
server='' second=''
trap '[ -z "$server" ] || kill "$server"; [ -z "$second" ] || kill -KILL "$second"; rm -rf "$work"' EXIT
cd "$work" || exit 1

# Runs cajal: its exit code has to be the one given, and what it prints has to contain each of the patterns before `--`.
cajal_says() { # what code pattern... -- arg...
    local what=$1 want=$2 got fault=''
    shift 2
    local patterns=()
    while [ "$1" != -- ]; do
        patterns+=("$1")
        shift
    done
    shift
    cajal "$@" >out 2>err
    got=$?
    [ "$got" -eq "$want" ] || fault="exit code $got instead of $want"
    for pattern in "${patterns[@]}"; do
        cat out err | grep -qF -e "$pattern" || fault="no: $pattern"
    done
    # results and diagnostics do not mix
    if [ "$want" -eq 0 ] && [ -s err ]; then fault="something on standard error"; fi
    if [ "$want" -ne 0 ] && [ -s out ]; then fault="something on standard output"; fi
    if [ -z "$fault" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "cli: $what: $fault"
        head -n 20 out err
    fi
}

# Counts the last command, a check of its own, as a test.
check() { # what code-of-the-check
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "cli: $1"
        head -n 20 out err
    fi
}

# Until the command succeeds; the bound is only against hanging.
wait_for() { # command...
    for _ in $(seq 1200); do "$@" && return; sleep 0.1; done
    echo "cli: waited in vain for: $*"
}

# Runs a command line on a terminal of its own, so many columns wide; what it shows goes to `out`.
on_terminal() { # kind columns command-line
    : >err
    TERM=$1 script -qec "stty cols $2; $3" /dev/null >out </dev/null
}

NOT='\x:2. if x then false else true'
echo "$NOT" >not.cj
echo '{"term": {"app": ["f", "b"]}, "context": {"f": "!(2 -o 2)", "b": "2"}}' >apply.json
echo '{"term": "q"}' >term.json
printf -- '-- twice\n\\x:2.\n  if x then x else true\n' >twice.cj
printf '\\x:2. x\0' >nul.cj

cajal_says "a file" 0 'type      2 -o 2' 'argument  2  [2]' '2 cases, all there are' -- compile not.cj
cajal_says "standard input" 0 'type      2 -o 2' -- compile - <not.cj
cajal_says "a request in JSON" 0 'input     b : 2  [2]' 'input     f : !(2 -o 2)  [2,2]' -- compile apply.json
cajal_says "the answer as it came" 0 '"type":"2 -o 2"' -- compile not.cj --json
hash=$(cajal compile not.cj --json | jq -r .program)
cajal_says "a record by hash" 0 "program   $hash" -- show "$hash"
cajal_says "a matrix" 0 '[2,2]' '  0  1' '  1  0' -- show not.cj --matrix
cajal_says "a graph" 0 'digraph' -- show not.cj --graph dot
cajal_says "an evaluation" 0 '2  [2]' '  0.75  0.25' -- eval "$hash" '[0.25, 0.75]'
cajal_says "a batch, decoded" 0 '  false true' -- eval not.cj '{"values": [true, false]}' --decode
cajal_says "inputs" 0 '  true' -- eval apply.json --input 'f=[[0, 1], [1, 0]]' --input=b=false --decode
cajal_says "sizes" 0 'N[4] -o N[5]' -- compile -e '\n:N. succ n' --nat-dim 4
cajal_says "fixed sizes" 0 'N[4] -o N[4]' -- compile -e '\n:N. succ n' --nat-dim=4 --overflow drop
cajal_says "a gradient" 0 'output  2  [2]' 'gradient by argument 0' '  0  1' -- grad "$hash" '[0.25, 0.75]' --cotangent '[1, 0]' --wrt 0
printf '\0\0\10\2\0\0\0\2\0\0\0\3\1\2\3\4\5\377' >x.idx
printf '\0\0\10\1\0\0\0\2\7\11' | gzip >label.gz
cajal_says "a data set" 0 'rows      2' 'columns   label u8, x u8[3]' -- dataset put cli-data x=x.idx label=label.gz
cajal_says "a data set from standard input" 0 'columns   label u8, x u8[3], y u8[3]' -- dataset put cli-data y=- <x.idx
cajal_says "data sets" 0 'cli-data' 'label u8, x u8[3]' -- dataset list
cajal_says "a data set's record" 0 'name      cli-data' 'sha256    ' -- dataset show cli-data
cajal_says "a data set's rows" 0 'label  [2]' '  7  9' 'x  [2,3]' '  4    5  255' -- dataset show cli-data --rows 5
cajal_says "a data set from a pipe with a name" 0 'columns   label u8, x u8[3], y u8[3], z u8[3]' -- dataset put cli-data z=<(cat x.idx)
cajal_says "a data set's record as it came" 0 '"name":"cli-data"' -- dataset show cli-data --json
for i in $(seq 101); do cajal dataset put "many-$i" x=x.idx >/dev/null; done
cajal_says "as many data sets as a page has" 0 'many-101' '… and older ones: --all' -- dataset list
cajal_says "all data sets" 0 'many-1 ' 'cli-data' -- dataset list --all
[ "$(grep -c '^data set ' out)" -eq 1 ] && [ "$(grep -c '^many-' out)" -eq 101 ]
check "every one once, below one heading" $?
cajal_says "a data set removed" 0 -- dataset rm cli-data
# y = 2x over four rows, one column as safetensors
python3 - >line.safetensors <<'PYTHON'
import struct, sys
header = b'{"x":{"dtype":"F32","shape":[4,1],"data_offsets":[0,16]},"y":{"dtype":"F32","shape":[4,1],"data_offsets":[16,32]}}'
sys.stdout.buffer.write(struct.pack("<Q", len(header)) + header + struct.pack("<8f", 1, 2, 3, 4, 2, 4, 6, 8))
PYTHON
cajal dataset put cli-line line.safetensors >/dev/null
echo '{"name": "cli line", "program": {"source": "f x", "context": {"f": "R[1] -o R[1]", "x": "R[1]"}},
    "bind": {"x": {"column": "x"}, "f": {"weights": {"init": "zeros"}}}, "data": {"train": "cli-line"}, "loss": {"mse": {"target": "y"}},
    "optimizer": {"sgd": {"lr": 0.05}}, "batch_size": 4, "steps": 60}' >line.json
cajal_says "a run, followed" 0 '60/60' 'train.loss' ' done' -- train line.json --watch
cajal_says "a run's events as they came" 0 '"event":"end"' -- train line.json --watch --json
run=$(cajal train - <line.json)
cajal_says "a run, followed later" 0 "$run done" -- watch "$run"
cajal_says "runs" 0 "$run" 'done' '60/60' 'cli line' -- runs
cajal_says "runs of a state" 0 "$run" -- runs --state "done"
cajal_says "weights" 0 -- weights "$run" -o line.out
python3 - <<'PYTHON' || { failed=$((failed + 1)); echo "cli: weights: not a matrix near 2"; }
import struct
data = open("line.out", "rb").read()
assert b"bind.f" in data and abs(struct.unpack("<f", data[-4:])[0] - 2) < 1e-3
PYTHON
cajal weights "$run" | cmp -s - line.out
check "weights on standard output" $?
cajal_says "a run's record" 0 'name           cli line' 'state          done' 'step           60 of 60' 'train          cli-line, 4 rows' 'checkpoints    0 60' -- runs "$run"
cajal_says "all runs" 0 "$run" -- runs --all

# In a container there may be no pseudo-terminal to be had, and `script` is a package of its own on some systems.
if on_terminal dumb 80 true; then
    on_terminal xterm 60 "cajal watch $run" && grep -qF '60/60' out && grep -q '\[####' out && tr '\r' '\n' <out | sed 's/\x1b\[K//' | awk 'length > 59 { exit 1 }'
    check "a bar as wide as its terminal" $?
    on_terminal xterm 20 "cajal watch $run" && grep -qF '60/60' out && tr '\r' '\n' <out | sed 's/\x1b\[K//' | grep -F '60/60' | awk 'length > 19 { exit 1 }'
    check "a narrow terminal" $?
    on_terminal dumb 80 "cajal watch $run" && grep -qF '60/60' out && ! grep -q $'\x1b' out
    check "a terminal that cannot go back" $?
    on_terminal xterm 80 "cajal weights $run"
    [ $? -eq 2 ] && grep -qF -e '-o FILE' out
    check "no weights on a terminal" $?
else
    skipped=$((skipped + 4))
    echo "cli: skipped: four tests that need a pseudo-terminal: script (bsdutils) gives none here"
fi

jq '.optimizer.sgd.lr = 1e30' line.json >wild.json
cajal train wild.json --watch >out 2>err
[ $? -eq 5 ] && grep -q ' failed: ' out
check "a run that fails, followed" $?
jq '.steps = 1000000000000' line.json >long.json
run=$(cajal train long.json)
cajal watch "$run" >out 2>err &
watching=$!
catches() { grep -q '^SigBlk:.*[2367abef]$' "/proc/$watching/status"; } # SIGINT has the bit of 2
wait_for catches
kill -INT "$watching"
wait "$watching"
[ $? -eq 5 ] && grep -qF "cajal watch $run" err
check "an interrupted watch" $?
cajal_says "a run that goes on after its watch was interrupted" 0 'state          running' -- runs "$run"
cajal_says "a cancelled run" 0 "$run: " -- cancel "$run"
cajal watch "$run" >out 2>err
[ $? -eq 5 ] && grep -qF "$run cancelled" out
check "a cancelled run, followed" $?
cajal_says "versions" 0 'version' -- version
cajal_says "help about one command" 0 'usage: cajal weights [OPTION...] RUN' '--step N' -- weights --help
grep -q -e --cotangent out
check "and of no other" $((1 - $?))
cajal_says "help" 0 '--cotangent JSON' 'Exit codes: 0 done' -- --help

cajal_says "a place in a file" 1 'error[linear_reused]' ' --> twice.cj:3:' '^' -- compile twice.cj
cajal_says "a place in the command line" 1 ' --> <text>:1:' -- compile -e 'y'
cajal_says "a wrong argument" 1 'shape_mismatch' -- eval not.cj '[1, 2, 3]'
cajal_says "a hash nobody knows" 1 'not_found' -- show "sha256:$(printf '0%.0s' {1..64})"

cajal_says "a data set nobody knows" 1 'cli-data: There is no data set cli-data. (not_found)' -- dataset rm cli-data
cajal_says "data that is none, from standard input" 1 '<stdin>: ' '(bad_tensor)' -- dataset put cli-data - <not.cj
cajal_says "data that is none" 1 'not.cj: ' '(bad_tensor)' -- dataset put cli-data not.cj

jq '.optimizer.sgd.lr = -1' line.json >bad.json
cajal_says "a run that cannot be" 1 'bad.json: ' 'learning rate' '(bad_run)' -- train bad.json
cajal_says "a place in a specification" 1 'bad.json: /optimizer/sgd/lr: ' -- train bad.json
jq '.program.source = "f y"' line.json >bad.json
cajal_says "a place in a specification's program" 1 ' --> bad.json:/program/source:1:3' '^' -- train bad.json
jq '.program.context.x = "R["' line.json >bad.json
cajal_says "a place in a specification's context" 1 ' --> bad.json:/program/context/x' -- train bad.json
jq '.program = {context: .program.context, term: {app: ["f", "z"]}}' line.json >bad.json
cajal_says "a place in a specification's term" 1 ' --> bad.json:/program/term/app/1' -- train bad.json
jq '.name = "a\u001b[31mb\nc"' line.json >bad.json
cajal_says "a name that a terminal would obey" 1 'bad.json: /name: ' '(bad_run)' -- train bad.json
cajal_says "a place in a request's term" 1 ' --> term.json:/term: the whole term' -- compile term.json
cajal_says "a run nobody knows" 1 'r-nobody: There is no run r-nobody. (not_found)' -- watch r-nobody
cajal_says "weights nobody knows" 1 'not_found' -- weights r-nobody -o nothing
[ ! -e nothing ]
check "no file where there are no weights" $?
cajal_says "a run done already" 1 'conflict' -- cancel "$(cajal runs --state "done" --json | jq -r '.runs[0].id')"

cajal_says "no such specification" 2 'nowhere.json: No such file' -- train nowhere.json
head -c 9000000 /dev/zero >huge.json
cajal_says "a specification beyond the limit" 2 'huge.json: is larger than a request may be (8 MiB)' -- train huge.json
cajal_says "a folder as specification" 2 'Is a directory' -- train .
cajal_says "weights that cannot be written" 2 '/dev/full: No space left' -- weights "$(cajal runs --state "done" --json | jq -r '.runs[0].id')" -o /dev/full
cajal_says "a state of one run" 2 'for the list' -- runs r-nobody --state "done"
cajal_says "all of one data set" 2 'dataset list' -- dataset show cli-line --all
cajal_says "no run's id" 2 "not a run's id: ../x" -- watch ../x
cajal_says "no such data" 2 'nowhere.idx: No such file' -- dataset put cli-data x=nowhere.idx
cajal_says "no data" 2 'a file is missing' -- dataset put cli-data
cajal_says "no name" 2 "a data set's name is wanted" -- dataset show a/b
cajal_says "what is not done with data" 2 'put, list, show or rm' -- dataset sell cli-data
cajal_says "no file" 2 'nowhere.cj: No such file' -- compile nowhere.cj
cajal_says "no text" 2 'NUL' -- compile nul.cj
cajal_says "no JSON" 2 'not JSON: [1' -- eval not.cj '[1'
cajal_says "no hash" 2 'not a program' -- show sha256:../../livez
cajal_says "no command" 2 'a command is missing' --
cajal_says "an unknown option" 2 'no such option: --frobnicate' -- compile not.cj --frobnicate
cajal_says "an option of another command" 2 'does not take --decode' -- compile not.cj --decode
cajal_says "an option without its value" 2 'a value is missing after --url' -- compile not.cj --url
cajal_says "nobody there" 3 'no answer from the service' -- compile not.cj --url http://127.0.0.1:1

# A daemon that is killed and started anew while a run is followed: no event is lost, none comes twice.
start_second() { # listen
    : >second.log
    cajald --listen "$1" --data second >second.log 2>&1 &
    second=$!
    disown "$second" # its death is no news
    wait_for grep -q 'ready on' second.log
    address=$(grep -o -m1 'ready on http://[^ ]*' second.log | cut -c17-)
}
start_second 127.0.0.1:0
export CAJAL_URL="http://$address"
cajal dataset put cli-line line.safetensors >/dev/null
run=$(jq '.steps = 1000000000000 | .checkpoint = {every: 50000}' line.json | cajal train -)
cajal watch "$run" --json >events 2>err &
watching=$!
cajal watch "$run" >out 2>&1 &
telling=$!
wait_for grep -q '"metric"' events
wait_for grep -q 'train.loss' out
kill -KILL "$second"
while kill -0 "$second" 2>/dev/null; do sleep 0.1; done
wait_for grep -q 'connection is lost' out
start_second "$address"
goes_on() { [ "$(grep -c '"state":"running"' events)" -ge 2 ]; }
wait_for goes_on
cajal cancel "$run" >/dev/null
wait "$watching"
[ $? -eq 5 ] && jq -se '[.[].seq] == [range(1; length + 1)] and (map(select(.event == "end")) | length) == 1 and .[-1].state == "cancelled"' events >/dev/null
check "a run followed over the daemon's death" $?
wait "$telling"
[ $? -eq 5 ] && grep -q 'connection is lost' out && grep -q "$run cancelled" out
check "and it says that the connection was lost" $?
kill "$second"
while kill -0 "$second" 2>/dev/null; do sleep 0.1; done
second=''

# A server that is none of ours: python's answers POST with 501.
: >port
python3 -u -m http.server --bind 127.0.0.1 0 >port 2>/dev/null &
server=$!
wait_for grep -q port port
cajal_says "a failing service" 4 'HTTP status 501' -- compile not.cj --url "http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\).*/\1/p' port)"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
