#!/usr/bin/python3
"""Tables and figures of the experiments' results: report.py FOLDER [--readme [FILE]].

From FOLDER/runs.csv and FOLDER/curves.csv it writes FOLDER/table.md and a figure a task (iterate.svg, conditional.svg), and prints the tables; with
--readme also into FILE (default: the README.md beside this program), between the lines <!-- results --> and <!-- end of results -->.
Means are over seeds, ± their standard deviation (n - 1); a cell without a run is "–".
"""
import argparse
import math
import os
import statistics
import sys

import figure
import results

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {"d": ("D", "#2b85d0"), "t": ("T", "#d9622b"), "t10": ("T10", "#b0609f"), "i": ("I", "#2f9e62")}
PSNR, LOSS = "test.psnr", "test.loss"
LEVELS = {"iterate": 16.7}  # dB, asked for besides what all reach: how far the paper's first T came here with three seeds
OPEN, CLOSE = "<!-- results -->\n", "<!-- end of results -->\n"
NONE = "–"


# ---- runs, grouped ----


class Group:
    """The runs that are done of a task, learning rate and batch size."""

    def __init__(self, runs, task, lr, batch):
        self.task, self.lr, self.batch = task, lr, batch
        self.runs = [r for r in runs if (r["task"], r["lr"], r["batch"]) == (task, lr, batch)]
        self.most = max(r["images"] for r in runs)

    def of(self, model, images=None):
        """A model's runs on so many images; None: the most that any run has."""
        return [r for r in self.runs if r["model"] == model and r["images"] == (images or self.most)]

    def models(self, images=None):
        return [model for model in MODELS if self.of(model, images)]


def groups(runs):
    """Of the runs that are done: iterate before conditional, small learning rates first."""
    done = [r for r in runs if r["curve"]]
    keys = sorted({(r["task"], r["lr"], r["batch"]) for r in done}, key=lambda k: (k[0] != "iterate", *k))
    return [Group(done, *key) for key in keys]


def last(run, measure):
    return run["curve"][-1][measure]


def best(run, measure):
    return max((p[measure] for p in run["curve"] if math.isfinite(p[measure])), default=math.nan)


