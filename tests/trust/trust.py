#!/usr/bin/python3
"""trust.py BUILD [--short] [--seed N] [--csv FILE] [ROW...]: faults put into the running service, and what became of what it had acknowledged.

A row of the table is a module row_NAME.py here: its TITLE says what is done to the service, and its run(trust) does it, over and over, and
counts what was lost or wrong. `--short` is what `make test` has time for: the same faults, fewer times. Each row's own README line is its
docstring. What a machine cannot do (no tmpfs, no cgroup) is skipped, with the reason."""
import argparse, glob, importlib, os, random, shutil, sys, tempfile, time, traceback

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
from daemon import Daemon  # noqa: E402


class Skip(Exception):
    """This machine cannot do what the row needs; says what."""


class Row:
    """What a row counted. Anything lost or wrong fails it, and so does a problem."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.faults = 0      # how often the fault was put in
        self.asked = 0       # answers that were asked for
        self.lost = 0        # answers that never came, or came as an error that the fault does not excuse
        self.wrong = 0       # answers that were not right
        self.missing = 0     # things that had been acknowledged and are not there
        self.notes = []      # measured besides: "p99 0.8 ms alone, 3.1 ms beside"
        self.problems = []
        self.checks = 0

    def check(self, what, ok, said=""):
        self.checks += 1
        if not ok:
            self.problems.append(f"{what}: {said}"[:600])
        return bool(ok)

    def note(self, text):
        self.notes.append(text)

    def failed(self):
        return len(self.problems) + (self.lost > 0) + (self.wrong > 0) + (self.missing > 0)


class Trust:
    """What a row is given: the programs, its own folder, a random generator, daemons that are ended for it."""

    def __init__(self, build, short, seed, folder):
        self.build, self.short, self.seed, self.folder = build, short, seed, folder
        self.rng = random.Random(seed)
        self.daemons = []

    def pick(self, full, short):
        return short if self.short else full

    def daemon(self, *options, **more):
        d = Daemon(self.build, *options, data=more.pop("data", None) or tempfile.mkdtemp(dir=self.folder), **more)
        self.daemons.append(d)
        return d

    def skip(self, why):
        raise Skip(why)

    def release(self):
        for d in self.daemons:
            d.release()


def one(name, args):
    module = importlib.import_module("row_" + name)
    row = Row(name, module.TITLE)
    folder = tempfile.mkdtemp(prefix="cajal-trust-")
    trust = Trust(args.build, args.short, args.seed, folder)
    began = time.monotonic()
    try:
        module.run(trust, row)
        if not (row.faults and row.checks + row.asked):
            row.problems.append("the row did nothing")
    except Skip as why:
        print(f"trust: skipped: {name}: {why}")
        return None
    except Exception:
        row.problems.append(traceback.format_exc())
        for d in trust.daemons:
            row.problems.append("the daemon said: " + d.log()[-2000:])
    finally:
        trust.release()
        shutil.rmtree(folder, ignore_errors=True)
    row.seconds = time.monotonic() - began
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=os.path.abspath)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CAJAL_SEED") or time.time_ns() % 1_000_000_007))
    parser.add_argument("rows", nargs="*")
    args = parser.parse_intermixed_args()
    known = sorted(os.path.basename(f)[4:-3] for f in glob.glob(os.path.join(here, "row_*.py")))
    unknown = set(args.rows) - set(known)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    passed = failed = skipped = 0
    print(f"seed {args.seed}", flush=True)
    print(f"{'fault injected':<58} {'times':>8} {'answers':>9} {'lost':>5} {'wrong':>5} {'missing':>7} {'s':>5}", flush=True)
    for name in args.rows or known:
        row = one(name, args)
        if not row:
            skipped += 1
            continue
        print(f"{row.title:<58} {row.faults:>8} {row.asked:>9} {row.lost:>5} {row.wrong:>5} {row.missing:>7} {row.seconds:>5.0f}", flush=True)
        for note in row.notes:
            print(f"    {note}")
        for problem in row.problems[:20]:
            print(f"trust: {name}: {problem}")
        failed += row.failed()
        passed += 0 if row.failed() else row.checks + 1
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
