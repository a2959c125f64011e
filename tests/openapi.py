#!/usr/bin/env python3
"""schema/openapi.json against the code, and JSON against it.

openapi.py                 checks the file: routes of server/routes.def, codes of schema/errors.def, references, examples
openapi.py validate NAME   validates standard input against components.schemas.NAME
"""
import json
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


class Invalid(Exception):
    pass


KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float), "integer": int}


def is_kind(value, kind):
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or isinstance(value, float) and value.is_integer()
    return isinstance(value, KINDS[kind])


class Schemas:
    """As much of JSON Schema 2020-12 as the file uses; a keyword that is not known here is an error."""

    def __init__(self, document):
        self.document = document

    def resolve(self, reference):
        node = self.document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key.replace("~1", "/").replace("~0", "~")]
        return node

    def matches(self, schema, value, at):
        try:
            self.validate(schema, value, at)
            return True
        except Invalid:
            return False

    def validate(self, schema, value, at="$"):
        for keyword, rule in schema.items():
            getattr(self, "on_" + keyword.lstrip("$"))(rule, value, at, schema)

    def ignore(self, *_):
        pass

    on_description = on_default = on_examples = on_format = ignore

    def on_ref(self, rule, value, at, _):
        self.validate(self.resolve(rule), value, at)

    def on_type(self, rule, value, at, _):
        if not any(is_kind(value, kind) for kind in ([rule] if isinstance(rule, str) else rule)):
            raise Invalid(f"{at}: not of type {rule}: {value!r}")

    def on_enum(self, rule, value, at, _):
        if value not in rule:
            raise Invalid(f"{at}: none of {rule}: {value!r}")

    def on_const(self, rule, value, at, _):
        self.on_enum([rule], value, at, _)

    def on_pattern(self, rule, value, at, _):
        if isinstance(value, str) and not re.search(rule, value):
            raise Invalid(f"{at}: not {rule}: {value!r}")

    def on_minimum(self, rule, value, at, _):
        if is_kind(value, "number") and value < rule:
            raise Invalid(f"{at}: less than {rule}: {value!r}")

    def on_maximum(self, rule, value, at, _):
        if is_kind(value, "number") and value > rule:
            raise Invalid(f"{at}: more than {rule}: {value!r}")

    def on_minItems(self, rule, value, at, _):
        if isinstance(value, list) and len(value) < rule:
            raise Invalid(f"{at}: fewer than {rule} items")

    def on_items(self, rule, value, at, _):
        for i, item in enumerate(value if isinstance(value, list) else []):
            self.validate(rule, item, f"{at}[{i}]")

    def on_properties(self, rule, value, at, _):
        for key in value if isinstance(value, dict) else []:
            if key in rule:
                self.validate(rule[key], value[key], f"{at}.{key}")

    def on_required(self, rule, value, at, _):
        for key in rule if isinstance(value, dict) else []:
            if key not in value:
                raise Invalid(f"{at}: {key} is missing")

    def on_additionalProperties(self, rule, value, at, schema):
        for key in value if isinstance(value, dict) else []:
            if key in schema.get("properties", {}) or rule is True:
                continue
            if rule is False:
                raise Invalid(f"{at}: unknown member {key}")
            self.validate(rule, value[key], f"{at}.{key}")

    def on_propertyNames(self, rule, value, at, _):
        for key in value if isinstance(value, dict) else []:
            self.validate(rule, key, f"{at}: name {key}")

    def on_anyOf(self, rule, value, at, _):
        if not any(self.matches(schema, value, at) for schema in rule):
            raise Invalid(f"{at}: fits no alternative: {json.dumps(value)[:200]}")

    def on_oneOf(self, rule, value, at, _):
        fits = sum(self.matches(schema, value, at) for schema in rule)
        if fits != 1:
            raise Invalid(f"{at}: fits {fits} of alternatives of which it should be one")


def walk(node, at=""):
    yield at, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
    for key, child in children:
        yield from walk(child, f"{at}/{key}")


def check_routes(document):
    code = set(re.findall(r'^ROUTE\(([A-Z]+), "(/[^"]*)"', read("server/routes.def"), re.M))
    said = {(method.upper(), path) for path, item in document["paths"].items() for method in item if method != "parameters"}
    for method, path in sorted(code - said):
        yield f"{method} {path} is routed but not described"
    for method, path in sorted(said - code):
        yield f"{method} {path} is described but not routed"


def check_errors(document):
    table = dict(re.findall(r"ERROR\((\w+),\s*(\d+)", read("schema/errors.def")))
    listed = document["components"]["schemas"]["ErrorCode"]["enum"]
    if set(listed) != set(table) or len(listed) != len(table):
        yield f"ErrorCode and errors.def differ: {sorted(set(listed) ^ set(table))}"
    described = {}
    for path, item in document["paths"].items():
        for operation in (o for method, o in item.items() if method != "parameters"):
            for status, response in operation["responses"].items():
                described.setdefault(status, []).append(response)
    of_runs = document["components"]["schemas"]["Run"]["properties"]["code"]["description"]  # why one failed, which no answer's status tells
    for name, status in table.items():
        if f"`{name}`" in of_runs:
            continue
        texts = [Schemas(document).resolve(r["$ref"])["description"] if "$ref" in r else r["description"] for r in described.get(status, [])]
        if not any(f"`{name}`" in text for text in texts):
            yield f"no operation's {status} names {name}"


def check_references(document):
    for at, node in walk(document):
        if isinstance(node, dict) and "$ref" in node:
            try:
                Schemas(document).resolve(node["$ref"])
            except KeyError:
                yield f"{at}: nothing at {node['$ref']}"


def check_examples(document):
    for at, node in walk(document["paths"]):
        if not isinstance(node, dict) or "schema" not in node:
            continue
        examples = [e["value"] for e in node.get("examples", {}).values()] + ([node["example"]] if "example" in node else [])
        for example in examples:
            try:
                Schemas(document).validate(node["schema"], example)
            except Invalid as wrong:
                yield f"{at}: example: {wrong}"


def main(args):
    document = json.loads(read("schema/openapi.json"))
    if args[:1] == ["validate"]:
        try:
            Schemas(document).validate({"$ref": "#/components/schemas/" + args[1]}, json.load(sys.stdin))
        except (Invalid, ValueError) as wrong:
            print(f"not a {args[1]}: {wrong}")
            return 1
        return 0
    faults = [fault for check in (check_routes, check_errors, check_references, check_examples) for fault in check(document)]
    for fault in faults:
        print(f"openapi.json: {fault}")
    return len(faults) > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
