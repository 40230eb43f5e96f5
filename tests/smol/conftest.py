"""SmolLM2's weights come with a package of the index: `make test` installs it; without it these tests say so."""

from __future__ import annotations

import importlib.util

import pytest

from pixeltune.smol import language


@pytest.fixture(scope="session")
def smollm2():
    """SmolLM2 and its tokenizer, as transformers reads them, untouched."""
    if importlib.util.find_spec(language.PACKAGE) is None:
        pytest.skip(f"no SmolLM2 here: {language.GET}")
    return language.load_language()


@pytest.fixture(scope="session")
def grafted(smollm2):
    """(model with an untrained tower, processor); nobody may change them."""
    import copy

    import torch

    from pixeltune.smol.architecture import build_processor, extend, graft

    model, tokenizer = smollm2
    tokenizer = extend(copy.deepcopy(tokenizer))
    torch.manual_seed(0)
    return graft(model, tokenizer), build_processor(tokenizer)
