"""Random programs for compare.py, in the JSON spelling. Well-typed ones are grown towards a type, with the linear variables handed down
so that each is used exactly once; ill-typed ones are well-typed ones with a piece changed, or terms grown without looking at types."""
import cajal_types as types

N, BOOL = types.NAT, types.BOOL


class Stuck(Exception):
    """No term of the wanted type was found here."""


class Lost(Exception):
    """Too many tries: start again."""


class Maker:
    def __init__(self, rng):
        self.rng, self.names, self.tries = rng, 0, 0

    def name(self):
        self.names += 1
        return ("abcdefghijklmnopqrstuvwxyz"[self.names % 26] + (str(self.names // 26) if self.names >= 26 else "")) \
            if self.rng.random() < 0.9 else "x"  # sometimes one that shadows

    def type(self, depth=2, reals=0.04):
        r = self.rng.random()
        if depth > 0 and r < 0.3:
            return ("lin", self.type(depth - 1, 0), self.type(depth - 1, 0))
        if r < 1 - reals:
            return N if self.rng.random() < 0.6 else BOOL
        return ("R", self.rng.choice([(1,), (2,), (3,), (2, 2)]))

    def bounded(self, t, often=0.3):
        """The declared type: some naturals get a bound."""
        if t[0] == "N":
            return ("N", self.rng.choice([1, 2, 3, 3, 4, 5, 6, 8])) if self.rng.random() < often else t
        return (t[0], self.bounded(t[1], often), self.bounded(t[2], often)) if types.is_arrow(t) else t

    def declare(self, smooth, t, often=0.25):
        return types.show_declared(smooth, self.bounded(t, often))

    def split(self, linear):
        left, right = [], []
        for x in linear:
            (left if self.rng.random() < 0.5 else right).append(x)
        return left, right

    # A term of type t that uses each of `linear` [(name, type)] once and of `free` {name: type} what it likes.

    def term(self, t, linear, free, fuel):
        for _ in range(3):
            self.tries -= 1
            if self.tries < 0:
                raise Lost()
            try:
                return self.attempt(t, linear, free, fuel - 1)
            except Stuck:
                pass
        raise Stuck()

    def attempt(self, t, linear, free, fuel):
        free = {x: u for x, u in free.items() if x not in dict(linear)}
        if fuel <= 0 or self.rng.random() < 0.12:
            return self.small(t, linear, free, fuel)
        if t[0] in ("lin", "smooth") and self.rng.random() < 0.55:
            return self.function(t, linear, free, fuel)
        form = self.rng.choices(["small", "succ", "if", "app", "smooth", "let", "lets", "iter", "call", "handed", "loop"],
                                [2, 2 if t == N else 0, 4, 3, 2, 2, 4, 4 if types.is_vector(t) else 0, 3, 3, 3 if types.is_vector(t) else 0])[0]
        return getattr(self, "make_" + form)(t, linear, free, fuel)

    def make_small(self, t, linear, free, fuel):
        return self.small(t, linear, free, fuel)

    def small(self, t, linear, free, fuel):
        if linear:
            return self.consume(t, linear, free, fuel)
        known = [x for x, u in free.items() if u == t]
        if known and self.rng.random() < 0.6:
            return self.rng.choice(known)
        if t == BOOL:
            return self.rng.random() < 0.5
        if t == N:
            return self.rng.choice([0, 0, 1, 1, 2, 3, 4, 6])
        if t[0] == "R":
            raise Stuck()
        return self.function(t, linear, free, fuel)

    def consume(self, t, linear, free, fuel):
        """Uses up the first linear variable."""
        at = self.rng.randrange(len(linear))
        (x, u), rest = linear[at], linear[:at] + linear[at + 1:]
        if u == t and not rest and self.rng.random() < 0.8:
            return x
        if u == BOOL:
            return {"if": x, "then": self.term(t, rest, free, fuel - 1), "else": self.term(t, rest, free, fuel - 1)}
        if u == N:
            return self.iterate(t, rest, free, fuel, x)
        if u[0] == "R":
            takers = [f for f, v in rest if v[0] == "lin" and v[1] == u] + [f for f, v in free.items() if v[0] == "lin" and v[1] == u]
            if not takers:
                raise Stuck()
            f = self.rng.choice(takers)
            value, result = {"app": [f, x]}, (dict(rest).get(f) or free[f])[2]
            rest = [entry for entry in rest if entry[0] != f]
        else:
            mine, rest = self.split(rest)
            value, result = {"app": [x, self.term(u[1], mine, free, fuel - 1)]}, u[2]
        if result == t and not rest:
            return value
        r = self.name()
        free = {y: v for y, v in free.items() if y != r}
        if any(y == r for y, _ in rest):
            raise Stuck()
        return {"let": r, "be": value, "in": self.term(t, rest + [(r, result)], free, fuel - 1)}

    def iterate(self, t, linear, free, fuel, count):
        if not types.is_vector(t):
            raise Stuck()
        y = self.name()
        inner = {**free, y: t} if not linear and self.rng.random() < 0.5 else {x: v for x, v in free.items() if x != y}
        return {"iter": {"base": self.term(t, linear, free, fuel - 1), "var": y, "count": count,
                         "step": self.used_once(t, (y, t), inner, fuel - 1)}}

    def used_once(self, t, entry, free, fuel):
        """A term that uses the variable at least once; more often when it is in free too. Mostly more than the variable itself."""
        if t == N and self.rng.random() < 0.25:
            return {"succ": self.used_once(t, entry, free, fuel - 1)}
        if entry[0] in free and self.rng.random() < 0.5:
            for _ in range(3):
                term = self.term(t, [], free, fuel)
                if entry[0] in mentioned(term):
                    return term
        others, term = {x: v for x, v in free.items() if x != entry[0]}, entry[0]
        for _ in range(2):
            if term == entry[0]:
                make = self.function if t[0] == "lin" and self.rng.random() < 0.6 else self.term
                term = make(t, [entry], others, fuel)
        return term

    def function(self, t, linear, free, fuel):
        x = self.name()
        if any(y == x for y, _ in linear):
            raise Stuck()
        kind = {y: v for y, v in free.items() if y != x}
        if t[0] == "lin":
            body = self.term(t[2], linear + [(x, t[1])], kind, fuel)
        else:
            body = self.term(t[2], linear, {**kind, x: t[1]}, fuel)
        return {"fun": x, "type": self.declare(t[0] == "smooth", t[1]), "body": body}

    def make_succ(self, t, linear, free, fuel):
        return {"succ": self.term(N, linear, free, fuel)}

    def make_if(self, t, linear, free, fuel):
        first, rest = self.split(linear)
        return {"if": self.term(BOOL, first, free, fuel), "then": self.term(t, rest, free, fuel), "else": self.term(t, rest, free, fuel)}

    def make_app(self, t, linear, free, fuel):
        first, rest = self.split(linear)
        a = self.type(2)
        return {"app": [self.term(("lin", a, t), first, free, fuel), self.term(a, rest, free, fuel)]}

    def make_smooth(self, t, linear, free, fuel):
        a = self.type(2)
        if self.rng.random() < 0.3:
            a = ("smooth", a, self.type(1))
        return {"app": [self.term(("smooth", a, t), linear, free, fuel), self.term(a, [], free, fuel)]}

    def make_let(self, t, linear, free, fuel):
        first, rest = self.split(linear)
        x, a = self.name(), self.type(2)
        if any(y == x for y, _ in rest):
            raise Stuck()
        value = self.term(a, first, free, fuel)
        return {"let": x, "be": value, "in": self.term(t, rest + [(x, a)], {y: v for y, v in free.items() if y != x}, fuel)}

    def make_lets(self, t, linear, free, fuel):
        """A function bound once and used at several sizes."""
        f, a = self.name(), N if self.rng.random() < 0.6 else self.type(1)
        b = N if self.rng.random() < 0.5 else self.type(1)
        kind = ("lin" if self.rng.random() < 0.6 else "smooth", a, b)
        if self.rng.random() < 0.2:
            kind = a
        if any(y == f for y, _ in linear):
            raise Stuck()
        value = self.term(kind, [], free, fuel)
        inner = {**free, f: kind}
        body = self.term(t, linear, inner, fuel)
        if f not in mentioned(body):
            if not types.is_vector(kind):
                raise Stuck()
            body = self.term(t, linear + [(f, kind)], {y: v for y, v in free.items() if y != f}, fuel)
        return {"let": f, "be": value, "in": body}

    def make_iter(self, t, linear, free, fuel):
        first, rest = self.split(linear)
        return self.iterate(t, rest, free, fuel, self.term(N, first, free, fuel - 1))

    def make_handed(self, t, linear, free, fuel):
        """A function handed to a parameter whose function type has bounds."""
        f, a = self.name(), self.type(1, 0)
        kind = ("lin" if self.rng.random() < 0.7 else "smooth", N if self.rng.random() < 0.6 else a, N if self.rng.random() < 0.5 else self.type(1, 0))
        if any(y == f for y, _ in linear):
            raise Stuck()
        given = self.make_if(kind, [], free, fuel) if self.rng.random() < 0.3 else self.term(kind, [], free, fuel)
        body = self.term(t, linear, {**free, f: kind}, fuel)
        return {"app": [{"fun": f, "type": self.declare(True, kind, 0.5), "body": body}, given]}

    def make_loop(self, t, linear, free, fuel):
        """The result of an iteration over functions, applied."""
        first, rest = self.split(linear)
        a = N if self.rng.random() < 0.6 else self.type(1, 0)
        return {"app": [self.iterate(("lin", a, t), first, free, fuel, self.term(N, [], free, fuel - 1)), self.term(a, rest, free, fuel)]}

    def make_call(self, t, linear, free, fuel):
        """Applies a variable whose result, after one or two arguments, is of the type."""
        known = [(x, u) for x, u in free.items() if types.is_arrow(u) and (u[2] == t or (types.is_arrow(u[2]) and u[2][2] == t))]
        if not known:
            return self.make_if(t, linear, free, fuel)
        x, u = self.rng.choice(known)
        parts = [x]
        while u != t and types.is_arrow(u):
            mine, linear = self.split(linear)
            if u[0] == "smooth":
                mine, linear = [], linear + mine
            if u[2] == t and u[0] == "lin":
                mine, linear = mine + linear, []
            parts.append(self.term(u[1], mine, free, fuel))
            u = u[2]
        if linear:
            raise Stuck()
        return {"app": parts}

    def well_typed(self):
        while True:
            self.names, self.tries = 0, 150
            context, linear, free = {}, [], {}
            for _ in range(self.rng.choice([0, 0, 1, 1, 2, 3])):
                x, t, smooth = self.name(), self.type(2, reals=0.1), self.rng.random() < 0.5
                if x in context:
                    continue
                if smooth and self.rng.random() < 0.12:
                    t = ("smooth", self.type(1), self.type(1))
                context[x] = self.declare(smooth, t)
                if smooth:
                    free[x] = t
                else:
                    linear.append((x, t))
            t = self.type(2)
            for _ in range(self.rng.choice([0, 0, 1, 1, 2])):
                t = ("lin" if self.rng.random() < 0.7 else "smooth", self.type(2 if self.rng.random() < 0.4 else 0), t)
            try:
                term = self.term(t, linear, free, self.rng.randrange(2, 9))
            except (Stuck, Lost):
                continue
            if count(term) <= 90:
                return {"term": term, "context": context, "nat": self.nat()}

    def nat(self):
        if self.rng.random() < 0.15:
            return {}
        overflow = self.rng.choices(["exact", "drop", "saturate"], [8, 1, 1])[0]
        return {"dim": self.rng.choice([1, 2, 2, 3, 3, 4, 5, 6]), "overflow": overflow}

    # Programs that are likely wrong

    def ill_typed(self):
        if self.rng.random() < 0.3:
            context = {x: self.declare(self.rng.random() < 0.5, self.type(2)) for x in "xyz" if self.rng.random() < 0.5}
            return {"term": self.wild(self.rng.randrange(2, 5)), "context": context, "nat": self.nat()}
        program = self.well_typed()
        if self.rng.random() < 0.5:
            return self.overused(program)
        for _ in range(self.rng.choice([1, 1, 2])):
            program = self.damage(program)
        return program

    def overused(self, program):
        """Smooth context variables that occur are declared linear, those that occur once before others."""
        found = {x: sum(look(program["term"], at) == x for at in places(program["term"])) for x, t in program["context"].items() if t[0] == "!"}
        often = [x for x, n in found.items() if n == 1] or [x for x, n in found.items() if n > 1]
        if not often:
            return self.damage(program)
        context = {x: types.show_declared(False, types.spelled(t)[1]) if x in often else t for x, t in program["context"].items()}
        return {**program, "context": context}

    def wild(self, fuel):
        name, w = self.rng.choice("xyz"), lambda: self.wild(fuel - 1)
        if fuel <= 0:
            return self.rng.choice([name, name, True, 0, 2])
        form = self.rng.randrange(8)
        if form == 0:
            return {"succ": w()}
        if form == 1:
            return {"if": w(), "then": w(), "else": w()}
        if form == 2:
            return {"fun": name, "type": self.wild_type(), "body": w()}
        if form == 3:
            return {"app": [w() for _ in range(self.rng.choice([1, 2, 2, 2, 2, 3]))]}
        if form == 4:
            return {"let": name, "be": w(), "in": w()}
        if form == 5:
            return {"iter": {"base": w(), "var": name, "step": w(), "count": w()}}
        return self.wild(0)

    def wild_type(self):
        t = self.type(2)
        if self.rng.random() < 0.3:
            t = (self.rng.choice(["lin", "smooth"]), self.rng.choice([t, ("smooth", BOOL, BOOL)]), BOOL)
        return self.rng.choice(["N[0]", "R[]", "2 -o", "3", "!!2"]) if self.rng.random() < 0.03 else self.declare(self.rng.random() < 0.3, t)

    def damage(self, program):
        term, spots = program["term"], places(program["term"])
        at = self.rng.choice(spots)
        old = look(term, at)
        names = sorted(mentioned(term)) or ["x"]
        kind = self.rng.choice([0, 1, 2, 2, 3, 3, 4, 4, 5])
        if kind == 0:
            new = self.rng.choice(names)
        elif kind == 1:
            new = self.rng.choice([True, 0, 3])
        elif kind == 2:
            new = look(term, self.rng.choice(spots))
        elif kind == 3 and isinstance(old, dict) and "fun" in old:
            try:
                smooth, t = types.spelled(old["type"])
            except types.Fault:
                return program
            new = {**old, "type": self.rng.choice([types.show_declared(not smooth, t), self.wild_type()])}
        elif kind == 4:
            context = {x: types.show_declared(not types.spelled(t)[0], types.spelled(t)[1]) if self.rng.random() < 0.5 else t
                       for x, t in program["context"].items()}
            return {**program, "context": context}
        else:
            new = self.wild(2)
        return {**program, "term": put(term, at, new)}


# Paths in JSON terms: tuples of keys. Only sub-terms count.

def children(term):
    if not isinstance(term, dict):
        return []
    if "app" in term:
        return [("app", i) for i in range(len(term["app"]))]
    if "iter" in term:
        return [("iter", key) for key in ("base", "step", "count")]
    return [(key,) for key in term if key in ("succ", "if", "then", "else", "body", "be", "in")]


def look(term, path):
    for key in path:
        term = term[key]
    return term


def put(term, path, new):
    if not path:
        return new
    inner = put(term[path[0]], path[1:], new)
    if isinstance(term, list):
        return [inner if i == path[0] else part for i, part in enumerate(term)]
    return {key: inner if key == path[0] else part for key, part in term.items()}


def places(term):
    return [()] + [child + path for child in children(term) for path in places(look(term, child))]


def count(term):
    return 1 + sum(count(look(term, child)) for child in children(term))


def mentioned(term):
    """All names that occur as variables, bound or not."""
    if isinstance(term, str):
        return {term}
    return set().union(*(mentioned(look(term, child)) for child in children(term)))


# Shrinking: smaller programs one change away

def smaller(program):
    term = program["term"]
    for at in places(term):
        old = look(term, at)
        for child in children(old):
            yield {**program, "term": put(term, at, look(old, child))}
        if isinstance(old, dict):
            for new in (0, True):
                yield {**program, "term": put(term, at, new)}
            if "app" in old and len(old["app"]) > 2:
                yield {**program, "term": put(term, at, {"app": old["app"][:-1]})}
            if "fun" in old and "[" in old["type"]:
                for t in looser(old["type"]):
                    yield {**program, "term": put(term, at, {**old, "type": t})}
        if isinstance(old, int) and not isinstance(old, bool) and old > 0:
            yield {**program, "term": put(term, at, old // 2)}
            yield {**program, "term": put(term, at, old - 1)}
    for x in program["context"]:
        if x not in mentioned(term):
            yield {**program, "context": {y: t for y, t in program["context"].items() if y != x}}
        for t in looser(program["context"][x]):
            yield {**program, "context": {**program["context"], x: t}}


def looser(text):
    """The type with one of its bounds left out."""
    at = text.find("N[")
    while at >= 0:
        yield text[:at + 1] + text[text.index("]", at) + 1:]
        at = text.find("N[", at + 1)
