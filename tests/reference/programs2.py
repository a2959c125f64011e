"""Random programs of language version 2 for generate2.py, in the JSON spelling: grown towards a type, with the linear variables handed down so that
each is used as the grades of language-2.md want it."""
import cajal_types as types
from cajal_check import ELEMENTWISE
from cajal_types import BOOL, NAT, REAL, UNIT

LABELS = ["a", "b", "c", "left", "none", "Z", "_"]


class Maker:
    """`pool` has the programs that may be imported: name ↦ (context, type)."""

    def __init__(self, rng, pool=None):
        self.rng, self.pool, self.names, self.left = rng, pool or {}, 0, 0

    def name(self):
        self.names += 1
        return self.rng.choice("abcdmnpqxyz") + str(self.names)

    def labels(self, most=3):
        return self.rng.sample(LABELS, self.rng.randint(1, most))

    def type(self, depth=2, kinds="12NNRRtvrpsl"):
        """A vector type; `kinds` says of which sorts."""
        kind = self.rng.choice(kinds if depth else [k for k in kinds if k in "12NRt"] or "2")
        inner = lambda: self.type(depth - 1, kinds)
        if kind == "t":
            return ("R", self.rng.choice([(1,), (2,), (3,), (2, 2)]))
        if kind == "v":
            return ("var", tuple((label, self.rng.choice([UNIT, inner()])) for label in self.labels()))
        if kind == "r":
            return ("rec", tuple((label, inner()) for label in sorted(self.labels(2))))
        if kind == "p":
            return ("pair", inner(), inner())
        if kind == "s":
            return ("seq", inner(), self.rng.randint(1, 3))
        if kind == "l":
            return ("lin", self.type(depth - 1, "12NNv"), inner())
        return {"1": UNIT, "2": BOOL, "N": NAT, "R": REAL}[kind]

    def discrete(self, depth=1):
        return self.type(depth, "12NNvp")

    def split(self, linear):
        left = [entry for entry in linear if self.rng.random() < 0.5]
        return left, [entry for entry in linear if entry not in left]

    def program(self, dim, overflow):
        self.left = self.rng.choice([10, 30, 60])  # nodes, about
        linear = [(self.name(), self.type()) for _ in range(self.rng.randint(0, 2))]
        smooth = {self.name(): self.type() for _ in range(self.rng.randint(0, 2))}
        if self.rng.random() < 0.7:
            smooth["r"] = REAL
        t = self.type()
        term = self.term(t, linear, smooth, self.rng.randint(2, 6))
        context = {**{x: types.show(u) for x, u in linear}, **{x: types.show_declared(True, u) for x, u in smooth.items()}}
        return {"term": term, "context": context, "nat": {"dim": dim, "overflow": overflow}}, t

    # A term of type t that uses each of `linear` [(name, type)] once and of `free` {name: type} what it likes.

    def term(self, t, linear, free, fuel):
        self.left -= 1
        r, fuel = self.rng.random(), fuel if self.left > 0 else min(fuel, 0)
        if fuel <= 0 or r < 0.15:
            return self.small(t, linear, free, fuel)
        if r < 0.157:
            return {"none": types.show(t)}
        if r < 0.55:
            return self.introduce(t, linear, free, fuel - 1)
        if linear and r < 0.7:
            return self.consume(t, linear, free, fuel - 1)
        form = self.rng.choice(["choose", "choose", "let", "call", "pairs", "item", "at", "field", "loop", "fold", "imported", "smooth"])
        return getattr(self, "make_" + form)(t, linear, free, fuel - 1)

    def small(self, t, linear, free, fuel):
        if len(linear) == 1 and linear[0][1] == t:
            return linear[0][0]
        if linear:
            return self.consume(t, linear, free, fuel - 1) if fuel > -4 and self.left > -20 else self.spend(t, linear)
        known = [x for x, u in free.items() if u == t]
        if known and self.rng.random() < 0.7:
            return self.rng.choice(known)
        return self.introduce(t, [], free, fuel - 1) if fuel > -4 and self.left > -20 else self.constant(t)

    def constant(self, t):
        """A short closed term, mostly not zero."""
        if t == REAL:
            return {"real": self.rng.choice([0.0, 0.25, 0.5, 1.0, 1.5, 2.0])}
        if t in (UNIT, BOOL, NAT):
            return {"1": {"unit": True}, "2": self.rng.random() < 0.5, "N": self.rng.randint(0, 3)}[t[0]]
        if t[0] == "R":
            return {"app": ["exp", {"none": types.show(t)}]}
        if t[0] == "var":
            label, part = self.rng.choice(t[1])
            return {"variant": label, "of": self.constant(part), "type": types.show(t)}
        if t[0] == "rec":
            return {"record": {label: self.constant(part) for label, part in t[1]}}
        if t[0] == "pair":
            return {"pair": [self.constant(t[1]), self.constant(t[2])]}
        if t[0] == "seq":
            return {"seq": [self.constant(t[1]) for _ in range(t[2])]}
        x = self.name()
        return {"fun": x, "type": types.show(t[1]), "body": self.spend(t[2], [(x, t[1])])}

    def spend(self, t, linear):
        """The same with linear variables."""
        if len(linear) == 1 and linear[0][1] == t:
            return linear[0][0]
        if not linear:
            return self.constant(t)
        (x, u), rest, y, z = linear[0], linear[1:], self.name(), self.name()
        if u == UNIT:
            return {"let": [], "be": x, "in": self.spend(t, rest)}
        if u == BOOL:
            return {"if": x, "then": self.spend(t, rest), "else": self.spend(t, rest)}
        if u == NAT:
            return {"iter": {"base": self.spend(t, rest), "var": y, "step": y, "count": x}}
        if u[0] == "var":
            return {"case": x, "branches": [{"label": label, "var": y, "body": self.spend(t, rest + [(y, part)])} for label, part in u[1]]}
        if u[0] == "rec":
            return {"let": y, "be": {"field": u[1][0][0], "of": x}, "in": self.spend(t, rest + [(y, u[1][0][1])])}
        if u[0] == "pair":
            return {"let": [y, z], "be": x, "in": self.spend(t, rest + [(y, u[1]), (z, u[2])])}
        if u[0] == "seq":
            return {"let": y, "be": {"item": u[2] - 1, "of": x}, "in": self.spend(t, rest + [(y, u[1])])}
        if u[0] == "lin":
            return {"let": y, "be": {"app": [x, self.constant(u[1])]}, "in": self.spend(t, rest + [(y, u[2])])}
        if not types.is_real(t):
            return {"none": types.show(t)}
        return {"*": [x if u == REAL else {"app": ["sum", x]}, self.spend(t, rest)]}

    def choice_of(self, t, linear, free, fuel, scrutinee, u):
        """A case on a value of a type with cases."""
        branch = lambda more: self.term(t, linear + more, free, fuel)
        if u == BOOL and self.rng.random() < 0.5:
            return {"if": scrutinee, "then": branch([]), "else": branch([])}
        if u == BOOL:
            branches = [{"label": label, "body": branch([])} for label in ("true", "false")]
        elif u == NAT:
            m = self.name()
            branches = [{"label": "0", "body": branch([])}, {"label": "succ", "var": m, "body": branch([(m, NAT)])}]
        else:
            branches = []
            for label, part in u[1]:
                x = self.name()
                bare = part == UNIT and self.rng.random() < 0.6
                branches.append({"label": label, "body": branch([])} if bare else {"label": label, "var": x, "body": branch([(x, part)])})
        self.rng.shuffle(branches)
        return {"case": scrutinee, "branches": branches}

    def bound(self, t, value, u, linear, free, fuel):
        """let, with the new variable used once."""
        x = self.name()
        return {"let": x, "be": value, "in": self.term(t, linear + [(x, u)], free, fuel)}

    def consume(self, t, linear, free, fuel):
        """Uses up one linear variable."""
        at = self.rng.randrange(len(linear))
        (x, u), rest = linear[at], linear[:at] + linear[at + 1:]
        if u == t and not rest:
            return x
        if u == UNIT:
            return {"let": [], "be": x, "in": self.term(t, rest, free, fuel)}
        if u == NAT and self.rng.random() < 0.4:
            return self.iterate(t, rest, free, fuel, x)
        if u in (BOOL, NAT) or u[0] == "var":
            return self.choice_of(t, rest, free, fuel, x, u)
        if u[0] == "pair":
            a, b = self.name(), self.name()
            return {"let": [a, b], "be": x, "in": self.term(t, rest + [(a, u[1]), (b, u[2])], free, fuel)}
        if u[0] == "rec":
            label, part = self.rng.choice(u[1])
            return self.bound(t, {"field": label, "of": x}, part, rest, free, fuel)
        if u[0] == "seq":
            if self.rng.random() < 0.3:
                mine, rest = self.split(rest)
                return self.bound(t, {"at": x, "index": self.term(NAT, mine, free, fuel)}, u[1], rest, free, fuel)
            return self.bound(t, {"item": self.rng.randrange(u[2]), "of": x}, u[1], rest, free, fuel)
        if u[0] == "lin":
            mine, rest = self.split(rest)
            return self.bound(t, {"app": [x, self.term(u[1], mine, free, fuel)]}, u[2], rest, free, fuel)
        if u != REAL:
            return self.bound(t, {"app": ["sum", x]}, REAL, rest, free, fuel)
        if types.is_real(t):
            return {"*": [x, self.term(t, rest, free, fuel)]} if self.rng.random() < 0.5 else {"*": [self.term(t, rest, free, fuel), x]}
        return self.spend(t, linear)

    def iterate(self, t, linear, free, fuel, count):
        y = self.name()
        return {"iter": {"base": self.term(t, linear, free, fuel), "var": y, "step": self.used(t, y, free, fuel, not linear), "count": count}}

    def used(self, t, y, free, fuel, often):
        """A step: its state once, or, where the base holds no linear variable, perhaps often."""
        if types.is_real(t) and often and self.rng.random() < 0.3:
            return {"*": [self.term(REAL, [], {**free, y: t}, fuel - 1), y]}
        if t == NAT and self.rng.random() < 0.3:
            return {"succ": y}
        return self.term(t, [(y, t)], free, fuel - 1)

    # Introductions

    def introduce(self, t, linear, free, fuel):
        if t == UNIT:
            return {"unit": True} if not linear else self.consume(t, linear, free, fuel)
        if t == BOOL:
            return self.boolean(linear, free, fuel)
        if t == NAT:
            return self.natural(linear, free, fuel)
        if t[0] == "R":
            return self.number(t, linear, free, fuel)
        if t[0] == "var":
            label, part = self.rng.choice(t[1])
            if part == UNIT and not linear:
                return {"variant": label, "type": types.show(t)}
            return {"variant": label, "of": self.term(part, linear, free, fuel), "type": types.show(t)}
        if t[0] == "rec":
            return {"record": {label: self.term(part, linear, free, fuel) for label, part in t[1]}}
        if t[0] == "pair":
            left, right = self.split(linear)
            return {"pair": [self.term(t[1], left, free, fuel), self.term(t[2], right, free, fuel)]}
        if t[0] == "seq":
            return self.sequence(t, linear, free, fuel)
        x = self.name()
        return {"fun": x, "type": types.show(t[1]), "body": self.term(t[2], linear + [(x, t[1])], free, fuel)}

    def boolean(self, linear, free, fuel):
        r = self.rng.random()
        if r < 0.4:
            u, (left, right) = self.discrete(), self.split(linear)
            return {"==": [self.term(u, left, free, fuel), self.term(u, right, free, fuel)]}
        if linear:
            return self.consume(BOOL, linear, free, fuel)
        return {"app": ["chance", self.term(REAL, [], free, fuel)]} if r < 0.6 else self.constant(BOOL)

    def natural(self, linear, free, fuel):
        r = self.rng.random()
        if r < 0.4:
            return {"succ": self.term(NAT, linear, free, fuel)}
        if r < 0.6:
            mine, rest = self.split(linear)
            last = {"label": "succ", "var": "m", "body": self.spend(NAT, rest + [("m", NAT)])}
            return {"case": self.term(NAT, mine, free, fuel), "branches": [last, {"label": "0", "body": self.term(NAT, rest, free, fuel)}]}
        return self.consume(NAT, linear, free, fuel) if linear else self.constant(NAT)

    def number(self, t, linear, free, fuel):
        whole = lambda: self.term(t, linear, free, fuel)
        left, right = self.split(linear)
        form = self.rng.choice(["+", "+", "-", "neg", "*", "*", "/", "special", "special", "function", "minmax", "leaf"])
        if form in "+-":
            return {form: [whole(), whole()]}
        if form == "neg":
            return {"-": [whole()]}
        if form == "*":
            other = self.rng.choice([t, REAL])
            return {"*": [self.term(t, left, free, fuel), self.term(other, right, free, fuel)]}
        if form == "/":
            return {"/": [whole(), {"+": [{"real": 3.0}, {"app": ["tanh", self.term(REAL, [], free, fuel)]}]}]}
        if form == "special":
            return self.special(t, linear, free, fuel)
        if linear or form == "leaf":
            return self.consume(t, linear, free, fuel) if linear else self.constant(t)
        if form == "function":
            return {"app": [self.rng.choice(sorted(ELEMENTWISE)), self.term(t, [], free, fuel)]}
        return {"app": [self.rng.choice(["min", "max"]), self.term(t, [], free, fuel), self.term(t, [], free, fuel)]}

    def special(self, t, linear, free, fuel):
        axes, n = types.extents(t), self.rng.randint(1, 3)
        left, right = self.split(linear)
        if not axes:
            form = self.rng.choice(["weight", "sum", "dot", "matmul"])
            if form == "weight":
                return {"app": ["weight", self.term(BOOL, linear, free, fuel)]}
            if form == "sum":
                return {"app": ["sum", self.term(("R", (n,)), linear, free, fuel)]}
            return {"app": [form, self.term(("R", (n,)), left, free, fuel), self.term(("R", (n,)), right, free, fuel)]}
        if self.rng.random() < 0.4:
            at = self.rng.randint(0, len(axes))
            a, b = ("R", axes[:at] + (n,)), ("R", (n,) + axes[at:])
            return {"app": ["matmul", self.term(a, left, free, fuel), self.term(b, right, free, fuel)]}
        return {"app": ["pack", self.term(("seq", ("R", axes[1:] or None), axes[0]), linear, free, fuel)]}

    def sequence(self, t, linear, free, fuel):
        item, k = t[1], t[2]
        form = self.rng.choice(["items", "items", "each", "each", "scan", "unpack"])
        if form == "unpack" and item[0] == "R":
            return {"app": ["unpack", self.term(("R", (k, *types.extents(item))), linear, free, fuel)]}
        if form == "each":
            count = self.rng.randint(1, 2)
            names, shares = [self.name() for _ in range(count)], [linear] if count == 1 else self.split(linear)
            kinds = [self.type(1) for _ in names]
            over = [self.term(("seq", u, k), share, free, fuel) for u, share in zip(kinds, shares)]
            return {"each": {"vars": names, "body": self.term(item, list(zip(names, kinds)), free, fuel), "over": over}}
        if form == "scan":
            return self.loop("scan", item, k, linear, free, fuel)
        return {"seq": [self.term(item, linear, free, fuel) for _ in range(k)]}

    def loop(self, kind, t, k, linear, free, fuel):
        y, x, u = self.name(), self.name(), self.type(1)
        base = self.term(t, linear, free, fuel)
        return {kind: {"base": base, "vars": [y, x], "step": self.used(t, y, {**free, x: u}, fuel, not linear),
                       "over": self.term(("seq", u, k), [], free, fuel)}}

    # Forms of every type

    def make_choose(self, t, linear, free, fuel):
        u, (mine, rest) = self.rng.choice([BOOL, NAT, self.type(1, "v")]), self.split(linear)
        return self.choice_of(t, rest, free, fuel, self.term(u, mine, free, fuel), u)

    def make_let(self, t, linear, free, fuel):
        u, (mine, rest) = self.type(1), self.split(linear)
        return self.bound(t, self.term(u, mine, free, fuel), u, rest, free, fuel)

    def make_call(self, t, linear, free, fuel):
        u, (mine, rest) = self.type(1), self.split(linear)
        return {"app": [self.introduce(("lin", u, t), mine, free, fuel), self.term(u, rest, free, fuel)]}

    def make_smooth(self, t, linear, free, fuel):
        """A smooth function, applied to what holds no linear variable."""
        u, x = self.type(1), self.name()
        body = self.term(t, linear, {**free, x: u}, fuel)
        return {"app": [{"fun": x, "type": types.show_declared(True, u), "body": body}, self.term(u, [], free, fuel)]}

    def make_pairs(self, t, linear, free, fuel):
        a, b, u, (mine, rest) = self.name(), self.name(), ("pair", self.type(1), self.type(1)), self.split(linear)
        return {"let": [a, b], "be": self.term(u, mine, free, fuel), "in": self.term(t, rest + [(a, u[1]), (b, u[2])], free, fuel)}

    def make_item(self, t, linear, free, fuel):
        k = self.rng.randint(1, 3)
        return {"item": self.rng.randrange(k), "of": self.term(("seq", t, k), linear, free, fuel)}

    def make_at(self, t, linear, free, fuel):
        mine, rest = self.split(linear)
        return {"at": self.term(("seq", t, self.rng.randint(1, 3)), mine, free, fuel), "index": self.term(NAT, rest, free, fuel)}

    def make_field(self, t, linear, free, fuel):
        labels = sorted(self.labels(2))
        at = self.rng.choice(labels)
        u = ("rec", tuple((label, t if label == at else self.type(1)) for label in labels))
        return {"field": at, "of": self.term(u, linear, free, fuel)}

    def make_loop(self, t, linear, free, fuel):
        mine, rest = self.split(linear)
        return self.iterate(t, mine, free, fuel, self.term(NAT, rest, free, fuel))

    def make_fold(self, t, linear, free, fuel):
        return self.loop("fold", t, self.rng.randint(1, 3), linear, free, fuel)

    def make_imported(self, t, linear, free, fuel):
        """A program of the pool, called where it has this type, or bound to a variable."""
        if not self.pool:
            return self.make_let(t, linear, free, fuel)
        name = self.rng.choice([name for name, (_, u) in self.pool.items() if u == t] or sorted(self.pool))
        context, result = self.pool[name]
        rest, inputs = linear, {}
        for x, (smooth, u) in context.items():
            mine, rest = ([], rest) if smooth else self.split(rest)
            inputs[x] = self.term(types.erase(u), mine, free, fuel)
        whole = {"import": name, "with": inputs} if inputs else {"import": name}
        if result == t and not rest:
            return whole
        return self.bound(t, whole, result, rest, free, fuel)
