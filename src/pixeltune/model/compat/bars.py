"""The bars that libraries draw while a model is loaded.

`from_pretrained` draws one for loading weights, which takes a second and says nothing; there is no argument against
it, only a switch of the process
(https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/utils/logging.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.utils as hub
from transformers.utils import logging


@contextmanager
def without_bars(downloads: bool = False) -> Iterator[None]:
    """Within this transformers draws no bars; afterwards it is as before.

    Args:
        downloads: whether those of downloads, which may take minutes, are put out as well.
    """
    weights, fetched = logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()
    logging.disable_progress_bar()  # which puts out the bars of downloads as well
    if fetched and not downloads:
        hub.enable_progress_bars()
    try:
        yield
    finally:
        if weights:
            logging.enable_progress_bar()
        (hub.enable_progress_bars if fetched else hub.disable_progress_bars)()
