"""A second reading of the Cajal language, made from design/language.md alone and never from the compiler's code.

It is slow and literal on purpose: the checker (§3) adds grades in dictionaries, the sizes (§6) inline every function and run every
iteration's size sequence, and the meaning (§5) is exact arithmetic on Python integers. Where the compiler and this file disagree, the
page decides who is right. `compare.py` holds a running service against it on random programs, `programs.py` makes those.

    t = parse(json_term, json_context, nat)      Program, or raises Fault("parse_error")
    t.check()                                    the erased type of the whole, or raises Fault(code)
    t.sized()                                    the sized type of the whole, or raises Fault("nat_bound_exceeded")
    t.evaluate(inputs, args, sized)              the flat result and the largest number on the way; inputs and args are flat lists
Fault carries an error code of the service, Budget says that the reading is too slow for this program.

Points that the page leaves open, and how they are read here, are marked "Reading:".
"""
import re

from cajal_types import BOOL, NAT, Fault, bounds, bounds_or, dim_of, erase, fill, fits, is_arrow, is_vector, join, parse_declared, size_n

KEYWORDS = {"true", "false", "tt", "ff", "succ", "if", "then", "else", "let", "in", "iter"}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_']*\Z")


HUGE = 2 ** 200  # coefficients beyond are no longer compared, and dear


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


# Terms: ("var", x) | ("bool", v) | ("num", n) | ("succ", e) | ("if", c, a, b) | ("fun", x, smooth, type, body)
#        | ("app", f, a) | ("iter", base, y, step, count) | ("let", x, e, body)

def name_of(value):
    if not isinstance(value, str) or not NAME.match(value) or value in KEYWORDS:
        raise Fault("parse_error")
    return value


def parse_term(j):
    if isinstance(j, bool):
        return ("bool", j)
    if isinstance(j, str):
        return ("var", name_of(j))
    if isinstance(j, (int, float)):
        if j < 0 or j != int(j) or j > 2 ** 53:
            raise Fault("parse_error")
        return ("num", int(j))
    if not isinstance(j, dict):
        raise Fault("parse_error")
    keys = set(j)
    if keys == {"succ"}:
        return ("succ", parse_term(j["succ"]))
    if keys == {"if", "then", "else"}:
        return ("if", parse_term(j["if"]), parse_term(j["then"]), parse_term(j["else"]))
    if keys == {"fun", "type", "body"}:
        return ("fun", name_of(j["fun"]), *parse_declared(j["type"]), parse_term(j["body"]))
    if keys == {"app"}:
        if not isinstance(j["app"], list) or len(j["app"]) < 2:
            raise Fault("parse_error")
        parts = [parse_term(part) for part in j["app"]]
        term = parts[0]
        for part in parts[1:]:
            term = ("app", term, part)
        return term
    if keys == {"iter"}:
        it = j["iter"]
        if not isinstance(it, dict) or set(it) != {"base", "var", "step", "count"}:
            raise Fault("parse_error")
        return ("iter", parse_term(it["base"]), name_of(it["var"]), parse_term(it["step"]), parse_term(it["count"]))
    if keys == {"let", "be", "in"}:
        return ("let", name_of(j["let"]), parse_term(j["be"]), parse_term(j["in"]))
    raise Fault("parse_error")


def parse(term, context=None, nat=None):
    return Program(parse_term(term), {name_of(x): parse_declared(t) for x, t in (context or {}).items()}, nat or {})


# Usages: variable identity ↦ ONE, or the code that says why its grade is ω; grade 0 is absence.

ONE = "1"


def add(u, v):
    """U + V: a variable in both is used more than once, whatever the grades were."""
    return {x: "linear_reused" if x in u and x in v else u.get(x) or v.get(x) for x in [*u, *(x for x in v if x not in u)]}


def joined(u, v):
    """Reading: a cause from inside a branch came before the `if`, so it stays before linear_branches."""
    out = {}
    for x in [*u, *v]:
        causes = [g for g in (u.get(x), v.get(x)) if g not in (None, ONE)]
        out[x] = ONE if u.get(x) == v.get(x) == ONE else causes[0] if causes else "linear_branches"
    return out


def times(grade, u):
    """grade·U for a grade that is not 0; an ω inside keeps its own cause."""
    return {x: grade if g == ONE else g for x, g in u.items()}


