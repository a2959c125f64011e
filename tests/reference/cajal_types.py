"""The types of the second reading (cajal_ref.py): their spelling, their sizes, and the order of sized types.

A type is ("1",) | ("2",) | ("N", k or None) | ("R", extents, or None for R itself) | ("var", ((label, type), ...) as written)
| ("rec", ((label, type), ...) by label) | ("pair", A, B) | ("seq", T, k) | ("lin", A, B) | ("smooth", A, B); as read also ("name", T), an
abbreviation. A sized type has no None in an N."""
import re

LIMIT = 65536
WIDEST = float("inf")  # the domain of a function of which nothing is known but that it is zero
SPACE = re.compile(r"(?:\s|--[^\n]*)*")
TOKEN = re.compile(r"-o|⊸|[0-9]+|[A-Za-z_][A-Za-z0-9_']*|[!()\[\],;:|<>{}*]")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_']*\Z")
KEYWORDS = {"true", "false", "tt", "ff", "succ", "if", "then", "else", "let", "in", "iter"}
KEYWORDS_2 = {"case", "fold", "scan", "each", "none", "import", "type", "def"}
UNIT = ("1",)
BOOL = ("2",)
NAT = ("N", None)
REAL = ("R", None)


class Fault(Exception):
    """The program is wrong: the code, the place as a JSON Pointer, and the other place of linear_reused."""

    def __init__(self, code, path=None, other=None):
        super().__init__(code)
        self.code, self.path, self.other = code, path, other


def is_label(text):
    return isinstance(text, str) and bool(NAME.match(text)) and text not in KEYWORDS


class TypeReader:
    """Reads one type at a place of a text; `version` says whose grammar."""

    def __init__(self, text, at=0, version=2):
        self.text, self.version = text, version
        self.at = SPACE.match(text, at).end()

    def peek(self):
        found = TOKEN.match(self.text, self.at)
        return found.group() if found else ""

    def take(self, *wanted):
        token = self.peek()
        if not token or (wanted and token not in wanted):
            return None
        self.at = SPACE.match(self.text, self.at + len(token)).end()
        return token

    def need(self, *wanted):
        token = self.take(*wanted)
        if token is None:
            raise Fault("parse_error")
        return token

    def extent(self):
        token = self.need()
        if not token.isdigit() or int(token) < 1:
            raise Fault("parse_error")
        return int(token)

    def label(self):
        token = self.need()
        if not is_label(token):
            raise Fault("parse_error")
        return token

    def atom(self):
        token = self.need()
        if token == "(":
            inner = self.arrow()
            self.need(")")
            return inner
        if token == "2":
            return BOOL
        if token == "N":
            if not self.take("["):
                return NAT
            bound = self.extent()
            self.need("]")
            return ("N", bound)
        if token == "R" and (self.version == 2 and self.peek() != "["):
            return REAL
        if token == "R":
            self.need("[")
            extents = [self.extent()]
            while self.take(","):
                extents.append(self.extent())
            self.need("]")
            return ("R", tuple(extents))
        if self.version == 2:
            return self.atom_2(token)
        raise Fault("parse_error")

    def atom_2(self, token):
        if token == "1":
            return UNIT
        if token == "<":
            labels = [self.summand()]
            while self.take("|"):
                labels.append(self.summand())
            self.need(">")
            return ("var", tuple(labels))
        if token == "{":
            fields = [self.component()]
            while self.take(","):
                fields.append(self.component())
            self.need("}")
            return ("rec", tuple(sorted(fields, key=lambda field: field[0])))
        if token == "[":
            item = self.arrow()
            self.need(";")
            count = self.extent()
            self.need("]")
            return ("seq", item, count)
        if token[0].isupper() and NAME.match(token):
            return ("name", token)
        raise Fault("parse_error")

    def summand(self):
        label = self.label()
        return (label, self.arrow() if self.take(":") else UNIT)

    def component(self):
        label = self.label()
        self.need(":")
        return (label, self.arrow())

    def product(self):
        left = self.atom()
        return ("pair", left, self.product()) if self.version == 2 and self.take("*") else left

    def arrow(self, top=False):
        """A type; at the top of a binder or a context (smooth, type), which may be `!type`."""
        smooth = bool(self.take("!"))
        domain = self.atom() if smooth else self.product()
        if self.take("-o", "⊸"):
            whole = ("smooth" if smooth else "lin", domain, self.arrow())
            return (False, whole) if top else whole
        if smooth and (not top or self.peek() == "*"):
            raise Fault("parse_error")
        return (smooth, domain) if top else domain


