#!/usr/bin/env python3
"""Holds the second reading of language version 2, cajal_ref.py, against itself on random programs, without any service:

- the program is accepted with the type that it was made for, and its printed text reads as the same tree;
- the result is linear in each linear input;
- vector-Jacobian products are the transposed Jacobian-vector products, and those are finite differences where all is finite;
- on values, the result is the vector of the interpreter's, within its size;
- with a piece exchanged, it is refused with a code of the pages at a place that exists, in its text's spelling with the same code, or accepted.

    generate2.py [--seed S] [--programs N] [--seconds S]

The last line is "N passed, N failed, N skipped": skipped are programs that are too expensive here or whose naturals exceed a bound."""
import argparse
import json
import math
import random
import sys
import time

import cajal_interp as interp
import cajal_ref as ref
import cajal_types as types
import programs2
from cajal_numbers import val
from cajal_terms import children

LARGE = 2000      # numbers in one vector
STEP = 1e-4       # of the finite differences
BEYOND = 1e3      # larger derivatives are no longer compared: the differences' own error
CODES = set("""parse_error unbound_variable type_mismatch not_a_function not_a_vector linear_unused linear_reused linear_branches linear_in_step
    linear_smooth missing_branch unknown_label duplicate_label not_a_variant not_a_record not_a_pair not_a_sequence not_real not_discrete
    linear_in_fold import_open""".split())


class Wrong(Exception):
    """What the reading says of a program is not so."""


def close(a, b, tolerance, scale=1.0):
    return all(abs(x - y) <= tolerance * max(scale, abs(x), abs(y)) for x, y in zip(a, b))


def usable(*vectors):
    return all(math.isfinite(x) and abs(x) < BEYOND for vector in vectors for x in vector)


