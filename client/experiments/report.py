#!/usr/bin/python3
"""Tables and figure of the experiments' results. By itself: report.py FOLDER writes those of FOLDER/results.json anew.

A result is a run: its setting (task, model, lr, batch, images, seed), id, state, perhaps a reason and a remark, and curves {key: [steps, values]}, which
are empty where it came to nothing. Values that are not finite are strings, "NaN", as the service writes them.
"""
import csv
import json
import math
import os
import sys

import figure

MODELS = {"d": ("D, direct", "#1b6ca8"), "t": ("T, typed", "#c8553d"), "i": ("I, indirect", "#3f8f3d")}
DASHES = ("", "7 3", "2 2.5", "9 3 2 3")
LEVELS = (14, 16, 18, 20, 22, 24, 26)  # dB


def curve(result, key):
    """The points (step, value); NaN compares false to everything, so nobody counts it as reached."""
    return [(step, float(v)) for step, v in zip(*result["curves"].get(key, ([], [])))]


def best(result, key, pick):
    return pick((v for _, v in curve(result, key) if math.isfinite(v)), default=None)


def reached(result, key, good):
    """The first step at which `good` holds of the value; None: never."""
    return next((step for step, v in curve(result, key) if good(v)), None)


def seen(result, step):
    return "–" if step is None else f"{step * result['batch']:,}"


def last(result, key, digits):
    points = curve(result, key)
    return f"{points[-1][1]:.{digits}f}" if points else "–"


def grid(head, rows):
    """A Markdown table whose columns also line up as text."""
    rows = [[str(cell).replace("|", "/").replace("\n", " ") for cell in row] for row in [head, *rows]]
    widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]) + "\n"


def setting(result):
    """What the models are compared at."""
    return (result["task"], result["images"], result["batch"], -result["lr"], result["seed"])


def shown(key):
    task, images, batch, lr, seed = key
    return [task, f"{images:,}", batch, f"{-lr:g}", seed]


SETTING = ["task", "images", "batch", "lr", "seed"]


def runs_table(results, levels):
    rows = []
    for r in sorted(results, key=lambda r: (setting(r), r["model"])):
        top = best(r, "test.psnr", max)
        row = shown(setting(r)) + [r["model"].upper(), r["state"], last(r, "test.loss", 4), last(r, "test.psnr", 2)]
        row += ["–" if top is None else f"{top:.2f}"]
        row += [seen(r, reached(r, "test.psnr", lambda v, level=level: v >= level)) for level in levels]
        rows.append(row + ["; ".join(filter(None, (r.get("remark"), r.get("reason"))))])
    return grid(SETTING + ["model", "state", "test loss", "test PSNR", "best PSNR"] + [f"≥ {level:g} dB" for level in levels] + ["remark"], rows)


def race(group, key, pick, worst, name):
    """Who first gets to where even the slowest model gets: what it takes each of a setting's runs, in images. None: nobody to compare."""
    group = [r for r in group if best(r, key, pick) is not None]
    if len(group) < 2:
        return None
    level = worst(best(r, key, pick) for r in group)
    steps = {r["model"]: reached(r, key, (lambda v: v >= level) if pick is max else (lambda v: v <= level)) for r in group}
    fewest = min(steps.values())
    first = ", ".join(m.upper() for m in MODELS if steps.get(m) == fewest)
    by_model = {r["model"]: seen(r, steps[r["model"]]) for r in group}
    return [name.format(level), *(by_model.get(m, "–") for m in MODELS), first]


def race_table(results):
    rows = []
    for key in sorted({setting(r) for r in results}):
        group = [r for r in results if setting(r) == key]
        found = [race(group, "test.psnr", max, min, "PSNR ≥ {:.2f} dB"), race(group, "test.loss", min, max, "loss ≤ {:.4f}")]
        rows += [shown(key) + line for line in found if line]
    return grid(SETTING + ["what all reach"] + [m.upper() for m in MODELS] + ["first"], rows)


def tables(results, levels):
    return ("Who learns faster: images seen until the best value that the slowest model of the setting ever reaches.\n\n" + race_table(results) +
            "\nThe runs; under a PSNR, the images seen until it was first reached on the test data.\n\n" + runs_table(results, levels))


def panel(results, key, title, label, rates, **more):
    series = [{"points": curve(r, key), "colour": MODELS[r["model"]][1], "dash": DASHES[rates.index(r["lr"]) % len(DASHES)],
               "opacity": 1 if r["seed"] == 0 else 0.45} for r in results if r["curves"].get(key)]
    return figure.Panel(title, "steps", label, series, **more)


def draw(path, results):
    """A column a task, and for each batch size and number of images a row of test losses and one of PSNRs; the model is the colour, the learning rate the dash, later
    seeds are paler."""
    rates = sorted({r["lr"] for r in results}, reverse=True)
    tasks = sorted({r["task"] for r in results}, reverse=True)
    rows = []
    for images, batch in sorted({(r["images"], r["batch"]) for r in results if r["curves"]}):
        some = {task: [r for r in results if (r["task"], r["images"], r["batch"]) == (task, images, batch)] for task in tasks}
        where = f"{images:,} images, batch {batch}"
        rows.append([panel(some[t], "test.loss", f"{t}, {where}: test loss", "L1, logarithmic", rates, log=True) for t in tasks])
        rows.append([panel(some[t], "test.psnr", f"{t}, {where}: test PSNR", "dB", rates, least=0) for t in tasks])
    models = {r["model"] for r in results}
    legend = [{"label": name, "colour": colour} for m, (name, colour) in MODELS.items() if m in models]
    legend += [{"label": f"learning rate {lr:g}", "dash": DASHES[k % len(DASHES)]} for k, lr in enumerate(rates)]
    figure.write(path, rows, legend)


def write_curves(path, results):
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(["task", "model", "lr", "batch", "images", "seed", "key", "step", "value"])
        for r in results:
            for key, points in r["curves"].items():
                out.writerows([r["task"], r["model"], r["lr"], r["batch"], r["images"], r["seed"], key, *point] for point in zip(*points))


def write(folder, results, levels=LEVELS):
    """results.json, curves.csv, table.md and figure.svg; returns the tables."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as f:
        json.dump(results, f)
    write_curves(os.path.join(folder, "curves.csv"), results)
    draw(os.path.join(folder, "figure.svg"), results)
    text = tables(results, levels)
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as f:
        f.write(text)
    return text


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    try:
        with open(os.path.join(sys.argv[1], "results.json"), encoding="utf-8") as results_file:
            print(write(sys.argv[1], json.load(results_file)))
    except (OSError, ValueError) as error:
        sys.exit(f"report: {error}")
