#!/bin/bash
# What the service does, on the papers' first examples. Runs beside a daemon ($CAJAL_URL, `cajal` on the path): make demo.
# Every answer is also checked: the demo ends with an error when one is not what it should be.
set -u

wrong() {
    echo >&2
    echo "demo: $*" >&2
    exit 1
}
title() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] || title() { printf '\n%s\n' "$1"; }

# Shows a command and runs it; the exit code has to be the one given.
shown() { # code command...
    local want=$1 got word line='  $'
    shift
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_:./=,+-]*) line+=" '$word'" ;;
        *) line+=" $word" ;;
        esac
    done
    echo "$line"
    output=$("$@" 2>&1)
    got=$?
    sed 's/^/  /' <<<"$output"
    [ "$got" -eq "$want" ] || wrong "exit code $got instead of $want"
}

same() { # what got want
    [ "$2" = "$3" ] || wrong "$1: $2 instead of $3"
}

post() { curl -sS --max-time 30 "$CAJAL_URL$1" -d "$2"; }

# Compiles a program twice, shows its record, checks type and cache; its hash is in $hash.
compiled() { # title text type [nat]
    local body record
    title "$1"
    body=$(jq -cn --arg source "$2" --argjson nat "${4:-null}" '{$source} + (if $nat then {$nat} else {} end)')
    record=$(post /compile "$body") || wrong "no answer"
    hash=$(jq -r .program <<<"$record")
    [ "${hash#sha256:}" != "$hash" ] || wrong "not compiled: $record"
    echo "  $2"
    jq -r '"  type      \(.type)", "  graph     \(.graph.neurons) neurons, \(.graph.weights) weights, \(.graph.recurrent) recurrent",
        "  compiled  in \(.compile_us) us, and verified against the interpreter on \(.verified.cases) cases",
        "  program   \(.program)"' <<<"$record"
    same type "$(jq -r .type <<<"$record")" "$3"
    curl -sS --max-time 30 -o /dev/null -D - "$CAJAL_URL/compile" -d "$body" | grep -qi '^cache-status: cajal; hit' ||
        wrong "the second compile was no cache hit"
    echo "  again     from the cache"
}

matrix() { # rows as JSON
    cajal show "$hash" --matrix | sed 's/^/  /'
    same matrix "$(cajal show "$hash" --matrix --json | jq -c '.data')" "$1"
}

decoded() { # want args...
    local want=$1
    shift
    shown 0 cajal eval "$hash" "$@" --decode
    same values "$(cajal eval "$hash" "$@" --decode --json | jq -c .values)" "$want"
}

began=$(date +%s)
echo "Cajal compiles linear functional programs to neurons. This daemon listens on $CAJAL_URL."

compiled "Not. A boolean is a vector: true (1,0), false (0,1). A linear function is a matrix." \
    '\x:2. if x then false else true' '2 -o 2'
matrix '[[0,1],[1,0]]'

compiled "Exclusive or: two arguments, so a matrix whose output is a matrix again." \
    '\x:2. \y:2. if x then (if y then false else true) else y' '2 -o 2 -o 2'
matrix '[[0,1],[1,0],[1,0],[0,1]]'
decoded false true true
xor=$hash

compiled "Parity, by iteration: a recurrent neuron that flips its state n times. Only n is unknown, so it compiles to one matrix." \
    '\n:N. iter {true | y -> if y then false else true} (n)' 'N[10] -o 2'
matrix '[[1,0,1,0,1,0,1,0,1,0],[0,1,0,1,0,1,0,1,0,1]]'
title "A batch of four, in one call"
decoded '[false,false,true,false]' '{"values": [3, 1, 4, 1]}'

compiled "Addition. Naturals are exact: the type says how large the sum can become." \
    '\m:N. \n:N. iter {m | y -> succ y} (n)' 'N[10] -o N[10] -o N[19]'
decoded 16 9 7

compiled "Doubling, with naturals below 4" \
    '\n:N. iter {0 | y -> succ (succ y)} (n)' 'N[4] -o N[7]' '{"dim": 4}'