class Checker:
    """§3. Reading of "post-order": a node's rule is judged when all of the node's parts have been, from left to right, and the
    binder of an iteration's step or of a let on leaving its scope."""

    def __init__(self):
        self.fresh = 0
        self.types = {}  # id of an iteration's term ↦ its erased type

    def bind(self, scope, name, t):
        self.fresh += 1
        return {**scope, name: (self.fresh, t)}, self.fresh

    # Reading: errors come in post-order of the offending nodes, so a premise is judged as soon as the subterm that it is about is through.
    def check(self, e, scope):
        return getattr(self, "check_" + e[0])(e, scope)

    def want(self, got, wanted):
        if got != wanted:
            raise Fault("type_mismatch")

    def check_var(self, e, scope):
        if e[1] not in scope:
            raise Fault("unbound_variable")
        identity, t = scope[e[1]]
        return t, {identity: ONE}

    def check_bool(self, e, scope):
        return BOOL, {}

    def check_num(self, e, scope):
        return NAT, {}

    def check_succ(self, e, scope):
        t, u = self.check(e[1], scope)
        self.want(t, NAT)
        return t, u

    def check_if(self, e, scope):
        c, uc = self.check(e[1], scope)
        self.want(c, BOOL)
        a, ua = self.check(e[2], scope)
        b, ub = self.check(e[3], scope)
        self.want(b, a)
        return a, add(uc, joined(ua, ub))

    def check_fun(self, e, scope):
        _, name, smooth, declared, body = e
        inner, x = self.bind(scope, name, erase(declared))
        b, u = self.check(body, inner)
        judge(declared, smooth, u.pop(x, None))
        return ("smooth" if smooth else "lin", erase(declared), b), u

    def check_app(self, e, scope):
        f, uf = self.check(e[1], scope)
        if not is_arrow(f):
            raise Fault("not_a_function")
        a, ua = self.check(e[2], scope)
        self.want(a, f[1])
        return f[2], add(uf, times("linear_smooth", ua) if f[0] == "smooth" else ua)

    def check_let(self, e, scope):
        t, ue = self.check(e[2], scope)
        inner, x = self.bind(scope, e[1], t)
        b, u = self.check(e[3], inner)
        g = u.pop(x, None)
        if g is None:
            raise Fault("linear_unused")
        return b, add(times(g, ue), u)

    def check_iter(self, e, scope):
        _, base, name, step, count = e
        t, ub = self.check(base, scope)
        if not is_vector(t):
            raise Fault("not_a_vector")
        inner, y = self.bind(scope, name, t)
        s, us = self.check(step, inner)
        g = us.pop(y, None)
        if g is None:
            raise Fault("linear_unused")
        self.want(s, t)
        c, uc = self.check(count, scope)
        self.want(c, NAT)
        self.types[id(e)] = t
        return t, add(add(times(g, ub), times("linear_in_step", us)), uc)


def judge(declared, smooth, grade):
    """A binder or context variable on leaving it."""
    if not smooth and not is_vector(declared):
        raise Fault("not_a_vector")
    if not smooth and grade != ONE:
        raise Fault("linear_unused" if grade is None else grade)


# Sizes. A size value is a sized type (numbers, tables, networks) or one of these, which are inlined.

class Closure:
    def __init__(self, term, env):
        self.term, self.env = term, env


class Choice:
    """An `if` between functions."""
    def __init__(self, a, b):
        self.a, self.b = a, b


class Guard:
    """A closure that was given to a parameter whose function type has bounds."""
    def __init__(self, declared, f):
        self.declared, self.f = declared, f


