"""A step with a gradient far above the usual is left out, bit for bit; all others are what they were."""

from __future__ import annotations

import copy
import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerControl
from trl import SFTTrainer

from pixeltune.adapter import guard
from pixeltune.adapter.guard import PixelWarning
from pixeltune.errors import UserError
from pixeltune.training import spikes
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.training.spikes import WINDOW, SpikeGuard


class Steps:
    """A few pixels, and AdamW as a trainer steps it around a guard's events."""

    def __init__(self, monkeypatch, factor: float | None) -> None:
        pixels = torch.nn.Parameter(torch.full((3, 4, 4), 0.5))
        canvas = torch.nn.ParameterList([pixels])
        self.pixels, self.logs, self.seen = pixels, [], []
        self.optimiser = torch.optim.AdamW([pixels], lr=0.02, eps=1e-16, weight_decay=0.1)
        monkeypatch.setattr(spikes, "art_layer", lambda model: SimpleNamespace(art_canvas=canvas))
        self.state, self.control = SimpleNamespace(global_step=0), TrainerControl()
        self.guard = factor and SpikeGuard(factor, self.logs.append)
        self.resume(None)

    def resume(self, held: dict | None) -> None:
        if self.guard:
            self.state.stateful_callbacks = {"SpikeGuard": held or self.guard.state()}
            self.guard.on_train_begin(None, self.state, self.control)

    def step(self, size: float) -> torch.Tensor:
        """Returns the pixels after it."""
        generator = torch.Generator().manual_seed(self.state.global_step)
        self.pixels.grad = size * torch.randn(self.pixels.shape, generator=generator)
        if self.guard:
            self.guard.on_pre_optimizer_step(None, self.state, self.control, model=None)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.state.global_step += 1
        if self.guard:
            self.guard.on_step_end(None, self.state, self.control)
        return self.pixels.detach().clone()


def test_a_spike_changes_nothing_and_is_said(monkeypatch):
    steps = Steps(monkeypatch, 10.0)
    for _ in range(WINDOW):
        before = steps.step(1e-7)
    moments = copy.deepcopy(steps.optimiser.state_dict()["state"][0])
    with pytest.warns(
        PixelWarning, match=r"^step 21 is not taken: .* times the median .*\(--skip_spikes 10\)$"
    ):
        after = steps.step(3e-6)
    assert torch.equal(before, after)
    kept = steps.optimiser.state_dict()["state"][0]
    assert all(torch.equal(moments[name], kept[name]) for name in moments)
    assert [set(one) for one in steps.logs] == [{"skipped_gradient_norm"}]
    assert steps.logs[0]["skipped_gradient_norm"] == pytest.approx(steps.guard.norms[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not torch.equal(after, steps.step(8e-7))  # eight times is taken


def test_ordinary_steps_are_the_same_bit_for_bit(monkeypatch):
    """Also steps without a gradient, and spikes before there is anything to compare with."""
    sizes = [1e-7, 5e-5, 0.0, 3e-7] * 3 + [2e-7, 0.0] * WINDOW
    ends = []
    for factor in (None, 500.0):
        steps = Steps(monkeypatch, factor)
        ends.append([steps.step(size) for size in sizes])
    assert all(torch.equal(*pair) for pair in zip(*ends, strict=True))
    assert len(steps.guard.norms) == WINDOW
    assert all(steps.guard.norms)


def test_gradients_that_stay_large_become_the_usual_ones(monkeypatch):
    steps = Steps(monkeypatch, 10.0)
    for _ in range(WINDOW):
        steps.step(1e-7)
    with pytest.warns(PixelWarning):
        ends = [steps.step(1e-5) for _ in range(WINDOW)]
    assert not torch.equal(ends[-1], ends[-2])
    assert 9 <= len(steps.logs) <= 11


def test_a_resumed_guard_knows_what_was_usual(monkeypatch):
    first = Steps(monkeypatch, 10.0)
    for _ in range(WINDOW):
        first.step(1e-7)
    held = json.loads(json.dumps(first.guard.state()))
    second = Steps(monkeypatch, 10.0)
    second.resume(held)
    assert second.guard.norms == first.guard.norms
    with pytest.warns(PixelWarning, match="not taken"):
        second.step(1e-5)


@pytest.mark.parametrize("factor", [1.0, 0.0, -3.0, float("inf"), float("nan")])
def test_no_factor(factor):
    with pytest.raises(UserError, match="above 1, not"):
        read_settings("sft", {"task": "sums", "skip_spikes": factor})


SHORT = {
    "task": "sums",
    "train_rows": 16,
    "per_device_train_batch_size": 2,
    "score_steps": 0,
    "snapshot_steps": 0,
    "max_steps": 6,
    "save_steps": 4,
    "save_total_limit": None,
    "max_grad_norm": 0.0,
    "report_to": "none",
}


def test_a_real_training_leaves_out_the_step_and_resumes_as_it_would_have_gone_on(
    bundled, tmp_path, monkeypatch
):
    """The spike is in step 6, behind the checkpoint whose norms it is compared with."""
    monkeypatch.setattr(spikes, "WINDOW", 3)
    pixels, step = [], SFTTrainer.training_step

    def with_spike(self, model, *given, **more):
        (canvas,) = guard.art_layer(model).art_canvas.parameters()
        pixels.append(canvas.detach().clone())
        out = step(self, model, *given, **more)
        if self.state.global_step == 5:
            canvas.grad.mul_(1e6)
        return out

    monkeypatch.setattr(SFTTrainer, "training_step", with_spike)
    with pytest.warns(PixelWarning, match="step 6 is not taken"):
        whole = paint("sft", quiet=True, **SHORT, skip_spikes=1000.0, output_dir=str(tmp_path / "whole"))
    (end,) = guard.art_layer(whole.model).art_canvas.parameters()
    assert torch.equal(end, pixels[5])
    assert not torch.equal(pixels[5], pixels[4])
    assert whole.artwork.provenance.training["skip_spikes"] == 1000.0
    assert [entry["step"] for entry in whole.history if "skipped_gradient_norm" in entry] == [6]
    taken = [*pixels]
    with pytest.warns(PixelWarning, match="step 6 is not taken"):
        again = paint(
            "sft",
            quiet=True,
            **SHORT,
            skip_spikes=1000.0,
            output_dir=str(tmp_path / "whole"),
            resume_from_checkpoint=str(tmp_path / "whole/checkpoint-4"),
        )
    (resumed,) = guard.art_layer(again.model).art_canvas.parameters()
    assert torch.equal(resumed, end)
    pixels.clear()
    plain = paint("sft", quiet=True, **SHORT, output_dir=str(tmp_path / "plain"))
    assert all(torch.equal(*pair) for pair in zip(pixels, taken, strict=True))  # up to the spike
    (moved,) = guard.art_layer(plain.model).art_canvas.parameters()
    assert not torch.equal(moved, end)
