"""Bytes of a data directory are changed: each file of it, anywhere. The daemon refuses to start and names the damage, or whatever it serves is right, or
it says what is damaged."""
import json, os, shutil, struct, tempfile

TITLE = "bytes of the data directory flipped"
PROGRAMS = ["n:N[5], x:2 |- iter {x | y -> if y then ff else tt} (n)", "\\x:2. if x then ff else tt", "\\x:R[3]. x", "tt", "x:R[2] |- x"]
VOLATILE = {"cached", "compile_us", "verify_us", "damaged", "damaged_checkpoints"}
REPORTS = ("damaged", "lost+found", "not used", "repaired", "salvage", "recovered", "database failed", "unreadable", "not be used", "later version", "migration")
STEPS = (0, 10, 20, 30, 40)


def tensors(**columns):
    """safetensors of rows of f32."""
    header, data = {}, b""
    for name, rows in columns.items():
        flat = [v for row in rows for v in row]
        header[name] = {"dtype": "F32", "shape": [len(rows), len(rows[0])], "data_offsets": [len(data), len(data) + 4 * len(flat)]}
        data += struct.pack(f"<{len(flat)}f", *flat)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def plain(value):
    """A record without what may differ from one answer to the next."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VOLATILE}
    return [plain(v) for v in value] if isinstance(value, list) else value


class Truth:
    """A data directory with everything in it, and what the daemon says of it."""

    def __init__(self, trust):
        self.data = tempfile.mkdtemp(dir=trust.folder)
        d = trust.daemon("--workers", "1", "--scrub", "0", data=self.data).start()
        x = [[((r * 7 + i * 3) % 11 - 5) / 5 for i in range(4)] for r in range(256)]
        wide = [[(r * 31 + i) % 97 / 97 for i in range(100)] for r in range(900)]
        self.good(d.ask("PUT", "/datasets/toy", tensors(x=x, y=[[2 * v for v in row] for row in x]), Content_Type="application/vnd.safetensors"))
        self.good(d.ask("PUT", "/datasets/wide", tensors(w=wide), Content_Type="application/vnd.safetensors"))
        self.programs = [self.good(d.post("/compile", {"source": s}))["program"] for s in PROGRAMS]
        self.runs = [self.train(d, seed) for seed in (1, 2)]
        self.said = {q: self.ask(d, q) for q in self.questions()}
        self.weights = {(run, s): d.get(f"/runs/{run}/weights?step={s}").body for run in self.runs for s in STEPS}
        self.served = {(run, s): self.good(d.post("/eval", self.serve(run, s)))["data"] for run in self.runs for s in STEPS}
        d.kill()

    @staticmethod
    def good(answer):
        if answer.status not in (200, 201, 202):
            raise RuntimeError(f"{answer.status}: {answer.body[:300]}")
        return answer.json()

    def train(self, d, seed):
        spec = {"name": "toy", "program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}},
                "data": {"train": "toy"}, "loss": {"mse": {"target": "y"}}, "optimizer": {"adam": {"lr": 0.01}}, "batch_size": 16, "steps": 40, "seed": seed,
                "evaluate": {"every": 10, "metrics": ["loss", "mae"]}, "checkpoint": {"every": 10, "keep": 10}}
        run = self.good(d.post("/runs", spec))["id"]
        d.get(f"/runs/{run}/events", Accept="application/x-ndjson")  # ends with the run
        record = self.good(d.get(f"/runs/{run}"))
        if record["state"] != "done" or record["checkpoints"] != list(STEPS):
            raise RuntimeError(f"the run did not end well: {record}")
        return run

    @staticmethod
    def serve(run, step=None):
        return {"run": run, "inputs": {"x": [1, 2, 3, 4]}} | ({} if step is None else {"step": step})

    def questions(self):
        yield from (("GET", "/programs", None), ("GET", "/datasets", None), ("GET", "/runs", None))
        for name in ("toy", "wide"):
            yield from (("GET", f"/datasets/{name}", None), ("GET", f"/datasets/{name}/rows?count=1000", None), ("GET", f"/datasets/{name}/rows?from=200&count=3", None))
        yield from (("GET", f"/programs/{p}", None) for p in self.programs)
        yield from (("POST", "/compile", s) for s in PROGRAMS)
        yield from (("POST", "/eval", json.dumps({"source": PROGRAMS[1], "args": [[0.25, 0.75]]})), ("POST", "/eval", json.dumps({"source": PROGRAMS[3]})))
        yield from (("POST", "/grad", json.dumps({"source": PROGRAMS[4], "inputs": {"x": [1, 2]}, "cotangent": [1, 1]})),)
        for run in self.runs:
            yield from (("GET", f"/runs/{run}", None), ("GET", f"/runs/{run}/metrics", None), ("GET", f"/runs/{run}/events", None))

    @staticmethod
    def ask(d, question):
        method, path, body = question
        if path == "/compile":
            body = {"source": body}
        elif body:
            body = body.encode()
        more = {"Accept": "application/x-ndjson"} if path.endswith("/events") else {}
        return d.ask(method, path, body, **more)


def events_of(answer):
    return {json.loads(line)["seq"]: line for line in answer.body.decode().splitlines() if '"heartbeat"' not in line}


def items(value):
    """Lists' members, as text."""
    return {json.dumps(v, sort_keys=True) for key in ("programs", "datasets", "runs") for v in value.get(key, [])}


