"""The shop: its tools, its errors, its score, and GRPO that plays it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pixeltune.cli.train import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.synthetic import calls, shop
from pixeltune.training.callbacks import TurnBudget
from pixeltune.training.paint import paint

GOODS = {"goods": json.dumps({"milk": 30, "bread": 12}), "before": json.dumps({"milk": 2})}


def call(name: str, **arguments) -> str:
    return calls.render({"name": name, "arguments": arguments})


@pytest.fixture
def open_shop() -> shop.Shop:
    one = shop.Shop()
    one.reset(**GOODS)
    return one


def test_the_tools_are_described_to_the_model_as_transformers_would(open_shop):
    from transformers.utils import get_json_schema

    names = [tool["function"]["name"] for tool in shop.TOOLS]
    assert [get_json_schema(getattr(open_shop, name)) for name in names] == shop.TOOLS
    assert names == sorted(n for n in vars(shop.Shop) if not n.startswith("_") and n != "reset")


def test_tools_change_the_database_and_errors_do_not(open_shop):
    assert open_shop.get_price("milk") == '{"price": 30}'
    assert open_shop.add_to_list("milk", 3) == '{"items": 5}'
    assert open_shop.add_to_list("bread", 1) == '{"items": 1}'
    assert open_shop.calculate(30, "*", 12) == '{"result": 360}'
    before = open_shop._list()
    for bad, message in [
        ({"name": "get_price", "arguments": {"item": "cheese"}}, "no such item: cheese"),
        ({"name": "get_price", "arguments": {"item": ["milk"]}}, "no such item"),
        ({"name": "get_price", "arguments": {"thing": "milk"}}, "unexpected keyword argument"),
        ({"name": "get_price", "arguments": None}, "must be a mapping"),
        ({"name": "add_to_list", "arguments": {"item": "milk", "amount": True}}, "whole number"),
        ({"name": "add_to_list", "arguments": {"item": "milk", "amount": "3"}}, "whole number"),
        ({"name": "add_to_list", "arguments": {"item": "milk", "amount": 10**9}}, "1 to 999"),
        ({"name": "calculate", "arguments": {"first": 1, "operator": "/", "second": 0}}, "one of"),
        ({"name": "calculate", "arguments": {"first": 10**12, "operator": "*", "second": 1}}, "million"),
        ({"name": "reset", "arguments": GOODS}, "Tool reset not found"),
        ({"name": "__init__", "arguments": {}}, "not found"),
        ({"name": "get_price", "arguments": {"item": "x'; drop table goods; --"}}, "no such item"),
    ]:
        assert message in open_shop._use(bad)
        assert open_shop._use(bad).startswith("{'error': ")
    assert open_shop._list() == before
    open_shop.reset(**GOODS)
    assert open_shop._list() == {"milk": 2}


def test_references_are_right_and_deviations_are_not():
    rows = shop.rows("test", 60)
    assert {len(row["completion"]) for row in rows} == {3, 7}  # one call, or three
    for row in rows:
        said = [turn["content"] for turn in row["completion"] if turn["role"] == "assistant"]
        assert shop.score(row, said) == 1.0
        assert shop.score(row, said[:-1]) == 0.0
        assert shop.score(row, [*said[:-1], "Answer: -1"]) == 0.0
        assert shop.next_turn(row, said) is None
        follow = shop.next_turn(row, said[:1])
        assert follow == row["completion"][:2]
        if "shopping list" in row["prompt"][0]["content"] or "note" in row["prompt"][0]["content"]:
            assert shop.score(row, [said[0], *said]) == 0.0  # noted twice
    assert shop.next_turn(rows[0], [call("get_price", item="milk")] * shop.MAX_TURNS) is None


def test_no_question_is_in_both_splits():
    texts = [
        {row["prompt"][0]["content"] for row in shop.rows(split, 400, seed=1)} for split in ("train", "test")
    ]
    assert not texts[0] & texts[1]


def test_void_turns_are_left_out_of_training(open_shop):
    said = {"role": "assistant", "content": ""}
    calling = said | {"tool_calls": [{"type": "function", "function": {}}]}
    result = {"role": "tool", "content": '{"price": 30}'}
    right, wrong = [said | {"content": f"Answer: {n}"} for n in (30, 31)]
    talk = said | {"content": "Maybe some day."}
    columns = {"environments": [open_shop] * 5, "answer": [30] * 5, "after": [GOODS["before"]] * 5}
    chat = said | {"content": "I think it is 30."}
    episodes = [[calling, result, right], [calling, result, wrong], [talk], [calling, result, talk], [chat]]
    assert shop.reward(episodes, **columns) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert shop.reward_without_void_turns(episodes, **columns) == [1.0, 0.0, None, None, 0.0]


def test_the_turn_budget_grows_to_the_trainers_own():
    class Trainer:
        class args:
            max_tool_calling_iterations = 4

    class State:
        global_step = 0

    trainer, budgets = Trainer(), []
    budget = TurnBudget(trainer, steps=6)
    for State.global_step in range(9):
        budget.on_step_begin(None, State, None)
        budgets.append(trainer.max_tool_calling_iterations)
    assert budgets == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    Trainer.args.max_tool_calling_iterations = None
    with pytest.raises(ValueError, match="needs a budget to grow to"):
        TurnBudget(trainer, steps=6)


def test_grpo_plays_episodes_and_learns_only_what_the_model_wrote(bundled, tmp_path, monkeypatch):
    """TRL's own tool loop on the shop: tool results are masked, the held-out score rises significantly."""
    from trl import GRPOTrainer

    masks, original = [], GRPOTrainer._tool_call_loop

    def keep(self, *rest, **options):
        out = original(self, *rest, **options)
        masks.extend(zip(out[0], out[2], strict=True))
        return out

    monkeypatch.setattr(GRPOTrainer, "_tool_call_loop", keep)
    flags = (
        "--task shop --max_steps 8 --train_rows 200 --per_device_train_batch_size 32 --learning_rate 0.06 "
        "--max_completion_length 160 --max_tool_calling_iterations 3 --turn_budget_steps 6 --score_steps 0 "
        f"--snapshot_steps 0 --save_strategy no --report_to none --output_dir {tmp_path}"
    )
    painting = paint("grpo", quiet=True, **settings("grpo", flags.split()))
    assert painting.finished
    artwork = painting.artwork
    tokenizer = load_processor("tiny").tokenizer
    played = [(mask, ids) for mask, ids in masks if 0 in mask]
    assert len(played) > 20
    for mask, ids in played:
        heard = tokenizer.decode([i for i, own in zip(ids, mask, strict=True) if not own])
        said = tokenizer.decode([i for i, own in zip(ids, mask, strict=True) if own])
        assert "<tool_response>" in heard
        assert "<tool_response>" not in said
    model, processor = load_model("tiny"), load_processor("tiny")
    assert weights_sha256(model) == artwork.provenance.base_sha256
    assert np.abs(artwork.pixels.astype(int) - 128).mean() > 1
    rows = shop.rows("test", 60, seed=5)
    before = score_rows(shop.TASK, rows, InProcess(model, processor))
    after = score_rows(shop.TASK, rows, InProcess(model, processor, artwork.image))
    assert after.ci95[0] > before.ci95[1]


def test_trl_still_needs_to_be_told_the_context_length(bundled, tmp_path, monkeypatch):
    """When this fails, `declare_context_length` can go."""
    monkeypatch.setattr("pixeltune.training.trainers.declare_context_length", lambda model: None)
    flags = (
        "--task shop --max_steps 1 --train_rows 40 --per_device_train_batch_size 32 --score_steps 0 "
        f"--snapshot_steps 0 --save_strategy no --report_to none --output_dir {tmp_path}"
    )
    with pytest.raises(AttributeError, match="max_position_embeddings"):
        paint("grpo", quiet=True, **settings("grpo", flags.split()))


@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        ("rloo", "--task shop", "without a KL term"),
        ("grpo", "--task shop --refill_rounds 1", "not episodes with tools"),
        ("grpo", "--task shop --environment nowhere:Nothing", "no environment"),
        ("dpo", "--task shop", "several turns"),
    ],
)
def test_where_there_are_no_episodes(verb, flags, message, monkeypatch):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(ValueError, match=message):
        paint(verb, quiet=True, **settings(verb, flags.split()))
