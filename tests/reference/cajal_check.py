"""§3 of both pages: types, and grades in dictionaries.

A usage is TOP, which is the whole usage of what is known to be zero, or variable identity ↦ Grade; grade 0 is absence. A binder's grade
is TOP, None, or a Grade.

The order of errors is language-2.md's for both versions: a node's demands are judged after its parts, but those on a condition, a scrutinee,
a folded, mapped or taken-apart operand on leaving it. `early` is another reading of language.md's "post-order", which the service has as long
as it knows version 1 only: those on a function and on an iteration's base and step are judged on leaving them, too.
"""
from cajal_terms import step
from cajal_types import (BOOL, NAT, REAL, UNIT, Fault, erase, extents, is_arrow, is_discrete, is_real, is_vector, part_of)

TOP = "top"
ELEMENTWISE = {"exp", "log", "tanh", "sigmoid", "relu", "softplus", "sqrt", "sin", "cos", "abs"}
LINEAR = {"sum", "pack", "unpack", "weight", "dot", "matmul"}
ARITY = {**{name: 1 for name in ELEMENTWISE}, "min": 2, "max": 2, "sum": 1, "pack": 1, "unpack": 1, "dot": 2, "matmul": 2, "chance": 1, "weight": 1}


class Grade:
    """1 where code is None, else ω with its cause: the code, its place, the other place. `first` is the first use."""

    def __init__(self, first, code=None, path=None, other=None):
        self.first, self.code, self.path, self.other = first, code, path or first, other


def add(u, v):
    """U + V: a variable in both is used more than once, whatever the grades were."""
    if TOP in (u, v):
        return TOP
    return {**u, **{x: Grade(u[x].first, "linear_reused", g.first, u[x].first) if x in u else g for x, g in v.items()}}


def joined(u, v):
    """Reading: a cause from inside a branch came before the branches differed, so it stays before linear_branches."""
    if TOP in (u, v):
        return v if u == TOP else u
    out = {}
    for x in [*u, *(x for x in v if x not in u)]:
        grades = [w[x] for w in (u, v) if x in w]
        causes = [g for g in grades if g.code]
        out[x] = causes[0] if causes else grades[0] if len(grades) == 2 else Grade(grades[0].first, "linear_branches")
    return out


def join_all(usages):
    out = usages[0]
    for u in usages[1:]:
        out = joined(out, u)
    return out


def omega(code, u):
    """ω·U: an ω inside keeps its own cause."""
    return {} if u == TOP else {x: g if g.code else Grade(g.first, code) for x, g in u.items()}


def scaled(g, u):
    """g·U for a grade that is not 0; what is used once in what is used often passes on the cause."""
    if g == TOP or g.code is None:
        return TOP if g == TOP else u
    return {} if u == TOP else {x: h if h.code else Grade(h.first, g.code, g.path, g.other) for x, h in u.items()}


def leave(u, x):
    """(U − x, the grade of x in U)"""
    return (TOP, TOP) if u == TOP else ({y: g for y, g in u.items() if y != x}, u.get(x))


def once(grade, path):
    """A linear variable on leaving its scope: its grade is exactly 1."""
    if grade is None:
        raise Fault("linear_unused", path)
    if grade != TOP and grade.code:
        raise Fault(grade.code, grade.path, grade.other)


def spine(e):
    """The head of an application and its arguments."""
    arguments = []
    while e.kind == "app":
        arguments.insert(0, e.a)
        e = e.f
    return e, arguments


