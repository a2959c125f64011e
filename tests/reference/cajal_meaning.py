"""What a program means: §5 of language.md and §4 of language-2.md, the sums as written.

The value of a vector type is a dictionary, basis key ↦ coefficient; what is absent is 0, and {} is zero of every type. The keys are those of
cajal_types.keys: of N as many as it needs, of a pair (i, j), of a table (o, i). A function is such a table or an Fn, a record such a
dictionary or a Rec. Coefficients are numbers or Nums of cajal_numbers.
"""
import math

import cajal_numbers as numbers
from cajal_numbers import Num, mul, val
from cajal_sizes import Budget, Work
from cajal_types import REAL, erase, extents, fill, is_arrow, keys, parts

HUGE = 2 ** 200  # coefficients beyond are no longer compared, and dear


class Fn:
    """A function that is not tabulated; `domain` is its parameter's sized type where it has to be: no smaller than any that cajal_sizes may
    find, for columns too many are of no use and do no harm."""

    def __init__(self, domain, call):
        self.domain, self.call = domain, call


class Rec:
    def __init__(self, fields):
        self.fields = fields


def field(v, label):
    return v.fields[label] if isinstance(v, Rec) else {key[1]: x for key, x in v.items() if key[0] == label}


def mapped(f, v):
    """f on every coefficient."""
    if isinstance(v, Fn):
        return Fn(v.domain, lambda a: mapped(f, v.call(a)))
    if isinstance(v, Rec):
        return Rec({label: mapped(f, part) for label, part in v.fields.items()})
    return {key: f(x) for key, x in v.items()}


def finite(v):
    """Only what is finite."""
    if isinstance(v, Fn):
        return Fn(v.domain, lambda a: finite(v.call(a)))
    if isinstance(v, Rec):
        return Rec({label: finite(part) for label, part in v.fields.items()})
    return {key: x for key, x in v.items() if math.isfinite(val(x))}


def take(c, value_of):
    """c·value. What is not taken takes nothing: only the coefficient's own derivative sees the value.
    Reading: "0 where that value is not finite" is said of each entry of the value."""
    if val(c) != 0:
        return mapped(lambda x: mul(c, x), value_of()) if isinstance(c, Num) or c != 1 else value_of()
    return mapped(lambda x: Num(0, [(c, val(x))]), finite(value_of())) if isinstance(c, Num) else {}


def seen(v):
    """A part of a vector that is exactly 0, as the derivative sees it: the Nums in it."""
    return {key: x for key, x in v.items() if isinstance(x, Num)}


