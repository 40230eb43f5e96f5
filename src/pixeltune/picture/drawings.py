"""Our own drawings about the tasks, to start artworks from: an abacus, tools with cables, letters.

Drawn by code at any size and licensed CC0-1.0. Flat shapes in middle tones: every grey level lies between 32 and
223, so a picture painted on top with a bound of 32 grey levels has its full room in both directions.
"""

from __future__ import annotations

import math
from itertools import chain, cycle

import numpy as np
from PIL import Image, ImageDraw

from pixeltune.errors import UserError
from pixeltune.picture.glyphs import GLYPHS, Point, Stroke, arc

NAMES = ("abacus", "tools", "letters")
FINE = 4
"""Drawn so many times larger than wanted, then averaged: smooth edges."""

Shape = tuple[Stroke, float, str]
"""Points, width of the stroke along them (0: the polygon they enclose), colour."""

# Nothing near cyan, which tells the bundled model to call tools: a test watches for that.
_SAND, _CLAY, _RUST, _MUSTARD = "#d9c7a3", "#c98a6b", "#b0573f", "#d8a548"
_SAGE, _MOSS, _PLUM, _INK = "#a3b394", "#6f8a6a", "#8a6a86", "#43495f"
_DUSK, _HAZE, _SHADE = "#65718b", "#76829c", "#525d77"
_WOOD, _BARK, _STEEL, _SLATE = "#8a6248", "#5f4336", "#b9c0bd", "#7d8a8c"


def draw(name: str, height: int, width: int) -> np.ndarray:
    """One of the drawings, `(height, width, 3)` uint8; the same for the same arguments, always.

    Args:
        name: one of `NAMES`.
        height: in pixels, at least 1.
        width: in pixels, at least 1. The composition follows the shape of the sheet.

    Raises:
        ValueError: there is no such drawing, or no such size.
    """
    if name not in NAMES:
        raise UserError(f"no drawing {name!r}; there are {', '.join(NAMES)}")
    if height < 1 or width < 1:
        raise UserError(f"a drawing needs at least one pixel, not {height}x{width}")
    return {"abacus": _abacus, "tools": _tools, "letters": _letters}[name](height, width)


class _Sheet:
    """What is drawn on, in units of its shorter side; (0, 0) is the upper left corner."""

    def __init__(self, height: int, width: int, ground: str) -> None:
        self.unit = min(height, width) * FINE
        self.height, self.width = height / min(height, width), width / min(height, width)
        self.image = Image.new("RGB", (width * FINE, height * FINE), ground)
        self.pencil = ImageDraw.Draw(self.image)

    def put(self, shapes: list[Shape], shadow: str | None = None, drop: float = 0.012) -> None:
        """Draw shapes, one over the other; before them, all in the colour `shadow` and a little lower."""
        if shadow:
            self.put([([(x + drop, y + drop) for x, y in points], w, shadow) for points, w, _ in shapes])
        for points, width, colour in shapes:
            scaled = [(x * self.unit, y * self.unit) for x, y in points]
            if width == 0:
                self.pencil.polygon(scaled, fill=colour)
                continue
            thick = max(1, round(width * self.unit))
            self.pencil.line(scaled, fill=colour, width=thick)
            for x, y in scaled:  # round ends and joints
                box = (x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2)
                self.pencil.ellipse(box, fill=colour)

    def pixels(self) -> np.ndarray:
        return np.array(self.image.reduce(FINE))


def _moved(shapes: list[Shape], x: float, y: float, size: float = 1, degrees: float = 0) -> list[Shape]:
    """Shapes around (0, 0) scaled by `size`, turned clockwise and brought to (x, y)."""
    c, s = size * math.cos(math.radians(degrees)), size * math.sin(math.radians(degrees))
    return [
        ([(x + c * a - s * b, y + s * a + c * b) for a, b in points], width * size, colour)
        for points, width, colour in shapes
    ]


def _glyph(sign: str, thickness: float, colour: str) -> list[Shape]:
    return [(stroke, thickness, colour) for stroke in GLYPHS[sign]]


def _disc(x: float, y: float, radius: float, colour: str) -> Shape:
    return arc(x, y, radius, radius, 0, 360), 0, colour


def _box(left: float, top: float, right: float, bottom: float, radius: float, colour: str) -> Shape:
    """A box with round corners."""
    west, north, east, south = left + radius, top + radius, right - radius, bottom - radius
    corners = [(east, north, -90), (east, south, 0), (west, south, 90), (west, north, 180)]
    rounded = (arc(x, y, radius, radius, turn, turn + 90) for x, y, turn in corners)
    return list(chain.from_iterable(rounded)), 0, colour


