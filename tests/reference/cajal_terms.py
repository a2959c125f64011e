"""The trees of the second reading (cajal_ref.py): from the JSON spelling, with the place of each node, and to text.

    Builder(version, names).term(json, path)    a Node, or Fault
    text_of(program)                            text that reads as the same program
    tree(node)                                  what two spellings of one tree have in common
"""
import math

import cajal_types as types
from cajal_types import KEYWORDS, KEYWORDS_2, NAME, Fault, is_label, show, show_declared

ARITHMETIC = ("+", "-", "*", "/")


class Node:
    """kind, path, and the parts of the kind; the checker adds the erased type, and to an app that is one the prelude's operator."""

    def __init__(self, kind, path, **parts):
        self.kind, self.path = kind, path
        self.__dict__.update(parts)


class Branch:
    def __init__(self, label, var, body, path):
        self.label, self.var, self.body, self.path = label, var, body, path


def step(path, *keys):
    return path + "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def wrong(path, code="parse_error"):
    raise Fault(code, path)


class Builder:
    """Reads JSON by the grammar of a version; `names` are the program's abbreviations of types."""

    def __init__(self, version, names=None):
        self.version, self.names = version, names or {}
        self.keywords = KEYWORDS if version == 1 else KEYWORDS | KEYWORDS_2
        self.forms = {("succ",): self.succ, ("if", "then", "else"): self.if_, ("fun", "type", "body"): self.fun, ("app",): self.app,
                      ("iter",): self.iter, ("let", "be", "in"): self.let}
        if version == 2:
            self.forms.update({("unit",): self.unit, ("real",): self.real, ("variant", "of", "type"): self.variant,
                               ("variant", "type"): self.variant, ("case", "branches"): self.case, ("record",): self.record,
                               ("field", "of"): self.field, ("pair",): self.pair, ("seq",): self.seq, ("item", "of"): self.item,
                               ("at", "index"): self.at, ("fold",): self.fold, ("scan",): self.fold, ("each",): self.each,
                               ("==",): self.equal, ("none",): self.none, ("import",): self.import_, ("import", "with"): self.import_})
            self.forms.update({(op,): self.arithmetic for op in ARITHMETIC})
        self.forms = {frozenset(form): make for form, make in self.forms.items()}

    def name(self, value, path):
        if not isinstance(value, str) or not NAME.match(value) or value in self.keywords:
            wrong(path)
        return value

    def label(self, value, path):
        return value if is_label(value) else wrong(path)

    def declared(self, text, path):
        """(smooth, type) of a type's text, or of one that a text's reader has read."""
        try:
            smooth, t = text[1:] if isinstance(text, tuple) else types.spelled(text, self.version)
            t = types.expand(t, self.names)
            types.judge(t)
            return smooth, t
        except Fault as fault:
            raise Fault(fault.code, path) from None

    def plain(self, text, path):
        smooth, t = self.declared(text, path)
        return t if not smooth else wrong(path)

    def term(self, j, path=""):
        if isinstance(j, bool):
            return Node("bool", path, value=j)
        if isinstance(j, str):
            return Node("var", path, name=self.name(j, path))
        if isinstance(j, (int, float)):
            if j < 0 or j != j or j > 2 ** 53 or j != int(j):
                wrong(path)
            return Node("num", path, value=int(j))
        make = self.forms.get(frozenset(j)) if isinstance(j, dict) else None
        return make(j, path) if make else wrong(path)

    def terms(self, j, path, least, most=math.inf):
        if not isinstance(j, list) or not least <= len(j) <= most:
            wrong(path)
        return [self.term(part, step(path, i)) for i, part in enumerate(j)]

    def inner(self, j, key, path, *wanted):
        """The object under a key, with exactly these keys."""
        if not isinstance(j[key], dict) or set(j[key]) != set(wanted):
            wrong(step(path, key))
        return j[key], step(path, key)

    def variables(self, names, path, count=None):
        if not isinstance(names, list) or not names or count not in (None, len(names)):
            wrong(path)
        names = [self.name(name, step(path, i)) for i, name in enumerate(names)]
        return names if len(set(names)) == len(names) else wrong(path)

    def succ(self, j, path):
        return Node("succ", path, of=self.term(j["succ"], step(path, "succ")))

    def if_(self, j, path):
        condition, a, b = [self.term(j[key], step(path, key)) for key in ("if", "then", "else")]
        return Node("if", path, condition=condition, then=a, other=b)

    def fun(self, j, path):
        name = self.name(j["fun"], step(path, "fun"))
        smooth, t = self.declared(j["type"], step(path, "type"))
        return Node("fun", path, name=name, smooth=smooth, declared=t, body=self.term(j["body"], step(path, "body")))

    def app(self, j, path):
        terms = self.terms(j["app"], step(path, "app"), 2)
        out = terms[0]
        for argument in terms[1:]:
            out = Node("app", path, f=out, a=argument)
        return out

    def iter(self, j, path):
        it, at = self.inner(j, "iter", path, "base", "var", "step", "count")
        base = self.term(it["base"], step(at, "base"))
        var = self.name(it["var"], step(at, "var"))
        return Node("iter", path, base=base, var=var, step=self.term(it["step"], step(at, "step")),
                    count=self.term(it["count"], step(at, "count")))

    def let(self, j, path):
        names = j["let"]
        if self.version == 1 or not isinstance(names, list):
            names = [self.name(names, step(path, "let"))]
            kind = "let"
        else:
            names = names and self.variables(names, step(path, "let"), 2)
            kind = "unpair" if names else "ununit"
        return Node(kind, path, names=names, be=self.term(j["be"], step(path, "be")), body=self.term(j["in"], step(path, "in")))

    def unit(self, j, path):
        return Node("unit", path) if j["unit"] is True else wrong(path)

    def real(self, j, path):
        value = j["real"]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            wrong(step(path, "real"))
        return Node("real", path, value=float(value) + 0.0)

    def variant(self, j, path):
        of = self.term(j["of"], step(path, "of")) if "of" in j else Node("unit", step(path, "of"))
        return Node("variant", path, label=self.label(j["variant"], step(path, "variant")), of=of,
                    declared=self.plain(j["type"], step(path, "type")))

    def case(self, j, path):
        of, branches = self.term(j["case"], step(path, "case")), []
        if not isinstance(j["branches"], list) or not j["branches"]:
            wrong(step(path, "branches"))
        for i, branch in enumerate(j["branches"]):
            at = step(path, "branches", i)
            if not isinstance(branch, dict) or set(branch) not in ({"label", "body"}, {"label", "var", "body"}):
                wrong(at)
            label, var = branch["label"], branch.get("var")
            if label not in ("true", "false", "0", "succ"):
                self.label(label, step(at, "label"))
            if "var" in branch:
                self.name(var, step(at, "var"))
                if label in ("true", "false", "0"):
                    wrong(step(at, "var"))
            branches.append(Branch(label, var, self.term(branch["body"], step(at, "body")), at))
        return Node("case", path, of=of, branches=branches)

    def fields(self, j, path, labels):
        if not isinstance(j, dict):
            wrong(path)
        return {key: self.term(j[key], step(path, labels(key, step(path, key)))) for key in sorted(j)}

    def record(self, j, path):
        fields = self.fields(j["record"], step(path, "record"), self.label)
        return Node("record", path, fields=fields) if fields else wrong(step(path, "record"))

    def field(self, j, path):
        return Node("field", path, label=self.label(j["field"], step(path, "field")), of=self.term(j["of"], step(path, "of")))

    def pair(self, j, path):
        left, right = self.terms(j["pair"], step(path, "pair"), 2, 2)
        return Node("pair", path, left=left, right=right)

    def seq(self, j, path):
        return Node("seq", path, items=self.terms(j["seq"], step(path, "seq"), 1))

    def item(self, j, path):
        index = j["item"]
        if isinstance(index, bool) or not isinstance(index, int) or index < 0:
            wrong(step(path, "item"))
        return Node("item", path, index=index, of=self.term(j["of"], step(path, "of")))

    def at(self, j, path):
        return Node("at", path, of=self.term(j["at"], step(path, "at")), index=self.term(j["index"], step(path, "index")))

    def fold(self, j, path):
        kind, = j
        it, at = self.inner(j, kind, path, "base", "vars", "step", "over")
        names = self.variables(it["vars"], step(at, "vars"), 2)
        over, base, body = [self.term(it[key], step(at, key)) for key in ("over", "base", "step")]
        return Node(kind, path, names=names, over=over, base=base, step=body)

    def each(self, j, path):
        it, at = self.inner(j, "each", path, "vars", "body", "over")
        names = self.variables(it["vars"], step(at, "vars"))
        over = self.terms(it["over"], step(at, "over"), len(names), len(names))
        return Node("each", path, names=names, over=over, body=self.term(it["body"], step(at, "body")))

    def arithmetic(self, j, path):
        op, = j
        operands = self.terms(j[op], step(path, op), 1 if op == "-" else 2, 2)
        return Node("arithmetic" if len(operands) == 2 else "negative", path, op=op, operands=operands)

    def equal(self, j, path):
        return Node("equal", path, operands=self.terms(j["=="], step(path, "=="), 2, 2))

    def none(self, j, path):
        return Node("none", path, declared=self.plain(j["none"], step(path, "none")))

    def import_(self, j, path):
        if not isinstance(j["import"], str):
            wrong(step(path, "import"))
        return Node("import", path, name=j["import"], inputs=self.fields(j.get("with", {}), step(path, "with"), self.name))


