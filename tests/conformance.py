#!/usr/bin/env python3
"""Holds a running service ($CAJAL_URL) against the conformance vectors in tests/conformance/ (its README.md says what they are)."""
import http.client
import json
import os
import re
import sys
import urllib.parse

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "conformance")
RELATIVE = 1e-5  # what f32 reproduces


class Service:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body))
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())


def shape_of(data):
    shape = []
    while isinstance(data, list):
        shape.append(len(data))
        data = data[0] if data else None
    return shape


def flat(data):
    if not isinstance(data, list):
        return [float(data)]
    return [x for part in data for x in flat(part)]


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: {got} instead of {want}")


def expect_numbers(what, got, want):
    """The same numbers; `got` may be longer, by zeros."""
    got, want = flat(got), flat(want)
    want = want + [0.0] * (len(got) - len(want))
    expect(f"{what}: count", len(got), len(want))
    for i, (g, w) in enumerate(zip(got, want)):
        if abs(g - w) > RELATIVE * max(1.0, abs(w)):
            raise AssertionError(f"{what}: {g} instead of {w} at {i}")


def pick(case, *keys):
    return {key: case[key] for key in keys if key in case}


def expect_tensor(what, tensor, want_data, want_shape=None):
    expect(f"{what}: shape of data", shape_of(tensor["data"]), tensor["shape"])
    if want_shape is not None:
        expect(f"{what}: axes behind the first", tensor["shape"][1:], want_shape[1:])
    expect_numbers(what, tensor["data"], want_data)


def without_bounds(type_text):
    return re.sub(r"N\[\d+\]", "N", type_text)


def check_accept(service, case):
    program = pick(case, "term", "context", "nat")
    status, record = service.post("/compile", program)
    expect(f"compile status ({record.get('rendered')})", status, 200)
    expect("type without bounds", without_bounds(record["type"]), without_bounds(case["type"]))
    if "sized" in case:
        expect("type", record["type"], case["sized"])
    again = dict(pick(case, "context", "nat"), source=record["text"])
    expect("the printed text is the same program", service.post("/compile", again)[1].get("program"), record["program"])

    call = {"program": record["program"], "inputs": case["inputs"], "args": case["args"]}
    status, answer = service.post("/eval", call)
    expect(f"eval status ({answer.get('detail')})", status, 200)
    expect_tensor("output", answer, case["output"]["data"], case["output"]["shape"])

    status, answer = service.post("/grad", dict(call, cotangent=case["cotangent"]))
    expect(f"grad status ({answer.get('detail')})", status, 200)
    expect_tensor("output of grad", answer["output"], case["output"]["data"], case["output"]["shape"])
    grads, want = answer["grads"], case["grads"]
    expect("gradients by input", sorted(grads["inputs"]), sorted(want["inputs"]))
    for name in want["inputs"]:
        expect_tensor(f"gradient by {name}", grads["inputs"][name], want["inputs"][name])
    expect("gradients by argument", len(grads["args"]), len(want["args"]))
    for i, gradient in enumerate(want["args"]):
        expect_tensor(f"gradient by argument {i}", grads["args"][i], gradient)


def check_refused(service, case):
    status, answer = service.post("/compile", pick(case, "term", "context", "nat"))
    expect("status", status, 422)
    expect("code", answer["code"], case["code"])


def main():
    service = Service(os.environ["CAJAL_URL"])
    passed = failed = 0
    for name, check in (("accept", check_accept), ("reject", check_refused), ("bounds", check_refused)):
        with open(os.path.join(HERE, name + ".jsonl"), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                case = json.loads(line)
                try:
                    check(service, case)
                    passed += 1
                except (AssertionError, KeyError, TypeError) as wrong:
                    failed += 1
                    print(f"{name}.jsonl:{number} {case['name']}: {wrong!r}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
