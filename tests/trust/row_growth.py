"""Runs that never end, and say and keep as much as they can: an evaluation at every step, a checkpoint at every step of which a thousand are to be kept.
However much they have done, database and data directory stay within their bounds, and all of it returns when they are deleted."""
import json, os, struct, time

TITLE = "runs that never end: what they leave stays bounded"
WAIT = 300  # seconds; only against hanging
POINTS, EVENTS, OVERHEAD = 64 << 20, 16 << 20, 1.5  # schema/limits.h, and pages, indexes, free pages
CHECKPOINTS = 256 << 10  # all runs'; one's may be a quarter


def table(rows):
    data = struct.pack(f"<{rows * 4}f", *[i % 97 / 97 for i in range(rows * 4)])
    head = json.dumps({"x": {"dtype": "F32", "shape": [rows, 4], "data_offsets": [0, len(data)]}}).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def spec(checkpoint):
    return {"program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}}, "data": {"train": "t", "test": "t"},
            "loss": {"mse": {"target": "x"}}, "optimizer": {"sgd": {"lr": 1e-9}}, "batch_size": 1, "steps": 10 ** 9, "seed": 7,
            "evaluate": {"every": 1, "rows": 1, "metrics": ["loss", "mae"]}, "checkpoint": checkpoint}


def size(path):
    """The bytes of all files below it."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                pass  # pruned at this moment
    return total


def database(d):
    return sum(os.path.getsize(os.path.join(d.data, n)) for n in ("cajal.db", "cajal.db-wal") if os.path.exists(os.path.join(d.data, n)))


def reach(row, d, id_, amount, measure, bound):
    """Until the run's measure is that much; the largest that the bounded thing was on the way."""
    until, most = time.monotonic() + WAIT, 0
    while time.monotonic() < until:
        r = d.get(f"/runs/{id_}").json()
        row.asked += 1
        row.check("it goes on", r["state"] == "running", json.dumps(r)[:300])
        most = max(most, bound())
        if measure(r) >= amount or r["state"] != "running":
            return most
        time.sleep(0.05)
    row.check("it comes as far", False, f"{measure(r)} of {amount}")
    return most


def run(trust, row):
    d = trust.daemon("--workers", "1", "--runs", "1", "--max-checkpoints", str(CHECKPOINTS)).start()
    row.check("data", d.ask("PUT", "/datasets/t", table(64), Content_Type="application/vnd.safetensors").status == 201)
    empty = size(d.data)

    def begin(checkpoint):
        id_ = d.post("/runs", spec(checkpoint)).json()["id"]
        until = time.monotonic() + WAIT
        while d.get(f"/runs/{id_}").json()["state"] == "queued" and time.monotonic() < until:
            time.sleep(0.01)
        row.faults += 1
        return id_

    def end(id_):
        row.check("a cancel", d.post(f"/runs/{id_}/cancel", b"").status == 200)
        row.check("a deletion", d.ask("DELETE", f"/runs/{id_}").status == 204)
        until = time.monotonic() + WAIT
        while size(d.data) > empty + (4 << 20) + (16 << 20) and time.monotonic() < until:  # the log may stay 16 MiB
            time.sleep(0.05)
        row.check("the space returns", size(d.data) <= empty + (20 << 20), f"{size(d.data) >> 20} MiB")

    one = begin({"every": 10 ** 9})
    steps = trust.pick(20_000_000, 560_000)
    most = reach(row, d, one, steps, lambda r: r["step"], lambda: database(d))
    row.check("the database stays within its bound", most < (POINTS + EVENTS) * OVERHEAD + (32 << 20), f"{most >> 20} MiB")
    got = d.get(f"/runs/{one}/metrics?max_points=100000").json()["metrics"]
    row.check("thinned, and says so", got["train.loss"]["stride"] >= 2 and len(got["train.loss"]["steps"]) > 40000, str(got["train.loss"]["stride"]))
    row.note(f"{steps} steps, each evaluated: the database had {most >> 20} MiB at most, of {len(got)} metrics one of {got['train.loss']['stride']} points")
    end(one)

    two = begin({"every": 1, "keep": 1000})
    checkpoints = trust.pick(20000, 250)
    made = lambda r: d.get("/metrics").body.split(b"\ncajal_checkpoints_total ")[1].split(b"\n")[0]
    folder = os.path.join(d.data, "runs", two)
    most = reach(row, d, two, checkpoints, lambda r: int(float(made(r))), lambda: size(folder))
    kept = len(d.get(f"/runs/{two}").json()["checkpoints"])
    row.check("checkpoints stay within their bound", most < CHECKPOINTS / 2, f"{most >> 10} KiB")
    row.note(f"{checkpoints} checkpoints: {most >> 10} KiB at most, {kept} kept")
    end(two)
