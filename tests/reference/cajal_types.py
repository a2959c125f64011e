"""The types of the second reading (cajal_ref.py): their spelling, their sizes, and the order of sized types.

A type is ("2",) | ("N", k or None) | ("R", extents) | ("lin", A, B) | ("smooth", A, B); a sized type has no None in it."""
import re

LIMIT = 65536
TOKEN = re.compile(r"\s*(-o|⊸|[0-9]+|[NR!()\[\],])")
BOOL = ("2",)
NAT = ("N", None)


class Fault(Exception):
    """The program is wrong; args[0] is the code."""


class TypeParser:
    def __init__(self, text):
        self.tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found:
                raise Fault("parse_error")
            self.tokens.append(found.group(1))
            at = found.end()
        self.tokens.append("")

    def take(self, *wanted):
        if self.tokens[0] in wanted:
            return self.tokens.pop(0)
        return None

    def need(self, wanted):
        if not self.take(wanted):
            raise Fault("parse_error")

    def extent(self):
        token = self.tokens.pop(0)
        if not token.isdigit() or int(token) < 1:
            raise Fault("parse_error")
        return int(token)

    def atom(self):
        if self.take("2"):
            return BOOL
        if self.take("N"):
            if not self.take("["):
                return ("N", None)
            bound = self.extent()
            self.need("]")
            return ("N", bound)
        if self.take("R"):
            self.need("[")
            extents = [self.extent()]
            while self.take(","):
                extents.append(self.extent())
            self.need("]")
            return ("R", tuple(extents))
        self.need("(")
        inner = self.arrow()
        self.need(")")
        return inner

    def arrow(self, top=False):
        """A type; at the top of a binder or a context also (True, type) for `!type`."""
        smooth = bool(self.take("!"))
        domain = self.atom()
        if self.take("-o", "⊸"):
            whole = ("smooth" if smooth else "lin", domain, self.arrow())
            return (False, whole) if top else whole
        if smooth and not top:
            raise Fault("parse_error")
        return (smooth, domain) if top else domain


def spelled(text):
    """(smooth, type) of a binder's or context variable's text, well-formed or not."""
    if not isinstance(text, str):
        raise Fault("parse_error")
    parser = TypeParser(text)
    declared = parser.arrow(top=True)
    if parser.tokens != [""]:
        raise Fault("parse_error")
    return declared


def parse_declared(text):
    declared = spelled(text)
    if not well_formed(declared[1]):
        raise Fault("not_a_vector")  # Reading: what §1 says of types is judged where they are read, before §3 begins
    return declared


def show(t):
    if t[0] == "2":
        return "2"
    if t[0] == "N":
        return "N" if t[1] is None else f"N[{t[1]}]"
    if t[0] == "R":
        return "R[" + ",".join(map(str, t[1])) + "]"
    domain = show(t[1])
    if is_arrow(t[1]):
        domain = f"({domain})"
    return ("!" if t[0] == "smooth" else "") + f"{domain} -o {show(t[2])}"


def show_declared(smooth, t):
    return ("!(" + show(t) + ")" if is_arrow(t) else "!" + show(t)) if smooth else show(t)


def is_arrow(t):
    return t[0] in ("lin", "smooth")


def erase(t):
    if t[0] == "N":
        return ("N", None)
    return (t[0], erase(t[1]), erase(t[2])) if is_arrow(t) else t


def is_vector(t):
    return t[0] != "smooth" and (t[0] != "lin" or (is_vector(t[1]) and is_vector(t[2])))


def well_formed(t):
    """In A ⊸ B, A is a vector type; under !A ⊸ B it may be any."""
    if not is_arrow(t):
        return True
    return (t[0] == "smooth" or is_vector(t[1])) and well_formed(t[1]) and well_formed(t[2])


def bounds(t):
    if t[0] == "N":
        return [] if t[1] is None else [t[1]]
    return bounds(t[1]) + bounds(t[2]) if is_arrow(t) else []


def fill(t, dim):
    """The sized type of a declared one: what has no bound has size dim."""
    if t[0] == "N":
        return size_n(dim if t[1] is None else t[1])
    return (t[0], fill(t[1], dim), fill(t[2], dim)) if is_arrow(t) else t


def size_n(k):
    if k > LIMIT:
        raise Fault("nat_bound_exceeded")
    return ("N", k)


def dim_of(t):
    if t[0] == "2":
        return 2
    if t[0] == "N":
        return t[1]
    if t[0] == "R":
        n = 1
        for extent in t[1]:
            n *= extent
        return n
    return dim_of(t[1]) * dim_of(t[2])


def fits(a, b):
    """a ≤ b in the order of sized types; a bound missing in b wants nothing."""
    if a[0] == "N":
        return b[1] is None or (a[1] is not None and a[1] <= b[1])
    return fits_wanted(b[1], a[1]) and fits(a[2], b[2]) if is_arrow(a) else True


def fits_wanted(a, b):
    """a ≤ b where a bound missing in a wants nothing: the contravariant side of fits."""
    if a[0] == "N":
        return a[1] is None or a[1] <= b[1]
    return fits(b[1], a[1]) and fits_wanted(a[2], b[2]) if is_arrow(a) else True


def join(a, b, pick=max):
    """Largest codomain, smallest domain; with pick=min the meet."""
    if a[0] == "N":
        return ("N", pick(a[1], b[1]))
    if is_arrow(a):
        return (a[0], join(a[1], b[1], min if pick is max else max), join(a[2], b[2], pick))
    return a


def bounds_or(s, t):
    """The declared type with the bounds of s, and those of t where s has none."""
    if s[0] == "N":
        return t if s[1] is None else s
    return (s[0], bounds_or(s[1], t[1]), bounds_or(s[2], t[2])) if is_arrow(s) else s