def spread(values):
    """Mean and standard deviation, 0 of a single one."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else 0.0


def mean_curve(runs, measure):
    """(step, mean, standard deviation) at the steps that all the runs have."""
    by_step = [{p["step"]: p[measure] for p in r["curve"]} for r in runs]
    steps = sorted(set.intersection(*map(set, by_step))) if by_step else []
    return [(step, *spread([values[step] for values in by_step])) for step in steps]


# ---- tables ----


def grid(head, rows):
    """A Markdown table whose columns also line up as text."""
    rows = [[str(cell).replace("|", "/") for cell in row] for row in [head, *rows]]
    widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]) + "\n"


def number(value, digits):
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.1e}"  # what has exploded


def shown(values, digits):
    if not values:
        return NONE
    mean, deviation = spread(values)
    return number(mean, digits) + (f" ± {number(deviation, digits)}" if len(values) > 1 else "")


def setting(group, all_groups):
    """The first cells of a row."""
    batch = f", batch {group.batch}" if len({g.batch for g in all_groups}) > 1 else ""
    return [group.task, f"{group.lr:g}{batch}"]


def task_models(all_groups, task):
    """The models that have a run of the task."""
    return [m for m in MODELS if any(r["model"] == m for g in all_groups if g.task == task for r in g.runs)]


def final_table(all_groups):
    rows = []
    for g in all_groups:
        for model in task_models(all_groups, g.task):
            runs = g.of(model)
            cells = [shown([last(r, PSNR) for r in runs], 2), shown([best(r, PSNR) for r in runs], 2), shown([last(r, LOSS) for r in runs], 4)]
            rows.append(setting(g, all_groups) + [MODELS[model][0], *cells, len(runs)])
    return grid(["task", "lr", "model", "PSNR at the end, dB", "best PSNR, dB", "L1 at the end", "n"], rows)


def race(curves, good):
    """For each model the first step of its mean curve that is good enough, the fewest in bold."""
    steps = {model: next((step for step, mean, _ in curve if good(mean)), None) for model, curve in curves.items()}
    fewest = min((s for s in steps.values() if s is not None), default=None)
    told = {m: NONE if s is None else f"**{s:,}**" if s == fewest else f"{s:,}" for m, s in steps.items()}
    return [told.get(model, NONE) for model in MODELS]


def races(group):
    """What is reached, and after how many steps by whom."""
    psnr, loss = ({model: mean_curve(group.of(model), measure) for model in group.models()} for measure in (PSNR, LOSS))
    if len(psnr) > 1:
        level = min(max((mean for _, mean, _ in c if math.isfinite(mean)), default=-math.inf) for c in psnr.values())
        yield [f"PSNR ≥ {number(level, 2)} dB", *race(psnr, lambda mean: mean >= level)]
        least = max(min((mean for _, mean, _ in c if math.isfinite(mean)), default=math.inf) for c in loss.values())
        yield [f"L1 ≤ {number(least, 4)}", *race(loss, lambda mean: mean <= least)]
    if psnr and group.task in LEVELS:
        yield [f"PSNR ≥ {LEVELS[group.task]:g} dB", *race(psnr, lambda mean: mean >= LEVELS[group.task])]


def race_table(all_groups):
    rows = [setting(g, all_groups) + line for g in all_groups for line in races(g)]
    return grid(["task", "lr", "reached", *(name for name, _ in MODELS.values())], rows)


def data_table(all_groups):
    """None where all runs of a setting have the same number of images."""
    counts = sorted({r["images"] for g in all_groups for r in g.runs})
    rows = []
    for g in all_groups:
        if len({r["images"] for r in g.runs}) > 1:
            for model in task_models(all_groups, g.task):
                cells = [shown([last(r, PSNR) for r in g.of(model, count)], 2) for count in counts]
                rows.append(setting(g, all_groups) + [MODELS[model][0], *cells])
    return grid(["task", "lr", "model", *(f"{count:,}" for count in counts)], rows) if rows else None


def failures_table(runs):
    rows = [[r["task"], f"{r['lr']:g}", MODELS[r["model"]][0], r["batch"], f"{r['images']:,}", r["seed"], r["state"], r["reason"]]
            for r in runs if not r["curve"]]
    return grid(["task", "lr", "model", "batch", "images", "seed", "state", "reason"], rows) if rows else None


def heading(runs):
    done = [r for r in runs if r["curve"]]
    if not done:
        return "No run is done yet.\n"
    told = {what: ", ".join(sorted({r[what] for r in done})) for what in ("commit", "machine")}
    hours = sum(r["seconds"] for r in done) / 3600
    return (f"{len(done)} runs of {done[0]['steps']:,} steps ({done[0]['remark']}), {hours:.1f} hours, the last of {max(r['date'] for r in done)[:10]}; "
            f"commit {told['commit']}; {told['machine']}. Means over seeds ± standard deviation; n: seeds.\n")


def tables(runs, place=""):
    """All of it as Markdown; `place`: where the figures are, seen from the page."""
    found = groups(runs)
    parts = [heading(runs)]
    if found:
        parts += [f"What came out, on {found[0].most:,} images:\n", final_table(found),
                  "Steps until the mean curve first reaches what the slowest model's ever reaches:\n", race_table(found)]
        data = data_table(found)
        parts += ["PSNR at the end, in dB, by the number of distinct training images:\n", data] if data else []
        parts += [f"![{task}: PSNR and L1 by steps, PSNR by images]({place}{task}.svg)\n" for task in dict.fromkeys(g.task for g in found)]
    failed = failures_table(runs)
    parts += ["What came to nothing:\n", failed] if failed else []
    return "\n".join(parts)


# ---- figures ----


def series(model, points):
    """points: (x, mean, deviation)."""
    return {"colour": MODELS[model][1], "points": [(x, mean) for x, mean, _ in points],
            "band": [(x, mean - deviation, mean + deviation) for x, mean, deviation in points if deviation]}


def by_images(group, model):
    counts = sorted({r["images"] for r in group.runs if r["model"] == model})
    return [(count, *spread([last(r, PSNR) for r in group.of(model, count)])) for count in counts]


def panels(group, all_groups):
    """Of a learning rate: PSNR and L1 by steps, and PSNR by images where there is more than one number of them."""
    where = f"lr {setting(group, all_groups)[1]}"
    models = group.models()
    row = [figure.Panel(f"PSNR, {where}", "steps", "dB", [series(m, mean_curve(group.of(m), PSNR)) for m in models], least=5),
           figure.Panel(f"L1, {where}", "steps", "L1", [series(m, mean_curve(group.of(m), LOSS)) for m in models], log_y=True, most=1)]
    if len({r["images"] for r in group.runs}) > 1:
        every = [m for m in MODELS if any(r["model"] == m for r in group.runs)]
        row.append(figure.Panel(f"PSNR at the end, {where}", "training images", "dB", [series(m, by_images(group, m)) for m in every], log_x=True, least=5))
    return row


def draw(folder, runs):
    found = groups(runs)
    for task in dict.fromkeys(g.task for g in found):
        legend = [{"label": MODELS[m][0], "colour": MODELS[m][1]} for m in task_models(found, task)]
        figure.write(os.path.join(folder, task + ".svg"), task, [panels(g, found) for g in found if g.task == task], legend)


def write(folder):
    """table.md and the figures; returns the tables."""
    runs = results.load(folder)
    draw(folder, runs)
    text = tables(runs)
    with open(os.path.join(folder, "table.md"), "w", encoding="utf-8") as f:
        f.write(text)
    return text


def fill(page, folder):
    """Puts the tables into a page, between its marks."""
    with open(page, encoding="utf-8") as f:
        text = f.read()
    before, opened, rest = text.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        raise results.Unusable(f"{page}: no lines {OPEN.strip()} and {CLOSE.strip()}")
    place = os.path.relpath(folder, os.path.dirname(os.path.abspath(page))) + "/"
    with open(page, "w", encoding="utf-8") as f:
        f.write(before + OPEN + "\n" + tables(results.load(folder), place) + "\n" + CLOSE + after)


def main(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--readme", nargs="?", const=os.path.join(HERE, "README.md"), metavar="FILE")
    options = p.parse_args(argv)
    try:
        print(write(options.folder))
        if options.readme:
            fill(options.readme, options.folder)
    except (OSError, results.Unusable) as error:
        raise SystemExit(f"report: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
