"""Terms against numpy and by hand; texts that are refused; training with a style."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.cli.train import run, settings
from pixeltune.picture.canvas import start_picture
from pixeltune.picture.style import (
    L2,
    Band,
    Caption,
    Content,
    Gram,
    Palette,
    Style,
    TotalVariation,
)
from pixeltune.picture.style_text import read_style, without_folders
from pixeltune.training.styling import Styling


class Flat:
    """A view without a model: features are the pixels."""

    def __init__(self, image: torch.Tensor, start: torch.Tensor) -> None:
        self.image, self.start = image, start

    def features(self, picture: torch.Tensor) -> list[torch.Tensor]:
        return [picture.flatten(1).T]

    def reference_features(self, name: str) -> list[torch.Tensor]:
        return self.features(self.start)


@pytest.fixture
def view() -> Flat:
    start = start_picture("noise", 24, 32, seed=0)
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    return Flat((start + 0.1 * noise).clamp(0, 1).requires_grad_(), start)


def test_terms_are_what_numpy_says(view):
    image, start = view.image.detach().numpy(), view.start.numpy()
    assert L2()(view).item() == pytest.approx(((image - start) ** 2).mean(), rel=1e-5)
    variation = np.abs(np.diff(image, axis=1)).mean() + np.abs(np.diff(image, axis=2)).mean()
    assert TotalVariation()(view).item() == pytest.approx(variation, rel=1e-5)
    waves = np.fft.fft2(image - start, norm="ortho")
    frequency = np.hypot(np.fft.fftfreq(24)[:, None], np.fft.fftfreq(32)[None])
    outside = (np.abs(waves) ** 2)[:, (frequency < 0.1) | (frequency > 0.3)].sum() / image.size
    assert Band(0.1, 0.3)(view).item() == pytest.approx(outside, rel=1e-5)
    assert Band(0, 1)(view).item() == 0
    colours = np.array([[0, 128, 128], [255, 136, 0]]) / 255
    nearest = ((image[None] - colours[:, :, None, None]) ** 2).sum(1).min(0).mean() / 3
    assert Palette("teal", "#ff8800")(view).item() == pytest.approx(nearest, rel=1e-5)
    assert Content()(view).item() == pytest.approx(((image - start) ** 2).sum() / (start**2).sum(), rel=1e-4)
    grams = [x.reshape(3, -1) @ x.reshape(3, -1).T / (24 * 32) for x in (image, start)]
    apart = ((grams[0] - grams[1]) ** 2).sum() / (grams[1] ** 2).sum()
    assert Gram("start")(view).item() == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize(
    "term", [L2(), TotalVariation(), Palette(5), Palette("red"), Band(0, 0.2), Content(), Gram("start")]
)
def test_descent_makes_every_term_smaller(term, view):
    value = term(view)
    (gradient,) = torch.autograd.grad(value, view.image)
    image = view.image.detach() - 1e-3 * gradient / gradient.abs().max()
    assert value.ndim == 0
    assert term(Flat(image, view.start)) < value


def test_the_start_picture_itself_is_perfect():
    blocks = start_picture("noise", 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    same = Flat(blocks, blocks)
    for term in (L2(), Palette(16), Band(0.1, 0.2), Content(), Gram("start")):
        assert term(same).item() == pytest.approx(0, abs=1e-6)


def test_terms_add_and_scale(view):
    style = 2 * (L2() + TotalVariation() * 0.5) + 3 * L2()
    assert [weight for weight, _ in style.parts()] == [2, 1, 3]
    assert style(view).item() == pytest.approx((5 * L2()(view) + TotalVariation()(view)).item())


def test_a_text_is_the_same_sum():
    text = "3 * l2 + 0.5*(tv + 2 * band(0, 0.25)) + caption('red', 'What colour?') * 0.1 + palette(8)"
    bracket = TotalVariation() + 2 * Band(0, 0.25)
    assert read_style(text) == 3 * L2() + 0.5 * bracket + Caption("red", "What colour?") * 0.1 + Palette(8)
    assert read_style("tv") == TotalVariation()
    assert isinstance(read_style("2 * content"), Style)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("l2 +", "cannot read"),
        ("(" * 900 + "l2" + ")" * 900, "cannot read"),
        ("l2 + " * 500 + "l2", "at most 2000"),
        ("beauty", "there is no style term 'beauty'; there are l2, tv"),
        ("l2 - tv", "neither a term"),
        ("l2 * tv", "neither a term"),
        ("3", "neither a term"),
        ("True * l2", "neither a term"),
        ("-1 * l2", "neither a term"),
        ("1e999 * l2", "0 or more"),
        ("0 * l2 + 0 * tv", "every weight"),
        ("l2(3)", "does not fit"),
        ("gram", "does not fit"),
        ("gram(3)", "does not fit"),
        ("gram('missing.png')", "is not a file"),
        ("palette()", "how many colours"),
        ("palette(0)", "how many colours"),
        ("palette(65)", "1 to 64"),
        ("palette('reddish')", "no colour"),
        ("palette(8) + palette('red')", "two palettes"),
        ("band(0.3, 0.1)", "low < high"),
        ("band(0, 0.1) + band(0.2, 0.3)", "no frequency in common"),
        ("caption('')", "not empty"),
        ("caption('red', 'Colour?') + caption('blue', 'Colour?')", "two answers"),
        ("__import__('os').system('true')", "neither a term"),
        ("gram(open('x'))", "neither a term"),
        ("gram(reference='start')", "neither a term"),
    ],
)
def test_texts_that_mean_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_style(text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--style_floor", "0.9"], "give one"),
        (["--style_schedule", "fade"], "give one"),
        (["--style", "l2", "--style_floor", "0.9", "--held_out_rows", "0"], "needs held-out scores"),
        (["--style", "beauty"], "no style term"),
        (["--style", "l2", "--style_schedule", "sometimes"], "no style schedule"),
        (["--style", "l2", "--style_floor", "95"], "from 0 to 1"),
        (["--style", "l2", "--style_floor", "0.9", "--style_schedule", "rise"], "schedule or a style floor"),
        (["--parametrisation", "wavelets"], "no parametrisation"),
    ],
)
def test_flags_that_contradict_are_refused_before_a_model_loads(flags, message, tmp_path, monkeypatch):
    from pixeltune.training import paint as train

    monkeypatch.setattr(train, "load_model", lambda *_: pytest.fail("loaded a model"))
    with pytest.raises(ValueError, match=message):
        run("sft", ["--task", "calls", "--output_dir", str(tmp_path), *flags])
    assert not list(tmp_path.iterdir())


def small(verb: str, out: Path, *flags: str) -> tuple:
    """An artwork of a few steps, and the log."""
    from pixeltune.training.paint import paint

    usual = (
        "--task sums --start noise --train_rows 40 --held_out_rows 8 --score_steps 1 --snapshot_steps 0 "
        "--max_steps 4 --save_steps 2 --per_device_train_batch_size 4 --logging_steps 1 --learning_rate 0.02"
    )
    online = " --num_generations 4 --max_completion_length 8" if verb == "grpo" else ""
    given = [*(usual + online).split(), *flags, "--output_dir", str(out)]
    artwork = paint(verb, quiet=True, **settings(verb, given)).artwork
    steps = artwork.provenance.steps
    return artwork, json.loads((out / f"checkpoint-{steps}/trainer_state.json").read_text())["log_history"]


ALL = (
    "20 * l2 + 50 * tv + 5 * palette(4) + 5 * band(0, 0.3) + content + gram('start') "
    "+ caption('red', 'What colour is the picture?')"
)


@pytest.mark.parametrize("verb", ["sft", "grpo"])
def test_a_style_pulls_in_a_real_training_and_resumes(verb, tmp_path):
    """Strong weights, so that what is seen is the style: its value falls, the base stays as it is."""
    artwork, log = small(verb, tmp_path, "--style", ALL)
    values = [entry["style"] for entry in log if "style" in entry]
    assert len(values) == 4
    assert len([entry for entry in log if "loss" in entry]) == 4  # the trainer's own entry of a step stays
    assert values[-1] < values[0]
    assert artwork.provenance.training["style"] == ALL
    start = start_picture("noise", *artwork.size, artwork.provenance.seed).permute(1, 2, 0).numpy() * 255
    rough, rougher = (
        np.abs(np.diff(picture.astype(float), axis=0)).mean() for picture in (artwork.pixels, start)
    )
    assert rough < rougher - 1
    half = str(tmp_path / "checkpoint-2")
    again, _ = small(verb, tmp_path, "--style", ALL, "--resume_from_checkpoint", half)
    assert np.array_equal(again.pixels, artwork.pixels)


def test_a_floor_moves_the_weight_with_the_score_also_after_a_resumption(tmp_path):
    _, log = small("sft", tmp_path, "--style", "l2", "--style_floor", "0.1")
    weights = [entry["style_weight"] for entry in log if "style_weight" in entry]
    scores = [entry["held_out_score"] for entry in log if "held_out_score" in entry and entry["step"] > 0]
    assert weights[0] == 1
    for before, after, score in zip(weights, weights[1:], scores, strict=False):
        assert after / before == pytest.approx(np.clip(np.exp(20 * (score - 0.1)), 0.25, 4))
    half = str(tmp_path / "checkpoint-2")
    _, again = small(
        "sft", tmp_path, "--style", "l2", "--style_floor", "0.1", "--resume_from_checkpoint", half
    )
    assert [entry["style_weight"] for entry in again if "style_weight" in entry] == weights


def test_a_floor_that_is_missed_is_said(view):
    styling = Styling(L2(), view, print, floor=0.9)
    state = SimpleNamespace(log_history=[{"held_out_score": 0.95}, {"held_out_score": 0.85}])
    styling.on_train_begin(None, state, None)
    with pytest.warns(UserWarning, match="below the style floor of 0.9"):
        styling.on_train_end(None, state, None)


def test_folders_are_not_published(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "waves.png")
    text = f"2 * gram('{tmp_path}/waves.png') + content"
    assert without_folders(text, read_style(text)) == "2 * gram('waves.png') + content"


@pytest.mark.parametrize(
    ("schedule", "weights"),
    [("constant", [1, 1, 1]), ("rise", [0, 1 / 4, 1 / 2]), ("fade", [1, 3 / 4, 1 / 2])],
)
def test_a_schedule_weighs_the_gradient_over_the_training(schedule, weights, view):
    view.renew, log = lambda: None, []
    styling = Styling(2 * L2(), view, log.append, schedule)
    (whole,) = torch.autograd.grad((2 * L2())(view), view.image)
    for step, weight in enumerate(weights):
        view.image.grad = None
        state = SimpleNamespace(global_step=step, max_steps=4, logging_steps=1)
        styling.on_pre_optimizer_step(None, state, None)
        assert torch.allclose(view.image.grad, weight * whole)
        control = SimpleNamespace(should_log=True)
        styling.on_step_end(None, state, control)
        assert log[-1]["style_weight"] == weight


def test_a_style_alone_does_not_pass_for_learning(tmp_path):
    """The guard against trainings without a signal looks at the task's gradient, not at the style's."""
    with pytest.raises(RuntimeError, match="had no gradient in 10 steps"):
        small(
            "grpo", tmp_path, "--style", "l2", "--max_steps", "12", "--save_steps", "12",
            "--reward", "test_style:indifferent", "--score_steps", "0",
        )  # fmt: skip


def indifferent(completions: list, **_) -> list[float]:
    return [1.0] * len(completions)
