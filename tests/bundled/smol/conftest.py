"""SmolLM2's weights come with a package of the index: `make test` installs it; without it these tests say so."""

from __future__ import annotations

import importlib.util

import pytest

from pixeltune.bundled.smol import TOWER, language
from vllm_server import vllm_server


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

    from pixeltune.bundled.smol.architecture import build_processor, extend, graft

    model, tokenizer = smollm2
    tokenizer = extend(copy.deepcopy(tokenizer))
    torch.manual_seed(0)
    return graft(model, tokenizer), build_processor(tokenizer)


@pytest.fixture(scope="session")
def smol_folder(smollm2, tmp_path_factory):
    """`smol` with its trained tower, as `make smol` puts it together."""
    from pixeltune.bundled.smol.assembly import assemble, write

    if not TOWER.exists():
        pytest.fail(f"the tower is missing from {TOWER}: restore it from git, or run `make smol-tower`")
    folder = tmp_path_factory.mktemp("smol") / "model"
    write(*assemble(), folder)
    return folder


@pytest.fixture(scope="session")
def smol_url(smol_folder, tmp_path_factory):
    """Address of a real vLLM server that serves it as `smol`."""
    log = tmp_path_factory.mktemp("vllm-smol") / "server.log"
    with vllm_server(smol_folder, log, name="smol", max_model_len=1024) as url:
        yield url
