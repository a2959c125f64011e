#!/usr/bin/env python3
"""rooms.py BUILD: which room of the house may include which, and that no two files need each other. A line for each breach.

A room is a folder of sources, `x.c` and `x.h` together are a module. Two modules need each other when each can be reached from the other over
includes, or over symbols: x.o uses what y.o defines, and y.o what x.o defines (read from the objects in BUILD)."""
import os
import re
import subprocess
import sys
from collections import defaultdict

# room: rooms that its files may include beside the room itself and schema's top (errors, limits); libraries
COMPILER = "compiler/language compiler/lower compiler/passes compiler/derive compiler/training"
SERVER = "server server/http server/store server/workers server/data server/programs server/runs server/eval server/upkeep"
ROOMS = {
    "schema": ("", ""),
    "schema/base": ("", ""),
    "schema/formats": ("schema/base", "cjson"),
    "schema/graph": ("schema/base", "sodium"),
    "schema/protocol": ("schema/base schema/formats", ""),
    "compiler/language": ("schema/base schema/formats", "sodium"),
    "compiler/passes": ("schema/base schema/graph compiler/language", ""),
    "compiler/lower": ("schema/base schema/graph compiler/language compiler/passes", ""),
    "compiler/derive": ("schema/base schema/graph compiler/language compiler/passes compiler/lower", ""),
    "compiler/training": ("schema/base schema/formats schema/graph schema/protocol " + COMPILER, ""),
    "worker/kernels": ("schema/base schema/formats schema/graph", "cblas omp"),
    "worker/plan": ("schema/base schema/graph schema/protocol worker/kernels", "cblas omp"),
    "worker": ("schema/base schema/protocol worker/protocol", "cblas"),
    "worker/train": ("schema/base schema/formats schema/graph schema/protocol worker worker/plan worker/kernels " + COMPILER, "omp sodium"),
    "worker/protocol": ("schema/base schema/graph schema/protocol worker worker/plan worker/train " + COMPILER, "cblas"),
    "server": ("schema/base schema/formats schema/graph schema/protocol compiler/language " + SERVER, "cjson microhttpd sodium"),
    "server/store": ("schema/base compiler/language server", "sodium sqlite3"),
    "server/workers": ("schema/base schema/formats schema/graph schema/protocol server", ""),
    "server/http": ("schema/base schema/formats schema/protocol compiler/language server", "microhttpd sodium"),
    "server/programs": ("schema/base schema/formats schema/graph schema/protocol compiler/language server server/http server/store server/workers", ""),
    "server/data": ("schema/base schema/formats schema/protocol server server/http server/store", "sodium zlib"),
    "server/runs": ("schema/base schema/formats schema/protocol compiler/language compiler/training " + SERVER, "sodium"),
    "server/eval": ("schema/base schema/formats schema/protocol compiler/language " + SERVER, ""),
    "server/upkeep": ("schema/base schema/formats server server/http server/data server/runs server/store server/workers", "sodium"),
    "client/lib": ("schema/base", "curl"),
    "client/cli": ("client/lib", "cjson"),
}
# From these files nothing is taken: they stand above every room.
TOPS = {"server/main", "server/service", "worker/main"}
LIBRARY = re.compile(r"(cblas|cjson|cmocka|curl|dnnl|lapacke|microhttpd|omp|oneapi|openblas|sodium|sqlite3|zlib)\b")


def sources():
    for folder in sorted({room.split("/")[0] for room in ROOMS}):
        for at, _, names in os.walk(folder):
            yield from (os.path.join(at, name) for name in sorted(names) if name.endswith((".c", ".h", ".def")))


def module_of(path):
    """x.c and x.h are one; a table (x.def) is read by whoever is made from it, and stands for itself."""
    name, kind = os.path.splitext(path)
    return path if kind == ".def" else name


def check_includes(edges, breaches):
    for path in sources():
        room = os.path.dirname(path)
        if room not in ROOMS:
            breaches.append(f"{path}: no room of that name in tests/rooms.py")
            continue
        rooms, libraries = (words.split() for words in ROOMS[room])
        with open(path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        for number, line in enumerate(lines, 1):
            include = re.match(r'\s*#\s*include\s*(?:"(.*)"|<(.*)>)', line)
            if not include:
                continue
            ours, theirs = include.groups()
            if theirs:
                library = LIBRARY.match(theirs)
                allowed = not library or library[1] in libraries
            else:
                to = os.path.dirname(ours)
                allowed = to in [room, "schema", *rooms] and module_of(ours) not in TOPS
                edges[module_of(path)].add(module_of(ours))
            if not allowed:
                breaches.append(f"{path}:{number}: {room} may not include {ours or theirs}")


def symbols(build):
    """Who uses whose functions, by module."""
    defined, used, edges = {}, defaultdict(set), defaultdict(set)
    for path in sources():
        obj = f"{build}/obj/{module_of(path)}.o"
        if not path.endswith(".c") or not os.path.exists(obj):
            continue
        for line in subprocess.run(["nm", obj], capture_output=True, text=True, check=True).stdout.splitlines():
            *_, kind, name = line.split()
            if kind == "U":
                used[module_of(path)].add(name)
            elif kind in "TDRBVWC" and name != "main":
                defined[name] = module_of(path)
    for module, names in used.items():
        edges[module] = {defined[name] for name in names if name in defined}
    return edges


def circles(edges):
    """Tarjan's strongly connected components of more than one module."""
    order, low, stack, found = {}, {}, [], []

    def visit(v):
        order[v] = low[v] = len(order)
        stack.append(v)
        for w in sorted(edges.get(v, ())):
            if w not in order:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == order[v]:
            circle = stack[stack.index(v):]
            del stack[stack.index(v):]
            if len(circle) > 1:
                found.append(sorted(circle))

    for v in sorted(edges):
        if v not in order:
            visit(v)
    return found


def main():
    breaches, includes = [], defaultdict(set)
    check_includes(includes, breaches)
    for how, edges in (("includes", includes), ("symbols", symbols(sys.argv[1]))):
        for circle in circles(edges):
            breaches.append(f"a circle of {how}: {' '.join(circle)}")
    print("\n".join(breaches), end="\n" if breaches else "")


if __name__ == "__main__":
    main()
