#!/bin/bash
# The `cajal` command against a running daemon ($CAJAL_URL; the command on the path): its inputs, what it prints, its exit codes.
set -u
passed=0 failed=0
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
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

NOT='\x:2. if x then false else true'
echo "$NOT" >not.cj
echo '{"term": {"app": ["f", "b"]}, "context": {"f": "!(2 -o 2)", "b": "2"}}' >apply.json
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
cajal_says "a data set's record as it came" 0 '"name":"cli-data"' -- dataset show cli-data --json
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
jq '.steps = 50000000' line.json >long.json
run=$(cajal train long.json)
cajal watch "$run" >out 2>err &
sleep 1
kill -INT $!
wait $!
if [ $? -eq 0 ] && grep -qF "cajal watch $run" err; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "cli: an interrupted watch"; cat out err; fi
cajal_says "a cancelled run" 0 "$run: " -- cancel "$run"
cajal_says "a cancelled run, followed" 0 'cancelled' -- watch "$run"
cajal_says "versions" 0 'version' -- version
cajal_says "help" 0 '--cotangent JSON' 'Exit codes: 0 done' -- --help

cajal_says "a place in a file" 1 'error[linear_reused]' ' --> twice.cj:3:' '^' -- compile twice.cj
cajal_says "a place in the command line" 1 ' --> <text>:1:' -- compile -e 'y'
cajal_says "a wrong argument" 1 'shape_mismatch' -- eval not.cj '[1, 2, 3]'
cajal_says "a hash nobody knows" 1 'not_found' -- show "sha256:$(printf '0%.0s' {1..64})"

cajal_says "a data set nobody knows" 1 'cli-data: There is no data set cli-data. (not_found)' -- dataset rm cli-data
cajal_says "data that is none" 1 'not.cj: ' '(bad_tensor)' -- dataset put cli-data not.cj

jq '.optimizer.sgd.lr = -1' line.json >bad.json
cajal_says "a run that cannot be" 1 'bad.json: ' 'learning rate' '(bad_run)' -- train bad.json
cajal_says "a run nobody knows" 1 'not_found' -- watch r-nobody
cajal_says "a run done already" 1 'conflict' -- cancel "$(cajal runs --state "done" --json | jq -r '.runs[0].id')"

cajal_says "no such specification" 2 'nowhere.json: No such file' -- train nowhere.json
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

# A server that is none of ours: python's answers POST with 501.
: >port
python3 -u -m http.server --bind 127.0.0.1 0 >port 2>/dev/null &
server=$!
for _ in $(seq 100); do grep -q port port && break; sleep 0.1; done
cajal_says "a failing service" 4 'HTTP status 501' -- compile not.cj --url "http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\).*/\1/p' port)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
