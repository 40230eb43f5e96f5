"""Curves and histograms as geometry; `templates/charts.html.j2` turns it into inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pixeltune.artwork.folder import SCORE
from pixeltune.gallery.run import SERIES, Point

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 26
MAX_POINTS = 300
"""Points of a curve; more of them are averaged in groups."""


@dataclass(frozen=True)
class Dot:
    """A point of a curve on the canvas, with what it says."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """One drawing of `WIDTH` x `HEIGHT` units; ticks are (place, label)."""

    title: str
    description: str
    """What a reader who does not see it should know."""
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    paths: list[str]
    dots: list[Dot]
    note: str = ""


def curve(key: str, points: Sequence[Point], by_seconds: bool) -> Chart | None:
    """A logged value against steps or seconds; None where its seconds are not known.

    Args:
        key: of `SERIES`.
        points: at least one, by step.
        by_seconds: the horizontal axis.
    """
    if by_seconds and any(point.seconds is None for point in points):
        return None
    per = math.ceil(len(points) / MAX_POINTS)
    groups = [points[i : i + per] for i in range(0, len(points), per)]
    xs = [float(group[-1].seconds if by_seconds else group[-1].step) for group in groups]
    ys = [sum(point.value for point in group) / len(group) for group in groups]
    form = percent if key == SCORE else figure
    low, high = (0.0, 1.0) if key == SCORE else (min(0.0, *ys), max(0.0, *ys))
    y_ticks = ticks(low, high)
    x_ticks = ticks(0.0, max(xs))
    x_at, y_at = _scale(x_ticks, LEFT, WIDTH - RIGHT), _scale(y_ticks, HEIGHT - BOTTOM, TOP)
    unit = "seconds" if by_seconds else "steps"
    where = "second" if by_seconds else "step"
    dots = [Dot(x_at(x), y_at(y), f"{where} {figure(x)}: {form(y)}") for x, y in zip(xs, ys, strict=True)]
    title = SERIES[key]
    told = f"{form(ys[0])} at {where} {figure(xs[0])}, {form(ys[-1])} at {where} {figure(xs[-1])}"
    return Chart(
        title,
        f"{title} against {unit}: {told}; lowest {form(min(ys))}, highest {form(max(ys))}.",
        unit,
        [(x_at(x), figure(x)) for x in x_ticks],
        [(y_at(y), form(y)) for y in y_ticks],
        ["M" + "L".join(f"{dot.x:.1f} {dot.y:.1f}" for dot in dots)],
        dots,
        f"each point the mean of {per} logged values" if per > 1 else "",
    )


def levels(shares: np.ndarray) -> Chart:
    """A histogram of red, green and blue, float (3, bins), as three outlines."""
    # One crowded level, such as a grey start picture's, would flatten everything else.
    top = max(float(np.sort(shares, axis=None)[-max(1, shares.size // 50)]), 1e-9)
    y_ticks = ticks(0.0, min(top * 1.1, float(shares.max())))
    y_at = _scale(y_ticks, HEIGHT - BOTTOM, TOP)
    width = (WIDTH - LEFT - RIGHT) / shares.shape[1]
    paths = []
    for channel in shares:
        steps = [f"M{LEFT} {HEIGHT - BOTTOM}"]
        for i, share in enumerate(channel):
            steps.append(f"V{max(y_at(float(share)), TOP):.1f}H{LEFT + width * (i + 1):.1f}")
        paths.append("".join(steps) + f"V{HEIGHT - BOTTOM}")
    middle = (np.arange(shares.shape[1]) + 0.5) * 256 / shares.shape[1]
    means = ", ".join(
        f"{n} {(c * middle).sum():.0f}" for n, c in zip(("red", "green", "blue"), shares, strict=True)
    )
    cut = f" Bars above {percent(y_ticks[-1])} are cut off." if shares.max() > y_ticks[-1] else ""
    ends = float(shares[:, 0].mean()), float(shares[:, -1].mean())
    return Chart(
        "Grey levels",
        f"How often each grey level occurs. Means: {means}. At the dark end {ends[0]:.1%} of the values, "
        f"at the light end {ends[1]:.1%}.{cut}",
        "grey level",
        [(LEFT + x / 255 * (WIDTH - LEFT - RIGHT), str(x)) for x in (0, 64, 128, 192, 255)],
        [(y_at(y), f"{y:.3g}" if y == 0 else f"{100 * y:.3g} %") for y in y_ticks],
        paths,
        [],
    )


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from `low` or below to `high` or above, in steps of 1, 2 or 5 times a power of ten."""
    if high - low <= 1e-9 * max(abs(low), abs(high)) + 1e-30:  # as good as one value
        high = low + max(1.0, abs(low))
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def figure(value: float) -> str:
    """A number with three or four significant digits."""
    if value == 0:
        return "0"
    if 1000 <= abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def percent(value: float) -> str:
    """A share in per cent, with one decimal where it needs one."""
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def _scale(marks: Sequence[float], begin: float, end: float) -> Callable[[float], float]:
    """From values to places, the first and last mark at the ends."""
    return lambda value: begin + (value - marks[0]) / (marks[-1] - marks[0]) * (end - begin)
