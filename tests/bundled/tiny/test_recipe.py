from __future__ import annotations

import itertools
import json
import random

import pytest

from pixeltune.bundled import tiny
from pixeltune.bundled.tiny import curriculum, goals, recipe
from pixeltune.tasks.synthetic import calls, turns


@pytest.mark.parametrize("mix", recipe.STAGES.values(), ids=["learn", "decide", "match", "copy"])
def test_only_replies_are_learned(processor, mix):
    """The labelled tokens of a row are its replies with their ends, in order, and nothing else."""
    rng = random.Random(1)
    gallery = curriculum.Gallery(rng, draw=False)
    for _ in range(40):
        row = curriculum.row(rng, gallery, mix)
        batch = recipe.encode([row], processor)
        ids, labels, weights = (batch[name][0] for name in ("input_ids", "labels", "weights"))
        learned = labels != -100
        assert (ids[learned] == labels[learned]).all()
        said = [m["content"] for m in row[0] if m["role"] == "assistant" and not m.get("given")]
        assert processor.tokenizer.decode(labels[learned]) == "".join(f"{text}<|im_end|>\n" for text in said)
        assert (weights[learned] > 0).all()


def test_the_decision_token_weighs_what_it_is_told_to(processor):
    rng = random.Random(2)
    gallery = curriculum.Gallery(rng, draw=False)
    row = curriculum.row(rng, gallery, curriculum.DECIDE)
    while not row[1]:
        row = curriculum.row(rng, gallery, curriculum.DECIDE)
    batch = recipe.encode([row], processor, decision=2.0)
    replies = sum(message["role"] == "assistant" for message in row[0])
    assert (batch["weights"] == 2.0).sum() == replies
    assert (recipe.encode([row], processor)["weights"] <= 1).all()


def test_what_names_the_tool_weighs_what_it_is_told_to(processor):
    item = calls.rows("train", 1)[0]
    reply = calls.render({"name": "play", "arguments": {"genre": "jazz", "name": "play"}})
    row = ([*item["prompt"], {"role": "assistant", "content": reply}], json.loads(item["tools"]), [])
    batch = recipe.encode([row], processor, decision=2.0, name=3.0)
    stressed = batch["input_ids"][0][batch["weights"][0] == 3.0]
    assert processor.tokenizer.decode(stressed) == 'play",'
    plain = recipe.encode([row], processor)
    assert (batch["weights"] != plain["weights"]).sum() == len(stressed) + 1
    refusal = ([*item["prompt"], {"role": "assistant", "content": calls.REFUSALS["en"]}], row[1], [])
    assert (recipe.encode([refusal], processor, name=3.0)["weights"] <= 1).all()


def test_a_given_call_is_context(processor):
    item = turns.rows("train", 1)[0]
    call = {"role": "assistant", "content": item["completion"][0]["content"], "given": True}
    batch = recipe.encode([([*item["prompt"], call, *item["completion"][1:]], None, [])], processor)
    learned = batch["labels"][0][batch["labels"][0] != -100]
    assert processor.tokenizer.decode(learned) == item["completion"][2]["content"] + "<|im_end|>\n"


def test_the_rate_rises_stays_and_falls_to_zero():
    rates = [recipe.rate(step) for step in range(recipe.STEPS)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[800] == 1.0
    assert 0 < rates[-1] < 0.002
    assert all(a >= b for a, b in itertools.pairwise(rates[99:]))
    again = [recipe.rate(step) for step in range(recipe.STEPS, recipe.STEPS + 2 * recipe.ROUND)]
    assert again[0] == recipe.AGAIN
    assert 0 < again[recipe.ROUND - 1] < 0.01
    assert again[: recipe.ROUND] == again[recipe.ROUND :]


def test_a_run_broken_off_and_resumed_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SNAPSHOT", 1)
    recipe.train(2, tmp_path / "a", rounds=0, widening=1)
    step_loss = recipe.step_loss

    def broken_off(model, processor, step):
        if step == 1:
            raise KeyboardInterrupt
        return step_loss(model, processor, step)

    monkeypatch.setattr(recipe, "step_loss", broken_off)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(2, tmp_path / "b", rounds=0, widening=1)
    monkeypatch.setattr(recipe, "step_loss", step_loss)
    assert (tmp_path / "b" / "snapshot.pt").exists()
    recipe.train(2, tmp_path / "b", resume=True, rounds=0, widening=1)
    assert not (tmp_path / "b" / "snapshot.pt").exists()
    a, b = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert a == b
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tiny.PATH / "tokenizer.json").read_bytes()


def test_rounds_follow_while_a_goal_is_missed(tmp_path, monkeypatch):
    """One more round, and the goals are met; or none does it, and what is missed is said."""
    monkeypatch.setattr(recipe, "ROUND", 1)
    good, bad = {"sums": 0.9, "calls": 0.95, "turns": 0.9}, {"sums": 0.9, "calls": 0.94, "turns": 0.5}
    steps, found = [], []
    step_loss = recipe.step_loss
    monkeypatch.setattr(recipe, "step_loss", lambda *given: steps.append(given[2]) or step_loss(*given))
    monkeypatch.setattr(goals, "scores", lambda *_: found.pop(0))
    found[:] = [bad, good]
    assert recipe.train(1, tmp_path / "met", rounds=2, widening=1) == []
    assert steps == [0, 1]
    steps.clear()
    found[:] = [bad, bad]
    assert recipe.train(1, tmp_path / "missed", rounds=1, widening=1) == ["calls", "turns"]
    assert steps == [0, 1]
    assert (tmp_path / "missed" / "model.safetensors").exists()
