"""A second reading of the Cajal language, made from design/language.md and design/language-2.md alone and never from the compiler's code.

It is slow and literal on purpose: the checker (cajal_check) adds grades in dictionaries, the sizes (cajal_sizes) inline every function and
run every sequence of sizes, the meaning (cajal_meaning) is arithmetic on dictionaries, exact as long as the numbers are integers, and the
interpreter (cajal_interp) knows nothing of vectors. Where the compiler and this reading disagree, the page decides who is right. `vectors.py`
holds it against the conformance vectors and `generate2.py` against itself; `compare.py` holds a running service against it on random programs,
`programs.py` makes those.

    p = parse(term, context, nat)                Program, or raises Fault; from the JSON spelling
    p = program(body, imports)                   likewise, from a body with a "term" or a "text", "types", "defs"; imports: name ↦ Program
    p.check()                                    the erased type of the whole, or Fault(code, path, other); early: see cajal_check
    p.sized()                                    the sized type of the whole, or Fault("nat_bound_exceeded")
    p.evaluate(inputs, args, sized)              the flat result and the largest integer on the way; inputs and args are flat lists
    p.derive(inputs, args, sized)                a Derivative
    p.interpret(inputs, args)                    the interpreter's value, of its values
Budget says that the reading is too slow for this program. Points that the pages leave open, and how they are read here, are marked "Reading:".
"""
import cajal_numbers as numbers
from cajal_check import Checker, judge
from cajal_interp import NONE, Interpreter
from cajal_meaning import Meaning
from cajal_sizes import Budget, sized_of
from cajal_syntax import parse_text
from cajal_terms import Builder, Node, children, step, text_of, tree
from cajal_types import Fault, bounds, erase, expand, fill, keys, spelled
from cajal_types import judge as judge_type

__all__ = ["Budget", "Fault", "Program", "parse", "program"]


def parse(term, context=None, nat=None):
    return program({"term": term, "context": context or {}, "nat": nat or {}})


def program(body, imports=None):
    if "text" in body:
        grammar, read = parse_text(body["text"])
        return build(grammar, {**read, "nat": body.get("nat")}, imports)
    if not body.get("types") and not body.get("defs"):
        try:
            return build(1, body, imports)
        except Fault as fault:
            if fault.code != "parse_error":
                raise
    return build(2, body, imports)


def build(grammar, body, imports):
    builder = Builder(grammar)
    types, defs, context = body.get("types") or {}, body.get("defs") or [], {}
    for name, t in types.items():
        builder.names[name] = read_abbreviation(builder, name, t)
    for name, t in builder.names.items():
        placed(step("", "types", name), lambda t=t: judge_type(expand(t, builder.names)))
    for name, t in (body.get("context") or {}).items():
        context[builder.name(name, step("", "context", name))] = builder.declared(t, step("", "context", name))
    read, known = [], set(context)
    for i, (name, e) in enumerate(defs):
        if builder.name(name, step("", "defs", i, 0)) in known | {"N", "R"}:
            raise Fault("bad_definition", step("", "defs", i, 0))
        known.add(name)
        read.append((name, builder.term(e, step("", "defs", i, 1))))
    return Program(grammar, read, builder.term(body["term"]), context, body.get("nat") or {}, imports or {})


def placed(path, action):
    try:
        return action()
    except Fault as fault:
        raise Fault(fault.code, path) from None


def read_abbreviation(builder, name, t):
    path = step("", "types", name)
    if not name[:1].isupper() or name in ("N", "R"):
        raise Fault("bad_definition", path)
    smooth, t = t[1:] if isinstance(t, tuple) else placed(path, lambda: spelled(t))
    if smooth:
        raise Fault("parse_error", path)
    return t


def free(e):
    """The names that occur free; a name bound anywhere in between hides only below its binder."""
    if e.kind == "var":
        return {e.name}
    if e.kind == "fun":
        return free(e.body) - {e.name}
    if e.kind in ("let", "unpair", "ununit"):
        return free(e.be) | free(e.body) - set(e.names)
    if e.kind == "iter":
        return free(e.base) | free(e.count) | free(e.step) - {e.var}
    if e.kind in ("fold", "scan"):
        return free(e.over) | free(e.base) | free(e.step) - set(e.names)
    if e.kind == "each":
        return set().union(free(e.body) - set(e.names), *map(free, e.over))
    if e.kind == "case":
        return free(e.of).union(*(free(branch.body) - {branch.var} for branch in e.branches))
    return set().union(*map(free, children(e)))


