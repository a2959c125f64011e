#!/usr/bin/env python3
"""growth.py BUILD [LINE…] [--quick]: how cost grows with size, up to the sizes that a lab reaches in a year; one table, an exponent a line.

A line measures one cost at growing sizes. Its exponent is the slope of log(cost) over log(size), by least squares over the upper half of the sizes, where
what is constant no longer hides it; the work's own exponent stands beside it, 0 for what should not depend on the size at all. A line whose exponent is
more than 0.15 above the work's is marked. Wrong answers end it with 1, figures never.

LINE: some of the names in growth_lines.py (all); --quick: without the largest sizes."""
import argparse
import math
import os
import sys
import time

import growth_lines
from bench import print_machine
from service import Wrong

SLACK = 0.15


class Line:
    """costs[i] belongs to sizes[i]; work: the exponent of what has to be done."""

    def __init__(self, name, unit, work, sizes, costs):
        self.name, self.unit, self.work, self.sizes, self.costs = name, unit, work, sizes, costs

    def exponent(self):
        points = [(math.log(s), math.log(c)) for s, c in zip(self.sizes, self.costs) if c > 0]
        points = points[min(len(points) // 2, max(len(points) - 2, 0)):]
        if len(points) < 2:
            return None
        mx, my = (sum(v) / len(points) for v in zip(*points))
        return sum((x - mx) * (y - my) for x, y in points) / sum((x - mx) ** 2 for x, _ in points)

    def cells(self):
        exponent = self.exponent()
        grows = exponent is not None and exponent > self.work + SLACK
        figures = "  ".join(f"{size(s)}: {cost(c)}" for s, c in zip(self.sizes, self.costs))
        return self.name, f"{self.work:g}", "–" if exponent is None else f"{exponent:.2f}", "faster" if grows else "", self.unit, figures


def size(n):
    for shift, letter in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if n >= 1 << shift and n % (1 << shift) == 0:
            return f"{n >> shift} {letter}"
    return f"{n:,}"


def cost(c):
    return f"{c:,.0f}" if c >= 100 else f"{c:.3g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=os.path.abspath)
    parser.add_argument("lines", nargs="*", metavar="LINE", choices=[*growth_lines.ALL, []])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print_machine()
    rows, began = [("quantity", "work", "ours", "", "unit", "size: cost")], time.monotonic()
    for name in options.lines or growth_lines.ALL:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += [Line(*line).cells() for line in growth_lines.ALL[name](options.build, options.quick)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"- took {time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"growth: {wrong}")
