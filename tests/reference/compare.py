#!/usr/bin/python3
"""Holds a running service ($CAJAL_URL) against the second reading of the language, cajal_ref.py, on random programs: the error code or
the sized type of /compile, then the numbers of /eval on random small integers.

    compare.py [--seed S] [--programs N] [--seconds S] [--ill SHARE] [--keep-going]

Half of the programs are well-typed. A disagreement is shrunk to a small program and printed, and ends the run unless --keep-going.
The last line is "N passed, N failed, N skipped": skipped are programs that are too expensive for the naive reading or for the service.
"""
import argparse
import http.client
import json
import os
import random
import sys
import time
import urllib.parse

import cajal_ref as ref
import cajal_types as types
import programs

BATCH = 100           # programs made, read and posted together
TOLERANCE = 1e-9      # relative; everything is computed in f64
EXACT = 2 ** 40       # beyond, sums may cancel what f64 has rounded
SHRINK_SECONDS = 20


class Service:
    """One keep-alive connection."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body))
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def flat(data):
    return [x for part in data for x in flat(part)] if isinstance(data, list) else [float(data)]


def nested(numbers, shape):
    if len(shape) < 2:
        return numbers
    step = len(numbers) // shape[0]
    return [nested(numbers[i * step:(i + 1) * step], shape[1:]) for i in range(shape[0])]


def shape_of(t):
    return types.shape(t)


def read(case):
    """The second reading: ("error", code) or ("type", text, Program, sized type); None when it is too expensive."""
    try:
        program = ref.parse(case["term"], case["context"], case["nat"])
        program.check(early=True)
        sized = program.sized()
        return ("type", types.show(sized), program, sized)
    except types.Fault as fault:
        return ("error", fault.code)
    except (ref.Budget, RecursionError):
        return None


def values(program, sized, spec):
    """(inputs, args) of the shapes that the program wants, as (sized type, flat numbers), drawn from the case's own seed so that
    shrinking keeps them alike; None when one is a network or the result has no tensor."""
    draw = random.Random(spec["draw"])
    wanted = [("inputs", name, types.fill(t, program.dim)) for name, (_, t) in sorted(program.context.items())]
    rest, given = sized, 0
    while types.is_arrow(rest) and given < spec["args"]:
        wanted.append(("args", given, rest[1]))
        rest, given = rest[2], given + 1
    out = {"inputs": {}, "args": {}}
    for where, name, t in wanted:
        if not types.is_vector(t) or types.dim_of(t) > 5000:
            return None
        out[where][name] = (t, [draw.choice([-2, -1, 0, 0, 1, 1, 2]) for _ in range(types.dim_of(t))])
    if not types.is_vector(rest) or types.dim_of(rest) > 5000:
        return None
    return out["inputs"], list(out["args"].values())


def judge(service, case, spec):
    """(verdict, what): verdict is "same", "skip", or the kind of the disagreement."""
    mine = read(case)
    status, answer = service.post("/compile", case)
    if mine is None or answer.get("code") in ("too_large", "not_tabulable"):
        return "skip", ""
    code = None if status == 200 else answer.get("code", "?")
    if mine[0] == "error":
        return ("same", "") if code == mine[1] else ("code", f"page: {mine[1]}; service: {code or answer['type']}")
    if code:
        return "code", f"page: {mine[1]}; service: {code}\n{answer.get('rendered') or answer.get('detail')}"
    if answer["type"] != mine[1]:
        return "type", f"page: {mine[1]}; service: {answer['type']}"
    return judge_numbers(service, answer["program"], mine, spec)


def judge_numbers(service, program_hash, mine, spec):
    _, _, program, sized = mine
    given = values(program, sized, spec)
    if given is None:
        return "same", ""
    inputs, args = given
    try:
        want, largest = program.evaluate({name: v for name, (_, v) in inputs.items()}, [v for _, v in args], sized)
    except (ref.Budget, RecursionError):
        return "skip", ""
    except AssertionError as error:
        return "cut", f"the second reading itself: {error}"
    call = {"program": program_hash, "dtype": "f64", "inputs": {name: nested(v, shape_of(t)) for name, (t, v) in inputs.items()},
            "args": [nested(v, shape_of(t)) for t, v in args]}
    status, answer = service.post("/eval", call)
    if answer.get("code") == "too_large":
        return "skip", ""
    if status != 200:
        return "eval", f"service: {answer.get('code')} {answer.get('detail')}\n{json.dumps(call)}"
    if largest > EXACT:
        return "skip", ""
    got, scale = flat(answer["data"]), max([1] + [abs(x) for x in want])
    if len(got) != len(want) or any(not abs(g - w) <= TOLERANCE * scale for g, w in zip(got, want)):
        return "numbers", f"page: {want}\nservice: {got}\n{json.dumps(call)}"
    return "same", ""


def shrink(service, case, spec, verdict):
    ends, smaller = time.monotonic() + SHRINK_SECONDS, True
    while smaller and time.monotonic() < ends:
        smaller = False
        for candidate in programs.smaller(case):
            if time.monotonic() > ends:
                break
            if judge(service, candidate, spec)[0] == verdict:
                case, smaller = candidate, True
                break
    return case


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2 ** 31))
    options.add_argument("--programs", type=int, default=10 ** 9)
    options.add_argument("--seconds", type=float, default=30)
    options.add_argument("--ill", type=float, default=0.4)
    options.add_argument("--keep-going", action="store_true")
    options = options.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.setrecursionlimit(5000)
    rng, service = random.Random(options.seed), Service(os.environ["CAJAL_URL"])
    maker, ends, counts = programs.Maker(rng), time.monotonic() + options.seconds, {"same": 0, "skip": 0}
    done = 0
    while done < options.programs and time.monotonic() < ends:
        batch = []
        for _ in range(min(BATCH, options.programs - done)):
            case = maker.ill_typed() if rng.random() < options.ill else maker.well_typed()
            batch.append((case, {"draw": rng.randrange(2 ** 31), "args": rng.choice([9, 9, 9, 1, 0])}))
        for case, spec in batch:
            if time.monotonic() > ends:
                break
            done += 1
            verdict, what = judge(service, case, spec)
            counts[verdict] = counts.get(verdict, 0) + 1
            if verdict not in ("same", "skip"):
                small = shrink(service, case, spec, verdict)
                print(f"{verdict}: {judge(service, small, spec)[1]}\n  {json.dumps(small)}\n", flush=True)
                if not options.keep_going:
                    ends = 0
    failed = sum(n for verdict, n in counts.items() if verdict not in ("same", "skip"))
    print(f"{counts['same']} passed, {failed} failed, {counts['skip']} skipped")
    return 1 if failed or not counts["same"] else 0


if __name__ == "__main__":
    sys.exit(main())
