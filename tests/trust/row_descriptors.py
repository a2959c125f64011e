"""Few file descriptors, and more idle connections than there are of them: training runs go on to their end, and a user is answered.

The soft limit alone is low (the service raises it to the hard one), then both are. Connections beyond what fits wait in the kernel's queue, or replace idle
ones of the party that has the most."""
import errno, socket
from crowd import User, put_toy, raise_limit, settled

TITLE = "1,024 descriptors, 1,300 idle connections, two runs"
FEW, IDLE = 1024, 1300


def hold(daemon, count):
    held = []
    for i in range(count):
        s = socket.socket()
        s.bind((f"127.0.0.{10 + i % 3}", 0))
        s.setblocking(False)
        if s.connect_ex(("127.0.0.1", daemon.port)) in (0, errno.EINPROGRESS):
            held.append(s)
        else:
            s.close()
    return held


def run(trust, row):
    hard = raise_limit()
    if hard < IDLE + 200:
        trust.skip(f"{hard} open files are too few for {IDLE} connections")
    steps = trust.pick(20000, 2000)
    for limits in (f"{FEW}:{hard}", f"{FEW}:{FEW}"):
        d = trust.daemon("--workers", "1", "--runs", "2", wrap=["prlimit", f"--nofile={limits}"]).start()
        spec = put_toy(d)
        runs = [d.post("/runs", spec(steps, steps // 10)).json()["id"]]
        user = User(d, row)
        user.start()
        held = hold(d, IDLE)
        row.faults += len(held)
        # The second one begins while they are there, and asks for all its files.
        runs.append(d.client("127.0.0.2").post("/runs", spec(steps, steps // 10)).json()["id"])
        for r in runs:
            record = settled(d, r)
            row.check(f"{limits}: a run ends well", record["state"] == "done", str({k: record.get(k) for k in ("state", "code", "reason")}))
        user.rounds_more(20)
        user.stop()
        row.check(f"{limits}: no descriptor was missing", "Too many open files" not in d.log(), d.log()[-500:])
        for s in held:
            s.close()
        row.check(f"{limits}: ends well", d.stop() == 0, d.log()[-500:])
