"""Rewards are tried before a run begins: what TRL would stumble over in its first step is said in a line."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.errors import UserError
from pixeltune.tasks.synthetic import calls, shop, sums
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import Painting
from pixeltune.training.trial import call, try_reward

CONFIG = SimpleNamespace(num_generations=3, max_steps=-1)
ROWS = [{"prompt": [{"role": "user", "content": text}], "answer": text} for text in "ab"]


def short(completions, **columns):
    return [1.0] * 5


def nothing(completions, **columns):
    pass


def one_number(completions, **columns):
    return 0.5


def words(completions, **columns):
    return ["good"] * len(completions)


def endless(completions, **columns):
    return [float("inf")] * len(completions)


def breaks(completions, **columns):
    return [columns["wanted"] for _ in completions]


def narrow(completions, answer):
    return [1.0] * len(completions)


def undefined(completions, **columns):
    return [float("nan")] * len(completions)


async def later(completions, **columns):
    raise AssertionError


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (short, r"gave 5 values: 6 completions want a list of 6 numbers, one for each$"),
        (nothing, r"gave nothing \(None\): 6 completions want"),
        (one_number, r"gave 0.5 \(float\): 6 completions want"),
        (words, r"gave 'good' \(str\) for a completion: give a finite number, or None to leave"),
        (endless, r"gave inf \(float\) for a completion"),
        (undefined, r"gave nan \(float\) for a completion: give a finite number, or None to leave"),
        (breaks, r"raised KeyError\('wanted'\) \(test_reward_trial.py, line \d+\); besides .* given answer$"),
        (narrow, r"raised TypeError\(.*'prompts'.*\); besides"),
    ],
)
def test_what_trl_would_stumble_over_is_said_in_a_line(reward, said):
    with pytest.raises(UserError, match=f"^the reward m:f, tried on the first rows, {said}") as caught:
        call(reward, "m:f", ROWS, CONFIG)
    assert "\n" not in str(caught.value)
    assert (caught.value.__cause__ is not None) == ("raised" in said)


def test_a_reward_is_called_as_trl_calls_it():
    asked = {}

    def reward(prompts, completions, completion_ids, trainer_state, log_extra, log_metric, **columns):
        asked.update(columns, prompts=prompts, completions=completions, ids=completion_ids)
        log_extra("note", ["a"] * 6)
        log_metric("share", trainer_state.global_step / trainer_state.max_steps)
        return [None, True, 2, np.float32(0.5), torch.tensor(0.25), 0]

    call(reward, "m:f", ROWS, CONFIG)
    assert asked["answer"] == ["a"] * 3 + ["b"] * 3
    assert asked["prompts"] == [ROWS[0]["prompt"]] * 3 + [ROWS[1]["prompt"]] * 3
    assert all(turn["role"] == "assistant" for (turn,) in asked["completions"])
    assert len(asked["ids"]) == 6
    call(reward, "m:f", [{**row, "prompt": row["answer"], "completion": 1} for row in ROWS], CONFIG)
    assert all(isinstance(one, str) for one in asked["completions"])
    assert "completion" not in asked


@pytest.mark.parametrize("rewards", [{}, {"reward_funcs": later}, {"reward_funcs": torch.nn.Linear(1, 1)}])
def test_what_is_not_tried(rewards):
    try_reward(SimpleNamespace(rewards=rewards), [], CONFIG, None, "", None)
    with_episodes = {"reward_funcs": shop.reward, "environment_factory": shop.Shop}
    try_reward(SimpleNamespace(rewards=with_episodes), [], CONFIG, None, "", None)


def prepared(**settings) -> Painting:
    painting = Painting("grpo", *read_settings("grpo", {"num_generations": 2, **settings}))
    painting.prepare()
    return painting


def test_a_run_is_refused_before_the_old_one_goes(bundled, tmp_path):
    old = tmp_path / "run" / "artwork.png"
    old.parent.mkdir()
    old.write_text("old")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{i}?", "box": [i, {"a": i}]}) + "\n" for i in range(3)))
    settings = {"data": rows, "output_dir": old.parent, "overwrite": True}
    with pytest.raises(UserError, match=rf"the reward {__name__}:breaks, tried .* given box$"):
        prepared(reward=f"{__name__}:breaks", **settings)
    assert old.read_text() == "old"
    prepared(reward=f"{__name__}:boxed", **settings)


def boxed(prompts, completions, box, **columns):
    assert box == [[0, {"a": 0}]] * 2 + [[1, {"a": 1}]] * 2
    return [0.0] * len(completions)


def shown(prompts, completions, images, late, **columns):
    assert [[picture.size for picture in own][1:] for own in images] == [[(8, 8)]] * 2 + [[]] * 2
    assert [part["type"] for part in prompts[0][0]["content"]] == ["image", "image", "text"]
    assert late == [None] * 4
    return [0.0] * len(completions)


def test_pictures_and_columns_of_later_rows_are_there(bundled, tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    lines = [{"prompt": "a", "images": ["a.png"]}, {"prompt": "b"}, {"prompt": "c", "late": 1}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    prepared(data=tmp_path / "rows.jsonl", output_dir=tmp_path / "run", reward=f"{__name__}:shown")


@pytest.mark.parametrize("task", [calls, sums])
def test_rewards_of_tasks_pass(bundled, tmp_path, task):
    prepared(task=task.TASK.name, train_rows=4, output_dir=tmp_path / "run")