class Case:
    """A program with inputs and arguments drawn for it."""

    def __init__(self, rng, body, imports):
        self.rng, self.body = rng, body
        self.program = ref.program(body, imports)

    def accepted(self, wanted):
        if self.program.check() != wanted:
            raise Wrong(f"type {types.show(self.program.checked)} instead of {types.show(wanted)}")
        text = "".join(self.rng.choice([" ", " ", "  ", "\n", " -- - x\n"]) if c == " " else c for c in self.program.text())
        again = ref.program({"text": text, "nat": self.body["nat"]}, self.program.imports)
        if again.tree() != self.program.tree() or again.context != self.program.context:
            raise Wrong(f"printed as another program: {self.program.text()}")

    def measure(self):
        """The sizes, and the types of all that is to be given. False: too large for here."""
        self.sized = self.program.sized()
        self.given = {name: types.fill(t, self.program.dim) for name, (_, t) in self.program.context.items()}
        self.wanted, self.result = [], self.sized
        while types.is_arrow(self.result) and self.rng.random() < 0.8:
            self.wanted.append(self.result[1])
            self.result = self.result[2]
        return all(types.dim_of(t) <= LARGE for t in [*self.given.values(), *self.wanted, self.result])

    def draw(self, choose):
        return {name: choose(t) for name, t in self.given.items()}, [choose(t) for t in self.wanted]

    def somewhere(self, t):
        """Some coordinates are exactly 0: what they stand for is not taken."""
        return [self.rng.choice([0.0, 1.0, 1.0, 1.0]) * self.rng.uniform(-1.5, 1.5) for _ in range(types.dim_of(t))]

    def evaluate(self, inputs, args):
        return [float(x) for x in self.program.evaluate(inputs, args, self.sized)[0]]

    def linear(self):
        (inputs, args), (other, other_args) = self.draw(self.somewhere), self.draw(self.somewhere)
        names = [name for name, (smooth, _) in self.program.context.items() if not smooth]
        value = self.evaluate(inputs, args)
        for name in names:
            second = self.evaluate({**inputs, name: other[name]}, args)
            mixed = self.evaluate({**inputs, name: [2 * x - 3 * y for x, y in zip(inputs[name], other[name])]}, args)
            if usable(value, second, mixed) and not close(mixed, [2 * x - 3 * y for x, y in zip(value, second)], 1e-9, 1e3):
                raise Wrong(f"not linear in {name} at {inputs}, {other}, {args}")

    def derivatives(self):
        inputs, args = self.draw(self.somewhere)
        speeds, arg_speeds = self.draw(self.somewhere)
        derivative = self.program.derive(inputs, args, self.sized)
        value, cotangent = derivative.value(), self.somewhere(self.result)
        flat = [x for v in [*speeds.values(), *arg_speeds] for x in v]
        along = derivative.jvp(flat)
        by_input, by_arg = derivative.vjp(cotangent)
        gradient = [x for v in [*by_input.values(), *by_arg] for x in v]
        if not usable(value, along, gradient):
            return False
        if not close([sum(x * y for x, y in zip(cotangent, along))], [sum(x * y for x, y in zip(gradient, flat))], 1e-9, 1e3):
            raise Wrong(f"the VJP is not the transposed JVP at {inputs}, {args}")
        if not close([float(x) for x in value], self.evaluate(inputs, args), 1e-12):
            raise Wrong(f"the derivative has another value at {inputs}, {args}")
        return self.differences(inputs, args, speeds, arg_speeds, along)

    def differences(self, inputs, args, speeds, arg_speeds, along):
        """Central differences of two widths; where those differ there is a pole, where the sides differ a kink, and nothing is said."""
        def moved(h):
            at = lambda v, s: [x + h * y for x, y in zip(v, s)]
            return self.evaluate({name: at(v, speeds[name]) for name, v in inputs.items()}, [at(v, s) for v, s in zip(args, arg_speeds)])

        def slopes(h):
            left, right = moved(-h), moved(h)
            return [(x - y) / (2 * h) for x, y in zip(right, left)], [(x - 2 * y + z) / h for x, y, z in zip(left, moved(0), right)]
        (wide, _), (narrow, bend) = slopes(STEP), slopes(STEP / 4)
        if not usable(wide, narrow, bend) or not close(wide, narrow, 1e-5) or max(map(abs, bend)) > 1e-4:
            return False
        if not close(narrow, along, 1e-4):
            raise Wrong(f"the JVP {along} is not the difference {narrow} at {inputs}, {args}")
        return True

    def value(self, t):
        """A random value: every type's, with all fields and items."""
        if t[0] in ("1", "2", "N"):
            return () if t[0] == "1" else self.rng.random() < 0.5 if t[0] == "2" else self.rng.randrange(t[1])
        if t[0] == "R":
            numbers = [self.rng.choice([0.0, 1.0, 0.5, -1.5]) for _ in range(types.dim_of(t))]
            return numbers[0] if t[1] is None else numbers
        if t[0] == "var":
            label, part = self.rng.choice(t[1])
            return interp.Labelled(label, self.value(part))
        if t[0] == "rec":
            return interp.record({label: self.value(part) for label, part in t[1]})
        if t[0] == "pair":
            return (self.value(t[1]), self.value(t[2]))
        return [self.value(t[1]) for _ in range(t[2])] if t[0] == "seq" else interp.basis(t, self.rng.choice(types.keys(t)))

    def interpreted(self):
        if not all(types.is_vector(t) for t in [*self.given.values(), *self.wanted, self.result]):
            return False
        choose = self.value if self.rng.random() < 0.6 else lambda t: interp.basis(t, self.rng.choice(types.keys(t)))
        inputs, args = self.draw(choose)
        try:
            want = [float(x) for x in interp.vector(self.program.interpret(inputs, args), self.result)]
            vectors = {name: interp.vector(v, self.given[name]) for name, v in inputs.items()}
            arg_vectors = [interp.vector(v, t) for v, t in zip(args, self.wanted)]
        except interp.NoValue:
            return False
        got = [float(val(x)) for x in self.program.evaluate(vectors, arg_vectors, self.sized)[0]]
        if not all(map(math.isfinite, [*want, *got])):
            return False
        if not close(got, want, 1e-9):
            raise Wrong(f"the interpreter has {want}, the meaning {got} at {vectors}, {arg_vectors}")
        return True


