"""The text spelling of the second reading (cajal_ref.py): a text becomes the JSON spelling of the same tree, which cajal_terms.py
reads. A type in it is the tuple ("read", smooth, type) in place of a string.

    parse_text(text)    (grammar that reads it, {"types", "defs", "context", "term"})
"""
import re

from cajal_types import KEYWORDS, KEYWORDS_2, SPACE, Fault, TypeReader, is_label

TOKEN = re.compile(r"""->|==|::|\|-|"[^"\n]*"|[0-9]+|[A-Za-z_][A-Za-z0-9_']*|\S""")
REAL = re.compile(r"[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-][0-9]+")
WORD = re.compile(r"[A-Za-z_]")
STARTS = set("([<") | {"true", "false", "tt", "ff", "iter", "case", "fold", "scan", "each", "import"}
BOOLS = {"true": True, "tt": True, "false": False, "ff": False}


def parse_text(text):
    """Version 1's grammar comes first: what it accepts is its own."""
    try:
        return 1, Reader(text, 1).program()
    except Fault:
        return 2, Reader(text, 2).program()


class Reader:
    """A recursive descent, a method a rule. `version` says whose grammar."""

    def __init__(self, text, version):
        self.text, self.version, self.at = text, version, SPACE.match(text).end()
        self.keywords = KEYWORDS if version == 1 else KEYWORDS | KEYWORDS_2

    # Tokens

    def peek(self, ahead=0):
        at, token = self.at, ""
        for _ in range(ahead + 1):
            real = REAL.match(self.text, at) if self.version == 2 else None
            found = real or TOKEN.match(self.text, at)
            if not found:
                return ""
            token, at = found.group(), SPACE.match(self.text, found.end()).end()
        return token

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

    def name(self):
        token = self.need()
        if not WORD.match(token) or token in self.keywords:
            raise Fault("parse_error")
        return token

    def label(self):
        token = self.need()
        if not is_label(token):
            raise Fault("parse_error")
        return token

    def type(self, rule):
        """One type by a rule of TypeReader."""
        reader = TypeReader(self.text, self.at, self.version)
        read = rule(reader)
        self.at = reader.at
        return ("read", *read) if read[0] in (True, False) else ("read", False, read)

    def declared(self):
        return self.type(lambda reader: reader.arrow(top=True))

    # Programs

    def program(self):
        out = {"types": {}, "defs": [], "context": {}}
        while self.version == 2 and self.peek() in ("type", "def"):
            (self.type_ if self.take() == "type" else self.def_)(out)
        if WORD.match(self.peek() or "0") and self.peek(1) == ":":
            self.context(out["context"])
        out["term"] = self.term()
        if self.at != len(self.text):
            raise Fault("parse_error")
        return out

    def type_(self, out):
        name = self.name()
        self.need("=")
        if not name[0].isupper() or name in ("N", "R") or name in out["types"]:
            raise Fault("bad_definition")
        out["types"][name] = self.type(lambda reader: reader.arrow())
        self.need(";")

    def def_(self, out):
        name = self.name()
        self.need("=")
        out["defs"].append([name, self.term()])
        self.need(";")

    def context(self, out):
        while True:
            name = self.name()
            self.need(":")
            if name in out:
                raise Fault("parse_error")
            out[name] = self.declared()
            if not self.take(","):
                break
        self.need("|-", "⊢")

    # Terms, loosest first

    def term(self):
        if self.take("\\", "λ"):
            return self.function()
        if self.take("let"):
            return self.let()
        if self.take("if"):
            condition = self.term()
            self.need("then")
            then = self.term()
            self.need("else")
            return {"if": condition, "then": then, "else": self.term()}
        return self.equality() if self.version == 2 else self.application()

    def function(self):
        binders = []
        while not self.take("."):
            closing = self.take("(")
            name = self.name()
            self.need(":")
            binders.append((name, self.declared()))
            if closing:
                self.need(")")
        if not binders:
            raise Fault("parse_error")
        term = self.term()
        for name, declared in reversed(binders):
            term = {"fun": name, "type": declared, "body": term}
        return term

    def let(self):
        if self.version == 2 and self.take("("):
            names = []
            if not self.take(")"):
                names = [self.name()]
                self.need(",")
                names.append(self.name())
                self.need(")")
        else:
            names = self.name()
        self.need("=")
        be = self.term()
        self.need("in")
        return {"let": names, "be": be, "in": self.term()}

    def equality(self):
        left = self.operators(("+", "-"), lambda: self.operators(("*", "/"), self.unary))
        if not self.take("=="):
            return left
        return {"==": [left, self.operators(("+", "-"), lambda: self.operators(("*", "/"), self.unary))]}

    def operators(self, symbols, tighter):
        left = tighter()
        while self.peek() in symbols:
            left = {self.take(): [left, tighter()]}
        return left

    def unary(self):
        if self.take("-"):
            return {"-": [self.unary()]}
        left = self.application()
        while self.take("@"):
            left = {"at": left, "index": self.application()}
        return left

    def application(self):
        if self.take("succ"):
            return {"succ": self.operand()}
        if self.is_variant():
            variant = self.variant()
            if self.starts():
                return {**variant, "of": self.operand()}
            head = self.postfix(variant)
        else:
            head = self.operand()
        rest = []
        while self.starts():
            rest.append(self.operand())
        return {"app": [head, *rest]} if rest else head

    def starts(self):
        """An operand begins here."""
        token = self.peek()
        if not token:
            return False
        if token == "{":
            return self.version == 2 and bool(WORD.match(self.peek(1) or "0")) and self.peek(2) == "="
        if token in STARTS and (self.version == 2 or token in self.keywords or token == "("):
            return True
        return token[0].isdigit() or bool(WORD.match(token)) and token not in self.keywords

    def operand(self):
        return self.postfix(self.variant() if self.is_variant() else self.atom())

    def postfix(self, term):
        while self.version == 2 and self.peek() == ".":
            self.take()
            digits = re.compile(r"[0-9]+").match(self.text, self.at)
            if digits:
                self.at = SPACE.match(self.text, digits.end()).end()
                term = {"item": int(digits.group()), "of": term}
            else:
                term = {"field": self.label(), "of": term}
        return term

    def is_variant(self):
        return self.version == 2 and (self.peek() == "<" or self.peek()[:1].isupper() and self.peek(1) == "::")

    def variant(self):
        t = self.type(lambda reader: reader.atom())
        self.need("::")
        return {"variant": self.label(), "type": t}

    def atom(self):
        if not self.starts():
            raise Fault("parse_error")
        token = self.need()
        if token in BOOLS:
            return BOOLS[token]
        if token.isdigit():
            return int(token)
        if token[0].isdigit():
            return {"real": float(token)}
        if token == "(":
            return self.parentheses()
        if token == "{":
            return self.record()
        if token == "[":
            items = [self.term()]
            while self.take(","):
                items.append(self.term())
            self.need("]")
            return {"seq": items}
        if token in ("iter", "case", "fold", "scan", "each", "import") and token in self.keywords:
            return getattr(self, "import_" if token == "import" else "loop" if token in ("fold", "scan") else token)(token)
        if WORD.match(token) and token not in self.keywords:
            return token
        raise Fault("parse_error")

    def parentheses(self):
        if self.version == 2:
            if self.take(")"):
                return {"unit": True}
            if self.take("none"):
                self.need(":")
                t = self.type(lambda reader: reader.arrow())
                self.need(")")
                return {"none": t}
        terms = [self.term()]
        while self.version == 2 and self.take(","):
            terms.append(self.term())
        self.need(")")
        out = terms.pop()
        while terms:
            out = {"pair": [terms.pop(), out]}
        return out

    def record(self):
        """Fields up to the brace; of a record and of an import's inputs."""
        fields = {}
        while True:
            label = self.label()
            self.need("=")
            if label in fields:
                raise Fault("duplicate_label")
            fields[label] = self.term()
            if not self.take(","):
                break
        self.need("}")
        return {"record": fields}

    def iter(self, _):
        self.need("{")
        base = self.term()
        self.need("|")
        var = self.name()
        self.need("->")
        step = self.term()
        self.need("}")
        return {"iter": {"base": base, "var": var, "step": step, "count": self.over()[0]}}

    def over(self, count=1):
        self.need("(")
        terms = [self.term()]
        while len(terms) < count:
            self.need(",")
            terms.append(self.term())
        self.need(")")
        return terms

    def names(self):
        names = [self.name()]
        while self.take(","):
            names.append(self.name())
        return names

    def loop(self, kind):
        self.need("{")
        base = self.term()
        self.need("|")
        names = self.names()
        self.need("->")
        step = self.term()
        self.need("}")
        return {kind: {"base": base, "vars": names, "step": step, "over": self.over()[0]}}

    def each(self, _):
        self.need("{")
        names = self.names()
        self.need("->")
        body = self.term()
        self.need("}")
        return {"each": {"vars": names, "body": body, "over": self.over(len(names))}}

    def case(self, _):
        scrutinee = self.term()
        self.need("{")
        branches = []
        while True:
            branch = {"label": self.need()}
            if self.peek() != "->":
                branch["var"] = self.name()
            self.need("->")
            branches.append({**branch, "body": self.term()})
            if not self.take("|"):
                break
        self.need("}")
        return {"case": scrutinee, "branches": branches}

    def import_(self, _):
        name = self.need()
        if name[0] != '"':
            raise Fault("parse_error")
        out = {"import": name[1:-1]}
        if self.take("{"):
            out["with"] = self.record()["record"]
        return out
