#!/usr/bin/env python3
"""Holds the second reading of the language, cajal_ref.py, against all conformance vectors, without any service: types, sizes, codes, places,
texts, values, gradients, the interpreter's values. The last line is "N passed, N failed"."""
import json
import math
import os
import sys

import cajal_interp as interp
import cajal_ref as ref
import cajal_types as types
import cajal_values as values

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance")
WORK = 400000  # a vector squares sizes up to the limit

# Where a vector and a page disagree, the page decides: under drop and saturate an N[k] with k other than dim is an error wherever it stands
PAGE_DECIDES = {"random-40391": "nat_bound_exceeded", "random-40507": "nat_bound_exceeded"}


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: {got} instead of {want}")


def numbers(data):
    if isinstance(data, dict):
        return [x for label in sorted(data) for x in numbers(data[label])]
    return interp.flat(data)


def expect_numbers(what, got, want):
    """The same numbers; `got` may be longer, by zeros."""
    got, want = numbers(got), numbers(want)
    want = want + [0.0] * (len(got) - len(want))
    if len(got) != len(want) or not all(math.isclose(g, w, rel_tol=1e-9, abs_tol=1e-9) for g, w in zip(got, want)):
        raise AssertionError(f"{what}: {got} instead of {want}")


def domains(sized, count):
    """(the sized types of the first parameters, the result's)"""
    found = []
    for _ in range(count):
        found.append(sized[1])
        sized = sized[2]
    return found, sized


def padded(data, t):
    """The flat numbers; along its first axis data may be shorter."""
    flat = numbers(data)
    return flat + [0] * (types.dim_of(t) - len(flat))


def data_of(case, key):
    """Version 1's vectors have tensors with their shapes."""
    tensor = case[key]
    return tensor["data"] if isinstance(tensor, dict) and set(tensor) == {"data", "shape"} else tensor


def numbers_of(case, program, sized):
    given = {name: types.fill(t, program.dim) for name, (_, t) in program.context.items()}
    inputs = {name: values.one(case["inputs"][name], t) for name, t in given.items()}
    wanted, result = domains(sized, len(case["args"]))
    args = [values.one(j, t) for j, t in zip(case["args"], wanted)]
    output = data_of(case, "output")
    got, _ = program.evaluate(inputs, args, sized)
    expect_numbers("output", got, output)
    expect_numbers("shape of the output", values.written(got, result), values.written(padded(output, result), result))
    if "cotangent" not in case:
        return
    cotangent = data_of(case, "cotangent")
    derivative = program.derive(inputs, args, sized)
    expect_numbers("output of the derivative", derivative.value(), output)
    by_input, by_arg = derivative.vjp(padded(cotangent, result))
    expect("inputs with a gradient", sorted(case["grads"]["inputs"]), sorted(by_input))
    for name, want in case["grads"]["inputs"].items():
        expect_numbers(f"gradient by {name}", values.written(by_input[name], given[name]), want)
    expect("arguments with a gradient", len(case["grads"]["args"]), len(by_arg))
    for i, want in enumerate(case["grads"]["args"]):
        expect_numbers(f"gradient by argument {i}", values.written(by_arg[i], wanted[i]), want)


def only_discrete(t):
    return types.is_discrete(t) or t[0] in ("R", "rec", "seq") and all(map(only_discrete, types.parts(t)))


def interpreted(case, program, sized):
    for one in case.get("interp", []):
        inputs = {name: interp.from_form(one["inputs"][name], t) for name, (_, t) in program.context.items()}
        got = program.interpret(inputs)
        if not interp.agrees(got, one["value"], sized):
            raise AssertionError(f"interpreter on {one['inputs']}: {got!r} instead of {one['value']}")
        for name, (_, t) in program.context.items():
            t = types.fill(t, program.dim)
            if only_discrete(t):
                expect_numbers("the vector of a discrete form", values.one(one["inputs"][name], t), interp.vector(inputs[name], t))
                expect("decoded", values.decode(values.one(one["inputs"][name], t), t), one["inputs"][name])