def spelled(text, version=2):
    """(smooth, type) of a binder's or context variable's text, well-formed or not."""
    if not isinstance(text, str):
        raise Fault("parse_error")
    reader = TypeReader(text, 0, version)
    declared = reader.arrow(top=True)
    if reader.at != len(text):
        raise Fault("parse_error")
    return declared


def parts(t):
    """The types that a type is built from, in the order as kept."""
    if t[0] in ("var", "rec"):
        return [part for _, part in t[1]]
    if t[0] in ("pair", "lin", "smooth"):
        return [t[1], t[2]]
    return [t[1]] if t[0] == "seq" else []


def rebuilt(t, new):
    """The type with other parts."""
    if t[0] in ("var", "rec"):
        return (t[0], tuple((label, part) for (label, _), part in zip(t[1], new)))
    if t[0] in ("pair", "lin", "smooth"):
        return (t[0], *new)
    return ("seq", new[0], t[2]) if t[0] == "seq" else t


def expand(t, names, under=()):
    """Without abbreviations. They may be given in any order, so a recursive one shows here."""
    if t[0] != "name":
        return rebuilt(t, [expand(part, names, under) for part in parts(t)])
    if t[1] in under:
        raise Fault("bad_definition")
    if t[1] not in names:
        raise Fault("parse_error")
    return expand(names[t[1]], names, (*under, t[1]))


def judge(t):
    """What §1 says of types. Reading: it is judged where a type is read, before §3 begins."""
    for part in parts(t):
        judge(part)
    if t[0] in ("var", "rec") and len({label for label, _ in t[1]}) < len(t[1]):
        raise Fault("duplicate_label")
    if t[0] in ("var", "pair", "seq") and not all(map(is_vector, parts(t))) or t[0] == "lin" and not is_vector(t[1]):
        raise Fault("not_a_vector")


def show(t):
    if t[0] in ("1", "2"):
        return t[0]
    if t[0] == "N":
        return "N" if t[1] is None else f"N[{t[1]}]"
    if t[0] == "R":
        return "R" if t[1] is None else "R[" + ",".join(map(str, t[1])) + "]"
    if t[0] == "var":
        return "<" + " | ".join(label if part == UNIT else f"{label}: {show(part)}" for label, part in t[1]) + ">"
    if t[0] == "rec":
        return "{" + ", ".join(f"{label}: {show(part)}" for label, part in t[1]) + "}"
    if t[0] == "seq":
        return f"[{show(t[1])}; {t[2]}]"
    if t[0] == "pair":
        return f"{within(t[1], 'pair', 'lin', 'smooth')} * {within(t[2], 'lin', 'smooth')}"
    if t[0] == "lin":
        return f"{within(t[1], 'lin', 'smooth')} -o {show(t[2])}"
    return f"!{within(t[1], 'pair', 'lin', 'smooth')} -o {show(t[2])}"


def within(t, *kinds):
    return f"({show(t)})" if t[0] in kinds else show(t)


def show_declared(smooth, t):
    return "!" + within(t, "pair", "lin", "smooth") if smooth else show(t)


def is_arrow(t):
    return t[0] in ("lin", "smooth")


def is_vector(t):
    return t[0] != "smooth" and all(map(is_vector, parts(t)))


def is_discrete(t):
    return t[0] in ("1", "2", "N") or t[0] in ("var", "pair") and all(map(is_discrete, parts(t)))


def is_real(t):
    return t[0] == "R" or t[0] in ("rec", "seq") and all(map(is_real, parts(t)))


def erase(t):
    return NAT if t[0] == "N" else rebuilt(t, [erase(part) for part in parts(t)])