def children(e):
    """The subterms of a node, as written."""
    for key, part in vars(e).items():
        for x in [] if key == "given" else part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else [part]:
            if isinstance(x, Branch):
                yield x.body
            elif isinstance(x, Node):
                yield x


def tree(x):
    if isinstance(x, Node):
        return (x.kind, *(tree(part) for key, part in vars(x).items() if key not in ("kind", "path", "type", "operator", "given", "program", "closed")))
    if isinstance(x, Branch):
        return (x.label, x.var, tree(x.body))
    if isinstance(x, (list, tuple)):
        return tuple(map(tree, x))
    return tuple((key, tree(part)) for key, part in x.items()) if isinstance(x, dict) else x


# Printing. Levels: 0 a term, 1 a sum, 2 a product, 3 a minus, 4 an @, 5 an application, 6 an operand

LEVELS = {"fun": 0, "let": 0, "unpair": 0, "ununit": 0, "if": 0, "equal": 0.5, "negative": 3, "at": 4, "app": 5, "succ": 5}


def text_of(term, context):
    declared = ", ".join(f"{name} : {show_declared(*t)}" for name, t in context.items())
    return (declared + " |- " if declared else "") + text(term, 0)


def text(e, level):
    own = LEVELS.get(e.kind, 6)
    if e.kind == "arithmetic":
        own = 1 if e.op in "+-" else 2
    if e.kind == "variant" and e.of.kind != "unit":
        own = 5
    if e.kind == "import" and not e.inputs:
        own = 0  # braces behind it would be its inputs
    out = PRINT[e.kind](e)
    return out if own >= level else f"({out})"


