"""The bars of libraries: put out while a model loads, and as before afterwards."""

from __future__ import annotations

from contextlib import suppress

import huggingface_hub.utils as hub
import pytest
from transformers.utils import logging

from pixeltune.evaluation.bars import titled
from pixeltune.model.compat.bars import without_bars
from pixeltune.model.loading import load_model


def test_loading_draws_no_bar(capfd):
    logging.enable_progress_bar()  # whatever a test before did
    load_model("tiny")
    assert "Loading weights" not in capfd.readouterr().err
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("fetched", [True, False])
@pytest.mark.parametrize("downloads", [True, False])
def test_switches_are_as_before_afterwards(weights, fetched, downloads):
    def set_to(weights: bool, fetched: bool) -> None:
        (logging.enable_progress_bar if weights else logging.disable_progress_bar)()
        (hub.enable_progress_bars if fetched else hub.disable_progress_bars)()

    try:
        set_to(weights, fetched)
        with suppress(KeyError), without_bars(downloads):
            assert not logging.is_progress_bar_enabled()
            assert hub.are_progress_bars_disabled() == (downloads or not fetched)
            raise KeyError
        assert logging.is_progress_bar_enabled() == weights
        assert hub.are_progress_bars_disabled() != fetched
    finally:
        set_to(True, True)


def test_names_of_files_are_no_markup():
    assert titled("a[/b]\x1b.png") == "a\\[/b]\\x1b.png"
