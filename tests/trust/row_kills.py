"""The daemon is killed at random moments of a session, and started again on the same data: it has all that it had acknowledged."""
import itertools, os, random, shutil, time
from session import Check, Ledger, Reference, Session

TITLE = "daemon killed at random moments of a session"


def clean(d):
    """What the last session left, for the next one not to begin with ever more."""
    shutil.rmtree(os.path.join(d.data, "lost+found"), ignore_errors=True)
    for run in d.get("/runs?limit=100").json()["runs"]:
        d.ask("DELETE", f"/runs/{run['id']}")
    for data in d.get("/datasets?limit=100").json()["datasets"]:
        if data["name"] != "toy":
            d.ask("DELETE", f"/datasets/{data['name']}")


def run(trust, row):
    reference = Reference(trust.daemon("--workers", "1").start())
    d = trust.daemon("--workers", "1", "--runs", "2")
    for n in range(trust.pick(200, 5)):
        d.start()
        clean(d)
        moments = itertools.count(1)
        ledger = Ledger(lambda: next(moments))
        ledger.put_toy(d)
        s = Session(d, ledger, row, random.Random(trust.rng.random()), tag=f"k{n}-")
        s.run(uploads=1000, runs=1000, compiles=1000)
        answers = trust.rng.randint(1, trust.pick(60, 25))
        while s.answers < answers and s.alive():
            time.sleep(0.001)
        s.ending = True
        d.kill()
        row.faults += 1
        s.wait()
        d.start()
        Check(d, ledger, reference, row, float("inf"), True, f"kill {n} after {answers} answers")
