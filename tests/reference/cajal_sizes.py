"""§6 of language.md and the sizes of language-2.md, by inlining every function and running every sequence of sizes.

A size value is a sized type (numbers, tables, data, networks; a record's fields may be size values), or one of these, which are inlined."""
from cajal_types import (BOOL, REAL, UNIT, Fault, bounds, bounds_or, erase, fill, fits, is_arrow, is_vector, join, least, part_of,
                         rebuilt, parts, size_n)


class Budget(Exception):
    """The naive reading would take too long."""


class Work:
    """What may still be done, in numbers looked at."""

    def __init__(self, left):
        self.left = left

    def spend(self, n):
        self.left -= n
        if self.left < 0:
            raise Budget()


class Closure:
    def __init__(self, term, env):
        self.term, self.env = term, env


class Choice:
    """An `if` or a case between functions."""
    def __init__(self, a, b):
        self.a, self.b = a, b


class Guard:
    """A closure that was given to a parameter whose function type has bounds."""
    def __init__(self, declared, f):
        self.declared, self.f = declared, f


class Sizer:
    """`fixed`: the policy is drop or saturate, every N has size dim. `joins`: iterations go on with the join of all states so far, which is
    version 2's rule; in version 1's programs with the last state."""

    def __init__(self, dim, fixed, joins, work):
        self.dim, self.fixed, self.joins, self.work = dim, fixed, joins, Work(work)

    def size(self, e, env):
        self.work.spend(1)
        if getattr(e, "operator", None):
            return self.operator(e, [self.size(operand, env) for operand in e.given])
        return getattr(self, "size_" + e.kind)(e, env)

    def number(self, k):
        return ("N", self.dim) if self.fixed else size_n(k)

    def zero(self, t):
        return least(t, self.dim, self.dim) if self.fixed else least(t)

    def component(self, e, env):
        """The size of a term whose value stands in data: functions of vector type are tabulated there."""
        v = self.size(e, env)
        return self.table(v) if is_vector(e.type) else v

    # Version 1

    def size_var(self, e, env):
        return env[e.name]

    def size_bool(self, e, env):
        return BOOL

    def size_num(self, e, env):
        return self.number(e.value + 1)

    def size_succ(self, e, env):
        return self.number(self.size(e.of, env)[1] + 1)

    def size_if(self, e, env):
        self.size(e.condition, env)
        return self.either(self.size(e.then, env), self.size(e.other, env))

    def either(self, a, b):
        if not isinstance(a, tuple) or not isinstance(b, tuple) or is_arrow(a):
            return Choice(a, b)
        if a[0] == "rec":
            return rebuilt(a, [join(x, y) if isinstance(x, tuple) and isinstance(y, tuple) and self.plain(x) and self.plain(y)
                               else self.either(x, y) for x, y in zip(parts(a), parts(b))])
        return join(a, b)

    def plain(self, v):
        """No function in it that is inlined."""
        return isinstance(v, tuple) and (v[0] == "N" or all(map(self.plain, parts(v))))

    def size_fun(self, e, env):
        return Closure(e, env)

    def size_app(self, e, env):
        f = self.size(e.f, env)
        return self.apply(f, self.size(e.a, env))

    def size_let(self, e, env):
        return self.size(e.body, {**env, e.names[0]: self.size(e.be, env)})

    def size_iter(self, e, env):
        state = self.table(self.size(e.base, env))
        states = self.states(state, lambda s: self.size(e.step, {**env, e.var: s}), self.size(e.count, env)[1] - 1)
        return states[1]

    def states(self, state, step, count):
        """(S_count, the largest of S_0 … S_count)"""
        largest = state
        for _ in range(count):
            before, state = state, self.table(step(state))
            largest = join(largest, state)
            if self.joins:
                state = largest
            if state == before:
                break
        return state, largest

    def apply(self, f, a):
        self.work.spend(1)
        if isinstance(f, Closure):
            return self.size(f.term.body, {**f.env, f.term.name: self.admit(f.term.declared, a)})
        if isinstance(f, Choice):
            return self.either(self.apply(f.a, a), self.apply(f.b, a))
        if isinstance(f, Guard):
            return self.admit(f.declared[2], self.apply(f.f, self.admit(f.declared[1], a)))
        a = self.table(a)
        if not fits(a, f[1]):
            raise Fault("nat_bound_exceeded")
        return f[2]

    def admit(self, declared, a):
        """A bound is only a check: the argument keeps its own size.
        Reading: a bound inside a parameter's function type is checked whenever the function is applied through that parameter."""
        self.work.spend(1)
        if not bounds(declared):
            return a
        if isinstance(a, Choice):
            return Choice(self.admit(declared, a.a), self.admit(declared, a.b))
        if not isinstance(a, tuple):
            return Guard(declared, a)
        if a[0] == "rec":
            return rebuilt(a, [self.admit(d, x) for d, x in zip(parts(declared), parts(a))])
        if not fits(a, declared):
            raise Fault("nat_bound_exceeded")
        return a

    def table(self, v):
        """The sized type of a value where it is tabulated."""
        if isinstance(v, tuple):
            return rebuilt(v, [self.table(part) for part in parts(v)]) if v[0] == "rec" else v
        domain = fill(self.domain(v), self.dim)
        return (self.kind(v), domain, self.table(self.apply(v, domain)))

    def kind(self, v):
        if isinstance(v, tuple):
            return v[0]
        if isinstance(v, Closure):
            return "smooth" if v.term.smooth else "lin"
        return self.kind(v.a if isinstance(v, Choice) else v.f)

    def domain(self, v):
        """The declared type of a tabulated function's parameter.
        Known choice of the service: an `if` is evaluated at the smaller of both sizes.
        Reading: a closure that was given to a parameter with a bound is tabulated at that bound, its own is then the check."""
        self.work.spend(1)
        if isinstance(v, tuple):
            return v[1]
        if isinstance(v, Closure):
            return v.term.declared
        if isinstance(v, Choice):
            return join(self.widest(v.a), self.widest(v.b), min)
        return bounds_or(v.declared[1], self.domain(v.f))

    def widest(self, v):
        return v[1] if isinstance(v, tuple) else fill(self.domain(v), self.dim)

    # Data

    def size_unit(self, e, env):
        return UNIT

    def size_real(self, e, env):
        return REAL

    def size_none(self, e, env):
        return self.zero(e.declared)

    def size_variant(self, e, env):
        v = self.table(self.size(e.of, env))
        if not fits(v, part_of(e.declared, e.label)):
            raise Fault("nat_bound_exceeded")
        return ("var", tuple((label, v if label == e.label else self.zero(erase(part))) for label, part in e.declared[1]))

    def size_case(self, e, env):
        of, total = self.size(e.of, env), None
        for branch in e.branches:
            part = None
            if of[0] == "var":
                part = part_of(of, branch.label)
            elif branch.label == "succ":
                part = of if self.fixed else ("N", of[1] - 1)
            v = self.zero(branch.body.type) if part == ("N", 0) else self.size(branch.body, {**env, branch.var: part})
            total = v if total is None else self.either(total, v)
        return total

    def size_record(self, e, env):
        return ("rec", tuple((label, self.component(part, env)) for label, part in e.fields.items()))

    def size_field(self, e, env):
        return part_of(self.size(e.of, env), e.label)

    def size_pair(self, e, env):
        return ("pair", self.component(e.left, env), self.component(e.right, env))

    def size_unpair(self, e, env):
        p = self.size(e.be, env)
        return self.size(e.body, {**env, e.names[0]: p[1], e.names[1]: p[2]})

    def size_ununit(self, e, env):
        self.size(e.be, env)
        return self.size(e.body, env)

    def size_seq(self, e, env):
        item = self.component(e.items[0], env)
        for other in e.items[1:]:
            item = join(item, self.component(other, env))
        return ("seq", item, len(e.items))

    def size_item(self, e, env):
        return self.size(e.of, env)[1]

    def size_at(self, e, env):
        of = self.size(e.of, env)
        self.size(e.index, env)
        return of[1]

    def size_fold(self, e, env):
        xs = self.size(e.over, env)
        state = self.table(self.size(e.base, env))
        last, _ = self.states(state, lambda s: self.size(e.step, {**env, e.names[0]: s, e.names[1]: xs[1]}), xs[2])
        return last if e.kind == "fold" else ("seq", last, xs[2])

    size_scan = size_fold

    def size_each(self, e, env):
        inner = {**env, **{name: self.size(xs, env)[1] for name, xs in zip(e.names, e.over)}}
        return ("seq", self.component(e.body, inner), e.type[2])

    # Numbers have no sizes of their own

    def size_arithmetic(self, e, env):
        for operand in e.operands:
            self.size(operand, env)
        return e.type

    size_negative = size_equal = size_arithmetic

    def operator(self, e, operands):
        return e.type

    def size_import(self, e, env):
        """As if λ-bound inputs were applied."""
        context = e.program.context
        given = {name: self.admit(context[name][1], self.size(part, env)) for name, part in e.inputs.items()}
        return self.size(e.program.term, given)


def sized_of(program, work):
    """The sized type of the whole."""
    if program.policy != "exact":
        if any(k != program.dim for t in program.declared() for k in bounds(t)):
            raise Fault("nat_bound_exceeded")
    sizer = Sizer(program.dim, program.policy != "exact", program.grammar == 2, work)
    env = {name: fill(t, program.dim) for name, (_, t) in program.context.items()}
    return fill(sizer.table(sizer.size(program.term, env)), program.dim)