class Meaning:
    def __init__(self, dim, policy, wide, work=2000000):
        self.dim, self.policy, self.wide, self.work = dim, policy, wide, Work(work)
        self.largest = 0  # integer coefficient on the way: what floating point must hold

    def plus(self, a, b):
        if isinstance(a, Fn) or isinstance(b, Fn):
            return Fn((a if isinstance(a, Fn) else b).domain, lambda v: self.plus(self.apply(a, v), self.apply(b, v)))
        if isinstance(a, Rec) or isinstance(b, Rec):
            labels = (a if isinstance(a, Rec) else b).fields
            return Rec({label: self.plus(field(a, label), field(b, label)) for label in labels})
        self.work.spend(1 + len(b))
        out = dict(a)
        for key, x in b.items():
            out[key] = numbers.add(out[key], x) if key in out else x
        return out

    def combine(self, coefficients, value_of):
        """Σ coefficients[key]·value_of(key)"""
        total = {}
        for key, c in coefficients.items():
            self.work.spend(1)
            if isinstance(c, Num) or c != 0:
                total = self.plus(total, take(c, lambda key=key: value_of(key)))
        return total

    def part(self, v, value_of):
        """The branch of a part of a vector, linear in it; a part that is exactly 0 is not taken."""
        if any(val(x) != 0 for x in v.values()):
            return value_of(v)
        return self.combine(seen(v), lambda key: value_of({key: 1}))

    def vector(self, v, t=None):
        """The value as a dictionary; with a sized type, a function is tabulated on that domain."""
        if isinstance(v, Rec):
            types = dict(t[1]) if t else {}
            return {(label, key): x for label, part in v.fields.items() for key, x in self.vector(part, types.get(label)).items()}
        if not isinstance(v, Fn):
            return v
        columns = {i: self.vector(v.call({i: 1}), t and t[2]) for i in keys(t[1] if t else v.domain)}
        self.work.spend(sum(map(len, columns.values())))
        return {(o, i): x for i, column in columns.items() for o, x in column.items()}

    def apply(self, f, a):
        if isinstance(f, Fn):
            return f.call(a)
        a, out = self.vector(a) if f else {}, {}
        self.work.spend(len(f))
        for (o, i), x in f.items():
            if i in a:
                out[o] = numbers.add(out.get(o, 0), mul(x, a[i]))
        return out

    def flatten(self, t, v):
        """The numbers of a value of the sized type t; nothing may be cut off."""
        v, names = self.vector(v, t), keys(t)
        self.work.spend(len(names))
        if no_arrow(t) and any(val(v[key]) for key in set(v) - set(names)):
            raise AssertionError("a value is larger than its size")
        return [v.get(key, 0) for key in names]

    def run(self, e, env):
        if getattr(e, "operator", None):
            return self.operator(e, [self.run(operand, env) for operand in e.given])
        value = getattr(self, "run_" + e.kind)(e, env)
        self.work.spend(1)
        if isinstance(value, dict):
            self.work.spend(len(value))
            self.largest = max([self.largest, *(abs(x) for x in map(val, value.values()) if isinstance(x, int))])
            if self.largest > HUGE:
                raise Budget()
        return value

    # Version 1

    def run_var(self, e, env):
        return env[e.name]

    def run_bool(self, e, env):
        return {0 if e.value else 1: 1}

    def run_num(self, e, env):
        return self.place({e.value: 1})

    def run_succ(self, e, env):
        return self.place({n + 1: c for n, c in self.vector(self.run(e.of, env)).items()})

    def place(self, v):
        """A natural under the policy."""
        if self.policy == "exact":
            return v
        out = {}
        for n, c in v.items():
            if n < self.dim or self.policy == "saturate":
                n = min(n, self.dim - 1)
                out[n] = numbers.add(out[n], c) if n in out else c
        return out

    def run_if(self, e, env):
        return self.combine(self.run(e.condition, env), lambda key: self.run(e.other if key else e.then, env))

    def run_fun(self, e, env):
        return Fn(fill(erase(e.declared), self.wide), lambda v: self.run(e.body, {**env, e.name: v}))

    def run_app(self, e, env):
        f = self.run(e.f, env)
        return self.apply(f, self.run(e.a, env))

    def run_let(self, e, env):
        return self.run(e.body, {**env, e.names[0]: self.run(e.be, env)})

    def run_iter(self, e, env):
        states = [self.vector(self.run(e.base, env))]

        def state(i):
            while len(states) <= i:
                states.append(self.vector(self.run(e.step, {**env, e.var: states[-1]})))
            return states[i]
        return self.combine(self.run(e.count, env), state)

    # Data

    def run_unit(self, e, env):
        return {(): 1}

    def run_real(self, e, env):
        return {(): e.value}

    def run_none(self, e, env):
        return {}

    def run_variant(self, e, env):
        return {(e.label, key): x for key, x in self.vector(self.run(e.of, env)).items()}

    def run_case(self, e, env):
        of, total = self.run(e.of, env), {}
        for branch in e.branches:
            total = self.plus(total, self.branch(e.of.type, of, branch, env))
        return total

    def branch(self, t, of, branch, env):
        body = branch.body
        if branch.label == "succ":
            return self.part({n - 1: c for n, c in of.items() if n > 0}, lambda m: self.run(body, {**env, branch.var: m}))
        if t[0] == "var" and branch.var:
            return self.part(field(of, branch.label), lambda x: self.run(body, {**env, branch.var: x}))
        key = {"true": 0, "false": 1, "0": 0}[branch.label] if t[0] != "var" else (branch.label, ())
        return self.combine({key: of.get(key, 0)}, lambda _: self.run(body, env))

    def run_record(self, e, env):
        return Rec({label: self.run(part, env) for label, part in e.fields.items()})

    def run_field(self, e, env):
        return field(self.run(e.of, env), e.label)

    def run_pair(self, e, env):
        left, right = self.vector(self.run(e.left, env)), self.vector(self.run(e.right, env))
        self.work.spend(len(left) * len(right))
        return {(i, j): mul(x, y) for i, x in left.items() for j, y in right.items()}

    def run_unpair(self, e, env):
        """Reading: a coefficient of the pair that is exactly 0 takes nothing here either."""
        x, y = e.names
        return self.combine(self.run(e.be, env), lambda key: self.run(e.body, {**env, x: {key[0]: 1}, y: {key[1]: 1}}))

    def run_ununit(self, e, env):
        """Reading: the same, one being a pair of no halves."""
        return self.combine(self.run(e.be, env), lambda _: self.run(e.body, env))

    def run_seq(self, e, env):
        return {(i, key): x for i, item in enumerate(e.items) for key, x in self.vector(self.run(item, env)).items()}

    def run_item(self, e, env):
        return field(self.run(e.of, env), e.index)

    def run_at(self, e, env):
        of = self.run(e.of, env)
        index = {n: c for n, c in self.run(e.index, env).items() if n < e.of.type[2]}
        return self.combine(index, lambda n: field(of, n))

    def states(self, e, env):
        xs, states = self.run(e.over, env), [self.vector(self.run(e.base, env))]
        for i in range(e.over.type[2]):
            states.append(self.vector(self.run(e.step, {**env, e.names[0]: states[-1], e.names[1]: field(xs, i)})))
        return states

    def run_fold(self, e, env):
        return self.states(e, env)[-1]

    def run_scan(self, e, env):
        return {(i, key): x for i, state in enumerate(self.states(e, env)[1:]) for key, x in state.items()}

    def run_each(self, e, env):
        over, out = [self.run(xs, env) for xs in e.over], {}
        for i in range(e.type[2]):
            body = self.run(e.body, {**env, **{name: field(xs, i) for name, xs in zip(e.names, over)}})
            out.update({(i, key): x for key, x in self.vector(body).items()})
        return out

    # Numbers

    def dense(self, v, t):
        """(keys, coefficients) of a value of a real type, zeros too."""
        v, names = self.vector(v), keys(t)
        self.work.spend(len(names))
        return names, [v.get(key, 0) for key in names]

    def run_arithmetic(self, e, env):
        op = {"+": numbers.add, "-": numbers.sub, "*": mul, "/": numbers.div}[e.op]
        a, b = [self.dense(self.run(operand, env), operand.type)[1] for operand in e.operands]
        if e.operands[0].type == REAL:
            a = a * len(b)
        if e.operands[1].type == REAL:
            b = b * len(a)
        return dict(zip(keys(e.type), map(op, a, b)))

    def run_negative(self, e, env):
        return mapped(numbers.neg, self.vector(self.run(e.operands[0], env)))

    def run_equal(self, e, env):
        a, b = [self.run(operand, env) for operand in e.operands]
        same = numbers.total(mul(x, b[key]) for key, x in a.items() if key in b)
        return {0: same, 1: numbers.sub(mul(numbers.total(a.values()), numbers.total(b.values())), same)}

    def operator(self, e, operands):
        name, types = e.operator, [operand.type for operand in e.given]
        if name == "weight":
            return {(): operands[0].get(0, 0)}
        (names, a), b = self.dense(operands[0], types[0]), []
        if len(operands) == 2:
            b = self.dense(operands[1], types[1])[1]
        if name in ("min", "max"):
            return dict(zip(names, map(numbers.least if name == "min" else numbers.greatest, a, b)))
        if name == "sum":
            return {(): numbers.total(a)}
        if name in ("pack", "unpack"):
            return dict(zip(keys(e.type), a))
        if name == "chance":
            return {0: a[0], 1: numbers.sub(1, a[0])}
        if name in ("dot", "matmul"):
            n = extents(types[0])[-1]
            rows, columns = len(a) // n, len(b) // n
            self.work.spend(rows * len(b))
            return dict(zip(keys(e.type), (numbers.total(mul(a[r * n + i], b[i * columns + c]) for i in range(n))
                                           for r in range(rows) for c in range(columns))))
        return {key: numbers.function(name, x) for key, x in zip(names, a)}

    def run_import(self, e, env):
        return self.run(e.program.term, {name: self.run(part, env) for name, part in e.inputs.items()})


def no_arrow(t):
    return not is_arrow(t) and all(map(no_arrow, parts(t)))
