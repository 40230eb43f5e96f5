"""The names of precisions and of ways to share a model out, for loading and for help. Needs no torch."""

from typing import Literal

from pixeltune.errors import UserError

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
UNSCALED_FLOAT16 = (
    "a float16 base loses pixel gradients: below 6e-8 they are zero, and most are not far above (see "
    "docs/results/precision.md). Use bfloat16 (--dtype bfloat16), or let the loss be scaled (--fp16 true, on "
    "a GPU)"
)


def bits_of(eight: bool, four: bool) -> Literal[4, 8] | None:
    """To which a model's linear layers are quantised, by `--load_in_8bit` and `--load_in_4bit`; None: they are not.

    Raises:
        UserError: both are asked for.
    """
    if eight and four:
        raise UserError("give either --load_in_8bit or --load_in_4bit")
    return 8 if eight else 4 if four else None