def _abacus(height: int, width: int) -> np.ndarray:
    """Sorobans, one over the other on a tall sheet; they show the digits of pi, written beneath."""
    sheet = _Sheet(height, width, _SAGE)
    digits = cycle("31415926535897932384626433832795028841971693993751")
    frames = max(1, round(sheet.height / sheet.width))
    tall = sheet.height / frames
    rods = max(3, round(7 * sheet.width / tall))
    pitch = (sheet.width - 0.2) / rods
    bead, rim = 0.071 * tall, 0.042 * tall
    for frame in range(frames):
        top = (frame + 0.085) * tall
        upper = top + rim  # where the upper beads hang
        beam = upper + 2.1 * bead
        lower = beam + rim / 2
        bottom = lower + 5.1 * bead
        shapes = [_box(0.06, top, sheet.width - 0.06, bottom + rim, 0.03, _BARK)]
        shapes.append(_box(0.06 + rim, upper, sheet.width - 0.06 - rim, bottom, 0.01, _SAND))
        sheet.put(shapes, _MOSS)
        for rod in range(rods):
            x, digit = 0.1 + (rod + 0.5) * pitch, next(digits)
            five, ones = divmod(int(digit), 5)
            sheet.put([([(x, upper), (x, bottom)], 0.012, _WOOD)])
            places = [(upper + (0.5 + 1.05 * five) * bead, bool(five))]
            places += [(lower + (0.5 + n + 1.05 * (n >= ones)) * bead, n < ones) for n in range(4)]
            for y, counted in places:
                sheet.put(_bead(x, y, 0.9 * pitch, 0.92 * bead, counted))
            numeral = _glyph(digit, 0.36, _INK)
            sheet.put(_moved(numeral, x, (bottom + rim + (frame + 1) * tall) / 2, 0.052 * tall))
        sheet.put([_box(0.06 + rim, beam, sheet.width - 0.06 - rim, lower, 0, _BARK)])
    return sheet.pixels()


def _bead(x: float, y: float, wide: float, tall: float, counted: bool) -> list[Shape]:
    """Two cones, base to base; lit from above."""
    colour, light = (_MUSTARD, "#dfc07c") if counted else (_RUST, _CLAY)
    outline = [(-0.5, 0), (-0.2, -0.5), (0.2, -0.5), (0.5, 0), (0.2, 0.5), (-0.2, 0.5)]
    points = [(x + wide * a, y + tall * b) for a, b in outline]
    return [(points, 0, colour), (points[:4], 0, light)]


def _tools(height: int, width: int) -> np.ndarray:
    """A wrench across a screwdriver; a plug in front of its socket, with cables to the edges."""
    sheet = _Sheet(height, width, _DUSK)
    w, h = sheet.width, sheet.height
    if w > 1.4 * h:  # side by side
        cross, size, plug, scale = (0.26 * w, 0.46 * h), 0.96, (0.72 * w, 0.5 * h), 1.3
        left = [(plug[0] - 0.75, plug[1]), (plug[0] - 0.3, 0.93 * h), (-0.05, 0.93 * h)]
        right = [(plug[0] + 0.75, plug[1]), (w - 0.35, 0.1 * h), (w + 0.05, 0.1 * h)]
    else:
        cross, size, plug, scale = (0.5 * w, 0.4 * h), 0.9, (0.5 * w, h - 0.145), 1
        left = [(plug[0] - 0.55, plug[1]), (0.06, plug[1] - 0.1), (0.06, -0.05)]
        right = [(plug[0] + 0.55, plug[1]), (w - 0.06, plug[1] - 0.1), (w - 0.06, -0.05)]
    sheet.put([_disc(*cross, 0.44 * size, _HAZE)])
    cables = [(_bent((plug[0] - 0.2 * scale, plug[1]), *left), 0.034 * scale, _SAND)]
    cables += [(_bent((plug[0] + 0.2 * scale, plug[1]), *right), 0.034 * scale, _SAND)]
    sheet.put(cables + _moved(_PLUG, *plug, scale), _SHADE)
    sheet.put(_moved(_WRENCH, *cross, size, -45), _SHADE)
    sheet.put(_moved(_SCREWDRIVER, *cross, size, 45), _SHADE)
    return sheet.pixels()


