#!/bin/bash
# Every route once, with curl, against a running daemon ($CAJAL_URL), each JSON answer held against schema/openapi.json; then the README's tour.
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() { # what, then a command that must succeed
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "smoke: $what"
        cat "$work/said" "$work/body" | head -c 1000
        echo
    fi
}
# A request: status in $status, headers and body in files.
ask() { # method path [curl options...]
    local method=$1 path=$2
    shift 2
    status=$(curl -sS --max-time 60 -X "$method" -D "$work/head" -o "$work/body" -w '%{http_code}' "$@" "$CAJAL_URL$path")
}
same() { [ "$1" = "$2" ] || { echo "$1 instead of $2"; false; }; }
answer() { jq -c "$1" "$work/body"; }
has_header() { grep -qiE "^$1" "$work/head"; }
valid() { tests/openapi.py validate "$1" <"$work/body"; }
# Status, the schema of the answer, and what jq finds in it.
expect() { # what status schema jq-filter value
    check "$1: status" same "$status" "$2"
    check "$1: X-Request-Id" has_header 'x-request-id: .'
    check "$1: Server-Timing" has_header 'server-timing: (queue;dur=[0-9.]+, exec;dur=[0-9.]+, )?total;dur=[0-9]+\.[0-9]{3}'
    check "$1: schema" valid "$3"
    check "$1: $4" same "$(answer "$4")" "$5"
}
refused() { # what status code
    expect "$1" "$2" Problem .code "\"$3\""
    check "$1: media type" has_header 'content-type: application/problem\+json'
}

NOT='{"source": "\\x:2. if x then false else true"}'

ask POST /compile -d "$NOT"
expect compile 200 Record .type '"2 -o 2"'
hash=$(jq -r .program "$work/body")
ask POST /compile -d '{"term": {"fun": "b", "type": "2", "body": {"if": "b", "then": false, "else": true}}}'
expect "the same as JSON" 200 Record '[.program, .cached]' "[\"$hash\",true]"
check "cache hit" has_header 'cache-status: cajal; hit'
ask GET /programs
expect programs 200 Programs '.programs[0].program' "\"$hash\""
ask GET "/programs/$hash"
expect program 200 Record .output.shape '[2]'
ask GET "/programs/$hash/graph"
expect graph 200 Graph '.nodes | length > 0' true
ask GET "/programs/$hash/graph?format=dot"
check "graph as dot" grep -q '^digraph' "$work/body"
ask GET "/programs/$hash/matrix"
expect matrix 200 Tensor .data '[[0,1],[1,0]]'

ask POST /eval -d "{\"program\": \"$hash\", \"args\": [[0.25, 0.75]], \"decode\": true}"
expect eval 200 Tensor '[.shape, .data, .values]' '[[2],[0.75,0.25],true]'
ask POST /eval -d "{\"program\": \"$hash\", \"args\": [{\"values\": [true, false]}]}"
expect "a batch" 200 Tensor '[.shape, .data]' '[[2,2],[[0,1],[1,0]]]'
ask POST /eval -d "{\"program\": \"$hash\", \"args\": [true], \"engine\": \"interpreter\"}"
expect "the interpreter" 200 Tensor .data '[0,1]'
ask POST /grad -d "{\"program\": \"$hash\", \"args\": [[0.25, 0.75]], \"cotangent\": [1, 0]}"
expect grad 200 GradAnswer '.grads.args[0].data' '[0,1]'
ask POST /jvp -d "{\"program\": \"$hash\", \"args\": [[0.25, 0.75]], \"tangents\": {\"args\": [[1, 0]]}}"
expect jvp 200 JvpAnswer .tangent.data '[0,1]'

ask POST /eval -H 'Accept: application/x-npy' -d "{\"program\": \"$hash\", \"args\": [[0.25, 0.75]]}"
check "npy out" /usr/bin/python3 -c 'import numpy, sys; assert numpy.load(sys.argv[1]).tolist() == [0.75, 0.25]' "$work/body"
/usr/bin/python3 -c 'import numpy, sys; numpy.save(sys.argv[1], numpy.array([[1, 0], [0.5, 0.5]], dtype="f4"))' "$work/in.npy"
ask POST "/eval?program=$hash" -H 'Content-Type: application/x-npy' --data-binary "@$work/in.npy"
expect "npy in" 200 Tensor .data '[[0,1],[0.5,0.5]]'

ask POST /compile -d '{"source": "\\x:2. if x then x else true"}'
refused "a linear variable twice" 422 linear_reused
ask POST /compile -d '{"source": '
refused "half a request" 400 bad_json
ask POST /compile -d '{"source": "true", "sauce": 1}'
refused "an unknown key" 400 bad_request
ask POST /eval -d "{\"program\": \"$hash\", \"args\": [[1, 2, 3]]}"
refused "a wrong shape" 422 shape_mismatch
ask GET /nowhere
refused "no such path" 404 not_found
ask DELETE /compile
refused "no such method" 405 method_not_allowed
check "Allow" has_header 'allow: .*POST'
ask POST /compile -H 'Origin: http://elsewhere.example' -d "$NOT"
refused "a foreign page" 403 forbidden

