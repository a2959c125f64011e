"""The lines of growth.py: each function measures one thing, and gives tuples (quantity, unit, the work's exponent, sizes, costs)."""
import concurrent.futures
import contextlib
import http.client
import json
import random
import resource
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import time

from service import SAFETENSORS, Wrong, daemon, family, memory

SEED = 20261201
CALLS = 100  # of what takes well below a millisecond
median = statistics.median


class Kept:
    """A kept connection, so that what is timed is no hand-shake."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(self, method, path, body=None, kind="application/json"):
        self.http.request(method, path, body, {} if body is None else {"Content-Type": kind})
        answer = self.http.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Wrong(f"{method} {path}: {answer.status} {data[:300]}")
        return data

    def post(self, path, value):
        return json.loads(self.ask("POST", path, json.dumps(value).encode()))


def timed(run, times=5):
    """Milliseconds, the median."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        took.append(1000 * (time.perf_counter() - began))
    return median(took)


def upto(quick, *sizes):
    """The last size is left out when it is to be quick."""
    return list(sizes[:-1] if quick else sizes)


def safetensors(tensors):
    """name: (shape, bytes of f32)"""
    header, data = {}, []
    at = 0
    for name, (shape, piece) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(piece)]}
        at += len(piece)
        data.append(piece)
    text = json.dumps(header).encode()
    return b"".join([struct.pack("<Q", len(text)), text, *data])


def floats(count, value):
    return struct.pack("<f", value) * count


# ---- what is stored ----


def stored(i):
    return {"source": f"x{i} : 2 |- if x{i} then false else true"}  # free names are a program's interface, and so in its hash


def store(port, first, end):
    def some(part):
        kept = Kept(port)
        for i in part:
            kept.post("/compile", stored(i))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(some, [range(first + k, end, 8) for k in range(8)]))


def measure_programs(build, quick):
    sizes, figures, data = upto(quick, 1000, 10_000, 100_000, 1_000_000), {"eval": [], "list": [], "start": [], "full": [], "memory": []}, tempfile.mkdtemp(prefix="cajal-growth-")
    try:
        for before, many in zip([0, *sizes], sizes):
            with daemon(build, data=data) as service:
                store(service.port, before, many)
                figures["full"].append(memory(family(service.pid)[:1])[0])
            began = time.perf_counter()
            with daemon(build, data=data) as service:
                figures["start"].append(1000 * (time.perf_counter() - began))
                figures["memory"].append(memory(family(service.pid)[:1])[0])
                kept, draw = Kept(service.port), random.Random(SEED)
                calls = []
                for i in (draw.randrange(many) for _ in range(CALLS)):
                    program = kept.post("/compile", stored(i))["program"]
                    calls.append(json.dumps({"program": program, "inputs": {f"x{i}": True}}).encode())
                figures["eval"].append(timed(lambda: [kept.ask("POST", "/eval", call) for call in calls]) / CALLS)
                figures["list"].append(timed(lambda: kept.ask("GET", "/programs?limit=100")))
    finally:
        shutil.rmtree(data)
    return [("small /eval by hash, programs stored", "ms", 0, sizes, figures["eval"]), ("a page of GET /programs", "ms", 0, sizes, figures["list"]),
            ("the daemon's resident memory, programs just compiled (512 MB for them)", "MB", 1, sizes, figures["full"]),
            ("start until ready", "ms", 0, sizes, figures["start"]), ("the daemon's resident memory after start", "MB", 0, sizes, figures["memory"])]


# ---- programs ----


