"""Numerals and letters as strokes, so that drawings need no font file and look alike everywhere.

A glyph is a list of strokes, a stroke a list of points. A numeral or capital stands in a box of width 1 and
height 1.6 around (0, 0), y pointing down; thickness is up to who draws.
"""

from __future__ import annotations

import math

Point = tuple[float, float]
Stroke = list[Point]


def arc(x: float, y: float, across: float, down: float, start: float, end: float) -> Stroke:
    """Part of an ellipse around (x, y) with half axes `across` and `down`; degrees, 0 right, 90 down."""
    steps = max(8, round(abs(end - start) / 5))
    turns = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + across * math.cos(turn), y + down * math.sin(turn)) for turn in turns]


_BOWLS = [(-0.4, -0.8), *arc(0.05, -0.42, 0.38, 0.38, -90, 90), (-0.4, -0.04)]

GLYPHS: dict[str, list[Stroke]] = {
    "0": [arc(0, 0, 0.45, 0.8, 0, 360)],
    "1": [[(-0.3, -0.5), (0.08, -0.8), (0.08, 0.8)]],
    "2": [[*arc(0, -0.36, 0.44, 0.44, -160, 35), (-0.45, 0.8), (0.48, 0.8)]],
    "3": [arc(0, -0.42, 0.4, 0.38, -155, 90), arc(0, 0.38, 0.46, 0.42, -90, 155)],
    "4": [[(0.2, 0.8), (0.2, -0.8), (-0.5, 0.35), (0.5, 0.35)]],
    "5": [[(0.4, -0.8), (-0.32, -0.8), (-0.38, -0.1), *arc(-0.02, 0.28, 0.47, 0.52, -135, 150)]],
    "6": [[*arc(0.55, 0.35, 0.99, 1.2, 253, 180), *arc(0, 0.35, 0.44, 0.45, 180, -180)]],
    "7": [[(-0.45, -0.8), (0.45, -0.8), (-0.15, 0.8)]],
    "8": [arc(0, -0.42, 0.37, 0.38, 0, 360), arc(0, 0.38, 0.45, 0.42, 0, 360)],
    "9": [[*arc(-0.55, -0.35, 0.99, 1.2, 73, 0), *arc(0, -0.35, 0.44, 0.45, 0, -360)]],
    "A": [[(-0.5, 0.8), (0, -0.8), (0.5, 0.8)], [(-0.32, 0.25), (0.32, 0.25)]],
    "B": [[*_BOWLS, *arc(0.02, 0.38, 0.44, 0.42, -90, 90), (-0.4, 0.8), (-0.4, -0.8)]],
    "E": [[(0.4, -0.8), (-0.4, -0.8), (-0.4, 0.8), (0.4, 0.8)], [(-0.4, 0), (0.25, 0)]],
    "G": [[*arc(0, 0, 0.5, 0.8, -45, -360), (0.08, 0)]],
    "K": [[(-0.4, -0.8), (-0.4, 0.8)], [(0.45, -0.8), (-0.4, 0.15)], [(-0.1, -0.18), (0.48, 0.8)]],
    "M": [[(-0.55, 0.8), (-0.55, -0.8), (0, 0.2), (0.55, -0.8), (0.55, 0.8)]],
    "R": [[(-0.4, 0.8), *_BOWLS], [(0.05, -0.04), (0.45, 0.8)]],
    "S": [[*arc(0, -0.41, 0.43, 0.39, -25, -270), *arc(0, 0.39, 0.46, 0.41, -90, 155)]],
    "a": [arc(0, 0.35, 0.42, 0.45, 0, 360), [(0.42, -0.1), (0.42, 0.8)]],
    "e": [[(-0.42, 0.35), (0.42, 0.35), *arc(0, 0.35, 0.42, 0.45, 0, -315)]],
    "g": [arc(0, 0.2, 0.42, 0.42, 0, 360), [(0.42, -0.22), *arc(0, 0.62, 0.42, 0.46, 0, 150)]],
    "?": [[*arc(0, -0.4, 0.42, 0.4, -165, 60), (0, 0.15), (0, 0.35)], [(0, 0.78), (0, 0.79)]],
}
