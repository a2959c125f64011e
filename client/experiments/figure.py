"""Curves as an SVG file: rows of panels, one line a series, axes with round ticks, one legend. No library: what is drawn is little."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 340, 66, 34, 18, 46
LEGEND = 34  # a line of it


def ticks(low, high, count=8):
    """At most `count` round numbers within [low, high], or one more."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= count)
    first = math.ceil(low / step) * step
    return [first + k * step for k in range(int((high - first) / step + 1e-9) + 1)]


def log_ticks(low, high):
    """Round numbers within [low, high] for a logarithmic axis: powers of ten; where those are few, with 2 and 5; on less, evenly spaced ones."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [m * 10.0 ** e for e in decades for m in factors if low <= m * 10.0 ** e <= high]
        if len(found) >= 3:
            return found[:: math.ceil(len(found) / 8)]
    return ticks(low, high)


def number(v):
    return f"{v / 1000:g}k" if 10000 <= abs(v) < 1e6 else f"{v:.6g}"


def line(x1, x2, y1, y2, style):
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" {style}/>'


def text(x, y, words, anchor="start", style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


def stroke(look):
    return f'stroke="{look.get("colour", "#555")}" stroke-dasharray="{look.get("dash", "")}" stroke-opacity="{look.get("opacity", 1)}"'


class Panel:
    """series: [{"points": [(x, y), …], "colour", "dash", "opacity"}], the looks optional. `log` draws y by its logarithm; `least`: no y below
    it is shown, so that one wild point does not flatten all others."""

    def __init__(self, title, xlabel, ylabel, series, log=False, least=-math.inf):
        self.title, self.xlabel, self.ylabel, self.series, self.log = title, xlabel, ylabel, series, log
        self.least = max(least, 1e-300) if log else least
        points = [p for s in series for p in self.shown(s)]
        xs, ys = [x for x, _ in points] or [1], [self.scale(y) for _, y in points] or [0, 1]
        margin = (max(ys) - min(ys)) * 0.05 or 0.5
        self.x0, self.x1, self.y0, self.y1 = 0, max(xs + [1]), min(ys) - margin, max(ys) + margin

    def shown(self, series):
        return [(x, y) for x, y in series["points"] if math.isfinite(y) and y >= self.least]

    def scale(self, y):
        return math.log10(y) if self.log else y

    def place_x(self, x):
        return LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def place_y(self, y):
        return HEIGHT - BOTTOM - (self.scale(y) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def draw_axes(self, out):
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        out.append(text(LEFT, 20, self.title, style='class="title"'))
        for x in ticks(self.x0, self.x1):
            out += [line(self.place_x(x), self.place_x(x), TOP, bottom, 'class="grid"'), text(self.place_x(x), bottom + 16, number(x), "middle")]
        for y in log_ticks(10 ** self.y0, 10 ** self.y1) if self.log else ticks(self.y0, self.y1):
            out += [line(LEFT, right, self.place_y(y), self.place_y(y), 'class="grid"'), text(LEFT - 6, self.place_y(y) + 4, number(y), "end")]
        out.append(text((LEFT + right) / 2, HEIGHT - 8, self.xlabel, "middle"))
        out.append(f'<g transform="translate(14 {(TOP + bottom) / 2}) rotate(-90)">{text(0, 0, self.ylabel, "middle")}</g>')

    def draw(self, out):
        self.draw_axes(out)
        for s in self.series:
            places = [(self.place_x(x), self.place_y(y)) for x, y in self.shown(s)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            out.append(f'<polyline points="{path}" fill="none" stroke-width="1.8" stroke-linejoin="round" {stroke(s)}/>')
            if len(places) == 1:  # a line of one point is not seen
                out.append(f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5" fill="none" {stroke(s)}/>')


def draw_legend(out, legend, width):
    """The entries side by side, as many lines as they need; returns the height."""
    x, y = LEFT, 22
    for entry in legend:
        room = 60 + 7.5 * len(entry["label"])
        if x + room > width and x > LEFT:
            x, y = LEFT, y + LEGEND
        out += [line(x, x + 34, y - 4, y - 4, 'stroke-width="2.5" ' + stroke(entry)), text(x + 40, y, entry["label"])]
        x += room
    return y + 12 if legend else 0


def write(path, rows, legend):
    """rows: lists of Panels; legend: [{"label", "colour", "dash"}], above them."""
    width = max((len(row) for row in rows), default=1) * WIDTH
    body = []
    top = draw_legend(body, legend, width)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            body.append(f'<g transform="translate({c * WIDTH} {top + r * HEIGHT})">')
            panel.draw(body)
            body.append("</g>")
    height = top + len(rows) * HEIGHT
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="12">',
            "<style>.title{font-size:14px;font-weight:bold}.grid{stroke:#ddd;stroke-width:1}</style>",
            '<rect width="100%" height="100%" fill="white"/>']
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(head + body + ["</svg>"]) + "\n")
