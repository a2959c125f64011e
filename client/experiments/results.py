"""What the runs came to: two CSV files in a folder, which only grow, by a run's lines when it is over.

runs.csv: a line a run; the last one of a setting counts. `steps` and `remark` (what else was asked for: evaluations, warm-up, clipping, Fashion-MNIST)
are the same in all of a folder, else what stands in it could not be compared. `seconds`: from the run's start to its end.
curves.csv: a line an evaluation of a run that is done; train.loss is the mean over the steps since the evaluation before.
A run's curve is written before its line, so a line that says done has its curve; a line without its end (the machine went down) counts as none.
"""
import csv
import fcntl
import io
import os

KEY = ("task", "model", "lr", "batch", "images", "seed")
RUN = KEY + ("steps", "remark", "state", "reason", "commit", "machine", "date", "seconds")
MEASURES = ("test.loss", "test.psnr", "train.loss")
POINT = KEY + ("step",) + MEASURES
KINDS = {"lr": float, "batch": int, "images": int, "seed": int, "steps": int, "seconds": float, "step": int, **dict.fromkeys(MEASURES, float)}


class Unusable(Exception):
    """The folder's files cannot be read or added to; the text says why."""


def key_of(line):
    return tuple(line[name] for name in KEY)


def read(path, names):
    """The file's whole lines as dictionaries; none where there is no file."""
    try:
        with open(path, encoding="utf-8", newline="") as f:
            text = f.read()
    except FileNotFoundError:
        return []
    lines = csv.DictReader(io.StringIO(text[:text.rfind("\n") + 1]))
    try:
        if text and tuple(lines.fieldnames or ()) != names:
            raise ValueError(f"its columns are not {','.join(names)}")
        return [{name: KINDS.get(name, str)(value) for name, value in line.items()} for line in lines]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise Unusable(f"{path}: {error}") from error


def add(path, names, lines):
    """Appends the lines and has them on the disk; half a line at the end goes first."""
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    with open(path, "a+b") as f:
        f.seek(0)
        whole = f.read().rfind(b"\n") + 1
        f.truncate(whole)
        if not whole:
            writer.writeheader()
        writer.writerows({name: tidy(name, line[name]) for name in names} for line in lines)
        f.write(out.getvalue().encode())
        f.flush()
        os.fsync(f.fileno())


def tidy(name, value):
    return f"{value:.6g}" if name in MEASURES else str(value).replace("\n", " ")


def load(folder):
    """The runs, each with its "curve", a list of points by step; the last line of each setting."""
    curves = {}
    for point in read(os.path.join(folder, "curves.csv"), POINT):
        curves.setdefault(key_of(point), {})[point["step"]] = point
    runs = {key_of(run): run for run in read(os.path.join(folder, "runs.csv"), RUN)}
    for key, run in runs.items():
        run["curve"] = [point for _, point in sorted(curves.get(key, {}).items())] if run["state"] == "done" else []
    return list(runs.values())


class Results:
    """A folder that runs are added to, by one program at a time."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.folder = folder
        self.hold = open(os.path.join(folder, "runs.csv"), "ab")  # for as long as this is there
        try:
            fcntl.flock(self.hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unusable(f"{folder}: another program is adding to it") from error
        self.runs = load(folder)

    def done(self):
        return {key_of(run) for run in self.runs if run["state"] == "done"}

    def demand(self, steps, remark):
        """Refuses a folder whose runs are of another kind."""
        for run in self.runs:
            if (run["steps"], run["remark"]) != (steps, remark):
                raise Unusable(f"{self.folder} has runs of {run['steps']} steps, {run['remark']}; {steps} steps, {remark} need another --out")

    def add(self, run, points):
        add(os.path.join(self.folder, "curves.csv"), POINT, [{**dict(zip(KEY, key_of(run))), **point} for point in points])
        add(os.path.join(self.folder, "runs.csv"), RUN, [run])
