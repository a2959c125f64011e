"""What several clients do to a daemon at once (uploads, deletions, runs, cancels, compiles), a ledger of what it acknowledged when, and the
check of a daemon started anew on what was left: nothing acknowledged missing, nothing there that nobody knows, no wrong byte.

A moment is a number that only grows: whatever the row counts its faults by. An operation has one from before it was asked for, and one from after its answer."""
import hashlib, json, os, random, sqlite3, struct, threading, time
from daemon import Died, WAIT

LONG = 10**9  # steps of a run that only a cancel ends
SHORT = (40, 80)
EVERY = 10    # steps between checkpoints
NDJSON = {"Accept": "application/x-ndjson"}


def safetensors(columns):
    """columns: name -> (dtype, shape, bytes)"""
    head, at = {}, 0
    for name, (dtype, shape, data) in columns.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in columns.values())


def toy():
    """256 rows of four numbers, and what a matrix makes of them."""
    rng = random.Random(1)
    x = [[rng.uniform(-1, 1) for _ in range(4)] for _ in range(256)]
    y = [[2 * row[(i + 1) % 4] - row[i] for i in range(4)] for row in x]
    pack = lambda rows: b"".join(struct.pack("<4f", *row) for row in rows)
    return safetensors({"x": ("F32", [256, 4], pack(x)), "y": ("F32", [256, 4], pack(y))})


def spec(steps):
    return {"name": "toy", "program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}},
            "data": {"train": "toy"}, "loss": {"mse": {"target": "y"}}, "optimizer": {"adam": {"lr": 0.01}}, "batch_size": 16, "steps": steps, "seed": 7,
            "checkpoint": {"every": EVERY if steps < LONG else 2000, "keep": 1000}}


class Op:
    def __init__(self, key, begun, value):
        self.key, self.begun, self.value, self.ended = key, begun, value, None


class Ledger:
    """What is known of each thing: ("data", name), ("run", id), ("program", hash)."""

    def __init__(self, moment):
        self.moment = moment
        self.ops = {}        # key -> its operations, one after the other
        self.posted = []     # runs on their way in: they have no key yet
        self.seen = []       # (moment, run, event)
        self.sums = {}       # of data sets' files, by value
        self.lock = threading.Lock()

    def put_toy(self, daemon):
        """What the runs train on, and nobody deletes."""
        op = Op(None, self.moment(), None)
        op.value = daemon.ask("PUT", "/datasets/toy", toy(), Content_Type="application/octet-stream").json()["sha256"]
        op.ended = self.moment()
        self.toy = op

    def begin(self, key, value):
        op = Op(key, self.moment(), value)
        with self.lock:
            if key:
                self.ops.setdefault(key, []).append(op)
            else:
                self.posted.append(op)
        return op

    def end(self, op, done=True):
        """done False: it was refused, and nothing came of it."""
        with self.lock:
            op.ended = self.moment()
            if not done:
                self.ops[op.key].remove(op)

    def know(self, key, value, begun):
        op = Op(key, begun, value)
        op.ended = self.moment()
        with self.lock:
            self.ops.setdefault(key, []).append(op)

    def note(self, run, event):
        with self.lock:
            self.seen.append((self.moment(), run, event))

    def allowed(self, key, cut):
        """The values that it may have after a cut at that moment; None: it is not there."""
        values = [None]
        for op in self.ops.get(key, ()):
            if op.ended is not None and op.ended <= cut:
                values = [op.value]
            elif op.begun <= cut:
                values.append(op.value)
        return values

    def keys(self, kind):
        return [key for key in self.ops if key[0] == kind]


