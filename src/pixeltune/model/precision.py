"""The names of precisions and of ways to share a model out, for loading and for help. Needs no torch."""

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
UNSCALED_FLOAT16 = (
    "a float16 base loses pixel gradients: below 6e-8 they are zero, and most are not far above (see "
    "docs/results/precision.md). Use bfloat16 (--dtype bfloat16), or let the loss be scaled (--fp16 true, on "
    "a GPU)"
)
