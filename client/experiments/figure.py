"""Curves as an SVG file: rows of panels, one line a series with a band around it, axes with round ticks, one legend. No library: what is drawn is
little. The colours of paper and words follow the reader's scheme, light or dark; those of the lines are seen on both."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 320, 230, 52, 28, 12, 40
HEAD = 34  # title and legend above the panels
FAR = 1e4  # pixels beyond which nothing need be placed
STYLE = (":root{--paper:#fff;--ink:#24292f;--grid:#dfe3e8}@media(prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#d1d7de;--grid:#30363d}}"
         ".paper{fill:var(--paper)}text{fill:var(--ink)}.title{font-size:12px;font-weight:bold}.grid{stroke:var(--grid);stroke-width:1}")


def ticks(low, high, count=6):
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
    return f"{v / 1000:g}k" if 1000 <= abs(v) < 1e6 else f"{v:.6g}"


def line(x1, x2, y1, y2, style):
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" {style}/>'


def text(x, y, words, anchor="start", style=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


class Axis:
    """Values on a stretch of pixels, perhaps by their logarithm; `ends`: the pixels of the least and the greatest value, `margin` a part of the span."""

    def __init__(self, values, ends, log, margin):
        self.log, self.ends = log, ends
        places = [self.scale(v) for v in values] or [0.0, 1.0]
        room = (max(places) - min(places)) * margin or (0.5 if max(places) == min(places) else 0)
        self.low, self.high = min(places) - room, max(places) + room

    def scale(self, v):
        return v if not self.log else math.log10(v) if v > 0 else -math.inf

    def place(self, v):
        start, end = self.ends
        return min(max(start + (self.scale(v) - self.low) / (self.high - self.low) * (end - start), -FAR), FAR)

    def ticks(self):
        return log_ticks(10 ** self.low, 10 ** self.high) if self.log else ticks(self.low, self.high)


class Panel:
    """series: [{"colour", "points": [(x, y), …], "band": [(x, low, high), …]}]. The y axis spans the points from `least` to `most`; a line that goes
    beyond is cut there, so that one wild point does not flatten all others."""

    def __init__(self, title, xlabel, ylabel, series, log_x=False, log_y=False, least=-math.inf, most=math.inf):
        self.title, self.xlabel, self.ylabel, self.series = title, xlabel, ylabel, series
        points = [p for s in series for p in s["points"] if math.isfinite(p[1]) and least <= p[1] <= most and (p[1] > 0 or not log_y)]
        self.x = Axis([x for x, _ in points] + ([] if log_x else [0]), (LEFT, WIDTH - RIGHT), log_x, 0.04 if log_x else 0)
        self.y = Axis([y for _, y in points], (HEIGHT - BOTTOM, TOP), log_y, 0.05)

    def draw_axes(self, out):
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        out.append(text(LEFT, 18, self.title, style='class="title"'))
        for x in self.x.ticks():
            at = self.x.place(x)
            out += [line(at, at, TOP, bottom, 'class="grid"'), text(at, bottom + 14, number(x), "middle")]
        for y in self.y.ticks():
            at = self.y.place(y)
            out += [line(LEFT, right, at, at, 'class="grid"'), text(LEFT - 5, at + 4, number(y), "end")]
        out.append(text((LEFT + right) / 2, HEIGHT - 10, self.xlabel, "middle"))
        out.append(f'<g transform="translate(12 {(TOP + bottom) / 2}) rotate(-90)">{text(0, 0, self.ylabel, "middle")}</g>')

    def path(self, points):
        return " ".join(f"{self.x.place(x):.1f},{self.y.place(y):.1f}" for x, y in points if math.isfinite(y))

    def draw(self, out):
        self.draw_axes(out)
        out.append('<g clip-path="url(#plot)">')
        for s in self.series:
            edge = [(x, low) for x, low, _ in s["band"]] + [(x, high) for x, _, high in reversed(s["band"])]
            out += [f'<polygon points="{self.path(edge)}" fill="{s["colour"]}" fill-opacity="0.18"/>'] if edge else []
            out.append(f'<polyline points="{self.path(s["points"])}" fill="none" stroke="{s["colour"]}" stroke-width="1.8" stroke-linejoin="round"/>')
            if self.x.log or len(s["points"]) == 1:  # few points, which are marked: a line of one is not seen at all
                out += [f'<circle cx="{self.x.place(x):.1f}" cy="{self.y.place(y):.1f}" r="2.5" fill="{s["colour"]}"/>'
                        for x, y in s["points"] if math.isfinite(y)]
        out.append("</g>")


def draw_head(out, title, legend):
    out.append(text(LEFT, 22, title, style='style="font-size:14px;font-weight:bold"'))
    x = LEFT + 30 + 8 * len(title)
    for entry in legend:
        out += [line(x, x + 22, 18, 18, f'stroke="{entry["colour"]}" stroke-width="3"'), text(x + 28, 22, entry["label"])]
        x += 56 + 8 * len(entry["label"])


def write(path, title, rows, legend):
    """rows: lists of Panels; legend: [{"label", "colour"}], above them."""
    width, height = max((len(row) for row in rows), default=1) * WIDTH, HEAD + len(rows) * HEIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           f'font-family="system-ui, sans-serif" font-size="11">', f"<style>{STYLE}</style>",
           f'<clipPath id="plot"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
           '<rect width="100%" height="100%" class="paper"/>']
    draw_head(out, title, legend)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            out.append(f'<g transform="translate({c * WIDTH} {HEAD + r * HEIGHT})">')
            panel.draw(out)
            out.append("</g>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join([*out, "</svg>"]) + "\n")
