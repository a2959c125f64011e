"""The machine loses its power at random moments of a session: what was not flushed is there, or not, or in part (shim.c, replay.py). The daemon is
started on each of what could be left, and has to have all that it had acknowledged by then. Every third time the power goes once more while it starts."""
import os, random, replay, shutil, tempfile
from session import Check, Ledger, Reference, Session

TITLE = "power cut: unflushed writes dropped, torn, out of order"


OPTIONS = ("--workers", "1", "--runs", "2")


def watched(trust, data, log):
    env = {"LD_PRELOAD": os.path.join(trust.build, "trust/shim.so"), "CAJAL_SHIM_DIR": data, "CAJAL_SHIM_LOG": log}
    return trust.daemon(*OPTIONS, data=data, env=env).start()


def record(trust, row, folder):
    """A session with its log; the ledger, and where in the log the daemon was ready."""
    data, log = os.path.join(folder, "data"), os.path.join(folder, "shim.log")
    d = watched(trust, data, log)
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


def cut_again(trust, data):
    """The power goes once more while the daemon starts on what the first cut left, or soon after; what is left then, in a directory of its own."""
    log, base = data + ".log2", data + ".base"
    shutil.copytree(data, base)
    watched(trust, data, log).kill()
    for _, disk in replay.cuts(log, replay.places(log, 1, trust.rng), base):
        disk.left(data + ".again", trust.rng.choice(replay.MODES), trust.rng)
        return data + ".again"
    return data


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
            twice = row.faults % 3 == 0
            if twice:
                data = cut_again(trust, data)
            d = trust.daemon(*OPTIONS, data=data).start()
            lost += Check(d, ledger, reference, row, place, False, f"cut at {place} of {end}, {mode}{', twice' * twice}").lost
    row.note(f"{lost} files in lost+found after all cuts together")
