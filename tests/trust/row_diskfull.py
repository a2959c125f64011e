"""The disk is full at every write of a session, one after the other (a preloaded shim, diskfull.c): for one write, for a few, or until it is told
otherwise. Every answer is right or 507 storage_full, nothing acknowledged is lost, and when there is room again everything goes on without a restart."""
import json, mmap, os, shutil, struct, subprocess, tempfile, time

TITLE = "disk full at a write of a session"
WAIT = 120  # seconds; only against hanging
NOT = {"source": "\\x:2. if x then false else true"}


def table(name, rows, start=0):
    data = struct.pack(f"<{rows * 4}f", *[(start + i % 97) / 97 for i in range(rows * 4)])
    head = json.dumps({name: {"dtype": "F32", "shape": [rows, 4], "data_offsets": [0, len(data)]}}).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def spec(steps, every):
    return {"program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}}, "data": {"train": "t"},
            "loss": {"mse": {"target": "x"}}, "optimizer": {"adam": {"lr": 0.01}}, "batch_size": 16, "steps": steps, "seed": 7,
            "evaluate": {"every": every, "metrics": ["mae"]}, "checkpoint": {"every": every}}


class Plan:
    """What the shim is told, and how many writes it has counted."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "plan")
        with open(self.path, "wb") as f:
            f.write(bytes(24))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 24)

    def count(self):
        return struct.unpack_from("<Q", self.map, 0)[0]

    def fail(self, first, until):
        struct.pack_into("<QQQ", self.map, 0, 0, first, until)

    def stop(self):
        struct.pack_into("<QQ", self.map, 8, 0, 0)


class Session:
    """One after the other what clients do, and what of it was acknowledged."""

    def __init__(self, row, daemon, plan, weights=None):
        self.row, self.d, self.plan, self.weights = row, daemon, plan, weights
        self.known = {}  # data set: its bytes; what was acknowledged last
        self.unsure = set()  # data sets whose last change was refused
        self.runs = {}   # id: state, as seen last; None: its deletion was acknowledged

    def ask(self, what, method, path, good, body=None, **more):
        """The answer if it is one of `good`; None: storage_full. Anything else is wrong."""
        answer = self.d.ask(method, path, body, **more)
        self.row.asked += 1
        if answer.status in good:
            return answer
        full = answer.status == 507 and answer.code() == "storage_full"
        self.row.wrong += not full
        if not full:
            self.row.check(what, False, f"{answer.status} {answer.body[:300]}")
        return None

    def put(self, name, bytes_):
        made = self.ask("an upload", "PUT", f"/datasets/{name}", (200, 201), bytes_, Content_Type="application/vnd.safetensors")
        if made:
            self.known[name] = made.json()["sha256"]
        else:
            self.unsure.add(name)
        return made

    def compile(self):
        # A program that cannot be stored is answered all the same.
        made = self.ask("a compilation", "POST", "/compile", (200,), NOT)
        self.row.check("a compilation is answered", made is not None)
        got = self.ask("an evaluation", "POST", "/eval", (200,), NOT | {"args": [[0.25, 0.75]]})
        self.row.wrong += not got or got.json()["data"] != [0.75, 0.25]

    def begin(self, steps, every):
        made = self.ask("a run", "POST", "/runs", (202,), spec(steps, every))
        if made:
            self.runs[made.json()["id"]] = "queued"
        return made and made.json()["id"]

    def record(self, id_):
        answer = self.ask("a record", "GET", f"/runs/{id_}", (200,))
        return answer.json() if answer else {}

    def wait(self, id_, states, settled=False):
        """Until the record has one of the states, or (not settled) says that its state cannot be written."""
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            r = self.record(id_)
            if r.get("state") in states or (r.get("code") == "storage_full" and not settled):
                self.runs[id_] = r["state"]
                return r
            time.sleep(0.005)
        self.row.check("the run comes to an end", False, f"{r}")
        return r

    def finish(self, id_):
        """Until it is over; the disk is to blame for what it fails by, and what the record says agrees with what a resume says."""
        r = self.wait(id_, ("done", "failed"))
        if r["state"] != "done":
            self.row.check("a run that is not done says why", r.get("code") == "storage_full", json.dumps(r)[:400])
            # What has done all its steps may be written, and be done, at this moment.
            again = self.ask("a resume", "POST", f"/runs/{id_}/resume", (202,) if r["state"] == "failed" else (202, 409))
            if again and again.status == 202:
                self.runs[id_] = "queued"
        return r

    def cancel(self, id_):
        self.wait(id_, ("running", "failed", "done"))
        if self.ask("a cancel", "POST", f"/runs/{id_}/cancel", (200, 409)) is None:
            # It has stopped; that only could not be written.
            self.row.check("cancelled, and said so", self.record(id_).get("state") in ("cancelled", "failed"), json.dumps(self.record(id_))[:400])

    def delete_run(self, id_):
        if self.ask("a deletion", "DELETE", f"/runs/{id_}", (204, 409)):
            gone = self.d.get(f"/runs/{id_}").status == 404
            self.runs[id_] = None if gone else self.runs[id_]

    def delete_data(self, name):
        answer = self.ask("a deletion", "DELETE", f"/datasets/{name}", (204, 404, 409))
        if answer and answer.status == 204:
            self.known.pop(name, None)
        elif answer is None:
            self.unsure.add(name)

    def go(self):
        self.put("t", table("x", 64))
        self.put("other", table("y", 32))
        self.compile()
        one = "t" in self.known and self.begin(60, 20)
        if one:
            self.finish(one)
        self.put("other", table("y", 32, 5))
        two = "t" in self.known and self.begin(10 ** 9, 10 ** 6)
        if two:
            self.cancel(two)
        if one:
            self.delete_run(one)
        self.delete_data("other")
        self.compile()

    # ---- when there is room again ----

    def recover(self):
        until = time.monotonic() + WAIT
        while "storage" in self.d.get("/readyz").json() and time.monotonic() < until:
            time.sleep(0.01)
        self.row.check("there is room again", "storage" not in self.d.get("/readyz").json())
        for id_, state in list(self.runs.items()):
            if state is None:
                continue
            r = self.wait(id_, ("done", "failed", "cancelled") if self.record(id_)["steps"] < 1000 else ("failed", "cancelled", "running"), True)
            if r["state"] == "running" and r["steps"] > 1000:
                self.ask("a cancel", "POST", f"/runs/{id_}/cancel", (200,))
                self.wait(id_, ("cancelled",))
            elif r["state"] == "failed" and r["steps"] < 1000:
                self.row.check("it can be resumed", self.d.post(f"/runs/{id_}/resume", b"").status == 202)
        self.row.check("an upload goes on", self.put("t", table("x", 64)) or "t" in self.unsure)
        self.unsure.discard("t")
        fresh = self.begin(60, 20)
        self.row.check("a run goes on", fresh is not None)
        for id_, state in list(self.runs.items()):
            if state and self.record(id_)["steps"] < 1000:
                r = self.wait(id_, ("done", "failed"), True)
                self.row.check("the run is done", r["state"] == "done", json.dumps(r)[:400])
                got = self.d.get(f"/runs/{id_}/weights").body
                self.weights = self.weights or got
                self.row.wrong += got != self.weights

    def check(self):
        """After a restart, what was acknowledged is there, and nothing else."""
        for name, sha in self.known.items():
            got = self.d.get(f"/datasets/{name}")
            self.row.missing += name not in self.unsure and (got.status != 200 or got.json()["sha256"] != sha)
        for id_, state in self.runs.items():
            got = self.d.get(f"/runs/{id_}")
            if state is None:
                self.row.check("what was deleted is gone", got.status == 404, got.body[:200])
            else:
                self.row.missing += got.status != 200 or got.json()["state"] != state
        folder = os.path.join(self.d.data, "runs")
        left = sorted(os.listdir(folder)) if os.path.exists(folder) else []
        known = sorted(id_ for id_, state in self.runs.items() if state)
        self.row.check("no folder is left", set(left) <= set(known), f"{left}, {known}")


def once(trust, row, first, until, weights):
    """Returns the session and how many writes it took."""
    folder = tempfile.mkdtemp(dir=trust.folder)
    plan = Plan(folder)
    data = os.path.join(folder, "data")
    shim = os.path.join(trust.build, "trust", "diskfull.so")
    d = trust.daemon("--workers", "1", data=data, env={"LD_PRELOAD": shim, "DISKFULL_DIR": data, "DISKFULL_FILE": plan.path})
    plan.fail(first, until)
    d.start(ready=False)
    if not d.running():
        # A database that cannot be made is no service; that is said, and mended by a start when there is room.
        row.check("it says why it does not start", "\ncajald: " in "\n" + d.log(), d.log()[-300:])
        plan.stop()
        d.start()
    session = Session(row, d, plan, weights)
    session.go()
    writes = plan.count()
    plan.stop()
    session.recover()
    row.check("it lives", d.running())
    d.stop()
    d.start()
    session.check()
    d.stop()
    trust.daemons.remove(d)
    row.faults += bool(first)
    shutil.rmtree(folder, ignore_errors=True)
    return session, writes


def run(trust, row):
    if not os.path.exists(os.path.join(trust.build, "trust", "diskfull.so")):
        trust.skip("trust/diskfull.so is not built (make trust-programs)")
    clean, writes = once(trust, row, 0, 0, None)
    moments = list(range(1, writes + 1))
    if trust.short:
        moments = sorted(trust.rng.sample(moments, 4))
    for n in moments:
        first, problems = n, len(row.problems)
        until = trust.rng.choice((n + 1, n + 1 + trust.rng.randrange(8), 0))
        once(trust, row, first, until, clean.weights)
        if len(row.problems) > problems:
            row.problems.append(f"at write {first}, until {until or 'told'}")
    row.note(f"a session of {writes} writes")
