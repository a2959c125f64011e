#!/usr/bin/env python3
"""bench.py BUILD [--keep]: measures what the service promises and prints one table (see README.md). Ours and what it is held beside run by turns, on
two cores; what is timed was checked before, and every answer of a load is compared. Ends with 1 when an answer is wrong, whatever the figures.
--keep makes the ratios the ones that later runs are held against (ratios.json)."""
import array
import contextlib
import json
import os
import platform
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from beside import measure_beside
from service import SAFETENSORS, Exchange, Wrong, ask, bare, daemon, expect, family, memory, on_cpu, post_json, request_bytes, used
from training import measure_training

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RATIOS = os.path.join(HERE, "ratios.json")  # of the last release; "bench.py BUILD --keep" writes it
ROUNDS = 5
CONNECTIONS = 16
SMALL_SECONDS = 1.2     # of each side and round
BULK_REQUESTS = 15      # of each side and round
ROWS = 65536
BATCHES = (1, 256, ROWS)  # beside PyTorch
MANY = 1_000_000        # small requests between the two looks at memory
MANY_SECONDS = 120      # which may take no longer
GROWTH = 0.5            # MB of resident memory that are none
IDLE_SECONDS = 2        # looked at for what an idle service uses
QUIET = 0.7             # load average before the bench, at most
SEED = 20251124

NOT = "\\x:2. if x then false else true"
CHURCH = "2 -o 2 -o 2"
SECOND = "\\x:2. \\y:2. if x then y else y"
PARITY = "\\n:N[10]. iter {true | y -> if y then false else true} (n)"
# name: source, tensors' names and shapes; the same three as in closures.py and tiny.c
TINY = {
    "xor": ("a : 2, b : 2 |- if a then (if b then false else true) else b", {"inputs.a": [2], "inputs.b": [2]}),
    "parity": (PARITY, {"args.0": [10]}),
    "church-and": (f"f : {CHURCH}, r : {CHURCH} |- (\\g:{CHURCH}. if g true false then \\h:{CHURCH}. h else \\g:{CHURCH}. if g true false "
                   f"then {SECOND} else {SECOND}) f r true false", {"inputs.f": [4, 2], "inputs.r": [4, 2]}),
}

median = statistics.median


FELL = 0.1              # of a ratio, against the committed one