def judge(question, was, now):
    """'right', 'told' (the answer says of the damage), 'silent' (something is missing, and the answer does not say so) or what is wrong."""
    path = question[1]
    if now.status >= 400:
        return "silent" if now.status == 404 else "told"
    if path.endswith("/events"):
        told = '"damaged":true' in now.body.decode()
        old, new = events_of(was), events_of(now)
        if any(line != old.get(seq) and '"damaged":true' not in line for seq, line in new.items()):
            return "other events"
        return "right" if old == new else "told" if told else "silent"
    a, b = was.json(), now.json()
    told = b.get("damaged") is True
    if path in ("/programs", "/datasets", "/runs"):
        a, b = items(plain(a)), items(plain(b))
        return "right" if a == b else "silent" if b < a else "other records"
    if path.endswith("/metrics"):
        for key, series in b["metrics"].items():
            before = a["metrics"].get(key, {"steps": [], "values": []})
            if not set(zip(series["steps"], map(str, series["values"]))) <= set(zip(before["steps"], map(str, before["values"]))):
                return "other points"
        return "right" if plain(a) == plain(b) else "told" if told else "silent"
    return "right" if plain(a) == plain(b) else f"another answer: {now.body[:200]}"


def check_weights(truth, d, row, problems):
    """The newest, which must say of which step they are."""
    outcomes = []
    for run in truth.runs:
        for at in (None, 10):
            now = d.get(f"/runs/{run}/weights" + ("" if at is None else f"?step={at}"))
            served = d.post("/eval", truth.serve(run, at))
            row.asked += 2
            for answer, known, body in ((now, truth.weights, now.body), (served, truth.served, served.json().get("data"))):
                if answer.status >= 400:
                    outcomes.append("told" if answer.status != 404 else "silent")
                    continue
                step = int(answer.headers["X-Run-Step"])
                if body != known.get((run, step)) or at not in (None, step):
                    problems.append(f"weights of {run} at {step}")
                outcomes.append("right" if step == (40 if at is None else at) else "silent")
    return outcomes


def flip(rng, path):
    """Changes one byte, now and then where structure lies; says where."""
    size = os.path.getsize(path)
    place = rng.choice(("any", "any", "first", "last", "page"))
    at = rng.randrange(size)
    if place == "first":
        at = rng.randrange(min(size, 100))
    elif place == "last":
        at = size - 1 - rng.randrange(min(size, 64))
    elif place == "page":
        at = min(size - 1, at // 4096 * 4096 + rng.randrange(24))
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ (1 << rng.randrange(8) if rng.random() < 0.7 else rng.randrange(1, 256))]))
    return f"{os.path.basename(path)}@{at}"


def files_of(data):
    """By kind."""
    found = {"database": [], "data": [], "checkpoint": []}
    for folder, _, names in os.walk(data):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.getsize(path) and name != "cajal.db-shm":
                kind = "checkpoint" if "/runs/" in path else "data" if "/datasets/" in path else "database"
                found[kind].append(path)
    return found


def trial(trust, row, truth, number):
    data = os.path.join(trust.folder, f"trial{number}")
    shutil.copytree(truth.data, data)
    files = files_of(data)
    kinds = ["data", "checkpoint"] + (["database"] if number % 3 else [])
    flipped = [flip(trust.rng, trust.rng.choice(sorted(files[kind]))) for kind in kinds]
    log_lost = any(f.startswith("cajal.db-wal") for f in flipped)  # what stands behind the byte was never written, for SQLite
    row.faults += len(flipped)
    d = trust.daemon("--workers", "1", "--scrub", "0", data=data).start(ready=False)
    problems, outcomes = [], []
    if not d.running():
        row.check("a refusal to start names the damage", any(word in d.log() for word in REPORTS), f"{flipped}: {d.log()[-500:]}")
        return "refused", d, data
    for question, was in truth.said.items():
        now = truth.ask(d, question)
        row.asked += 1
        found = judge(question, was, now)
        outcomes.append(found)
        if found not in ("right", "told", "silent") and not (log_lost and question[0] == "GET" and not question[1].endswith("/rows")):
            problems.append(f"{question[0]} {question[1]}: {found}")
    outcomes += check_weights(truth, d, row, problems)
    row.wrong += len(problems)
    for problem in problems:
        row.problems.append(f"{flipped}: {problem}"[:500])
    if "silent" in outcomes and not log_lost:
        row.check("what is missing is reported", any(word in d.log() for word in REPORTS), f"{flipped}: nothing in the log")
    return "served", d, data


def run(trust, row):
    truth = Truth(trust)
    outcomes = {"refused": 0, "served": 0}
    for number in range(trust.pick(700, 8)):
        how, d, data = trial(trust, row, truth, number)
        outcomes[how] += 1
        d.release()
        trust.daemons.remove(d)
        shutil.rmtree(data)
    row.note(f"{outcomes['refused']} starts refused, {outcomes['served']} served")
