"""Several rewards, weights, and a cost of length: what TRL is given, and what it makes of it."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch

from pixeltune.errors import UserError
from pixeltune.tasks.synthetic import calls, shop
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.training.preparation import prepare
from pixeltune.training.rewards import check_leave_one_out, find_rewards, summed, with_length_cost

HERE = __name__


def ones(completions, **columns):
    return [1.0] * len(completions)


def lengths(completions, **columns):
    return [len(text) / 100 for text in completions]


async def later(completions, **columns):
    raise AssertionError


def ready(verb="grpo", **settings):
    named = {"train_rows": 4, "held_out_rows": 2, "output_dir": "never", "num_generations": 2} | settings
    return prepare(verb, *read_settings(verb, named), writes=False)


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_several_are_added_up_in_the_order_given(verb, tmp_path):
    assert ready(verb, task="calls").rewards == {"reward_funcs": calls.reward}
    assert ready(verb, task="calls", reward="task").rewards == {"reward_funcs": calls.reward}
    found = ready(verb, task="calls", reward=[f"{HERE}:ones", "task"], reward_weights=[0.5, 1.0]).rewards
    assert [one.__name__ for one in found["reward_funcs"]] == ["ones", "reward"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"reward_weights": [1.0, 2.0]},
            "--reward_weights 1.0 2.0 is not a finite number for each of 1 rewards",
        ),
        ({"reward": ["task", f"{HERE}:ones"], "reward_weights": [1.0]}, "for each of 2 rewards"),
        ({"reward_weights": [float("nan")]}, "not a finite number"),
        ({"reward": ["task", f"{HERE}:nobody"]}, "no reward .*nobody"),
        ({"length_cost": 1.0}, "--length_cost is a share of the reward, from 0 to below 1, not 1.0"),
        ({"length_cost": -0.1}, "from 0 to below 1"),
        ({"length_cost": 0.2, "reward": f"{HERE}:later"}, "no async function"),
        ({"length_cost": 0.2, "task": "shop"}, "episodes"),
    ],
)
def test_refused_before_a_model_loads(settings, said):
    with pytest.raises(UserError, match=said):
        ready(**{"task": "calls"} | settings)


def test_the_rewards_of_a_file_without_completions(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{i}?"}) + "\n" for i in range(3)))
    own = {"data": path, "held_out_rows": None}
    assert ready(**own, reward=[f"{HERE}:ones", f"{HERE}:lengths"]).rewards["reward_funcs"] == [ones, lengths]
    for names in ([], ["task"], [f"{HERE}:ones", "task"]):
        with pytest.raises(UserError, match="rows of your own have no reward"):
            ready(**own, reward=names)


def test_other_verbs_take_none_of_it():
    for settings in ({"reward": "task"}, {"length_cost": 0.2}):
        with pytest.raises(UserError, match=f"sft does not use --{next(iter(settings))}"):
            prepare(
                "sft",
                *read_settings("sft", {"task": "calls", "output_dir": "never"} | settings),
                writes=False,
            )


def test_the_cost_is_that_of_the_paper():
    """Written out from the formula, arXiv 2502.04463: sigmoid of the standardised length, of right answers only."""
    given = [1.0, 1.0, 0.0, 1.0, None, 0.4, 0.4, 0.0]
    sizes = [10, 20, 1, 60, 5, 7, 7, 3]
    reward = with_length_cost(lambda **columns: given, 0.3)
    got = reward(
        prompts=list("aaaabbbb"), completions=list("........"), completion_ids=[[0] * size for size in sizes]
    )
    right = torch.tensor([10.0, 20.0, 60.0])
    wanted = 1 - 0.3 * torch.sigmoid((right - right.mean()) / right.std(correction=0))
    assert [got[0], got[1], got[3]] == pytest.approx(wanted.tolist())
    assert got[2] == 0.0
    assert got[4] is None
    assert got[5:7] == pytest.approx([0.4 * (1 - 0.15)] * 2)  # equally long: half of the cost each
    assert got[7] == 0.0
    assert given[0] == 1.0, "the reward's own list is left alone"


def test_wrong_answers_gain_nothing_by_being_short():
    reward = with_length_cost(lambda **columns: [0.0] * 4, 0.9)
    assert (
        reward(prompts=["a"] * 4, completions=[""] * 4, completion_ids=[[0], [0] * 9, [0] * 90, []])
        == [0] * 4
    )


def test_a_sum_is_what_trl_sums():
    values = torch.tensor([[1.0, math.nan], [0.5, 2.0]])
    of = summed([lambda **c: [1.0, 0.5], lambda **c: [None, 2.0]], [1.0, 0.25])
    assert of() == (values * torch.tensor([1.0, 0.25])).nansum(dim=1).tolist()
    assert summed([lambda **c: [1.0, 0.5]], None)() == [1.0, 0.5]


def test_episodes_keep_their_environment():
    task = SimpleNamespace(reward=shop.reward, environment=shop.Shop)
    arguments, config = read_settings(
        "grpo", {"task": "shop", "output_dir": "never", "reward": ["task", f"{HERE}:ones"]}
    )
    found = find_rewards("grpo", task, arguments, config.reward_weights)
    assert found == {"reward_funcs": [shop.reward, ones], "environment_factory": shop.Shop}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beta": 0.05}, "give --beta 0"),
        ({"normalize_advantages": True}, "without --normalize_advantages"),
        ({"reward_clip_range": (0.0, 1.0)}, "without --reward_clip_range"),
        ({"num_iterations": 2}, "leave out --num_iterations"),
        ({"steps_per_generation": 4, "gradient_accumulation_steps": 2}, "--steps_per_generation"),
        ({}, None),
        ({"steps_per_generation": 2, "gradient_accumulation_steps": 4}, None),
    ],
)
def test_what_rloo_cannot_have_of_episodes(settings, said):
    config = read_settings("rloo", {"task": "shop", "beta": 0.0, "output_dir": "never"} | settings)[1]
    if said is None:
        check_leave_one_out(config)
        return
    with pytest.raises(UserError, match=said):
        check_leave_one_out(config)


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_two_rewards_and_a_cost_of_length_train(verb, bundled, tmp_path):
    """TRL logs each by its name, refilling looks at their weighted sum."""
    said = paint(
        verb,
        task="calls",
        reward=[f"{HERE}:lengths", f"{HERE}:ones"],
        reward_weights=[1.0, 0.5],
        length_cost=0.2,
        refill_rounds=1,
        train_rows=24,
        score_steps=0,
        snapshot_steps=0,
        max_steps=2,
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=16,
        logging_steps=1,
        learning_rate=0.06,
        report_to="none",
        output_dir=str(tmp_path),
        quiet=True,
    )
    assert said.finished
    state = json.loads((tmp_path / "checkpoint-2/trainer_state.json").read_text())
    logged = [entry for entry in state["log_history"] if "rewards/lengths/mean" in entry]
    assert len(logged) == 2
    for entry in logged:
        assert entry["rewards/lengths/mean"] > 0
        assert entry["rewards/ones/mean"] == 1
        assert entry["refilled"] >= 0
        if verb == "grpo":  # RLOO's reward holds its KL term
            assert entry["reward"] == pytest.approx(entry["rewards/lengths/mean"] + 0.5, abs=1e-5)