matrix '[[1,0,0,0],[0,0,0,0],[0,1,0,0],[0,0,0,0],[0,0,1,0],[0,0,0,0],[0,0,0,1]]'

compiled "Higher order: a function applied twice. Not of not is the identity." \
    'let twice = \f:!(2 -o 2). \x:2. f (f x) in twice (\x:2. if x then false else true)' '2 -o 2'
matrix '[[1,0],[0,1]]'

compiled "The same with the function left open: any 2×2 matrix may come in for f, a trained one for instance." \
    'f : !(2 -o 2) |- \x:2. f (f x)' '2 -o 2'
decoded true --input 'f=[[0, 1], [1, 0]]' true

title "Differentiate: exclusive or of two doubtful booleans, and how the answer depends on each"
hash=$xor
shown 0 cajal grad "$hash" '[0.75, 0.25]' '[0.25, 0.75]' --cotangent '[1, 0]'
same gradients "$(cajal grad "$hash" '[0.75, 0.25]' '[0.25, 0.75]' --cotangent '[1, 0]' --json |
    jq -c '[.output.data, .grads.args[].data]')" '[[0.625,0.375],[0.75,0.25],[0.25,0.75]]'

title "A program that is none: a linear variable must be used exactly once"
shown 1 cajal compile -e '\x:2. if x then x else true'
case $output in
*linear_reused*^*) ;;
*) wrong "no caret under the second use" ;;
esac

# Where the trained network wants the gate, over the plane: "#" where the first of `when` is the larger.
map_of() { # run
    jq -cn --arg run "$1" '{run: $run, outputs: ["when"],
        columns: {p: [range(-9; 10) as $b | range(-20; 21) as $a | [$a / 20, $b / 9]], x: {values: [range(19 * 41) | true]}}}' |
        curl -sS --max-time 30 "$CAJAL_URL/eval" -d @- |
        jq -r '[.outputs.when.data[] | if .[0] > .[1] then "#" else "." end] | . as $m | range(0; 19) | "  " + ($m[. * 41:(. + 1) * 41] | join(""))'
}

# Asks the trained run for one point and bit, and checks the answer.
asked() { # run point want
    shown 0 curl -s "$CAJAL_URL/eval" -d "{\"run\": \"$1\", \"columns\": {\"p\": $2, \"x\": true}, \"decode\": true}"
    same "the trained run at $2" "$(jq -c .values <<<"$output")" "$3"
}

here=$(dirname "$0")
title "Training: the gate is written, when to apply it is learned"
cat <<'TEXT'
  The program, compiled like those above. `when` and `x` come from outside:
    if when then (if x then false else true) else x
  For `x` a bit comes from the data. For `when` comes what a network says of a point p of the plane: 1,218 weights, random at first.
  The data: 4,000 points, a bit each, and what became of the bit. (It was flipped wherever p lies in a ring. Nobody says so.)
  Program and network become one graph, and gradient descent moves the weights until the bits come out right:
TEXT
for part in train:4000:1 test:1000:2; do
    IFS=: read -r part rows seed <<<"$part"
    "$here/demo_data.py" "$rows" "$seed" | cajal dataset put "ring-$part" - >/dev/null || wrong "the data set ring-$part was not taken"
done
shown 0 cajal train "$here/demo_run.json" --watch
run=$(curl -sS "$CAJAL_URL/runs?limit=1" | jq -r '.runs[0].id')
accuracy=$(curl -sS "$CAJAL_URL/runs/$run" | jq '.latest["test.accuracy"]')
jq -en "$accuracy > 0.95" >/dev/null || wrong "it did not learn: accuracy $accuracy"
echo "  On 1,000 points it has not seen, $(jq -n "$accuracy * 1000 | round / 10") % of the bits come out right. Where the network wants the gate (#), over the plane:"
map_of "$run"
echo "  It has found the ring. The gate has no weights: it was not learned and stays exact. A trained run answers like any program;"
echo "  here for the bit true, at a point of the ring and in the middle (the larger number decides between true and false):"
asked "$run" '[0.5, 0.4]' false
asked "$run" '[0, 0]' true

printf '\nAll of this was checked, in %d s. Next: make run, and README.md.\n' "$(($(date +%s) - began))"