def text_app(e):
    bare = e.f.kind == "variant" or e.f.kind == "import"
    return f"{text(e.f, 7 if bare else 5 if e.f.kind == 'app' else 6)} {text(e.a, 6)}"


def text_postfix(e, behind):
    return f"{text(e.of, 7 if e.of.kind in ('num', 'real') else 6)}.{behind}"


def text_case(e):
    branches = " | ".join(f"{b.label}{' ' + b.var if b.var else ''} -> {text(b.body, 0)}" for b in e.branches)
    return f"case {text(e.of, 1)} {{{branches}}}"


def text_fields(fields):
    return "{" + ", ".join(f"{label} = {text(part, 0)}" for label, part in fields.items()) + "}"


def text_arithmetic(e):
    level = 1 if e.op in "+-" else 2
    return f"{text(e.operands[0], level)} {e.op} {text(e.operands[1], level + 1)}"


def text_variant(e):
    return f"{show(e.declared)}::{e.label}" + ("" if e.of.kind == "unit" else " " + text(e.of, 6))


def text_loop(e):
    return f"{e.kind} {{{text(e.base, 0)} | {', '.join(e.names)} -> {text(e.step, 0)}}} ({text(e.over, 0)})"


def text_let(e):
    names = e.names[0] if e.kind == "let" else f"({', '.join(e.names)})"
    return f"let {names} = {text(e.be, 0)} in {text(e.body, 0)}"


PRINT = {
    "var": lambda e: e.name, "bool": lambda e: "true" if e.value else "false", "num": lambda e: str(e.value), "unit": lambda e: "()",
    "real": lambda e: repr(e.value), "succ": lambda e: f"succ {text(e.of, 6)}",
    "if": lambda e: f"if {text(e.condition, 0)} then {text(e.then, 0)} else {text(e.other, 0)}",
    "fun": lambda e: f"\\{e.name}:{show_declared(e.smooth, e.declared)}. {text(e.body, 0)}", "app": text_app,
    "iter": lambda e: f"iter {{{text(e.base, 0)} | {e.var} -> {text(e.step, 0)}}} ({text(e.count, 0)})", "let": text_let,
    "unpair": text_let, "ununit": text_let, "variant": text_variant, "case": text_case, "record": lambda e: text_fields(e.fields),
    "field": lambda e: text_postfix(e, e.label), "pair": lambda e: f"({text(e.left, 0)}, {text(e.right, 0)})",
    "seq": lambda e: "[" + ", ".join(text(item, 0) for item in e.items) + "]", "item": lambda e: text_postfix(e, e.index),
    "at": lambda e: f"{text(e.of, 4)} @ {text(e.index, 5)}", "fold": text_loop, "scan": text_loop,
    "each": lambda e: f"each {{{', '.join(e.names)} -> {text(e.body, 0)}}} ({', '.join(text(xs, 0) for xs in e.over)})",
    "arithmetic": text_arithmetic, "negative": lambda e: f"-{text(e.operands[0], 4)}",
    "equal": lambda e: f"{text(e.operands[0], 1)} == {text(e.operands[1], 1)}", "none": lambda e: f"(none : {show(e.declared)})",
    "import": lambda e: f'import "{e.name}"' + (" " + text_fields(e.inputs) if e.inputs else ""),
}
