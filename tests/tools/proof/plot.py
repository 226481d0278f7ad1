"""A self-contained SVG: the curves of reinforcement learning, and accuracy against tokens of all evaluations.

Usage: plot.py OUT [OUT ...] -o curves.svg     each OUT is the output directory of a seed; lines are means over seeds
"""

import argparse
import gzip
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

import table
from settings import VARIANTS

PANELS = (("accuracy", "Accuracy"), ("think_rate", "Think rate"), ("tokens", "Tokens of a response"),
          ("both_modes", "Groups with both modes"), ("adjusted", "Groups with an adjustment"),
          ("format", "Well-formed responses"))
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555", "#8c564b")
COLUMNS, WIDTH, HEIGHT, MARGIN = 3, 300, 190, 46
# A line shows means over so many steps.
SMOOTHED = 5
TICKS = 4
# The height of a line of text in a list.
LINE = 13


@dataclass(frozen=True)
class Frame:
    """A panel's corner, and the ranges of its axes."""

    left: float
    top: float
    steps: int
    low: float
    high: float

    def point(self, step: float, value: float) -> tuple[float, float]:
        x = self.left + WIDTH * step / max(1, self.steps - 1)
        return x, self.top + HEIGHT * (1 - (value - self.low) / (self.high - self.low))


def read(directories: list[Path]) -> dict[str, dict[str, np.ndarray]]:
    """Curves [steps] of each variant and measure: means over seeds, over the steps that all seeds have."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}  # [variant][measure][directory]
    for directory in directories:
        for line in gzip.decompress((directory / "curves.jsonl.gz").read_bytes()).decode().splitlines():
            row = json.loads(line)
            measures = found.setdefault(row["variant"], {name: {} for name, _ in PANELS})
            for name, seeds in measures.items():
                seeds.setdefault(str(directory), []).append(row[name])
    curves = {}
    for variant, measures in found.items():
        steps = min(len(values) for seeds in measures.values() for values in seeds.values())
        curves[variant] = {
            name: smoothed(np.mean([values[:steps] for values in seeds.values()], axis=0))
            for name, seeds in measures.items()
        }
    return curves


def smoothed(values: np.ndarray) -> np.ndarray:
    """Means over the last steps."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - SMOOTHED)
    return (sums[ends] - sums[starts]) / (ends - starts)


def panel(frame: Frame, title: str, lines: list[tuple[str, np.ndarray]]) -> list[str]:
    """The parts of one panel."""
    parts = [f'<text x="{frame.left}" y="{frame.top - 10}" class="title">{escape(title)}</text>']
    for tick in range(TICKS + 1):
        value = frame.low + (frame.high - frame.low) * tick / TICKS
        _, y = frame.point(0, value)
        label = f"{value:.2f}" if frame.high < 10 else f"{value:.0f}"
        parts.append(f'<line x1="{frame.left}" x2="{frame.left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                     f'<text x="{frame.left - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for step, anchor in ((0, "start"), (frame.steps - 1, "end")):
        x, _ = frame.point(step, frame.low)
        parts.append(f'<text x="{x:.1f}" y="{frame.top + HEIGHT + 15}" text-anchor="{anchor}">step {step}</text>')
    for colour, values in lines:
        points = " ".join(f"{x:.1f},{y:.1f}"
                          for x, y in (frame.point(step, value) for step, value in enumerate(values)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
    return parts


def range_of(values: np.ndarray) -> tuple[float, float]:
    """The range of an axis: 0 to 1 for shares, otherwise that of the values with some room."""
    if values.max() <= 1.0:
        return 0.0, 1.0
    return float(0.9 * values.min()), float(1.05 * values.max())


def scatter(results: table.Results, left: float, top: float) -> list[str]:
    """Accuracy against tokens: one numbered point for each variant, as wide as two panels, and a list beside it."""
    means = {
        name: np.mean([values[name].mean(0) for values in results.values if name in values], axis=0)
        for name in results.variants()
    }
    points = {name: (mean[table.TOKENS], mean[table.CORRECT]) for name, mean in means.items()}
    (x_low, x_high), (y_low, y_high) = ((min(axis), max(axis)) for axis in zip(*points.values()))
    width = 2 * WIDTH
    parts = [f'<text x="{left}" y="{top - 10}" class="title">Accuracy against tokens, held-out queries</text>']
    for tick in range(TICKS + 1):
        y = top + HEIGHT * (1 - tick / TICKS)
        accuracy, tokens = (low + (high - low) * tick / TICKS for low, high in ((y_low, y_high), (x_low, x_high)))
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                     f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{accuracy:.3f}</text>')
        x = left + width * tick / TICKS
        parts.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 15}" text-anchor="middle">{tokens:.0f}</text>')
    for number, (name, (tokens, accuracy)) in enumerate(points.items(), 1):
        x = left + width * (tokens - x_low) / max(1e-9, x_high - x_low)
        y = top + HEIGHT * (1 - (accuracy - y_low) / max(1e-9, y_high - y_low))
        line = top + LINE * (number - 1)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/>'
                     f'<text x="{x + 6:.1f}" y="{y - 4:.1f}">{number}</text>'
                     f'<text x="{left + width + MARGIN}" y="{line}">{number} {escape(name)}</text>')
    return parts


def figure(directories: list[Path]) -> str:
    """The SVG of all panels, a legend, and the scatter."""
    curves = read(directories)
    colours = {variant: COLOURS[place % len(COLOURS)] for place, variant in enumerate(curves)}
    rows = -(-len(PANELS) // COLUMNS)
    across, legend = COLUMNS * (WIDTH + MARGIN) + MARGIN, rows * (HEIGHT + MARGIN) + MARGIN
    below = legend + 20 * -(-len(curves) // COLUMNS) + MARGIN
    height = below + max(HEIGHT, LINE * len(VARIANTS)) + MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {height}" font-family="sans-serif" '
             'font-size="11"><style>text{fill:#333}.title{font-size:13px;font-weight:bold}.grid{stroke:#ddd}</style>'
             f'<rect width="{across}" height="{height}" fill="#fff"/>']
    for place, (name, title) in enumerate(PANELS):
        lines = [(colours[variant], measures[name]) for variant, measures in curves.items()]
        row, column = divmod(place, COLUMNS)
        low, high = range_of(np.concatenate([line for _, line in lines])) if lines else (0.0, 1.0)
        frame = Frame(MARGIN + column * (WIDTH + MARGIN), MARGIN + row * (HEIGHT + MARGIN),
                      max((len(line) for _, line in lines), default=2), low, high)
        parts += panel(frame, title, lines)
    for place, (variant, colour) in enumerate(colours.items()):
        row, column = divmod(place, COLUMNS)
        x, y = MARGIN + column * (WIDTH + MARGIN), legend + 20 * row
        parts.append(f'<line x1="{x}" x2="{x + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>'
                     f'<text x="{x + 30}" y="{y}">{escape(variant)}</text>')
    parts += scatter(table.read(directories), MARGIN, below)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="OUT")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.write_text(figure(given.directories), encoding="utf-8")


if __name__ == "__main__":
    main()
