"""What libraries say in a run that helps nobody, each silenced by name, with the reason.

Everything else that they warn of is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
import huggingface_hub.utils as hub
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within this the libraries are as quiet as a run wants them; afterwards they are as before."""
    logger, said = logging.getLogger("transformers.trainer_utils"), _AlignedTokens()
    logger.addFilter(said)
    with _without_small_bars():
        try:
            yield
        finally:
            logger.removeFilter(said)


class _AlignedTokens(logging.Filter):
    """ "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config."

    Nearly every chat model has an end of turn that its text config does not name. The trainer writes it into
    the configs in memory, which is what is wanted; weights and files of the model stay as they are
    (`align_special_tokens`,
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer_utils.py).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("The tokenizer has new PAD/BOS/EOS tokens")


@contextmanager
def _without_small_bars() -> Iterator[None]:
    """No bars for loading weights and for each column of the rows: they take a second and bury the one that
    counts. Downloads keep theirs.
    """
    rows, weights = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()
    downloads = hub.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()  # which puts out the bars of downloads as well
    if not downloads:
        hub.enable_progress_bars()
    try:
        yield
    finally:
        if not rows:
            datasets.enable_progress_bars()
        if weights:
            transformers_logging.enable_progress_bar()
        if downloads:
            hub.disable_progress_bars()