def lets(n):
    return "x : !2 |- let a0 = x in " + "".join(f"let a{i + 1} = if a{i} then false else true in " for i in range(n // 5)) + f"a{n // 5}"


def iterations(n):
    """Iterations within iterations, one pair after the other."""
    pair = "iter {{a{0} | y -> iter {{y | z -> if z then false else true}} (2)}} (3)"
    return "x : !2 |- let a0 = x in " + "".join(f"let a{i + 1} = {pair.format(i)} in " for i in range(n // 10)) + f"a{n // 10}"


def conditionals(n):
    text = "y"
    while n > 3:
        text, n = f"if x then ({text}) else ({text})", n // 2
    return "x : !2, y : 2 |- " + text


def functions(n):
    """Functions of functions: each applies the one before."""
    links = "".join(f"let f{i + 1} = \\g:!2. f{i} (if g then false else true) in " for i in range(n // 8))
    return f"x : !2 |- let f0 = \\g:!2. g in {links}f{n // 8} x"


def measure_compile(build, quick):
    lines = []
    for name, make in (("lets", lets), ("iterations in iterations", iterations), ("a tree of conditionals", conditionals), ("functions of functions", functions)):
        sizes, costs = [], []
        for size in upto(quick, 100, 1000, 10_000, 100_000):
            with daemon(build) as service:
                try:
                    costs.append(Kept(service.port).post("/compile", {"source": make(size)})["compile_us"] / 1000)
                    sizes.append(size)
                except Wrong as wrong:  # a limit, which is said
                    print(f"growth: {name}, {size:,} nodes: {str(wrong)[:200]}", file=sys.stderr)
        lines.append((f"compile, nodes of {name}", "ms", 1, sizes, costs))
    return lines


# ---- work ----


def eval_cost(port, source, tensors):
    kept = Kept(port)
    path, body = f"/eval?program={kept.post('/compile', {'source': source})['program']}", safetensors(tensors)
    kept.ask("POST", path, body, SAFETENSORS)
    return timed(lambda: kept.ask("POST", path, body, SAFETENSORS))


def measure_work(build, quick):
    counts, states, rows = upto(quick, 10, 100, 1000, 10_000, 60_000), upto(quick, 8, 64, 512, 2048, 4096), upto(quick, 1, 100, 10_000, 1_000_000)
    power = "f : !(R[{0}] -o R[{0}]), x : R[{0}], n : N[{1}] |- iter {{x | y -> f y}} (n)"
    with daemon(build) as service:
        def by_count(k):
            last = floats(k - 1, 0) + floats(1, 1)
            return eval_cost(service.port, power.format(16, k), {"inputs.f": ([16, 16], floats(256, 0.01)), "inputs.x": ([16], floats(16, 1)), "inputs.n": ([k], last)})

        def by_state(s):
            return eval_cost(service.port, power.format(s, 8), {"inputs.f": ([s, s], floats(s * s, 1 / s)), "inputs.x": ([s], floats(s, 1)), "inputs.n": ([8], floats(8, 1))})

        def by_rows(n):
            return eval_cost(service.port, "a : 2, b : 2 |- if a then (if b then false else true) else b",
                             {"inputs.a": ([n, 2], floats(2 * n, 0.5)), "inputs.b": ([n, 2], floats(2 * n, 0.25))})

        return [("count of an iteration, state 16", "ms", 1, counts, [by_count(k) for k in counts]),
                ("state of an iteration, 8 steps", "ms", 2, states, [by_state(s) for s in states]), ("rows of xor", "ms", 1, rows, [by_rows(n) for n in rows])]


def measure_bodies(build, quick):
    sizes, costs = upto(quick, 1 << 10, 1 << 20, 1 << 26, 1 << 28, 1 << 30), []
    with daemon(build) as service:
        for size in sizes:
            kept, body = Kept(service.port), safetensors({"x": ([size // 64 - 2, 16], bytes((size // 64 - 2) * 64))})  # with its header, not more than the service takes
            costs.append(timed(lambda: kept.ask("PUT", "/datasets/growth", body, SAFETENSORS), 3))
    return [("PUT of a data set, bytes", "ms", 1, sizes, costs)]


# ---- those who are there ----


def small_call(port):
    kept = Kept(port)
    call = json.dumps({"program": kept.post("/compile", stored(0))["program"], "inputs": {"x0": True}}).encode()
    return lambda: kept.ask("POST", "/eval", call)


def measure_connections(build, quick):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sizes, costs = [n for n in upto(quick, 1, 100, 1000, 4000, 10_000) if n + 200 < hard], []
    with daemon(build, "--max-connections", "11000") as service, contextlib.ExitStack() as stack:
        call, idle = small_call(service.port), 0
        for size in sizes:
            for idle in range(idle + 1, size + 1):
                s = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
                s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                s.recv(4096)
            costs.append(timed(lambda: [call() for _ in range(CALLS)]) / CALLS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [("small /eval, connections that are idle", "ms", 0, sizes, costs)]


TOY = {"program": {"source": "f x", "context": {"f": "!(R[4] -o R[4])", "x": "R[4]"}}, "bind": {"f": {"weights": {"init": "kaiming"}}, "x": {"column": "x"}},
       "data": {"train": "toy"}, "loss": {"mse": {"target": "y"}}, "optimizer": {"sgd": {"lr": 0.01}}, "batch_size": 1, "checkpoint": {"every": 10**9}}


def toy_data(kept):
    kept.ask("PUT", "/datasets/toy", safetensors({"x": ([64, 4], floats(256, 0.5)), "y": ([64, 4], floats(256, 0.25))}), SAFETENSORS)


def wait_for(kept, run, *states):
    while (record := json.loads(kept.ask("GET", f"/runs/{run}")))["state"] not in states:
        if record["state"] == "failed":
            raise Wrong(f"run: {record.get('reason')}")
        time.sleep(0.05)


def measure_points(build, quick):
    sizes, costs, runs = upto(quick, 1000, 10_000, 100_000, 1_000_000, 10_000_000), [], []
    with daemon(build) as service:
        kept = Kept(service.port)
        toy_data(kept)
        for size in sizes:
            began = time.perf_counter()
            run = kept.post("/runs", {**TOY, "steps": size})["id"]
            wait_for(kept, run, "done")
            runs.append(1000 * (time.perf_counter() - began))
            costs.append(timed(lambda: kept.ask("GET", f"/runs/{run}/metrics?max_points=1000")))
    return [("a run of so many steps, a point each", "ms", 1, sizes, runs), ("reading its metrics, 1,000 points", "ms", 0, sizes, costs)]


def measure_runs(build, quick):
    sizes, figures, data = upto(quick, 100, 1000, 10_000, 100_000), {"list": [], "start": [], "post": []}, tempfile.mkdtemp(prefix="cajal-growth-")
    try:
        for before, many in zip([0, *sizes], sizes):
            with daemon(build, data=data) as service:
                kept = Kept(service.port)
                if not before:
                    toy_data(kept)
                    kept.post("/runs", {**TOY, "steps": 10**9})  # the others are cancelled while they wait behind it
                began = time.perf_counter()
                for _ in range(before, many):
                    run = kept.post("/runs", {**TOY, "steps": 10})["id"]
                    kept.ask("POST", f"/runs/{run}/cancel")
                figures["post"].append(1000 * (time.perf_counter() - began) / (many - before))
            began = time.perf_counter()
            with daemon(build, data=data) as service:
                figures["start"].append(1000 * (time.perf_counter() - began))
                kept = Kept(service.port)
                figures["list"].append(timed(lambda: kept.ask("GET", "/runs?limit=100")))
    finally:
        shutil.rmtree(data)
    return [("POST /runs and its cancel, runs in the list", "ms", 0, sizes, figures["post"]), ("a page of GET /runs", "ms", 0, sizes, figures["list"]),
            ("start until ready, runs in the list", "ms", 0, sizes, figures["start"])]


def measure_watchers(build, quick):
    sizes, costs = upto(quick, 1, 30, 200, 1000), []
    with daemon(build) as service, contextlib.ExitStack() as stack:
        kept, watching = Kept(service.port), 0
        toy_data(kept)
        run = kept.post("/runs", {**TOY, "steps": 10**9})["id"]
        wait_for(kept, run, "running")
        call = small_call(service.port)
        for size in sizes:
            for watching in range(watching + 1, size + 1):
                s = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
                s.sendall(f"GET /runs/{run}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
                if not s.recv(64).startswith(b"HTTP/1.1 200"):
                    print(f"growth: watcher {watching} is refused", file=sys.stderr)
                    return [("small /eval beside those who watch a run", "ms", 0, sizes[:len(costs)], costs)]
            costs.append(timed(lambda: [call() for _ in range(CALLS)]) / CALLS)
    return [("small /eval beside those who watch a run", "ms", 0, sizes, costs)]


ALL = {"programs": measure_programs, "compile": measure_compile, "work": measure_work, "bodies": measure_bodies, "connections": measure_connections,
       "points": measure_points, "runs": measure_runs, "watchers": measure_watchers}