class Checker:
    def __init__(self, imports, nat, early):
        self.fresh, self.imports, self.nat, self.early = 0, imports, nat, early

    def bind(self, scope, name, t):
        self.fresh += 1
        return {**scope, name: (self.fresh, t)}, self.fresh

    def check(self, e, scope):
        """(erased type, usage); the node keeps the type."""
        e.type, u = getattr(self, "check_" + e.kind)(e, scope)
        return e.type, u

    def want(self, e, wanted, path=None):
        if e.type != wanted:
            raise Fault("type_mismatch", e.path if path is None else path)

    def vector(self, e):
        if not is_vector(e.type):
            raise Fault("not_a_vector", e.path)

    # Version 1

    def check_var(self, e, scope):
        if e.name not in scope:
            raise Fault("unbound_variable", e.path)
        identity, t = scope[e.name]
        return t, {identity: Grade(e.path)}

    def check_bool(self, e, scope):
        return BOOL, {}

    def check_num(self, e, scope):
        return NAT, {}

    def check_succ(self, e, scope):
        t, u = self.check(e.of, scope)
        self.want(e.of, NAT)
        return t, u

    def check_if(self, e, scope):
        _, uc = self.check(e.condition, scope)
        self.want(e.condition, BOOL)
        a, ua = self.check(e.then, scope)
        _, ub = self.check(e.other, scope)
        self.want(e.other, a)
        return a, add(uc, joined(ua, ub))

    def check_fun(self, e, scope):
        inner, x = self.bind(scope, e.name, erase(e.declared))
        b, u = self.check(e.body, inner)
        u, grade = leave(u, x)
        judge(e.declared, e.smooth, grade, step(e.path, "type"), e.path)
        return ("smooth" if e.smooth else "lin", erase(e.declared), b), u

    def check_app(self, e, scope):
        head, arguments = spine(e)
        if head.kind == "var" and head.name not in scope and ARITY.get(head.name) == len(arguments):
            e.operator, e.given = head.name, arguments
            return self.check_operator(e, scope)
        f, uf = self.check(e.f, scope)
        self.function(e.f, self.early)
        _, ua = self.check(e.a, scope)
        self.function(e.f)
        self.want(e.a, f[1])
        return f[2], add(uf, omega("linear_smooth", ua) if f[0] == "smooth" else ua)

    def function(self, f, now=True):
        if now and not is_arrow(f.type):
            raise Fault("not_a_function", f.path)

    def check_let(self, e, scope):
        closed = getattr(e, "closed", None)  # a definition sees earlier ones only
        t, ue = self.check(e.be, scope if closed is None else {name: scope[name] for name in closed if name in scope})
        inner, x = self.bind(scope, e.names[0], t)
        b, u = self.check(e.body, inner)
        u, g = leave(u, x)
        if g is None:
            raise Fault("linear_unused", e.path)
        return b, add(scaled(g, ue), u)

    def check_iter(self, e, scope):
        t, ub = self.check(e.base, scope)
        if self.early:
            self.vector(e.base)
        inner, y = self.bind(scope, e.var, t)
        _, us = self.check(e.step, inner)
        us, g = leave(us, y)
        if g is None:
            raise Fault("linear_unused", e.path)
        if self.early:
            self.want(e.step, t)
        _, uc = self.check(e.count, scope)
        self.vector(e.base)
        self.want(e.step, t)
        self.want(e.count, NAT)
        return t, add(add(ub if g == TOP else scaled(g, ub), omega("linear_in_step", us)), uc)

    # Data

    def check_unit(self, e, scope):
        return UNIT, {}

    def check_real(self, e, scope):
        return REAL, {}

    def check_none(self, e, scope):
        if not is_vector(e.declared):
            raise Fault("not_a_vector", step(e.path, "none"))
        return erase(e.declared), TOP

    def check_variant(self, e, scope):
        _, u = self.check(e.of, scope)
        t = erase(e.declared)
        if t[0] != "var":
            raise Fault("not_a_variant", step(e.path, "type"))
        if e.label not in dict(t[1]):
            raise Fault("unknown_label", e.path)
        self.want(e.of, part_of(t, e.label))
        return t, u

    def check_case(self, e, scope):
        """Reading: a branch that cannot be entered (its label, its variable) is judged when its turn comes, missing ones at the end."""
        t, u = self.check(e.of, scope)
        if t[0] not in ("var", "N", "2"):
            raise Fault("not_a_variant", e.of.path)
        parts = {"0": None, "succ": NAT} if t == NAT else {"true": None, "false": None} if t == BOOL else dict(t[1])
        usages, seen = [], set()
        for branch in e.branches:
            usages.append(self.check_branch(branch, parts, seen, scope))
        if set(parts) - seen:
            raise Fault("missing_branch", e.path)
        first = e.branches[0].body.type
        for branch in e.branches:
            self.want(branch.body, first)
        return first, add(u, join_all(usages))

    def check_branch(self, branch, parts, seen, scope):
        if branch.label not in parts:
            raise Fault("unknown_label", branch.path)
        if branch.label in seen:
            raise Fault("duplicate_label", branch.path)
        seen.add(branch.label)
        payload = parts[branch.label]
        if branch.var is None:
            if payload not in (None, UNIT):
                raise Fault("type_mismatch", branch.path)
            return self.check(branch.body, scope)[1]
        inner, x = self.bind(scope, branch.var, payload)
        u, g = leave(self.check(branch.body, inner)[1], x)
        once(g, step(branch.path, "var"))
        return u

    def check_record(self, e, scope):
        usages = [self.check(part, scope)[1] for part in e.fields.values()]
        return ("rec", tuple((label, part.type) for label, part in e.fields.items())), join_all(usages)

    def check_field(self, e, scope):
        t, u = self.check(e.of, scope)
        if t[0] != "rec":
            raise Fault("not_a_record", e.of.path)
        if e.label not in dict(t[1]):
            raise Fault("unknown_label", e.path)
        return part_of(t, e.label), u

    def check_pair(self, e, scope):
        a, ua = self.check(e.left, scope)
        b, ub = self.check(e.right, scope)
        self.vector(e.left)
        self.vector(e.right)
        return ("pair", a, b), add(ua, ub)

    def check_unpair(self, e, scope):
        t, u = self.check(e.be, scope)
        if t[0] != "pair":
            raise Fault("not_a_pair", e.be.path)
        inner, x = self.bind(scope, e.names[0], t[1])
        inner, y = self.bind(inner, e.names[1], t[2])
        b, ub = self.check(e.body, inner)
        for i, identity in enumerate((x, y)):
            ub, g = leave(ub, identity)
            once(g, step(e.path, "let", i))
        return b, add(u, ub)

    def check_ununit(self, e, scope):
        _, u = self.check(e.be, scope)
        self.want(e.be, UNIT)
        b, ub = self.check(e.body, scope)
        return b, add(u, ub)

    def check_seq(self, e, scope):
        usages = [self.check(item, scope)[1] for item in e.items]
        first = e.items[0]
        for item in e.items:
            self.want(item, first.type)
            self.vector(item)
        return ("seq", first.type, len(e.items)), join_all(usages)

    def check_item(self, e, scope):
        t, u = self.check(e.of, scope)
        if t[0] != "seq":
            raise Fault("not_a_sequence", e.of.path)
        if e.index >= t[2]:
            raise Fault("type_mismatch", e.path)
        return t[1], u

    def check_at(self, e, scope):
        t, u = self.check(e.of, scope)
        _, un = self.check(e.index, scope)
        if t[0] != "seq":
            raise Fault("not_a_sequence", e.of.path)
        self.want(e.index, NAT)
        return t[1], add(u, un)

    def check_fold(self, e, scope):
        xs, uxs = self.check(e.over, scope)
        if xs[0] != "seq":
            raise Fault("not_a_sequence", e.over.path)
        t, ub = self.check(e.base, scope)
        inner, y = self.bind(scope, e.names[0], t)
        inner, x = self.bind(inner, e.names[1], xs[1])
        us, g = leave(self.check(e.step, inner)[1], y)
        us, _ = leave(us, x)
        if g is None:
            raise Fault("linear_unused", step(e.path, e.kind, "vars", 0))
        self.vector(e.base)
        self.want(e.step, t)
        u = add(add(omega("linear_in_fold", uxs), scaled(g, ub)), omega("linear_in_step", us))
        return (t if e.kind == "fold" else ("seq", t, xs[2])), u

    check_scan = check_fold

    def check_each(self, e, scope):
        usages = []
        for xs in e.over:
            usages.append(self.check(xs, scope)[1])
            if xs.type[0] != "seq":
                raise Fault("not_a_sequence", xs.path)
            if xs.type[2] != e.over[0].type[2]:
                raise Fault("type_mismatch", xs.path)
        inner, identities = scope, []
        for name, xs in zip(e.names, e.over):
            inner, x = self.bind(inner, name, xs.type[1])
            identities.append(x)
        b, u = self.check(e.body, inner)
        grades = []
        for i, x in enumerate(identities):
            u, g = leave(u, x)
            grades.append(g)
            if g is None:
                raise Fault("linear_unused", step(e.path, "each", "vars", i))
        self.vector(e.body)
        total = {}
        for g, v in zip(grades, usages):
            total = add(total, scaled(g, v))
        return ("seq", b, e.over[0].type[2]), add(total, u)

    # Numbers

    def real(self, e):
        if not is_real(e.type):
            raise Fault("not_real", e.path)

    def check_arithmetic(self, e, scope):
        (a, ua), (b, ub) = [self.check(operand, scope) for operand in e.operands]
        for operand in e.operands:
            self.real(operand)
        if a != b and not (b == REAL and e.op in "*/") and not (a == REAL and e.op == "*"):
            raise Fault("type_mismatch", e.operands[1].path)
        if e.op in "+-":
            return a, joined(ua, ub)
        return b if a == REAL else a, add(ua, ub if e.op == "*" else omega("linear_smooth", ub))

    def check_negative(self, e, scope):
        t, u = self.check(e.operands[0], scope)
        self.real(e.operands[0])
        return t, u

    def check_equal(self, e, scope):
        (a, ua), (_, ub) = [self.check(operand, scope) for operand in e.operands]
        if not is_discrete(a):
            raise Fault("not_discrete", e.operands[0].path)
        self.want(e.operands[1], a)
        return BOOL, add(ua, ub)

    def check_operator(self, e, scope):
        checked = [self.check(operand, scope) for operand in e.given]
        if e.operator not in LINEAR:
            checked = [(t, omega("linear_smooth", u)) for t, u in checked]
        usage = {}
        for _, u in checked:
            usage = add(usage, u)
        return self.result(e.operator, e.given), usage

    def result(self, name, operands):
        if name == "weight":
            self.want(operands[0], BOOL)
            return REAL
        first, last = operands[0].type, operands[-1].type
        self.real(operands[0])
        if not self.accepts(name, first):
            raise Fault("type_mismatch", operands[0].path)
        if len(operands) == 2:
            self.real(operands[1])
            if name == "matmul":
                if last[0] != "R" or not extents(last) or extents(last)[0] != extents(first)[-1]:
                    raise Fault("type_mismatch", operands[1].path)
                return tensor(extents(first)[:-1] + extents(last)[1:])
            self.want(operands[1], first)
        if name in ("sum", "dot"):
            return REAL
        if name == "chance":
            return BOOL
        if name == "pack":
            return tensor((first[2], *extents(first[1])))
        return ("seq", tensor(extents(first)[1:]), extents(first)[0]) if name == "unpack" else first

    def accepts(self, name, t):
        if name in ("min", "max"):
            return True
        if name == "chance":
            return t == REAL
        if name == "pack":
            return t[0] == "seq" and t[1][0] == "R"
        if t[0] != "R":
            return False
        if name == "dot":
            return len(extents(t)) == 1
        return bool(extents(t)) if name in ("sum", "unpack", "matmul") else True

    def check_import(self, e, scope):
        checked = {name: self.check(part, scope) for name, part in e.inputs.items()}
        if e.name not in self.imports:
            raise Fault("unknown_import", e.path)
        e.program = self.imports[e.name]
        result = e.program.check()
        if (e.program.dim, e.program.policy) != self.nat:
            raise Fault("import_nat", e.path)
        usage = {}
        for name, (_, u) in checked.items():
            if name not in e.program.context:
                raise Fault("unknown_label", e.inputs[name].path)  # Reading: the page has no code for an input too many
            smooth, declared = e.program.context[name]
            self.want(e.inputs[name], erase(declared))
            usage = add(usage, omega("linear_smooth", u) if smooth else u)
        if set(e.program.context) - set(checked):
            raise Fault("import_open", e.path)
        return result, usage


def tensor(axes):
    return ("R", tuple(axes) or None)


def judge(declared, smooth, grade, type_path, path):
    """A binder or context variable on leaving it."""
    if not smooth and not is_vector(declared):
        raise Fault("not_a_vector", type_path)
    if not smooth:
        once(grade, path)