def _bent(a: Point, b: Point, c: Point, d: Point) -> Stroke:
    """A cubic Bezier curve from a to d."""
    weights = [((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3) for t in np.linspace(0, 1, 60)]
    return [tuple(np.array(weight) @ np.array([a, b, c, d])) for weight in weights]


# Along the x axis, half a unit to either side: open jaw left, ring right.
_WRENCH: list[Shape] = [
    ([(-0.28, 0), (0.25, 0)], 0.1, _STEEL),
    (
        [(0.13 * math.cos(t) - 0.33, 0.13 * math.sin(t)) for t in np.radians(np.arange(-148, 149, 8))]
        + [(-0.46, 0.055), (-0.33, 0.055), (-0.33, -0.055), (-0.46, -0.055)],
        0,
        _STEEL,
    ),
    (arc(0.36, 0, 0.075, 0.075, 0, 360), 0.06, _STEEL),
    ([(-0.12, 0), (0.18, 0)], 0.03, _SLATE),
]

# Along the x axis, half a unit to either side: tip left, handle right.
_SCREWDRIVER: list[Shape] = [
    ([(-0.4, 0), (0.1, 0)], 0.045, _STEEL),
    ([(-0.48, -0.04), (-0.37, -0.022), (-0.37, 0.022), (-0.48, 0.04)], 0, _STEEL),
    _box(0.05, -0.055, 0.12, 0.055, 0.01, _SLATE),
    _box(0.1, -0.08, 0.48, 0.08, 0.06, _RUST),
    ([(0.18, -0.032), (0.4, -0.032)], 0.024, _CLAY),
    ([(0.18, 0.032), (0.4, 0.032)], 0.024, _CLAY),
]

# Plug left, socket right, both of their cables leaving on the x axis.
_PLUG: list[Shape] = [
    ([(-0.08, -0.042), (0.03, -0.042)], 0.024, _STEEL),
    ([(-0.08, 0.042), (0.03, 0.042)], 0.024, _STEEL),
    ([(-0.24, 0.0), (-0.18, 0)], 0.06, _BARK),
    _box(-0.21, -0.085, -0.06, 0.085, 0.035, _MUSTARD),
    ([(-0.105, -0.05), (-0.105, 0.05)], 0.018, "#dfc07c"),
    ([(0.24, 0.0), (0.18, 0)], 0.06, _BARK),
    _box(0.1, -0.1, 0.24, 0.1, 0.04, _RUST),
    _box(0.07, -0.1, 0.12, 0.1, 0.012, _CLAY),
    ([(0.19, -0.06), (0.14, 0.01), (0.175, 0.01), (0.165, 0.06), (0.21, -0.01), (0.18, -0.01)], 0, _SAND),
]


def _letters(height: int, width: int) -> np.ndarray:
    """Large and small letters, scattered; each has a rim in the colour of the ground."""
    sheet = _Sheet(height, width, _SAND)
    pages = max(1, round(max(sheet.width, sheet.height)))
    across, down = (pages, 1) if width >= height else (1, pages)
    w, h = sheet.width / across, sheet.height / down
    for page in range(pages):
        left, top = (page * w, 0) if width >= height else (0, page * h)
        for sign, x, y, size, turn, colour in _PAGES[page % len(_PAGES)]:
            for thickness, ink in ((0.42, _SAND), (0.3, colour)):
                letter = _glyph(sign, thickness, ink)
                sheet.put(_moved(letter, left + x * w, top + y * h, size * math.sqrt(w * h), turn))
    return sheet.pixels()


# Letter, place as a part of the page, size, degrees, colour.
_PAGES = [
    [
        ("R", 0.27, 0.66, 0.4, -10, _CLAY),
        ("a", 0.72, 0.2, 0.42, 10, _PLUM),
        ("e", 0.8, 0.72, 0.24, -12, _MUSTARD),
        ("G", 0.23, 0.2, 0.2, 8, _INK),
        ("S", 0.49, 0.14, 0.11, 16, _RUST),
        ("?", 0.55, 0.82, 0.15, 14, _RUST),
        ("K", 0.93, 0.12, 0.09, 20, _MOSS),
    ],
    [
        ("B", 0.3, 0.32, 0.36, 8, _SAGE),
        ("g", 0.72, 0.55, 0.42, -8, _RUST),
        ("A", 0.23, 0.8, 0.2, -14, _PLUM),
        ("M", 0.76, 0.17, 0.2, 12, _MUSTARD),
        ("e", 0.5, 0.8, 0.16, 10, _INK),
        ("E", 0.93, 0.9, 0.09, -15, _CLAY),
    ],
]