def examine(rng, body, wanted, imports, seen):
    """True when the program could be looked at; `seen` counts what was."""
    case = Case(rng, body, imports)
    case.accepted(wanted)
    try:
        if not case.measure():
            return False
        case.linear()
        for _ in range(2):
            seen["derivatives"] += case.derivatives()
            seen["interpreter"] += case.interpreted()
    except (ref.Budget, RecursionError, OverflowError):
        return False
    except ref.Fault as fault:
        if fault.code != "nat_bound_exceeded":
            raise
        return False
    except AssertionError as wrong:
        raise Wrong(str(wrong)) from None
    return True


def keys_of(path):
    return [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")[1:]]


def look(j, keys):
    for key in keys:
        j = j[int(key) if isinstance(j, list) else key]
    return j


def put(j, keys, new):
    if not keys:
        return new
    if isinstance(j, list):
        return [put(part, keys[1:], new) if i == int(keys[0]) else part for i, part in enumerate(j)]
    return {key: put(part, keys[1:], new) if key == keys[0] else part for key, part in j.items()}


def places(program):
    found, left = [], [program.term]
    while left:
        e = left.pop()
        found.append(keys_of(e.path))
        left += children(e)
    return found


def code_of(body, imports):
    """(code, place, other place), or None; with the program, if it could be read."""
    program = None
    try:
        program = ref.program(body, imports)
        program.check()
        return None, program
    except ref.Fault as fault:
        return fault, program


def damaged(rng, body, imports, seen):
    at = places(ref.program(body, imports))
    try:
        pieces = [look(body["term"], rng.choice(at)), rng.choice([True, 0, {"real": 1.0}, {"none": "2"}, "r", *body["context"]])]
        body = {**body, "term": put(body["term"], rng.choice(at), rng.choice(pieces))}
    except KeyError:  # the unit that T::l leaves out
        return
    fault, program = code_of(body, imports)
    if fault:
        seen["refused"] += 1
        if fault.code not in CODES:
            raise Wrong(f"code {fault.code} of {json.dumps(body)}")
        for path in filter(None, (fault.path, fault.other)):
            keys = keys_of(path)
            try:
                look(body, keys) if keys[0] == "context" else look(body["term"], keys)
            except (KeyError, IndexError, ValueError, TypeError):
                raise Wrong(f"{fault.code} at {path} of {json.dumps(body)}") from None
    if program:
        again, _ = code_of({"text": program.text(), "nat": body["nat"]}, imports)
        if (fault and fault.code) != (again and again.code):
            raise Wrong(f"{fault and fault.code}, but its text {again and again.code}: {json.dumps(body)}")


def importable(program):
    """Small enough to stand in another."""
    return len(program.text()) < 300 and all(types.is_vector(t) for _, t in program.context.values())


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0])
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2 ** 31))
    options.add_argument("--programs", type=int, default=10 ** 9)
    options.add_argument("--seconds", type=float, default=15)
    options = options.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.setrecursionlimit(20000)
    rng, ends = random.Random(options.seed), time.monotonic() + options.seconds
    counts, seen, pools = {"passed": 0, "failed": 0, "skipped": 0}, {"derivatives": 0, "interpreter": 0, "refused": 0}, {}
    while sum(counts.values()) < options.programs and time.monotonic() < ends:
        nat = (rng.randint(2, 4), rng.choice(["exact", "exact", "drop", "saturate"]))
        pool = pools.setdefault(nat, {})
        maker = programs2.Maker(rng, {name: (program.context, program.checked) for name, program in pool.items()})
        body, wanted = maker.program(*nat)
        try:
            looked_at = examine(rng, body, wanted, pool, seen)
            for _ in range(3):
                damaged(rng, body, pool, seen)
            counts["passed" if looked_at else "skipped"] += 1
            program = ref.program(body, pool)
            if looked_at and importable(program) and len(pool) < 20:
                program.check()
                pool[f"p{len(pool)}"] = program
        except (Wrong, ref.Fault) as wrong:
            counts["failed"] += 1
            print(f"{wrong!r} {getattr(wrong, 'path', '')}\n  {ref.program(body, pool).text()}\n", flush=True)
    print(f"derivatives compared {seen['derivatives']} times, the interpreter {seen['interpreter']} times, {seen['refused']} refusals")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not min(counts["passed"], *seen.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
