"""Out of memory says which dials to turn; other errors stay what they are."""

from __future__ import annotations

import pytest
import torch

from pixeltune.errors import RunError, UserError
from pixeltune.training.arguments import read_settings
from pixeltune.training.memory import dials, explained
from pixeltune.training.paint import paint

CPU = "[enforce fail at alloc_cpu.cpp:122] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError(CPU),
        MemoryError(),
    ],
)
def test_the_dials_are_named_and_the_original_is_kept(error):
    given = read_settings("sft", {"task": "sums", "per_device_train_batch_size": 16, "image_tokens": 256})
    with pytest.raises(RunError, match="out of memory") as caught, explained(*given):
        raise error
    assert caught.value.__cause__ is error
    for dial in (
        "--per_device_train_batch_size is 16",
        "--gradient_accumulation_steps 2",
        "--gradient_checkpointing",
        "--dtype bfloat16",
        "--image_tokens is 256",
    ):
        assert dial in str(caught.value)


def test_dials_that_are_turned_already_are_not_named():
    given = {"task": "sums", "per_device_train_batch_size": 1, "gradient_checkpointing": True}
    said = " ".join(dials(*read_settings("sft", {**given, "load_in_4bit": True})))
    assert "batch_size" not in said
    assert "checkpointing" not in said
    assert "4bit" not in said


def test_other_errors_stay_what_they_are():
    given = read_settings("sft", {"task": "sums"})
    for error in (RuntimeError("shapes do not match"), UserError("no such file"), KeyError("x")):
        with pytest.raises(type(error)) as caught, explained(*given):
            raise error
        assert caught.value is error


def test_a_run_that_is_out_of_memory_says_so(bundled, tmp_path, monkeypatch):
    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("pixeltune.training.paint.load_model", too_much)
    with pytest.raises(RunError, match="--per_device_train_batch_size is 32: halve it"):
        paint(task="sums", train_rows=8, output_dir=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
