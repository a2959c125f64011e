"""The interpreter: §4 of language.md with what language-2.md adds. Values are True and False, integers, () of type 1, Labelled, Lazy records,
pairs (tuples), sequences and tensors (lists), floats, Python functions, and NONE."""
import math

import cajal_numbers as numbers
from cajal_types import REAL, UNIT, dim_of, extents, is_arrow, is_real, keys, part_of

NONE = type("None_", (), {"__repr__": lambda self: "none"})()


class NoValue(Exception):
    """The interpreter has no value here: a chance between, a table of reals."""


class Labelled:
    def __init__(self, label, value):
        self.label, self.value = label, value

    def __eq__(self, other):
        return isinstance(other, Labelled) and (self.label, self.value) == (other.label, other.value)


class Lazy:
    """A record: only the chosen field is run, once."""

    def __init__(self, thunks):
        self.thunks, self.values = thunks, {}

    def get(self, label):
        if label not in self.values:
            self.values[label] = self.thunks[label]()
        return self.values[label]


def record(fields):
    return Lazy({label: lambda v=v: v for label, v in fields.items()})


def dense(v, t):
    """The numbers of a value of a real type, where none is 0."""
    if v is NONE:
        return [0.0] * dim_of(t)
    if t[0] == "R":
        return [v] if t == REAL else v
    if t[0] == "rec":
        return [x for label, part in t[1] for x in dense(v.get(label), part)]
    return [x for item in v for x in dense(item, t[1])]


def sparse(xs, t):
    """The value of a real type with these numbers."""
    if t[0] == "R":
        return xs[0] if t == REAL else xs
    if t[0] == "rec":
        fields, at = {}, 0
        for label, part in t[1]:
            fields[label], at = sparse(xs[at:at + dim_of(part)], part), at + dim_of(part)
        return record(fields)
    n = dim_of(t[1])
    return [sparse(xs[i * n:(i + 1) * n], t[1]) for i in range(t[2])]


