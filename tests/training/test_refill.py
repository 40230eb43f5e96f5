"""Dynamic sampling: groups without a gradient are replaced, and rewards go on seeing the right rows."""

from __future__ import annotations

import json

import pytest

from pixeltune.cli.train import settings
from pixeltune.tasks.synthetic import calls
from pixeltune.training.paint import paint
from pixeltune.training.refill import _equal_groups, refill

ROWS = {(r["prompt"][0]["content"], r["call"]) for r in calls.rows("train", 60, 42)}
FLAGS = (
    "--task calls --report_to none --score_steps 0 --snapshot_steps 0 --train_rows 60 --max_steps 3 "
    "--num_generations 4 --per_device_train_batch_size 32 --max_completion_length 4 --learning_rate 0.06 "
    "--save_steps 3 --logging_steps 1 --reward test_refill:only_long_requests "
    "--beta 0"  # with a KL term no group is without a gradient
)


def only_long_requests(prompts, completions, call, **_) -> list[float]:
    """Alternately right and wrong for half of the rows, never right for the others: those teach nothing."""
    out = []
    for number, (prompt, wanted) in enumerate(zip(prompts, call, strict=True)):
        request = next(text for text, known in ROWS if text in prompt and known == wanted)  # or StopIteration
        out.append(float(len(request) % 2 and number % 2))
    return out


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
@pytest.mark.parametrize("rounds", [0, 6])
def test_groups_that_teach_nothing_are_replaced(verb, rounds, bundled, tmp_path):
    words = f"{FLAGS} --refill_rounds {rounds} --output_dir {tmp_path}".split()
    assert paint(verb, quiet=True, **settings(verb, words)).finished
    state = json.loads((tmp_path / "checkpoint-3/trainer_state.json").read_text())
    history = [entry for entry in state["log_history"] if "frac_reward_zero_std" in entry]
    assert len(history) == 3
    stale = sum(entry["frac_reward_zero_std"] for entry in history) / 3
    if rounds:
        assert stale < 0.1
        assert all(entry["refilled"] > 0 for entry in history)
    else:
        assert stale > 0.25
        assert not any("refilled" in entry for entry in history)


def test_a_group_is_stale_when_all_its_rewards_are_equal():
    batch = [{"prompt": str(n), "answer": n} for n in range(6)]

    def reward(prompts, completions, completion_ids, answer) -> list[float]:
        assert prompts == [str(n) for n in answer]
        assert completion_ids == [[n] for n in answer]
        return [float(len(text)) for text in completions]

    generated = [[0]] * 6, [[n] for n in range(6)], ["a", "b", "a", "bb", "cc", "dd"]
    assert _equal_groups(reward, batch, generated, range(6), 2) == [0, 2]
    assert _equal_groups(reward, batch, generated, [2, 3, 4, 5], 2) == [1]


def test_several_processes_are_refused():
    class Trainer:
        class accelerator:
            num_processes = 2

    with pytest.raises(ValueError, match="one process only"):
        refill(Trainer(), calls.reward, [], 1)
