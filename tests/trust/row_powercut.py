"""The machine loses its power at random moments of a session: what was not flushed is there, or not, or in part (shim.c, replay.py). The daemon is
started on each of what could be left, and has to have all that it had acknowledged by then."""
import os, random, replay, tempfile
from session import Check, Ledger, Reference, Session

TITLE = "power cut: unflushed writes dropped, torn, out of order"


def record(trust, row, folder):
    """A session with its log; the ledger, and where in the log the daemon was ready."""
    data, log = os.path.join(folder, "data"), os.path.join(folder, "shim.log")
    env = {"LD_PRELOAD": os.path.join(trust.build, "trust/shim.so"), "CAJAL_SHIM_DIR": data, "CAJAL_SHIM_LOG": log}
    d = trust.daemon("--workers", "1", "--runs", "2", data=data, env=env).start()
    # What stands in the log when an answer has come lies before whatever a cut behind it leaves.
    ledger = Ledger(lambda: os.path.getsize(log))
    ready = ledger.moment()
    ledger.put_toy(d)
    s = Session(d, ledger, row, random.Random(trust.rng.random()))
    s.run(uploads=trust.pick(30, 8), runs=trust.pick(8, 2), compiles=trust.pick(30, 8))
    s.wait()
    end = ledger.moment()
    d.kill()
    return ledger, log, ready, end


def run(trust, row):
    reference = Reference(trust.daemon("--workers", "1").start())
    lost = 0
    for _ in range(trust.pick(4, 1)):
        folder = tempfile.mkdtemp(dir=trust.folder)
        ledger, log, ready, end = record(trust, row, folder)
        places = replay.places(log, trust.pick(47, 4), trust.rng, ready) + replay.places(log, trust.pick(3, 1), trust.rng, 0, ready)
        for place, disk in replay.cuts(log, places):
            mode = trust.rng.choice(replay.MODES)
            data = os.path.join(folder, f"cut{row.faults}")
            disk.left(data, mode, trust.rng)
            row.faults += 1
            d = trust.daemon("--workers", "1", "--runs", "2", data=data).start()
            lost += Check(d, ledger, reference, row, place, False, f"cut at {place} of {end}, {mode}").lost
    row.note(f"{lost} files in lost+found after all cuts together")