printf '\0\0\10\2\0\0\0\2\0\0\0\3\1\2\3\4\5\377' >"$work/x.idx"
printf '\0\0\10\1\0\0\0\2\7\11' | gzip >"$work/label.gz"
ask PUT '/datasets/smoke?column=x' --data-binary "@$work/x.idx"
expect "a new data set" 201 Dataset '[.name, .rows, .columns]' '["smoke",2,[{"name":"x","dtype":"u8","shape":[3]}]]'
ask PUT '/datasets/smoke?column=label' --data-binary "@$work/label.gz"
expect "another column" 200 Dataset '[.columns[].name]' '["label","x"]'
ask GET /datasets/smoke
expect "data set" 200 Dataset .rows 2
ask GET '/datasets/smoke/rows?from=1&count=5'
expect "rows" 200 DatasetRows . '{"from":1,"count":1,"columns":{"label":[9],"x":[[4,5,255]]}}'
ask GET /datasets
expect "data sets" 200 Datasets '.datasets[0].name' '"smoke"'
ask PUT /datasets/smoke --data-binary "@$work/x.idx"
refused "a column without a name" 400 bad_request
cat >"$work/run.json" <<'RUN'
{"name": "smoke", "program": {"source": "f : !(R[3] -o R[3]), x : R[3] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}},
 "data": {"train": "smoke"}, "loss": {"mse": {"target": "x"}}, "optimizer": {"sgd": {"lr": 0.000001}}, "batch_size": 2, "steps": 20,
 "evaluate": {"every": 10, "metrics": ["mae"]}, "checkpoint": {"every": 10}}
RUN
ask POST /runs -d "@$work/run.json"
expect "a run" 202 RunStarted .state '"queued"'
run=$(jq -r .id "$work/body")
check "its place" has_header "location: /runs/$run"
ask GET "/runs/$run/events" -H 'Accept: application/x-ndjson'
check "events to the end" same "$(tail -n 1 "$work/body" | jq -c '[.event, .state]')" '["end","done"]'
tail -n 1 "$work/body" >"$work/event" && mv "$work/event" "$work/body"
check "event: schema" valid RunEvent
ask GET "/runs/$run"
expect "a run's record" 200 Run '[.state, .step, .parameters, .checkpoints]' '["done",20,9,[0,10,20]]'
ask GET '/runs?state=done'
expect "runs" 200 Runs '.runs[0].name' '"smoke"'
ask GET "/runs/$run/metrics?keys=train.loss"
expect "metrics" 200 RunMetrics '.metrics["train.loss"].steps | length' 20
ask GET "/runs/$run/weights"
check "weights" grep -q '"bind.f"' "$work/body"
ask POST /eval -d "{\"run\": \"$run\", \"columns\": {\"x\": [1, 2, 3]}, \"outputs\": [\"f\"]}"
expect "a trained run" 200 Tensor '[.shape, .outputs.f.shape]' '[[3],[3,3]]'
ask POST "/runs/$run/fork" -d '{"from_step": 10, "name": "forked"}'
expect "a fork" 202 RunStarted .state '"queued"'
fork=$(jq -r .id "$work/body")
ask GET "/runs/$fork/events"
check "as server-sent events" grep -q '^event: end' "$work/body"
ask POST "/runs/$fork/cancel"
refused "to cancel what is done" 409 conflict
ask POST "/runs/$fork/resume"
refused "to resume what is done" 409 conflict
ask POST /runs -d '{"seed": -1}'
refused "a wrong run" 422 bad_run
for id in "$run" "$fork"; do
    ask DELETE "/runs/$id"
    check "delete a run" same "$status" 204
done

ask DELETE /datasets/smoke
check "a data set deleted" same "$status" 204
ask GET /datasets/smoke
refused "no data set" 404 not_found

ask GET /livez
expect livez 200 Live .live true
ask GET '/readyz?verbose'
expect readyz 200 Ready .checks.worker '"ok"'
ask GET /version
expect version 200 Version '.version | length > 0' true
ask GET /workers
expect workers 200 Workers '.workers | length > 0' true
ask GET /metrics
check metrics grep -q '^cajal_' "$work/body"
ask GET /openapi.json
check "openapi.json" cmp "$work/body" schema/openapi.json
ask DELETE "/programs/$hash"
check "delete" same "$status" 204
ask GET "/programs/$hash"
refused "deleted" 404 not_found

tests/tour.py README.md >"$work/tour"
grep -v ' passed, ' "$work/tour"
passed=$((passed + $(sed -n 's/^\([0-9]*\) passed, .*/\1/p' "$work/tour")))
failed=$((failed + $(sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p' "$work/tour")))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