class Sizer:
    """§6, by inlining every function and running every iteration's sequence of sizes."""

    def __init__(self, dim, fixed, work=100000):
        self.dim, self.fixed, self.work = dim, fixed, Work(work)

    def size(self, e, env):
        self.work.spend(1)
        return getattr(self, "size_" + e[0])(e, env)

    def number(self, k):
        return ("N", self.dim) if self.fixed else size_n(k)

    def size_var(self, e, env):
        return env[e[1]]

    def size_bool(self, e, env):
        return BOOL

    def size_num(self, e, env):
        return self.number(e[1] + 1)

    def size_succ(self, e, env):
        return self.number(self.size(e[1], env)[1] + 1)

    def size_if(self, e, env):
        self.size(e[1], env)
        return self.either(self.size(e[2], env), self.size(e[3], env))

    def either(self, a, b):
        if isinstance(a, tuple) and isinstance(b, tuple) and not is_arrow(a):
            return join(a, b)
        return Choice(a, b)

    def size_fun(self, e, env):
        return Closure(e, env)

    def size_app(self, e, env):
        f = self.size(e[1], env)
        return self.apply(f, self.size(e[2], env))

    def size_let(self, e, env):
        return self.size(e[3], {**env, e[1]: self.size(e[2], env)})

    def size_iter(self, e, env):
        _, base, name, step, count = e
        state = largest = self.table(self.size(base, env))
        for _ in range(self.size(count, env)[1] - 1):
            before, state = state, self.table(self.size(step, {**env, name: state}))
            if state == before:
                break
            largest = join(largest, state)
        return largest

    def apply(self, f, a):
        self.work.spend(1)
        if isinstance(f, Closure):
            return self.size(f.term[4], {**f.env, f.term[1]: self.admit(f.term[3], a)})
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
        if not fits(a, declared):
            raise Fault("nat_bound_exceeded")
        return a

    def table(self, v):
        """The sized type of a value where it is tabulated."""
        if isinstance(v, tuple):
            return v
        domain = fill(self.domain(v), self.dim)
        return (self.kind(v), domain, self.table(self.apply(v, domain)))

    def kind(self, v):
        if isinstance(v, tuple):
            return v[0]
        if isinstance(v, Closure):
            return "smooth" if v.term[2] else "lin"
        return self.kind(v.a if isinstance(v, Choice) else v.f)

    def domain(self, v):
        """The declared type of a tabulated function's parameter.
        Known choice of the service: an `if` is evaluated at the smaller of both sizes.
        Reading: a closure that was given to a parameter with a bound is tabulated at that bound, its own is then the check."""
        self.work.spend(1)
        if isinstance(v, tuple):
            return v[1]
        if isinstance(v, Closure):
            return v.term[3]
        if isinstance(v, Choice):
            return join(fill(self.domain(v.a), self.dim), fill(self.domain(v.b), self.dim), min)
        return bounds_or(v.declared[1], self.domain(v.f))


def basis(i):
    return [0] * i + [1]