def bounds(t):
    if t[0] == "N":
        return [] if t[1] is None else [t[1]]
    return [bound for part in parts(t) for bound in bounds(part)]


def part_of(t, label):
    return dict(t[1])[label]


def extents(t):
    return () if t[1] is None else t[1]


def size_n(k):
    if WIDEST > k > LIMIT:
        raise Fault("nat_bound_exceeded")
    return ("N", k)


def fill(t, dim):
    """The sized type of a declared one: what has no bound has size dim."""
    if t[0] == "N":
        return size_n(dim if t[1] in (None, WIDEST) else t[1])
    return rebuilt(t, [fill(part, dim) for part in parts(t)])


def least(t, low=1, high=WIDEST):
    """The sized type of zero: least sizes, and widest domains unless a bound is written."""
    if t[0] == "N":
        return ("N", low) if low != WIDEST or t[1] is None else t
    if is_arrow(t):
        return (t[0], least(t[1], high, low), least(t[2], low, high))
    return rebuilt(t, [least(part, low, high) for part in parts(t)])


def keys(t):
    """The names of the basis vectors of a sized vector type, in the order of its space."""
    if t[0] == "1" or t == REAL:
        return [()]
    if t[0] == "2":
        return [0, 1]
    if t[0] == "N":
        return list(range(t[1]))
    if t[0] == "R":
        return list(range(dim_of(t)))
    if t[0] in ("var", "rec"):
        return [(label, key) for label, part in t[1] for key in keys(part)]
    if t[0] == "seq":
        return [(i, key) for i in range(t[2]) for key in keys(t[1])]
    outer, inner = (t[1], t[2]) if t[0] == "pair" else (t[2], t[1])
    return [(i, j) for i in keys(outer) for j in keys(inner)]


def dim_of(t):
    if t[0] in ("1", "2", "N"):
        return {"1": 1, "2": 2}.get(t[0]) or t[1]
    if t[0] == "R":
        n = 1
        for extent in extents(t):
            n *= extent
        return n
    if t[0] == "seq":
        return t[2] * dim_of(t[1])
    dims = [dim_of(part) for part in parts(t)]
    return sum(dims) if t[0] in ("var", "rec") else dims[0] * dims[1]


def shape(t):
    """The axes of the tensor of a value of a sized vector type."""
    if t[0] in ("1", "2", "N", "var", "rec"):
        return [] if t[0] == "1" else [dim_of(t)]
    if t[0] == "R":
        return list(extents(t))
    if t[0] == "pair":
        return [dim_of(t[1]), dim_of(t[2])]
    return [t[2], *shape(t[1])] if t[0] == "seq" else [dim_of(t[2]), dim_of(t[1])]


def fits(a, b):
    """a ≤ b in the order of sized types; a bound missing in b wants nothing."""
    if a[0] == "N":
        return b[1] is None or (a[1] is not None and a[1] <= b[1])
    if is_arrow(a):
        return fits_wanted(b[1], a[1]) and fits(a[2], b[2])
    return all(fits(x, y) for x, y in zip(parts(a), parts(b)))


def fits_wanted(a, b):
    """a ≤ b where a bound missing in a wants nothing: the contravariant side of fits."""
    if a[0] == "N":
        return a[1] is None or a[1] <= b[1]
    if is_arrow(a):
        return fits(b[1], a[1]) and fits_wanted(a[2], b[2])
    return all(fits_wanted(x, y) for x, y in zip(parts(a), parts(b)))


def join(a, b, pick=max):
    """Largest codomain, smallest domain; with pick=min the meet."""
    if a[0] == "N":
        return ("N", pick(a[1], b[1]))
    if is_arrow(a):
        return (a[0], join(a[1], b[1], min if pick is max else max), join(a[2], b[2], pick))
    return rebuilt(a, [join(x, y, pick) for x, y in zip(parts(a), parts(b))])


def bounds_or(s, t):
    """The declared type with the bounds of s, and those of t where s has none."""
    if s[0] == "N":
        return t if s[1] is None else s
    return rebuilt(s, [bounds_or(x, y) for x, y in zip(parts(s), parts(t))])
