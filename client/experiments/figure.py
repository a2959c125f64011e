"""Curves as an SVG file: panels side by side, one line a series, axes with round ticks. No library: what is drawn is little."""
import math
from xml.sax.saxutils import escape

COLOURS = {"d": "#1b6ca8", "t": "#c8553d", "i": "#5b8c5a"}
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 520, 340, 62, 46, 16, 46


def ticks(low, high, count=5):
    """Round numbers that cover [low, high]."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    first = math.ceil(low / step) * step
    return [first + k * step for k in range(int((high - first) / step + 1e-9) + 1)]


def number(v):
    return f"{v:g}" if abs(v) < 10000 else f"{v / 1000:g}k"


class Panel:
    """series: [{"label", "colour", "dash", "points": [(x, y), …]}]; `log` draws y by its logarithm."""

    def __init__(self, title, xlabel, ylabel, series, log=False):
        self.title, self.xlabel, self.ylabel, self.series, self.log = title, xlabel, ylabel, series, log
        points = [(x, y) for s in series for x, y in s["points"] if math.isfinite(y) and (y > 0 or not log)]
        xs, ys = [x for x, _ in points] or [0, 1], [self.scale(y) for _, y in points] or [0, 1]
        self.x0, self.x1, self.y0, self.y1 = min(xs), max(xs), min(ys), max(ys)
        if self.x0 == self.x1:
            self.x1 += 1
        margin = (self.y1 - self.y0) * 0.05 or 0.5
        self.y0, self.y1 = self.y0 - margin, self.y1 + margin

    def scale(self, y):
        return math.log10(y) if self.log else y

    def place(self, x, y):
        return (LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (self.scale(y) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM))

    def draw(self, out):
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        out.append(f'<text x="{LEFT}" y="20" class="title">{escape(self.title)}</text>')
        for x in ticks(self.x0, self.x1):
            px = LEFT + (x - self.x0) / (self.x1 - self.x0) * (right - LEFT)
            out.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{TOP}" y2="{bottom}" class="grid"/>'
                       f'<text x="{px:.1f}" y="{bottom + 16}" text-anchor="middle">{number(x)}</text>')
        for y in ticks(self.y0, self.y1):
            py = bottom - (y - self.y0) / (self.y1 - self.y0) * (bottom - TOP)
            out.append(f'<line x1="{LEFT}" x2="{right}" y1="{py:.1f}" y2="{py:.1f}" class="grid"/>'
                       f'<text x="{LEFT - 6}" y="{py + 4:.1f}" text-anchor="end">{f"{10 ** y:.3g}" if self.log else number(y)}</text>')
        out.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(self.xlabel)}</text>'
                   f'<text transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(self.ylabel)}</text>')
        for s in self.series:
            good = [self.place(x, y) for x, y in s["points"] if math.isfinite(y) and (y > 0 or not self.log)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in good)
            out.append(f'<polyline points="{path}" fill="none" stroke="{s["colour"]}" stroke-width="1.8" '
                       f'stroke-dasharray="{s.get("dash", "")}"/>')
        x = LEFT
        for s in self.series:
            out.append(f'<line x1="{x}" x2="{x + 22}" y1="34" y2="34" stroke="{s["colour"]}" stroke-width="2" '
                       f'stroke-dasharray="{s.get("dash", "")}"/><text x="{x + 27}" y="38">{escape(s["label"])}</text>')
            x += 37 + 7 * len(s["label"])


def write(path, rows):
    """rows: lists of Panels; one SVG."""
    columns = max(len(row) for row in rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {columns * WIDTH} {len(rows) * HEIGHT}" '
           f'width="{columns * WIDTH}" height="{len(rows) * HEIGHT}" font-family="sans-serif" font-size="12">',
           "<style>.title{font-size:14px;font-weight:bold}.grid{stroke:#ddd;stroke-width:1}</style>",
           '<rect width="100%" height="100%" fill="white"/>']
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            out.append(f'<g transform="translate({c * WIDTH} {r * HEIGHT})">')
            panel.draw(out)
            out.append("</g>")
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
