"""One script per published number; `README.md` says which. Run from the root of the checkout."""

import pixeltune  # noqa: F401  before transformers: it makes torchvision importable beside a CPU torch
