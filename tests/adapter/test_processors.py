"""One processor is loaded and handed down, and where none is, the revision that the config names."""

from __future__ import annotations

import gc
import weakref

import pytest
from peft import PeftModel, get_peft_model
from transformers import AutoProcessor

import families
from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.adapter.processors import _HANDED


@pytest.fixture
def loaded(monkeypatch):
    """What is asked of the hub: (name, revision) of each processor."""
    found, real = [], AutoProcessor.from_pretrained

    def record(name, *args, **kwargs):
        found.append((str(name), kwargs.get("revision")))
        return real(name, *args, **kwargs)

    monkeypatch.setattr(AutoProcessor, "from_pretrained", record)
    return found


def test_a_processor_that_is_handed_over_is_the_only_one(checkpoints, loaded, tmp_path):
    model, processor = families.load(checkpoints["qwen3_vl"])
    loaded.clear()
    preprocessor = use_processor(model, processor)
    art = get_peft_model(model, ArtConfig(revision="abc"))
    assert art.base_model._preprocessor(art.active_peft_config) is preprocessor
    assert art.art_block
    art.add_adapter("other", ArtConfig(image_tokens=70))
    art.save_pretrained(tmp_path)
    assert loaded == []
    assert ArtConfig.from_pretrained(tmp_path).revision == "abc"


def test_each_revision_is_loaded_once_and_saved(checkpoints, loaded, tmp_path):
    name = checkpoints["qwen3_vl"]
    model, _ = families.load(name)
    loaded.clear()
    art = get_peft_model(model, ArtConfig(revision="abc"))
    art.add_adapter("same", ArtConfig(revision="abc"))
    assert loaded == [(name, "abc")]
    art.add_adapter("other", ArtConfig(revision="def"))
    art.set_adapter("other")
    assert art.art_block
    assert loaded == [(name, "abc"), (name, "def")]
    art.save_pretrained(tmp_path)
    assert ArtConfig.from_pretrained(tmp_path / "other").revision == "def"
    again, loaded[:] = families.load(name)[0], []
    PeftModel.from_pretrained(again, tmp_path, adapter_name="again")
    assert loaded == [(name, "abc")]


def test_a_revision_belongs_to_its_own_base(checkpoints, loaded, tmp_path):
    model, _ = families.load(checkpoints["qwen3_vl"])
    get_peft_model(model, ArtConfig(revision="abc")).save_pretrained(tmp_path / "art")
    copy = families.save("qwen3_vl", tmp_path / "copy")
    model, _ = families.load(copy)
    loaded.clear()
    PeftModel.from_pretrained(model, tmp_path / "art")
    assert loaded == [(copy, None)]


def test_a_config_that_names_a_processor_goes_before(checkpoints, loaded):
    model, processor = families.load(checkpoints["qwen3_vl"])
    use_processor(model, processor)
    loaded.clear()
    get_peft_model(model, ArtConfig(processor=checkpoints["qwen3_5"], revision="abc"))
    assert loaded == [(checkpoints["qwen3_5"], None)]


def test_a_model_is_not_kept_alive_by_its_processor(checkpoints):
    model, processor = families.load(checkpoints["qwen3_vl"])
    use_processor(model, processor)
    before, gone = len(_HANDED), weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert len(_HANDED) < before