class Meaning:
    """§5, under the policy: ⟦if⟧ and ⟦iter⟧ are the sums as written. A value of 2, N and R is a list of integers (of N: as long as it
    needs to be), of a function a Python function."""

    def __init__(self, dim, policy, types, work=2000000):
        self.dim, self.policy, self.types, self.work = dim, policy, types, Work(work)
        self.largest = 0  # coefficient on the way: what floating point must hold

    def plus(self, a, b):
        if callable(a):
            return lambda v: self.plus(a(v), b(v))
        if len(a) < len(b):
            a, b = b, a
        self.work.spend(len(a))
        return [x + y for x, y in zip(a, b)] + a[len(b):]

    def scale(self, c, a):
        if c == 1:
            return a
        if callable(a):
            return lambda v: self.scale(c, a(v))
        self.work.spend(len(a))
        return [c * x for x in a]

    def zero(self, t):
        self.work.spend(1)
        if is_arrow(t):
            return lambda v: self.zero(t[2])
        return [] if t[0] == "N" else [0] * dim_of(t)

    def combine(self, coefficients, value_of, nothing):
        """Σᵢ coefficients[i]·value_of(i), leaving out what is multiplied by 0."""
        total = None
        self.work.spend(len(coefficients))
        for i, c in enumerate(coefficients):
            if c != 0:
                part = self.scale(c, value_of(i))
                total = part if total is None else self.plus(total, part)
        return nothing if total is None else total

    def unit(self, t, i):
        self.work.spend(dim_of(t))
        return [int(j == i) for j in range(dim_of(t))]

    def tabulated(self, t, f):
        """The same function as a matrix, its columns computed when first needed. Of functions of functions only the results are."""
        if not is_arrow(t):
            return f
        columns = {}

        def column(i):
            if i not in columns:
                columns[i] = self.tabulated(t[2], f(basis(i) if t[1][0] == "N" else self.unit(t[1], i)))
            return columns[i]
        if is_arrow(t[1]):
            return lambda v: self.tabulated(t[2], f(v))
        return lambda v: self.combine(v, column, self.zero(t[2]))

    def flatten(self, t, v):
        """The vector of a value of the sized type t; nothing may be cut off."""
        n = dim_of(t)
        self.work.spend(n)
        if not is_arrow(t):
            if any(v[n:]):
                raise AssertionError("a value is larger than its size")
            return (v + [0] * n)[:n]
        wide = dim_of(t[1])
        columns = [self.flatten(t[2], v(self.unflatten(t[1], self.unit(t[1], i)))) for i in range(wide)]
        return [columns[i][o] for o in range(dim_of(t[2])) for i in range(wide)]

    def unflatten(self, t, vector):
        self.work.spend(len(vector))
        if not is_arrow(t):
            return list(vector)
        wide = dim_of(t[1])
        return lambda a: self.combine(self.flatten(t[1], a), lambda i: self.unflatten(t[2], vector[i::wide]),
                                      self.unflatten(t[2], [0] * dim_of(t[2])))

    def run(self, e, env):
        value = getattr(self, "run_" + e[0])(e, env)
        if callable(value):
            self.work.spend(1)
            return value
        self.work.spend(1 + len(value))
        self.largest = max([self.largest, *map(abs, value)])
        if self.largest > HUGE:
            raise Budget()
        return value

    def run_var(self, e, env):
        return env[e[1]]

    def run_bool(self, e, env):
        return [1, 0] if e[1] else [0, 1]

    def run_num(self, e, env):
        if self.policy == "exact" or e[1] < self.dim:
            return basis(e[1])
        return [] if self.policy == "drop" else basis(self.dim - 1)

    def run_succ(self, e, env):
        shifted = [0] + self.run(e[1], env)
        if self.policy == "exact" or len(shifted) <= self.dim:
            return shifted
        last = shifted.pop()
        if self.policy == "saturate":
            shifted[-1] += last
        return shifted

    def run_if(self, e, env):
        c = self.run(e[1], env)
        if c[1] == 0:
            return self.scale(c[0], self.run(e[2], env))
        if c[0] == 0:
            return self.scale(c[1], self.run(e[3], env))
        return self.plus(self.scale(c[0], self.run(e[2], env)), self.scale(c[1], self.run(e[3], env)))

    def run_fun(self, e, env):
        return lambda v: self.run(e[4], {**env, e[1]: v})

    def run_app(self, e, env):
        f = self.run(e[1], env)
        return f(self.run(e[2], env))

    def run_let(self, e, env):
        return self.run(e[3], {**env, e[1]: self.run(e[2], env)})

    def run_iter(self, e, env):
        _, base, name, step, count = e
        t = self.types[id(e)]
        states = [self.tabulated(t, self.run(base, env))]

        def state(i):
            while len(states) <= i:
                states.append(self.tabulated(t, self.run(step, {**env, name: states[-1]})))
            return states[i]
        return self.combine(self.run(count, env), state, self.zero(t))


class Program:
    def __init__(self, term, context, nat):
        self.term, self.context = term, context
        self.dim, self.policy = nat.get("dim", 10), nat.get("overflow", "exact")
        self.types = None

    def check(self):
        checker = Checker()
        scope, uses = {}, {}
        for name, (_, t) in self.context.items():
            scope, uses[name] = checker.bind(scope, name, erase(t))
        t, u = checker.check(self.term, scope)
        for name, (smooth, declared) in self.context.items():  # Reading: several errors there come in the order as written
            judge(declared, smooth, u.get(uses[name]))
        self.types = checker.types
        return t

    def sized(self):
        if self.policy != "exact":
            if any(k != self.dim for k in self.all_bounds(self.term) + [k for _, t in self.context.values() for k in bounds(t)]):
                raise Fault("nat_bound_exceeded")
        sizer = Sizer(self.dim, self.policy != "exact")
        env = {name: fill(t, self.dim) for name, (_, t) in self.context.items()}
        return sizer.table(sizer.size(self.term, env))

    def all_bounds(self, e):
        here = bounds(e[3]) if e[0] == "fun" else []
        return here + [k for part in e[1:] if isinstance(part, tuple) and part and part[0] in TERMS for k in self.all_bounds(part)]

    def evaluate(self, inputs, args, sized):
        """(flat vector of the result, largest coefficient on the way); `sized` is the program's sized type, arguments included."""
        meaning = Meaning(self.dim, self.policy, self.types)
        env = {name: meaning.unflatten(fill(t, self.dim), inputs[name]) for name, (_, t) in self.context.items()}
        value = meaning.run(self.term, env)
        for vector in args:
            value = value(meaning.unflatten(sized[1], vector))
            sized = sized[2]
        return meaning.flatten(sized, value), meaning.largest


TERMS = {"var", "bool", "num", "succ", "if", "fun", "app", "iter", "let"}