class Interpreter:
    def __init__(self, dim, policy, steps=200000):
        self.dim, self.policy, self.steps = dim, policy, steps

    def run(self, e, env):
        self.steps -= 1
        if self.steps < 0:
            raise NoValue("too long")
        if getattr(e, "operator", None):
            return self.operator(e, [self.run(operand, env) for operand in e.given])
        return getattr(self, "run_" + e.kind)(e, env)

    def place(self, n):
        if n is NONE or self.policy == "exact" or n < self.dim:
            return n
        return NONE if self.policy == "drop" else self.dim - 1

    def run_var(self, e, env):
        return env[e.name]

    def run_bool(self, e, env):
        return e.value

    def run_num(self, e, env):
        return self.place(e.value)

    def run_succ(self, e, env):
        n = self.run(e.of, env)
        return NONE if n is NONE else self.place(n + 1)

    def run_if(self, e, env):
        c = self.run(e.condition, env)
        return NONE if c is NONE else self.run(e.then if c else e.other, env)

    def run_fun(self, e, env):
        return lambda a: self.run(e.body, {**env, e.name: a})

    def run_app(self, e, env):
        f = self.run(e.f, env)
        a = self.run(e.a, env)
        return NONE if f is NONE else f(a)

    def run_let(self, e, env):
        return self.run(e.body, {**env, e.names[0]: self.run(e.be, env)})

    def run_iter(self, e, env):
        state, count = self.run(e.base, env), self.run(e.count, env)
        if count is NONE:
            return NONE
        for _ in range(count):
            state = self.run(e.step, {**env, e.var: state})
        return state

    def run_unit(self, e, env):
        return ()

    def run_real(self, e, env):
        return e.value

    def run_none(self, e, env):
        return NONE

    def run_variant(self, e, env):
        v = self.run(e.of, env)
        return NONE if v is NONE else Labelled(e.label, v)

    def run_case(self, e, env):
        v, t = self.run(e.of, env), e.of.type
        if v is NONE:
            return NONE
        if t[0] == "var":
            label, payload = v.label, v.value
        elif t[0] == "N":
            label, payload = ("succ", v - 1) if v else ("0", None)
        else:
            label, payload = "true" if v else "false", None
        branch = next(branch for branch in e.branches if branch.label == label)
        return self.run(branch.body, {**env, branch.var: payload})

    def run_record(self, e, env):
        return Lazy({label: lambda part=part: self.run(part, env) for label, part in e.fields.items()})

    def run_field(self, e, env):
        v = self.run(e.of, env)
        return NONE if v is NONE else v.get(e.label)

    def run_pair(self, e, env):
        v = (self.run(e.left, env), self.run(e.right, env))
        return NONE if NONE in v else v

    def run_unpair(self, e, env):
        v = self.run(e.be, env)
        return NONE if v is NONE else self.run(e.body, {**env, e.names[0]: v[0], e.names[1]: v[1]})

    def run_ununit(self, e, env):
        """Reading: strict as `let (x, y)` is: the unit is used, and its vector scales the result."""
        return NONE if self.run(e.be, env) is NONE else self.run(e.body, env)

    def run_seq(self, e, env):
        return [self.run(item, env) for item in e.items]

    def run_item(self, e, env):
        v = self.run(e.of, env)
        return NONE if v is NONE else v[e.index]

    def run_at(self, e, env):
        v, n = self.run(e.of, env), self.run(e.index, env)
        return NONE if v is NONE or n is NONE or n >= len(v) else v[n]

    def items(self, e, env):
        v = self.run(e, env)
        return [NONE] * e.type[2] if v is NONE else v

    def states(self, e, env):
        xs, states = self.items(e.over, env), [self.run(e.base, env)]
        for x in xs:
            states.append(self.run(e.step, {**env, e.names[0]: states[-1], e.names[1]: x}))
        return states

    def run_fold(self, e, env):
        return self.states(e, env)[-1]

    def run_scan(self, e, env):
        return self.states(e, env)[1:]

    def run_each(self, e, env):
        over = [self.items(xs, env) for xs in e.over]
        return [self.run(e.body, {**env, **dict(zip(e.names, xs))}) for xs in zip(*over)]

    def run_arithmetic(self, e, env):
        op = {"+": numbers.add, "-": numbers.sub, "*": numbers.mul, "/": numbers.div}[e.op]
        a, b = [dense(self.run(operand, env), operand.type) for operand in e.operands]
        a = a * len(b) if e.operands[0].type == REAL else a
        b = b * len(a) if e.operands[1].type == REAL else b
        return sparse(list(map(op, a, b)), e.type)

    def run_negative(self, e, env):
        return sparse([-x for x in dense(self.run(e.operands[0], env), e.type)], e.type)

    def run_equal(self, e, env):
        a, b = [self.run(operand, env) for operand in e.operands]
        return NONE if NONE in (a, b) else a == b

    def operator(self, e, operands):
        name, t = e.operator, e.given[0].type
        if name == "weight":
            return 1.0 if operands[0] is True else 0.0
        a = dense(operands[0], t)
        b = dense(operands[1], e.given[1].type) if len(operands) == 2 else []
        if name in ("min", "max"):
            return sparse(list(map(numbers.least if name == "min" else numbers.greatest, a, b)), e.type)
        if name == "sum":
            return numbers.total(a)
        if name == "chance":
            if a[0] not in (0, 1):
                raise NoValue("chance")
            return a[0] == 1
        if name in ("dot", "matmul"):
            n = extents(t)[-1]
            columns = len(b) // n
            a = [numbers.total(a[r * n + i] * b[i * columns + c] for i in range(n)) for r in range(len(a) // n) for c in range(columns)]
        elif name not in ("pack", "unpack"):
            a = [numbers.function(name, x) for x in a]
        return sparse(a, e.type)

    def run_import(self, e, env):
        return self.run(e.program.term, {name: self.run(part, env) for name, part in e.inputs.items()})


# Values and vectors

def basis(t, key):
    """The value of a basis vector of a sized type. Of a record: one field's, the others none; so of a sequence."""
    if t[0] in ("1", "2", "N"):
        return () if t == UNIT else key == 0 if t[0] == "2" else key
    if t[0] == "R":
        return 1.0 if t == REAL else [float(i == key) for i in range(dim_of(t))]
    if t[0] == "var":
        return Labelled(key[0], basis(part_of(t, key[0]), key[1]))
    if t[0] == "rec":
        return record({label: basis(part, key[1]) if label == key[0] else NONE for label, part in t[1]})
    if t[0] == "pair":
        return (basis(t[1], key[0]), basis(t[2], key[1]))
    if t[0] == "seq":
        return [basis(t[1], key[1]) if i == key[0] else NONE for i in range(t[2])]

    def table(a):
        return basis(t[2], key[0]) if coefficient(a, t[1], key[1], strict=True) else NONE
    return table


def coefficient(v, t, key, strict=False):
    """A value's coefficient at a basis vector. In what a table is applied to (strict) there may be no reals."""
    if strict and is_real(t):
        raise NoValue("a table of reals")
    if v is NONE:
        return 0
    if t[0] in ("1", "2", "N"):
        return 1 if t == UNIT else int(v == (key == 0)) if t[0] == "2" else int(v == key)
    if t[0] == "R":
        return v if t == REAL else v[key]
    if t[0] == "var":
        return coefficient(v.value, part_of(t, key[0]), key[1], strict) if v.label == key[0] else 0
    if t[0] == "rec":
        return coefficient(v.get(key[0]), part_of(t, key[0]), key[1], strict)
    if t[0] == "pair":
        left = coefficient(v[0], t[1], key[0], strict)
        return left and left * coefficient(v[1], t[2], key[1], strict)
    if t[0] == "seq":
        return coefficient(v[key[0]], t[1], key[1], strict)
    return coefficient(v(basis(t[1], key[1])), t[2], key[0], strict)


def vector(v, t):
    return [coefficient(v, t, key) for key in keys(t)]


# The discrete forms of §6, with None for none

def from_form(j, t):
    if j is None:
        return NONE
    if t == UNIT:
        return ()
    if t[0] == "R":
        return float(j) if t == REAL else flat(j)
    if t[0] == "var":
        (label, inner), = [(j, 1)] if isinstance(j, str) else j.items()
        return Labelled(label, from_form(inner, part_of(t, label)))
    if t[0] == "rec":
        return record({label: from_form(j[label], part) for label, part in t[1]})
    if t[0] == "pair":
        return (from_form(j[0], t[1]), from_form(j[1], t[2]))
    return [from_form(x, t[1]) for x in j] if t[0] == "seq" else j


def flat(data):
    return [x for part in data for x in flat(part)] if isinstance(data, list) else [float(data)]


def agrees(v, j, t):
    """The value is what the form says; reals to 1e-9."""
    if is_real(t):
        want = from_form(j, t)
        return all(math.isclose(x, y, rel_tol=1e-9, abs_tol=1e-9) for x, y in zip(dense(v, t), dense(want, t)))
    if v is NONE or j is None:
        return v is NONE and j is None
    if t[0] == "var":
        (label, inner), = [(j, 1)] if isinstance(j, str) else j.items()
        return v.label == label and agrees(v.value, inner, part_of(t, label))
    if t[0] == "rec":
        return all(agrees(v.get(label), j[label], part) for label, part in t[1])
    if t[0] == "pair":
        return agrees(v[0], j[0], t[1]) and agrees(v[1], j[1], t[2])
    if t[0] == "seq":
        return len(v) == len(j) and all(agrees(x, y, t[1]) for x, y in zip(v, j))
    return not is_arrow(t) and v == from_form(j, t) and isinstance(v, bool) == isinstance(j, bool)
