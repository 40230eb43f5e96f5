"""What an artwork is, said once: for PEFT's config, for the command line, for Python."""

from __future__ import annotations

from dataclasses import dataclass, field

from pixeltune.errors import UserError
from pixeltune.picture.files import BACKDROP, FITS, STARTS, check_fit, read_colour

PARAMETRISATIONS = "pixels, fourier[:DECAY], low-rank[:RANK], grid[:CELL] or subspace:DIMENSION"
"""As they are given; see `pixeltune.picture.parametrisations`."""

TRANSFORMS = ("shift", "resize", "brightness", "noise", "jpeg")
"""What may happen to a picture on its way, in the order in which it does: taken, scaled, stored."""

RATES = "0.005 to 0.1"
"""Learning rates that paint; pixels lie between 0 and 1."""

DEFAULT_TOKENS = 64
"""Image tokens of an artwork where nothing is said."""


@dataclass
class ArtworkSettings:
    """Size, start and freedom of an artwork.

    Raises:
        UserError: settings of another type, that contradict each other, or are out of range. Whether files can
            be read, and whether the size is one to paint, is found out later.
    """

    image_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Budget: image tokens the artwork takes in each request. Default 64, or the nearest number "
            "that the processor has a size for; any other number is taken exactly or refused."
        },
    )
    height: int | None = field(default=None, metadata={"help": "Height in pixels, instead of image_tokens."})
    width: int | None = field(default=None, metadata={"help": "Width in pixels, instead of image_tokens."})
    start: str = field(
        default="grey",
        metadata={"help": f"First picture: {', '.join(STARTS)} or the path of a picture."},
    )
    backdrop: str = field(
        default=BACKDROP,
        metadata={"help": "Colour behind the transparent parts of a start picture, and beside a padded one."},
    )
    fit: str | None = field(
        default=None,
        metadata={
            "help": f"How a start or mask of another shape than the canvas becomes one: {', '.join(FITS)}. "
            "Not given: it is refused."
        },
    )
    bound: int | None = field(
        default=None,
        metadata={"help": "Largest change of any pixel from the start picture, in grey levels (1 to 255)."},
    )
    mask: str | None = field(
        default=None, metadata={"help": "Path of a picture, white where the artwork may be painted."}
    )
    cells: int | None = field(
        default=None,
        metadata={
            "help": "Paint only so many token cells (squares of pixels that become one image token each), "
            "drawn from seed, in place of a mask; all others stay the start picture."
        },
    )
    parametrisation: str = field(
        default="pixels",
        metadata={"help": f"What the optimiser moves: {PARAMETRISATIONS}."},
    )
    robust: str = field(
        default="none",
        metadata={
            "help": "Train against what may happen to the picture on its way: none, light, heavy, or some of "
            f"{','.join(TRANSFORMS)} (as strong as in heavy). One draw per optimiser step, from "
            "seed; only passes with a gradient see it. In GRPO and RLOO completions, and old log-probs where "
            "they are kept, come from the clean picture: the distorted pass is a policy that has moved."
        },
    )

    def __post_init__(self) -> None:
        if (self.height is None) != (self.width is None):
            raise UserError("give both height and width, or neither and image_tokens instead")
        if self.bound is not None and not 1 <= self.bound <= 255:
            raise UserError(f"bound is in grey levels, 1 to 255, not {self.bound}")
        if self.cells is not None and self.mask is not None:
            raise UserError("give a mask or a number of cells (--mask, --cells), and not both: give one")
        if self.cells is not None and self.cells < 1:
            raise UserError(f"--cells must be at least 1: paint 1 or more cells, not {self.cells}")
        read_colour(self.backdrop)
        check_fit(self.fit)
        read_spec(self.parametrisation)
        read_robust(self.robust)


def read_robust(robust: str) -> tuple[str, ...]:
    """Which of `TRANSFORMS` are asked for: by "none", "light", "heavy", or names with commas between.

    Raises:
        ValueError: another name.
    """
    if robust in ("none", "light", "heavy"):
        return () if robust == "none" else TRANSFORMS
    names = [name.strip() for name in robust.split(",")]
    if unknown := [name for name in names if name not in TRANSFORMS]:
        raise UserError(
            f"robust={robust!r}: there is no transform {unknown[0]!r}; give none, light, heavy or some of "
            f"{','.join(TRANSFORMS)}"
        )
    return tuple(name for name in TRANSFORMS if name in names)


def read_spec(spec: str) -> tuple[str, float | None]:
    """Name and number of a parametrisation.

    Raises:
        ValueError: there is no such parametrisation, or not with such a number.
    """
    name, colon, text = spec.partition(":")
    kind = {"fourier": float, "low-rank": int, "grid": int, "subspace": int}.get(name)
    if kind is None and spec != "pixels":
        raise UserError(f"there is no parametrisation {spec!r}; there are {PARAMETRISATIONS}")
    if not colon:
        if name == "subspace":
            raise UserError("say how many dimensions the subspace has, for example subspace:1000")
        return name, None
    try:
        number: float = kind(text) if kind else 0
        if not (0 <= number <= 4 if name == "fourier" else number >= 1):
            raise ValueError
    except ValueError:
        allowed = "a number from 0 to 4" if name == "fourier" else "a whole number, 1 or more"
        raise UserError(f"parametrisation {spec}: behind the colon stands {allowed}") from None
    return name, number
