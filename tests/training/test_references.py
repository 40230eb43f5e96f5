"""Rows of the user's own for objectives that do not learn from completions: these are references then."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from pixeltune.data.messages import UnusedDataWarning
from pixeltune.errors import UserError
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.tasks import own
from pixeltune.tasks.synthetic import calls
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.training.preparation import prepare

QUIET = {"report_to": "none", "save_strategy": "no", "snapshot_steps": 0}


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sums(n: int) -> list[dict]:
    draw = random.Random(0)
    pairs = [(draw.randint(1, 30), draw.randint(1, 30)) for _ in range(n)]
    return [{"prompt": f"{a} + {b} = ?", "completion": str(a + b), "id": i} for i, (a, b) in enumerate(pairs)]


def ready(verb, path, tmp_path, **more):
    return prepare(verb, *read_settings(verb, {"data": path, "output_dir": tmp_path / "out", **more}))


def test_grpo_learns_from_references_without_a_reward_of_ones_own(bundled, tmp_path):
    """Pixels moved, base weights did not, and more held-out answers are right."""
    settings = {
        "max_steps": 8,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "learning_rate": 0.06,
    }
    settings |= {"max_completion_length": 48, "held_out_rows": 40, "score_steps": 8}
    names = ("prompt", "tools", "completion")
    lines = [{name: row[name] for name in names} for row in calls.rows("train", 340)]
    painting = paint(
        "grpo",
        quiet=True,
        data=write(tmp_path / "rows.jsonl", lines),
        output_dir=tmp_path / "out",
        **settings,
        **QUIET,
    )
    assert any("rewards/calls/mean" in entry for entry in painting.history)
    assert weights_sha256(load_model("tiny")) == painting.artwork.provenance.base_sha256
    assert (painting.artwork.pixels != 128).mean() > 0.5
    held_out = painting.scores["held_out"]
    assert held_out["n"] == 40
    assert held_out["ci95"][0] > held_out["before"]["ci95"][1]


def test_rewards_get_the_text_of_a_completion_as_reference(bundled, tmp_path):
    rows = write(tmp_path / "rows.jsonl", sums(90))
    found = ready("grpo", rows, tmp_path)
    assert len(found.held_out) == 20
    assert len(found.train_rows) == 70
    row = found.train_rows[0]
    assert row["reference"] == row["completion"][0]["content"]
    given = [[{"role": "assistant", "content": f"Answer: {row['reference']}"}], "Answer: 1000"]
    assert found.rewards["reward_funcs"](given, reference=[row["reference"]] * 2, id=[0, 0]) == [1.0, 0.0]
    assert found.task.max_new_tokens == 256  # answers may be longer than their reference
    named = ready("rloo", rows, tmp_path, reward="pixeltune.tasks.synthetic.sums:reward")
    assert named.rewards["reward_funcs"] is not found.rewards["reward_funcs"]
    assert named.task.score is own.SCORES["number"]


def test_whole_conversations_are_questions_and_references_too(bundled, tmp_path):
    turns = [{"role": "user", "content": "1 + 1 = ?"}, {"role": "assistant", "content": "2"}]
    found = ready("grpo", write(tmp_path / "rows.jsonl", [{"messages": turns}] * 6), tmp_path)
    assert found.train_rows[0]["prompt"] == turns[:1]
    assert found.train_rows[0]["reference"] == "2"


def test_a_completion_that_is_not_used_is_named(bundled, tmp_path):
    lines = [*sums(3), {"prompt": "Hello?"}]
    rows = write(tmp_path / "rows.jsonl", lines)
    with pytest.warns(UnusedDataWarning, match=r"rows.jsonl, line 1: completion is not used: .* 3 of 4"):
        ready("grpo", rows, tmp_path, reward="pixeltune.tasks.synthetic.sums:reward")
    instruction = tmp_path / "words.txt"
    instruction.write_text("Say the sum.")
    with pytest.warns(UnusedDataWarning, match=r"the column 'id' is not used by distill \(here and 2 times"):
        ready("distill", rows, tmp_path, instruction=str(instruction))


def test_pairs_are_prompts_with_two_columns_more(bundled, tmp_path):
    """Rewards get both; to a teacher they are unused columns; neither is a reference."""
    lines = [{"prompt": f"{i}?", "chosen": "a", "rejected": "b"} for i in range(3)]
    rows = write(tmp_path / "rows.jsonl", lines)
    with pytest.raises(
        UserError, match=r"rows.jsonl, line 1: there is no completion, and .* no reward: name"
    ):
        ready("grpo", rows, tmp_path)
    found = ready("rloo", rows, tmp_path, reward="pixeltune.tasks.synthetic.sums:reward")
    assert [(row["chosen"], row["rejected"]) for row in found.train_rows] == [("a", "b")] * 3
    assert (found.held_out, found.task) == ([], None)
    (tmp_path / "words.txt").write_text("Say the sum.")
    with pytest.warns(UnusedDataWarning, match="the column '(chosen|rejected)' is not used by distill"):
        found = ready("distill", rows, tmp_path, instruction=str(tmp_path / "words.txt"))
    assert len(found.train_rows) == 3


@pytest.mark.parametrize(
    ("line", "settings", "message"),
    [
        ({"prompt": "a?"}, {}, r"no reward: name one with --reward .*--score exact \| number"),
        ({"prompt": "a?", "completion": "word " * 40}, {}, "no reward: name one"),
        ({"prompt": "a?"}, {"score": "number"}, "nothing to score held-out rows against"),
        ({"prompt": "a?", "completion": "b", "reference": "c"}, {}, "line 1: there is a column reference"),
        ({"prompt": "a?", "completion": 7}, {}, "line 1: completion must be a text"),
        ({"prompt": "a?", "completion": "b"}, {"score": "number"}, "line 1: .*nothing for --score number"),
        ({"prompt": "a?", "completion": "b"}, {"held_out_rows": 3}, "leaves none of 3 rows"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(bundled, tmp_path, line, settings, message):
    rows = write(tmp_path / "rows.jsonl", [line] * 3)
    with pytest.raises(UserError, match=message):
        ready("grpo", rows, tmp_path, **settings)


def test_kto_holds_out_good_completions_only(bundled, tmp_path):
    good = [row | {"label": True} for row in sums(60)]
    bad = [row | {"label": False, "completion": "7"} for row in sums(60)]
    lines = [{name: row[name] for name in ("prompt", "completion", "label")} for row in good + bad]
    found = ready("kto", write(tmp_path / "rows.jsonl", lines), tmp_path)
    assert len(found.held_out) == 20
    assert all(row["label"] for row in found.held_out)
    asked = {row["prompt"][0]["content"] for row in found.held_out}
    kept = [row["prompt"] for row in lines if row["prompt"] not in asked]
    assert [row["prompt"][0]["content"] for row in found.train_rows] == kept
    assert found.task.score is own.SCORES["number"]


def test_what_a_teacher_taught_is_scored_against_references(bundled, tmp_path):
    instruction = tmp_path / "words.txt"
    instruction.write_text("Say the sum.")
    painting = paint(
        "distill",
        quiet=True,
        data=write(tmp_path / "rows.jsonl", [{k: r[k] for k in ("prompt", "completion")} for r in sums(12)]),
        instruction=str(instruction),
        output_dir=tmp_path / "out",
        max_steps=1,
        per_device_train_batch_size=4,
        max_completion_length=8,
        **QUIET,
    )
    assert painting.scores["held_out"]["n"] == 4
    assert (painting.artwork.pixels != np.uint8(128)).any()
