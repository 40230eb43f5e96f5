"""What libraries say in a run that helps nobody, each silenced by name, with the reason.

Everything else that they warn of is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import datasets

from pixeltune.model.compat.bars import without_bars


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within this the libraries are as quiet as a run wants them; afterwards they are as before."""
    filters = (
        ("transformers.trainer_utils", _AlignedTokens()),
        ("transformers.trainer_utils", _OtherSteps()),
        ("trl.trainer.kto_trainer", _UnevenLabels()),
        ("trl.trainer.grpo_trainer", _LeftOut()),
        ("trl.trainer.rloo_trainer", _LeftOut()),
    )
    for name, one in filters:
        logging.getLogger(name).addFilter(one)
    with _without_small_bars():
        try:
            yield
        finally:
            for name, one in filters:
                logging.getLogger(name).removeFilter(one)


class _AlignedTokens(logging.Filter):
    """ "The tokenizer has new PAD/BOS/EOS tokens that differ from the model config and generation config."

    Nearly every chat model has an end of turn that its text config does not name. The trainer writes it into
    the configs in memory, which is what is wanted; weights and files of the model stay as they are
    (`align_special_tokens`,
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer_utils.py).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("The tokenizer has new PAD/BOS/EOS tokens")


class _OtherSteps(logging.Filter):
    """ "Warning: The following arguments do not match the ones in the `trainer_state.json` ..."

    Steps between logs and saves are those asked for, not the checkpoint's, and of another batch size we warn
    ourselves (`resumption.py`; `compare_trainer_and_checkpoint_args`,
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer_utils.py).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Warning: The following arguments do not match the ones in")


class _LeftOut(logging.Filter):
    """ "All reward functions returned None for the following kwargs: ..."

    None is how a reward leaves a completion out, and this is said in every step where one does, with its prompt in
    full; where all are left out the run stops (`adapter/guard.py`;
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "All reward functions returned None for the following kwargs" not in record.getMessage()


class _UnevenLabels(logging.Filter):
    """ "You have different amounts of desirable/positive and undesirable/negative examples ..."

    Said of rows of the user's own in words of ours, with the numbers and the flag (`own_rows.py`); a task's rows
    are pairs (https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/kto_trainer.py).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return "You have different amounts of desirable/positive" not in record.getMessage()


@contextmanager
def _without_small_bars() -> Iterator[None]:
    """No bars for loading weights and for each column of the rows: they take a second and bury the one that
    counts. Downloads keep theirs.
    """
    rows = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with without_bars():
            yield
    finally:
        if not rows:
            datasets.enable_progress_bars()