class Derivative:
    """The result with its derivatives by all inputs and arguments."""

    def __init__(self, outputs, inputs, args):
        self.outputs, self.inputs, self.args = outputs, inputs, args
        self.leaves = [x for vector in [*inputs.values(), *args] for x in vector]

    def value(self):
        return [numbers.val(x) for x in self.outputs]

    def vjp(self, cotangent):
        """(gradient by input, gradients by argument)"""
        flat = iter(numbers.backward(self.outputs, cotangent, self.leaves))
        return {name: [next(flat) for _ in v] for name, v in self.inputs.items()}, [[next(flat) for _ in v] for v in self.args]

    def jvp(self, tangent):
        return numbers.forward(self.outputs, tangent, self.leaves)


class Program:
    def __init__(self, grammar, defs, term, context, nat, imports):
        self.grammar, self.defs, self.term, self.context, self.imports = grammar, defs, term, context, imports
        self.dim, self.policy = nat.get("dim", 10), nat.get("overflow", "exact")
        self.checked = self.written = None
        self.with_defs()

    def with_defs(self):
        """A definition becomes a let around the rest; an unused one is only checked."""
        rest = self.term
        for i, (name, e) in reversed(list(enumerate(self.defs))):
            if name in free(rest):
                rest = Node("let", "", names=[name], be=e, body=rest, closed=[earlier for earlier, _ in self.defs[:i]])
        self.term = rest

    def text(self):
        return text_of(self.term, self.context)

    def tree(self):
        return tree(self.term)

    def check(self, early=False):
        if self.checked is None:
            self.checked = self.judged(early)
        return self.checked

    def judged(self, early):
        checker = Checker(self.imports, (self.dim, self.policy), early)
        closed = {}
        for name, e in self.defs:
            closed, _ = checker.bind(closed, name, checker.check(e, closed)[0])
        scope, uses = {}, {}
        for name, (_, t) in self.context.items():
            scope, uses[name] = checker.bind(scope, name, erase(t))
        t, u = checker.check(self.term, scope)
        for name, (smooth, declared) in self.context.items():  # Reading: several errors there come in the order as written
            grade = u if u == "top" else u.get(uses[name])
            judge(declared, smooth, grade, step("", "context", name), step("", "context", name))
        return t

    def declared(self):
        """All types that are written in the program, once it is checked."""
        if self.written is not None:
            return self.written
        found, left = [t for _, t in self.context.values()], [self.term, *(e for _, e in self.defs)]
        while left:
            e = left.pop()
            found += [e.declared] if hasattr(e, "declared") else []
            found += e.program.declared() if hasattr(e, "program") else []
            left += children(e)
        self.written = found
        return found

    def sized(self, work=100000):
        return sized_of(self, work)

    def run(self, inputs, args, sized, number):
        wide = max([self.dim, *(k for t in self.declared() for k in bounds(t))]) if self.policy == "exact" else self.dim
        meaning = Meaning(self.dim, self.policy, wide)
        inputs = {name: [number(x) for x in inputs[name]] for name in self.context}
        args = [[number(x) for x in vector] for vector in args]
        value = meaning.run(self.term, {name: dict(zip(keys(fill(t, self.dim)), inputs[name])) for name, (_, t) in self.context.items()})
        for vector in args:
            value = meaning.apply(value, dict(zip(keys(sized[1]), vector)))
            sized = sized[2]
        return meaning.flatten(sized, value), inputs, args, meaning.largest

    def evaluate(self, inputs, args, sized):
        """`sized` is the program's sized type, arguments included."""
        outputs, _, _, largest = self.run(inputs, args, sized, lambda x: x)
        return outputs, largest

    def derive(self, inputs, args, sized):
        return Derivative(*self.run(inputs, args, sized, numbers.Num)[:3])

    def interpret(self, inputs, args=()):
        value = Interpreter(self.dim, self.policy).run(self.term, inputs)
        for argument in args:
            value = value if value is NONE else value(argument)
        return value