class Table:
    def __init__(self):
        self.rows, self.remarks = [], []
        self.ratios = {}  # by quantity: ratio, and whether more is better

    def add(self, quantity, ours, beside, ratio=None, reach=None, good=None):
        """reach: what is wanted, as text; good: is it there."""
        if ratio is not None and reach and reach[0] in "≥>≤":
            self.ratios[quantity] = (round(ratio, 3), reach[0] != "≤")
        self.rows.append((quantity, ours, beside, "" if ratio is None else f"{ratio:.2f}",
                          reach or "", "" if good is None else "yes" if good else "NO"))

    def print(self):
        rows = [("quantity", "ours", "beside it", "ratio", "reach", "there"), *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        rows.insert(1, tuple("-" * width for width in widths))
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        for remark in self.remarks:
            print(f"- {remark}")

    def compare(self):
        """With the ratios of the last release."""
        with open(RATIOS, encoding="utf-8") as file:
            release = json.load(file)
        fell = [f"{quantity} {before} → {now}" for quantity, (now, more) in self.ratios.items() if (before := release["ratios"].get(quantity))
                and (now < before * (1 - FELL) if more else now > before * (1 + FELL))]
        missing = [quantity for quantity in release["ratios"] if quantity not in self.ratios]
        print(f"- against {release['commit']} ({release['date']}): " + ("; ".join(fell) if fell else "nothing fell") +
              (f"; not measured: {', '.join(missing)}" if missing else ""))

    def keep(self):
        with open(RATIOS, "w", encoding="utf-8") as file:
            json.dump({"commit": output_of("git", "rev-parse", "--short=12", "HEAD"), "date": time.strftime("%Y-%m-%d"), "machine": cpu_name(),
                       "ratios": {quantity: ratio for quantity, (ratio, _) in self.ratios.items()}}, file, indent=2, ensure_ascii=False)
            file.write("\n")


# ---- where it is measured ----


def output_of(*args):
    try:
        return subprocess.run(args, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_machine():
    packages = ("libmicrohttpd12", "libopenblas0-openmp", "libopenblas0-pthread", "libsqlite3-0", "libcjson1", "libsodium23")
    found = output_of("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages)
    if found == "unknown":  # some are not installed
        lines = [output_of("dpkg-query", "-W", "-f", "${Package} ${Version}", package) for package in packages]
        found = "\n".join(line for line in lines if line != "unknown")
    changed = "" if output_of("git", "status", "--porcelain") in ("", "unknown") else ", with changes"
    print(f"machine    {cpu_name()}; {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f} before")
    print(f"system     {platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}, Python {platform.python_version()}")
    print(f"libraries  {', '.join(line for line in found.splitlines() if not line.endswith(' '))}")
    print(f"commit     {output_of('git', 'rev-parse', '--short=12', 'HEAD')}{changed}; {time.strftime('%Y-%m-%d %H:%M:%S %z')}")
    print(f"method     medians of {ROUNDS} rounds, ours and the other side by turns")
    if os.getloadavg()[0] > QUIET:
        print("WARNING    this machine is busy with something else: the figures, those of several threads above all, say little")
    print(flush=True)


# ---- tensors ----


def safetensors(tensors):
    """name: (shape, array of floats)"""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        piece = values.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_output(body):
    (length,) = struct.unpack_from("<Q", body)
    entry = json.loads(body[8 : 8 + length])["output"]
    expect("dtype of the answer", entry["dtype"], "F32")
    begin, end = entry["data_offsets"]
    return entry["shape"], array.array("f", body[8 + length + begin : 8 + length + end])


def row_by_hand(name, rows):
    """What a tiny program gives for one row of each tensor, in the order of TINY."""
    if name == "xor":
        a, b = rows
        return a[0] * b[1] + a[1] * b[0], a[0] * b[0] + a[1] * b[1]
    if name == "parity":
        return sum(rows[0][0::2]), sum(rows[0][1::2])
    f, r = rows
    return f[2] * r[2], f[2] * r[6] + f[6] * (r[2] + r[6])


def bulk_exchange(port, folder, name, batch):
    """A bulk /eval of a tiny program, its answer checked in every number."""
    source, shapes = TINY[name]
    draw = random.Random(SEED)
    tensors = {}
    for tensor, shape in shapes.items():
        size = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors[tensor] = ([batch, *shape], array.array("f", (draw.random() for _ in range(batch * size))))
    program = post_json(port, "/compile", {"source": source})["program"]
    path, body = f"/eval?program={program}", safetensors(tensors)
    status, answer = ask(port, "POST", path, body, {"Content-Type": SAFETENSORS, "Accept": SAFETENSORS})
    expect(f"{name}: {answer[:300]}", status, 200)
    shape, got = read_output(answer)
    expect(f"{name}: shape", shape, [batch, 2])
    for i in range(batch):
        rows = [values[i * (len(values) // batch) : (i + 1) * (len(values) // batch)] for _, values in tensors.values()]
        for g, w in zip(got[2 * i : 2 * i + 2], row_by_hand(name, rows)):
            if not abs(g - w) < 1e-4:
                raise Wrong(f"{name}: {g} instead of {w} in row {i}")
    return Exchange(folder, f"{name}-{batch}", request_bytes(path, body, SAFETENSORS, SAFETENSORS), answer)


# ---- over HTTP ----


def small_exchanges(port, folder):
    first = post_json(port, "/compile", {"source": NOT})
    call = json.dumps({"program": first["program"], "args": [True]}).encode()
    status, answer = ask(port, "POST", "/eval", call)
    expect("small /eval", (status, json.loads(answer)["data"]), (200, [0, 1]))
    compile_body = json.dumps({"source": NOT}).encode()
    status, cached = ask(port, "POST", "/compile", compile_body)
    expect("cached compile", (status, json.loads(cached)["cached"], json.loads(cached)["program"]), (200, True, first["program"]))
    return (Exchange(folder, "eval", request_bytes("/eval", call), answer),
            Exchange(folder, "compile", request_bytes("/compile", compile_body), cached))


class Costs:
    """What groups of processes use, for each answer."""

    def __init__(self, groups):
        self.groups, self.sums = groups, {group: (0.0, 0.0, 0) for group in groups}
        self.answers = 0

    def load(self, run):
        before = {group: used(pids) for group, pids in self.groups.items()}
        figures = run()
        for group, pids in self.groups.items():
            self.sums[group] = tuple(s + b - a for s, a, b in zip(self.sums[group], before[group], used(pids)))
        self.answers += figures["answers"]
        return figures

    def text(self, group):
        user, system, switches = (s / self.answers for s in self.sums[group])
        return f"{1e6 * user:.1f} µs user + {1e6 * system:.1f} µs system, {switches:.1f} context switches"


def measure_small(table, build, service, folder):
    eval_, compile_ = small_exchanges(service.port, folder)
    figures = {"eval": [], "bare": [], "compile": [], "eval1": [], "bare1": [], "compile1": []}
    with bare(build, eval_.answer, "application/json") as other:
        sides = [("eval", eval_, service.port), ("bare", eval_, other.port), ("compile", compile_, service.port)]
        for _, exchange, port in sides:
            exchange.load(build, port, CONNECTIONS, seconds=0.3)
        daemon_pid, *workers = family(service.pid)
        groups = {"daemon": [daemon_pid], "both workers": workers, "bare libmicrohttpd": [other.pid]}
        costs = {name: Costs(groups) for name, _, _ in sides}
        for _ in range(ROUNDS):
            for name, exchange, port in sides:
                figures[name].append(costs[name].load(lambda: exchange.load(build, port, CONNECTIONS, seconds=SMALL_SECONDS)))
                figures[name + "1"].append(exchange.load(build, port, 1, seconds=0.3))
    rate = {name: median(f["per_second"] for f in figures[name]) for name in figures}
    p50 = {name: median(f["p50_us"] for f in figures[name]) for name in figures}
    ratio = rate["eval"] / rate["bare"]
    table.add(f"small /eval by hash, {CONNECTIONS} connections", f"{rate['eval']:,.0f} /s",
              f"bare libmicrohttpd {rate['bare']:,.0f} /s", ratio, "≥ 0.35, aim 0.5", ratio >= 0.35)
    ratio = p50["compile"] / p50["eval"]
    table.add(f"cached /compile, p50, {CONNECTIONS} connections", f"{p50['compile']:.0f} µs", f"small /eval {p50['eval']:.0f} µs",
              ratio, "≤ 1.5", ratio <= 1.5)
    table.remarks += [
        f"p50 with one connection: /eval {p50['eval1']:.0f} µs, cached /compile {p50['compile1']:.0f} µs, bare {p50['bare1']:.0f} µs.",
        f"a small /eval costs: daemon {costs['eval'].text('daemon')}; both workers {costs['eval'].text('both workers')}.",
        f"a cached /compile costs: daemon {costs['compile'].text('daemon')}. Bare libmicrohttpd: {costs['bare'].text('bare libmicrohttpd')}."]
    return eval_


def measure_bulk(table, build, service, folder):
    exchange = bulk_exchange(service.port, folder, "parity", ROWS)
    ours, beside = [], []
    with bare(build, exchange.answer, SAFETENSORS) as other:
        for port in (service.port, other.port):
            exchange.load(build, port, 1, requests=3)
        for _ in range(ROUNDS):
            ours.append(exchange.load(build, service.port, 1, requests=BULK_REQUESTS)["p50_us"])
            beside.append(exchange.load(build, other.port, 1, requests=BULK_REQUESTS)["p50_us"])
    ratio = median(ours) / median(beside)
    table.add(f"bulk /eval, safetensors, {ROWS:,} rows of N[10] -o 2", f"{median(ours) / 1000:.2f} ms",
              f"bare libmicrohttpd {median(beside) / 1000:.2f} ms", ratio, "≤ 2", ratio <= 2)
    table.remarks.append(f"bulk: {os.path.getsize(exchange.request):,} bytes there and {os.path.getsize(exchange.answer):,} back on both "
                         "sides; bare libmicrohttpd drops what it receives.")


def measure_idle(table, build, service):
    pids = family(service.pid)
    before = on_cpu(pids)
    time.sleep(IDLE_SECONDS)
    ms = 1000 * (on_cpu(pids) - before) / IDLE_SECONDS
    table.add("CPU, idle daemon + 2 workers", f"{ms:.2f} ms/s", "", None, "≤ 1 ms/s", ms <= 1)


def measure_memory(table, build, service, folder, idle):
    eval_, _ = small_exchanges(service.port, folder)
    eval_.load(build, service.port, CONNECTIONS, seconds=1)
    before = memory(family(service.pid))
    done = eval_.load(build, service.port, CONNECTIONS, requests=MANY, seconds=MANY_SECONDS)
    after = memory(family(service.pid))
    table.add("resident memory, idle daemon + 2 workers", f"{idle[0]:.1f} MB", f"PSS {idle[1]:.1f} MB", None, "≤ 60 MB", idle[0] <= 60)
    table.add(f"and after {done['answers']:,} small requests", f"{after[0]:.1f} MB", f"before {before[0]:.1f} MB",
              after[0] / before[0], "no growth", after[0] - before[0] < GROWTH)


def measure_training_beside(table, build, service, folder):
    measure_beside(table, build, service, small_exchanges(service.port, folder)[0])


# ---- in the worker ----


def run_json(*args):
    done = subprocess.run(args, capture_output=True, text=True, timeout=600)
    expect(f"{args[0]}: {done.stderr.strip()}", done.returncode, 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure_recurrent(table, build):
    (got,) = run_json(f"{build}/bench/recurrent", f"{build}/cajal-worker", "2", str(ROUNDS))
    beside = median(got["sgemm"])
    for key, quantity, reach in (("forward", "recurrent, state 256, N[64], 4,096 rows, 2 threads", 0.7),
                                 ("gradient", "the same with the gradient of everything", 0.6)):
        ours = median(got[key])
        table.add(quantity, f"{ours:.1f} GFLOP/s", f"sgemm 4096×256×256 {beside:.1f} GFLOP/s",
                  ours / beside, f"≥ {reach}", ours / beside >= reach)
    spread = ", ".join(f"{key} {min(got[key]):.1f} to {max(got[key]):.1f}" for key in ("forward", "gradient", "sgemm"))
    table.remarks += [
        f"recurrent: ExecutedMsg.exec_ns; by round trips {median(got['forward_trip']):.1f} and {median(got['gradient_trip']):.1f} GFLOP/s. Counted "
        "are the 63 products of the definition (three times as many with the gradient).",
        f"GFLOP/s of {len(got['sgemm'])} rounds: {spread}. OpenBLAS runs as {got['core']} on both sides."]


def measure_tiny(table, build):
    trips = []
    for got in run_json(f"{build}/bench/tiny", f"{build}/cajal-worker", str(ROUNDS)):
        ours, beside = median(got["exec"]), median(got["beside"])
        table.add(f"{got['name']} in the worker, {ROWS:,} rows", f"{1e6 * ours:.0f} µs", f"memcpy {got['bytes']:,} bytes {1e6 * beside:.0f} µs",
                  ours / beside, "≤ 3", ours <= 3 * beside)
        trips.append(f"{got['name']} {1e6 * median(got['trip']):.0f} µs")
    table.remarks.append(f"tiny programs: ExecutedMsg.exec_ns, one thread; round trips {', '.join(trips)}. memcpy copies as many bytes as are "
                         "read and written, warm.")


def measure_compile(table, build):
    with open(os.path.join(ROOT, "tests/conformance/accept.jsonl"), encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    compile_us, verify_us, count = [], [], 0
    for _ in range(ROUNDS):
        with daemon(build) as service:
            answers = [post_json(service.port, "/compile", {key: case[key] for key in ("term", "context", "nat")}) for case in cases]
        cold = [answer for answer in answers if not answer["cached"]]
        compile_us.append(median(answer["compile_us"] for answer in cold))
        verify_us.append(median(answer["verify_us"] for answer in cold))
        count = len(cold)
    table.add(f"cold compile, median of {count} conformance programs", f"{median(compile_us):.0f} µs",
              f"verify {median(verify_us):.0f} µs", None, "≤ 300 µs", median(compile_us) <= 300)


# ---- the published way ----


class Closures:
    """closures.py, asked for one figure at a time."""

    def __init__(self):
        program = ["/usr/bin/python3", os.path.join(HERE, "closures.py")]
        self.process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Wrong("closures.py came to an end")
        return json.loads(line)

    def microseconds(self, name, batch):
        print(name, batch, file=self.process.stdin, flush=True)
        return self.answer()["us"]


def measure_closures(table, build, service, folder):
    with Closures() as closures:
        if "missing" in closures.about:
            table.add("closure tree over PyTorch", "", "not installed (python3-torch)")
            return
        for name in TINY:
            for batch in BATCHES:
                exchange = bulk_exchange(service.port, folder, name, batch)
                ours, beside = [], []
                for _ in range(ROUNDS):
                    ours.append(exchange.load(build, service.port, 1, requests=2000, seconds=0.1)["p50_us"])
                    beside.append(closures.microseconds(name, batch))
                table.add(f"{name}, batch {batch:,}, over HTTP", f"{median(ours):,.0f} µs",
                          f"closures over PyTorch {median(beside):,.0f} µs", median(ours) / median(beside), "report")
        table.remarks.append(f"PyTorch {closures.about['version']}: one or two threads, whichever is faster; no HTTP there, and no "
                             "gradients recorded.")


def main():
    build = os.path.abspath(sys.argv[1])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    print_machine()
    table, began = Table(), time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="cajal-bench-"))
        service = stack.enter_context(daemon(build))
        time.sleep(0.5)
        idle = memory(family(service.pid))
        for measure, *more in ((measure_idle, service), (measure_small, service, folder), (measure_bulk, service, folder),
                               (measure_recurrent,), (measure_tiny,), (measure_compile,), (measure_memory, service, folder, idle),
                               (measure_training_beside, service, folder), (measure_closures, service, folder),
                               (measure_training, folder)):
            print(f"{measure.__name__.replace('_', ' ')} …", file=sys.stderr, flush=True)
            measure(table, build, *more)
    print(file=sys.stderr)
    table.print()
    if "--keep" in sys.argv[2:]:
        table.keep()
    table.compare()
    print(f"- took {time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"bench: {wrong}")
