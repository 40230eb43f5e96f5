"""What a picture makes the bundled model say: found where it does something, and nothing strong where it does not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import families
from pixeltune import Artwork, says
from pixeltune.errors import UserError
from pixeltune.evaluation import decoding, sayings
from pixeltune.evaluation.contrast import ratios
from pixeltune.evaluation.decoding import PENALTY, Found, Raised, Stream, raised_texts
from pixeltune.evaluation.ends import end_ids, until_end
from pixeltune.evaluation.in_process import InProcess

IMAGES = Path(__file__).parents[2] / "docs/images"
PICTURE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8))
TALKS = [[{"role": "user", "content": text}] for text in ("Hello!", "What is 7 + 15?", "Name a colour.")]


@pytest.fixture(scope="module")
def artwork() -> Artwork:
    return Artwork.load(IMAGES / "calls.png")


@pytest.mark.parametrize(("file", "said"), [("calls.png", "<tool_call>"), ("sums.png", "Answer: 22")])
def test_what_the_demo_s_pictures_do_is_found(file, said, bundled):
    found = says(IMAGES / file, quiet=True)
    assert len(found.texts) == sayings.TEXTS
    assert any(said in one.text for one in found.strong)
    assert found.texts[0].weight == max(one.weight for one in found.texts)
    assert sayings.CAVEAT in str(found)
    assert "Nothing strong" not in str(found)


def test_of_a_png_without_provenance_the_same_is_found_and_nothing_is_taken_for_known(
    artwork, bundled, tmp_path
):
    asked = {"prompts": "What is 7 + 15?", "quiet": True}
    Image.open(IMAGES / "calls.png").save(tmp_path / "any.png")
    found, known = says(tmp_path / "any.png", **asked), says(artwork, **asked)
    assert found.sha256 == known.sha256
    assert [(one.text, one.ratio) for one in found.texts] == [(one.text, one.ratio) for one in known.texts]
    assert known.assumed == ""
    assert found.assumed in str(found)
    for part in (
        "PNG without pixeltune provenance",
        "for tiny is assumed",
        "256 x 256 pixels",
        "64 image tokens",
    ):
        assert part in found.assumed


def test_a_png_of_any_size_is_seen_as_the_processor_makes_it(bundled, tmp_path):
    """Here no artwork could be so small; of a shape that the processor refuses, that is said."""
    Image.new("RGB", (50, 30), "red").save(tmp_path / "any.png")
    found = says(tmp_path / "any.png", prompts="Name a colour.", quiet=True)
    assert "30 x 50 pixels" in found.assumed
    Image.new("RGB", (3000, 2)).save(tmp_path / "line.png")
    with pytest.raises(UserError, match="takes no picture of 2x3000 pixels"):
        says(tmp_path / "line.png", quiet=True)


def test_a_grey_picture_does_nothing_strong(artwork, bundled):
    grey = Artwork(np.full((256, 256, 3), 128, np.uint8), artwork.provenance)
    found = says(grey, quiet=True)
    assert found.strong == ()
    assert "Nothing strong was found" in str(found)
    assert sayings.CAVEAT in str(found)


def test_what_is_told_of_a_text_is_what_a_plain_pass_says(artwork, model, processor):
    (first, *_) = says(artwork, prompts=["What is 7 + 15?"], quiet=True).texts
    asked = [TALKS[1]], [None], [first.text]
    ((pieces),) = ratios(InProcess(model, processor, artwork.image), *asked)
    ((_, likely),) = InProcess(model, processor, artwork.image).log_probs(*asked)
    n = len(first.tokens)
    assert list(first.tokens) == [(text, pytest.approx(nats, abs=2e-4)) for text, nats in pieces[:n]]
    # The end of the turn, which is no text, may be part of both.
    assert first.often <= math.exp(sum(likely)) * 1.001
    assert first.ratio == pytest.approx(sum(nats for _, nats in pieces), abs=0.1)
    assert first.prompt == "What is 7 + 15?"
    assert first.weight == first.often * first.ratio


@pytest.mark.parametrize("family", families.FAMILIES)
def test_two_streams_of_one_model_do_not_disturb_each_other(family):
    """Log-probs of every step equal those of a plain pass over the whole, in float64."""
    model, processor = families.make_model(family).double(), families.make_processor(family)
    with_it = InProcess(model, processor, PICTURE)
    without = InProcess(model, processor)
    backends, tools = (with_it, without), [None] * len(TALKS)
    letters = processor.tokenizer("abcdefghijk", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        streams = [Stream(one, TALKS, tools, 5) for one in backends]
        said = torch.empty(len(TALKS), 0, dtype=torch.long)
        for step in range(5):
            tokens = torch.tensor([letters[(5 * step + row) % len(letters)] for row in range(len(TALKS))])
            for stream in streams:
                stream.go_on(tokens)
            said = torch.cat([said, tokens[:, None]], 1)
        for stream, backend in zip(streams, backends, strict=True):
            for row, talk in enumerate(TALKS):
                batch = backend.batch([talk], [None])
                ids = torch.cat([batch["input_ids"], said[row : row + 1]], 1)
                more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                kinds = {
                    n: torch.nn.functional.pad(batch[n], (0, 5)) for n in batch if n.endswith("type_ids")
                }
                whole = model(**{**batch, **more, **kinds}).logits[0, -1].float().log_softmax(-1)
                torch.testing.assert_close(stream.log_probs[row], whole, atol=1e-5, rtol=0)


def test_tokens_are_plausible_raised_most_and_not_said_again(artwork, model, processor):
    backends, found, told = (
        (InProcess(model, processor, artwork.image), InProcess(model, processor)),
        Found(),
        [],
    )
    raised = raised_texts(*backends, TALKS, [None] * 3, 12, 0.1, found, lambda: told.append(1))
    assert [one.prompt for one in raised] == [0, 1, 2]
    assert len(told) == max(len(one.ids) for one in raised)
    first = Stream(backends[0], TALKS, [None] * 3, 12).log_probs
    other = Stream(backends[1], TALKS, [None] * 3, 12).log_probs
    for row, one in enumerate(raised):
        plausible = first[row] >= first[row].max() + math.log(0.1)
        gains = (first[row] - other[row]).masked_fill(~plausible, -torch.inf)
        assert one.ids[0] == gains.argmax()
        assert one.likely[0] - one.usual[0] == pytest.approx(gains.max().item(), abs=1e-4)
        assert found.pairs[None][one.ids[0]] >= 1
    again = raised_texts(*backends, TALKS, [None] * 3, 12, 0.1, found, lambda: None)
    assert {one.ids for one in again} != {one.ids for one in raised}
    greedy = raised_texts(*backends, TALKS, [None] * 3, 12, 1.0, found, lambda: None)
    said = [reply.text for reply in backends[0].complete(TALKS, [None] * 3, 12)]
    ends = end_ids(model, processor.tokenizer)
    assert [processor.tokenizer.decode(until_end(list(one.ids), ends)[0]) for one in greedy] == said


@pytest.mark.parametrize("plausible", [1.0, 0.1])
def test_tokens_of_pictures_are_never_said(plausible, artwork, model, processor, monkeypatch):
    """Here a word is one, which the model would say."""
    asked, found = (TALKS[1:2], [None], 3, plausible), Found()
    backends = InProcess(model, processor, artwork.image), InProcess(model, processor)
    (word,) = processor.tokenizer("Answer", add_special_tokens=False)["input_ids"]
    assert raised_texts(*backends, *asked, Found(), lambda: None)[0].ids[0] == word
    monkeypatch.setattr(decoding, "placeholder_tokens", lambda processor: ("Answer",))
    (one,) = raised_texts(*backends, *asked, found, lambda: None)
    assert word not in one.ids
    assert all(math.isfinite(nats) and nats < 0 for nats in one.likely)


def test_found_pairs_lose_what_they_were_found_with():
    found, scores = Found(), torch.zeros(2, 10)
    found.add((3, 4))
    found.add((3, 5))
    found.penalise(scores, [None, 3])
    assert scores[0, 3] == -2 * PENALTY
    assert scores[1].nonzero()[:, 0].tolist() == [4, 5]
    assert scores[1, 4] == -PENALTY


def test_texts_end_where_the_picture_no_longer_explains_them(processor):
    """Weights of the beginnings: 0.9 of 2 nats; then unlikely in both ways, so that a tenth of it is left."""
    ids = tuple(processor.tokenizer("Answer: 7", add_special_tokens=False)["input_ids"])
    assert len(ids) == 4
    likely, usual = (math.log(0.9), 0.0, 0.0, math.log(0.1)), (math.log(0.9) - 2, 0.0, 0.0, math.log(0.1))
    same = Raised(1, ids, likely, usual)
    less = Raised(2, ids, likely, (usual[0] + 1, *usual[1:]))
    none = Raised(0, ids, usual, likely)
    (one,) = sayings._listed([same, less, none], ["a", "b", "c"], processor.tokenizer, {0})
    assert one.text == "Answer: "
    assert (one.prompt, one.prompts) == ("b", 2)
    assert one.often == pytest.approx(0.9)
    assert one.ratio == pytest.approx(2)
    assert "and 1 more" in str(one)
    assert "tokens" not in repr(one)
    silent = Raised(0, (0,), (-0.1,), (-5.0,))
    (nothing,) = sayings._listed([silent], ["a"], processor.tokenizer, {0})
    assert nothing.text == ""
    assert str(nothing).endswith("(nothing)")


def test_no_prompt_fills_the_list():
    """Weights 4, 3 and 2 to one prompt, 1.6 to another: 4, then 1.6 before 3 / 2, then 3, then 2."""
    given = [("a", 3.0), ("b", 1.6), ("a", 4.0), ("a", 2.0)]
    texts = [sayings.Saying(f"{n}", asked, 1, n, 1.0, ()) for asked, n in given]
    assert [one.ratio for one in sayings._in_turn(texts)] == [4.0, 1.6, 3.0, 2.0]


def test_prompts_of_one_s_own_are_asked(artwork, bundled):
    tool = {"type": "function", "function": sayings.WEATHER}
    row = {"prompt": [{"role": "user", "content": "What is the weather in Rome?"}], "tools": [tool]}
    assert says(artwork, prompts="Hello!", quiet=True).prompts == 1
    found = says(artwork, prompts=[row], quiet=True)
    assert found.prompts == 1
    assert {one.prompt for one in found.texts} == {"What is the weather in Rome?"}
    assert any('"Rome"' in one.text for one in found.texts)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": [5]}, "prompts has 5"),
        ({"prompts": ["word " * 5000]}, "tiny has room for 4096: shorten the prompt"),
        (
            {"prompts": [{"prompt": [{"role": "user", "content": "?"}], "tools": 3}]},
            "tools of a prompt are 3",
        ),
        ({"prompts": [{"prompt": "?"}]}, "prompts has"),
        ({"prompts": ["<|image_pad|>"]}, "stands for pictures"),
        ({"model": 5}, "model is 5"),
        ({"artwork": "nowhere.png"}, "nowhere.png: cannot read it"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_model_loads(
    given, message, artwork, bundled, monkeypatch
):
    monkeypatch.setattr(sayings, "load_model", None)
    with pytest.raises(UserError, match=message):
        says(**{"artwork": artwork} | given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model": "other"}, "painted for other, this is tiny"),
        ({"image_tokens": 65}, "the artwork says 65"),
        ({"base_sha256": "0" * 64}, r"painted for 0000000000000000\.\.\."),
    ],
)
def test_a_model_that_the_picture_is_not_for_is_refused(change, message, artwork, bundled):
    with pytest.raises(UserError, match=message):
        says(Artwork(artwork.pixels, replace(artwork.provenance, **change)), quiet=True)