class Session:
    """Threads that ask until they have done what they were to do, or the daemon is gone."""

    def __init__(self, daemon, ledger, row, rng, tag=""):
        self.daemon, self.ledger, self.row, self.tag = daemon, ledger, row, tag
        self.rng = rng
        self.answers = 0
        self.ending = False # the daemon is being killed

    def run(self, uploads, runs, compiles):
        work = [(self.upload, (n, uploads)) for n in range(2)] + [(self.train, (runs,)), (self.cancel, (max(1, runs // 2),)), (self.compile, (compiles,))]
        self.threads = [threading.Thread(target=self.guard, args=(f, random.Random(self.rng.random()), args)) for f, args in work]
        for t in self.threads:
            t.start()

    def wait(self):
        for t in self.threads:
            t.join()

    def alive(self):
        return any(t.is_alive() for t in self.threads)

    def guard(self, f, rng, args):
        client = self.daemon.client()
        try:
            f(client, rng, *args)
        except Died as e:
            if not self.ending:
                self.row.check("answered", False, e)
        except Exception as e:
            self.row.check("a session without trouble", False, repr(e))
        finally:
            client.close()

    def ask(self, client, method, path, body=None, ok=(200, 201, 202, 204), **headers):
        answer = client.ask(method, path, body, **headers)
        self.answers += 1
        self.row.asked += 1
        self.row.check(f"{method} {path}", answer.status in ok, f"{answer.status} {answer.body[:300]}")
        return answer

    def upload(self, client, rng, who, times):
        for _ in range(times):
            name = f"{self.tag}d{who}-{rng.randrange(4)}"
            key = ("data", name)
            there = self.ledger.allowed(key, float("inf"))[-1]
            what = rng.random()
            if there and what < 0.3:
                op = self.ledger.begin(key, None)
                self.ask(client, "DELETE", f"/datasets/{name}")
                self.ledger.end(op)
            elif there and what < 0.5:
                columns = dict(there)
                rows, _, _ = next(iter(columns.values()))
                columns["more"] = (rows, 3, rng.randbytes(3 * rows))
                self.put(client, key, columns, f"/datasets/{name}?column=more", b"\0\0\x08\x02" + struct.pack(">II", rows, 3) + columns["more"][2])
            else:
                rows, width = rng.randint(1, 20), rng.randint(1, 1500)
                columns = {"x": (rows, width, rng.randbytes(rows * width))}
                self.put(client, key, columns, f"/datasets/{name}", safetensors({"x": ("U8", [rows, width], columns["x"][2])}))

    def put(self, client, key, columns, path, body):
        value = tuple(sorted(columns.items()))
        op = self.ledger.begin(key, value)
        answer = self.ask(client, "PUT", path, body, Content_Type="application/octet-stream")
        if answer.status in (200, 201):
            self.ledger.sums[value] = answer.json()["sha256"]
        self.ledger.end(op, answer.status in (200, 201))

    def post(self, client, steps):
        op = self.ledger.begin(None, None)
        answer = self.ask(client, "POST", "/runs", spec(steps))
        if answer.status != 202:
            return None
        run = answer.json()["id"]
        self.ledger.know(("run", run), "posted", op.begun)
        self.ledger.end(op)
        return run

    def follow(self, client, run, until):
        """Reads its events as they come, until one is what is waited for."""
        last = time.monotonic()
        for line in client.stream(f"/runs/{run}/events", **NDJSON):
            event = json.loads(line)
            if event["event"] == "heartbeat":
                if time.monotonic() - last > WAIT:
                    raise RuntimeError(f"{run} says nothing any more: {self.daemon.get(f'/runs/{run}').body[:600]}")
                continue
            last = time.monotonic()
            self.ledger.note(run, event)
            if until(event):
                client.close()
                return
        raise Died("the events ended")

    def train(self, client, rng, times):
        for _ in range(times):
            run = self.post(client, rng.choice(SHORT))
            if not run:
                continue
            begun = self.ledger.moment()
            self.follow(client, run, lambda e: e["event"] == "end")
            self.ledger.know(("run", run), "done", begun)
            if rng.random() < 0.3:
                self.delete(client, run)

    def delete(self, client, run):
        op = self.ledger.begin(("run", run), None)
        self.ask(client, "DELETE", f"/runs/{run}")
        self.ledger.end(op)

    def cancel(self, client, rng, times):
        for _ in range(times):
            run = self.post(client, LONG)
            if not run:
                continue
            self.follow(client, run, lambda e: e["event"] == "checkpoint" and e["step"] > 0)
            op = self.ledger.begin(("run", run), "cancelled")
            self.ask(client, "POST", f"/runs/{run}/cancel", {})
            self.ledger.end(op)
            if rng.random() < 0.5:
                self.delete(client, run)

    def compile(self, client, rng, times):
        for _ in range(times):
            source = f"n:N[{rng.randrange(2, 200)}], x:2 |- iter {{x | y -> if y then ff else tt}} (n)"
            op = self.ledger.begin(None, None)
            answer = self.ask(client, "POST", "/compile", {"source": source})
            if answer.status == 200:
                self.ledger.know(("program", answer.json()["program"]), "known", op.begun)
            self.ledger.end(op)


# ---- what an undisturbed daemon makes of the runs ----

class Reference:
    """Weights by steps and step; those of a run without end are learned from the first that is seen."""

    def __init__(self, daemon):
        self.weights, self.points = {}, {}
        daemon.ask("PUT", "/datasets/toy", toy(), Content_Type="application/octet-stream")
        for steps in SHORT:
            run = daemon.post("/runs", spec(steps)).json()["id"]
            record = settled(daemon, run)
            if record["state"] != "done":
                raise RuntimeError(f"the undisturbed run is {record}")
            self.points[steps] = points(daemon, run)
            for step in record["checkpoints"]:
                self.weights[steps, step] = weights(daemon, run, step)
        daemon.stop()

    def same(self, steps, step, found):
        return self.weights.setdefault((steps, step), found) == found


def settled(daemon, run):
    until = time.monotonic() + WAIT
    while True:
        if time.monotonic() > until:
            raise RuntimeError(f"{run} does not end: {daemon.get(f'/runs/{run}').body[:600]}")
        record = daemon.get(f"/runs/{run}").json()
        if record["state"] not in ("queued", "running"):
            return record
        time.sleep(0.01)


def weights(daemon, run, step):
    answer = daemon.get(f"/runs/{run}/weights?step={step}")
    return hashlib.sha256(answer.body).hexdigest() if answer.status == 200 else f"{answer.status} {answer.body[:200]}"


def points(daemon, run):
    return daemon.get(f"/runs/{run}/metrics?keys=train.loss&max_points=100000", Accept="text/csv").body


# ---- the check ----

class Check:
    def __init__(self, daemon, ledger, reference, row, cut, programs, what):
        self.daemon, self.ledger, self.reference, self.row, self.cut, self.what = daemon, ledger, reference, row, cut, what
        self.must = set()  # sums of files that were acknowledged and not deleted
        self.client = daemon.client()
        self.row.check(f"{what}: ready", self.ask("/readyz?verbose").status == 200, daemon.log()[-500:])
        for key in ledger.keys("data"):
            self.data(key)
        self.runs()
        for key in ledger.keys("program") if programs else ():
            self.missing(ledger.allowed(key, cut) == ["known"] and self.ask(f"/programs/{key[1]}").status != 200, key)
        self.client.close()
        daemon.stop()
        self.files()

    def ask(self, path, **headers):
        self.row.asked += 1
        return self.client.get(path, **headers)

    def missing(self, is_missing, what):
        if is_missing:
            self.row.missing += 1
            self.row.check(f"{self.what}: there", False, what)

    def wrong(self, is_wrong, what):
        if is_wrong:
            self.row.wrong += 1
            self.row.check(f"{self.what}: right", False, what)

    def columns(self, name):
        """What it holds, as the ledger has it; None: it is not there."""
        answer = self.ask(f"/datasets/{name}/rows?count=1000")
        if answer.status == 404:
            return None
        if answer.status != 200:
            return f"{answer.status} {answer.body[:200]}"
        made = {}
        for column, rows in answer.json()["columns"].items():
            made[column] = (len(rows), len(rows[0]), bytes(v for row in rows for v in row))
        return tuple(sorted(made.items()))

    def data(self, key):
        allowed, found = self.ledger.allowed(key, self.cut), self.columns(key[1])
        if len(allowed) == 1 and allowed[0]:
            self.must.add(self.ledger.sums[allowed[0]])
        if found in allowed:
            return
        if found is None:
            self.missing(True, key)
        else:
            self.wrong(True, f"{key} is {str(found)[:200]}")

    def runs(self):
        known = {r["id"]: r for r in self.ask("/runs?limit=100").json()["runs"]}
        there = dict(known)
        for key in self.ledger.keys("run"):
            allowed, record = self.ledger.allowed(key, self.cut), known.pop(key[1], None)
            self.missing(record is None and None not in allowed, f"{key} {allowed}")
            if record is None:
                continue
            self.wrong(allowed == [None], f"{key} was deleted")
            self.wrong(allowed == ["done"] and record["state"] != "done", record)
            self.wrong(allowed == ["cancelled"] and record["state"] != "cancelled", record)
        # A run whose answer was under way may be there without anybody's knowing its id.
        unknown = sum(op.begun <= self.cut and (op.ended is None or op.ended > self.cut) for op in self.ledger.posted)
        self.wrong(len(known) > unknown, f"runs that nobody posted: {list(known)}")
        for record in there.values():
            if record["state"] in ("queued", "running") and record["steps"] == LONG:
                answer = self.daemon.post(f"/runs/{record['id']}/cancel", {})
                self.row.check(f"{self.what}: cancelled", answer.status == 200, answer.body[:300])
        for run in there:
            self.run(run)

    def run(self, run):
        """It goes on to its end, and that is what it would have been."""
        record = settled(self.daemon, run)
        steps = record["steps"]
        if steps != LONG:
            self.wrong(record["state"] != "done", record)
            self.wrong(points(self.daemon, run) != self.reference.points[steps], f"{run}: other losses")
        for step in {e["step"] for e in self.events(run) if e["event"] == "checkpoint"} | set(record["checkpoints"]):
            found = weights(self.daemon, run, step)
            self.wrong(not self.reference.same(steps, step, found), f"{run}: weights of step {step}: {found}")

    def events(self, run):
        """Those that were seen before the cut are there, and as they were."""
        lines = self.ask(f"/runs/{run}/events", **NDJSON).body.splitlines()
        now = {e["seq"]: e for e in map(json.loads, lines) if "seq" in e}
        seen = [e for moment, of, e in self.ledger.seen if of == run and moment <= self.cut]
        for event in seen:
            self.missing(now.get(event["seq"]) != event, f"{run}: event {event}")
        return seen

    def files(self):
        """Every file is known to the database, and the other way round."""
        data = self.daemon.data
        db = sqlite3.connect(f"file:{data}/cajal.db?mode=ro", uri=True)
        rows = lambda sql: db.execute(sql).fetchall()
        sums = {r[0] for r in rows("SELECT sha256 FROM datasets UNION SELECT sha256 FROM run_data")}
        points = {(i, step) for i, step in rows("SELECT r.id, c.step FROM runs r JOIN run_checkpoints c ON c.run = r.seq")}
        ids = {r[0] for r in rows("SELECT id FROM runs")}
        self.row.check(f"{self.what}: database", rows("PRAGMA integrity_check") == [("ok",)], "integrity_check")
        db.close()
        folders = listed(data, "runs")
        there = {(f, int(name.split(".")[0])) for f in folders for name in listed(data, "runs", f)}
        self.row.check(f"{self.what}: data sets' files", {f"{s}.safetensors" for s in sums} == set(listed(data, "datasets")), sums ^ {n[:64] for n in listed(data, "datasets")})
        self.row.check(f"{self.what}: checkpoints' files", points == there, points ^ there)
        self.row.check(f"{self.what}: runs' folders", set(folders) <= ids, set(folders) - ids)
        lost = listed(data, "lost+found")
        taken = [name for name in lost if not (self.data_may_be_lost(name[:64]) if len(name) > 64 else self.run_may_be_lost(*name.split(".")[:2]))]
        self.row.check(f"{self.what}: lost+found", not taken, taken)
        self.lost = len(lost)

    def data_may_be_lost(self, sum):
        """It was on its way in or out; neither kept nor gone by what had been answered."""
        known = set(self.ledger.sums.values())
        if sum == self.ledger.toy.value:
            return self.cut < self.ledger.toy.ended
        for key in self.ledger.keys("data"):
            allowed = self.ledger.allowed(key, self.cut)
            if len(allowed) > 1 and any(sum == self.ledger.sums.get(value) or value and value not in self.ledger.sums and sum not in known for value in allowed):
                return True
        return False

    def run_may_be_lost(self, run, step="safetensors"):
        allowed = self.ledger.allowed(("run", run), self.cut)
        if step == "safetensors":  # its whole folder
            return allowed == [None] and ("run", run) not in self.ledger.ops or None in allowed and len(allowed) > 1
        seen = any(of == run and e["event"] == "checkpoint" and e["step"] == int(step) and moment <= self.cut for moment, of, e in self.ledger.seen)
        return not seen or None in allowed


def listed(*path):
    try:
        return sorted(os.listdir(os.path.join(*path)))
    except FileNotFoundError:
        return []