def accepted(case, program):
    expect("type", types.show(program.check()), types.show(types.erase(types.spelled(case["type"])[1])))
    sized = program.sized(WORK)
    if "sized" in case:
        expect("sized type", types.show(sized), case["sized"])
    printed = ref.program({"text": program.text(), "nat": case.get("nat")}, program.imports)
    expect("the printed text's tree", printed.tree(), program.tree())
    expect("the printed text's context", printed.context, program.context)
    numbers_of(case, program, sized)
    interpreted(case, program, sized)


def check_accept(case):
    if case["name"] in PAGE_DECIDES:
        return expect("code", refused(case).code, PAGE_DECIDES[case["name"]])
    program = ref.program(case if "text" not in case else {key: x for key, x in case.items() if key != "text"})
    if "text" in case:
        expect("the text's tree", ref.program({"text": case["text"], "nat": case.get("nat")}).tree(), program.tree())
    return accepted(case, program)


def refused(body, imports=None):
    try:
        program = ref.program(body, imports)
        program.check()
        program.sized(WORK)
    except ref.Fault as fault:
        return fault
    raise AssertionError("it was accepted")


def check_reject(case):
    fault = refused({key: x for key, x in case.items() if key != "text"})
    expect("code", fault.code, case["code"])
    if "path" in case:
        expect("place", fault.path, case["path"])
    if "other" in case:
        expect("other place", fault.other, case["other"])
    if "text" in case:
        expect("code of the text", refused({"text": case["text"], "nat": case.get("nat")}).code, case["code"])


def check_text(case):
    body = {"text": case["text"], "nat": case.get("nat")}
    if "term" in case:
        program = ref.program(body)
        expect("tree", program.tree(), ref.parse(case["term"], case.get("context", {})).tree())
        new_types = any(not old(t) for _, t in program.context.values())
        expect("grammar", program.grammar, 2 if new_types else case["grammar"])
    if "code" in case:
        expect("code", refused(body).code, case["code"])
    else:
        accepted(case, program)


def check_own(case):
    """Our own: a program by its tree or its text or both, accepted or not, with the programs that it imports."""
    imports = {name: ref.program(body) for name, body in case.get("imports", {}).items()}
    for spelling in ("text", "term"):
        if spelling not in case:
            continue
        body = {key: x for key, x in case.items() if key not in ("text", "term") or key == spelling}
        if "code" in case:
            fault = refused(body, imports)
            expect(f"code of the {spelling}", fault.code, case["code"])
            expect("place", fault.path, case.get("path", fault.path))
            continue
        program = ref.program(body, imports)
        expect("grammar", program.grammar, case.get("grammar", program.grammar) if spelling == "text" else program.grammar)
        if {"text", "term"} <= set(case):
            expect("trees", ref.program({"text": case["text"]}).tree(), ref.parse(case["term"]).tree())
        accepted(case, program)


def check_value(case):
    """Values in requests and answers: what is read, or that it is refused; and what the first one decodes to."""
    t = types.spelled(case["type"])[1]
    if "refused" in case:
        try:
            found = values.read(case["value"], t)
        except ref.Fault:
            return
        raise AssertionError(f"read as {found}")
    expect("read", values.read(case["value"], t), case["reads"])
    if "decode" in case:
        expect("decoded", json.dumps(values.decode(case["reads"][0], t)), json.dumps(case["decode"]))


def old(t):
    """A type of version 1."""
    return t[0] in ("2", "N", "lin", "smooth") and all(map(old, types.parts(t))) or t[0] == "R" and t[1] is not None


FILES = (("accept", check_accept), ("reject", check_reject), ("bounds", check_reject), ("language-2/accept", check_accept),
         ("language-2/reject", check_reject), ("language-2/texts", check_text), ("language-2/own", check_own),
         ("language-2/values", check_value))


def main():
    sys.setrecursionlimit(10000)
    passed = failed = 0
    for name, check in FILES:
        with open(os.path.join(HERE, name + ".jsonl"), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                case = json.loads(line)
                try:
                    check(case)
                    passed += 1
                except (AssertionError, ref.Fault, ref.Budget, interp.NoValue) as wrong:
                    failed += 1
                    print(f"{name}.jsonl:{number} {case['name']}: {wrong!r} {getattr(wrong, 'path', '')}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
