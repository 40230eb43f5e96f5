"""One picture for several tasks: their rows, rewards and scores."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.refusals import check as refuse
from pixeltune.data.hashes import prompt_hash, trained
from pixeltune.errors import UserError
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.tasks.base import Task, find_task, is_known
from pixeltune.training import callbacks
from pixeltune.training.arguments import read_settings
from pixeltune.training.joint import COLUMN, Part, joined, together
from pixeltune.training.paint import paint
from pixeltune.training.preparation import prepare
from pixeltune.training.preview import preview
from pixeltune.training.scores import held_out_scores

HERE = __name__
SAID = [{"role": "assistant", "content": "Answer: 7"}]


def ready(verb="sft", **settings):
    named = {"train_rows": 8, "held_out_rows": 2, "output_dir": "never"} | settings
    return prepare(verb, *read_settings(verb, named), writes=False)


def counts(found) -> dict[str, int]:
    return {part.name: len(part.train_rows) for part in found.parts}


def test_every_task_gives_rows_by_its_weight_and_all_are_in_one_order():
    found = ready(task=["calls", "sums:0.5", "turns:2"])
    assert counts(found) == {"calls": 8, "sums": 4, "turns": 16}
    names = [row[COLUMN] for row in found.train_rows]
    assert len(names) == 28
    assert names != sorted(names)
    assert [row[COLUMN] for row in found.held_out] == ["calls"] * 2 + ["sums"] * 2 + ["turns"] * 2
    assert found.train_rows == ready(task=["calls", "sums:0.5", "turns:2"]).train_rows
    assert found.train_rows != ready(task=["calls", "sums:0.5", "turns:2"], seed=7).train_rows
    # A weight of 1 is the task as it is alone; above it synthetic tasks make more, and none is there twice.
    alone = {prompt_hash(row) for row in ready(task="calls").train_rows}
    assert {prompt_hash(row) for row in found.parts[0].train_rows} == alone
    assert found.task.name == "calls + sums + turns"
    assert not is_known(found.task.name)
    assert found.notes[0] == "rows to train on: 8 of calls, 4 of sums, 16 of turns"


def test_a_task_alone_is_as_it_was():
    found = ready(task="sums")
    assert found.task is find_task("sums")
    assert all(COLUMN not in row for row in found.train_rows + found.held_out)
    assert found.notes == ()


def small(rows: int) -> Task:
    """A benchmark of so many training rows."""

    def of(split, n, seed, folder=None, category=None):
        made = [{"id": str(i), "prompt": [{"role": "user", "content": f"{split} {i}?"}], "completion": SAID}
                for i in range(rows)]  # fmt: skip
        return made[:n]

    return Task(name="small", max_new_tokens=4, score=lambda row, text: 1.0, rows=of, benchmark=True)


FEW = small(12)


@pytest.mark.parametrize(("weight", "rows", "different"), [("0.5", 4, 4), ("1.25", 10, 10), ("2", 16, 12)])
def test_rows_of_a_benchmark_are_there_twice_only_once_all_are_there(weight, rows, different):
    """Of 12 rows, 8 for a weight of 1."""
    part = ready(task=["sums", f"{HERE}:FEW:{weight}"]).parts[1]
    assert part.name == f"{HERE}:FEW"
    assert len(part.train_rows) == rows
    assert len({row["id"] for row in part.train_rows}) == different


def test_no_prompt_is_trained_on_that_is_held_out_elsewhere():
    asked = [[{"role": "user", "content": text}] for text in "abc"]
    rows = [{"prompt": prompt, "completion": SAID} for prompt in asked]
    parts = [Part("one", None, rows[:2], rows[2:]), Part("two", None, rows[1:], [])]
    parts, train, held_out, notes = together(parts, 42)
    assert sorted(row["prompt"][0]["content"] for row in train) == ["a", "b", "b"]
    assert [row["prompt"][0]["content"] for row in held_out] == ["c"]
    assert notes[-1] == "two: 1 rows ask what is held out elsewhere and are not trained on"
    assert COLUMN not in rows[0]  # a task's own rows stay as they are
    with pytest.raises(UserError, match="all prompts of two are held out elsewhere"):
        together([Part("one", None, rows[:2], rows[2:]), Part("two", None, rows[2:], [])], 42)
    with pytest.raises(UserError, match=f"rename the column {COLUMN}"):
        together([Part("one", None, [rows[0] | {COLUMN: "x"}], []), Part("two", None, rows, [])], 42)


def test_every_row_is_rewarded_and_scored_by_its_own_task():
    seen = {}

    def of(name, value):
        def reward(completions, **columns):
            seen[name] = completions, columns
            return [value] * len(completions)

        return Task(
            name=name,
            max_new_tokens=len(name),
            score=lambda row, said: (value, said),
            reward=reward,
            next_turn=(lambda row, texts: [{}]) if name == "long" else None,
        )

    both = joined({"a": of("a", 0.25), "long": of("long", 0.75)})
    columns = {
        COLUMN: ["a", "long", "a"],
        "of_a": [1, None, 2],
        "of_both": [7, 8, 9],
        "trainer_state": "state",
    }
    assert both.reward(completions=["x", "y", "z"], **columns) == [0.25, 0.75, 0.25]
    assert seen["a"] == (
        ["x", "z"],
        {COLUMN: ["a", "a"], "of_a": [1, 2], "of_both": [7, 9], "trainer_state": "state"},
    )
    assert seen["long"] == (["y"], {COLUMN: ["long"], "of_both": [8], "trainer_state": "state"})
    assert both.score({COLUMN: "a"}, ["x"]) == (0.25, "x")
    assert both.score({COLUMN: "long"}, ["x", "y"]) == (0.75, ["x", "y"])
    assert both.next_turn({COLUMN: "a"}, ["x"]) is None
    assert both.next_turn({COLUMN: "long"}, ["x"]) == [{}]
    assert both.max_new_tokens == 4
    assert joined({"a": of("a", 1), "b": None}) is None


def ones(completions, **columns):
    return [1.0] * len(completions)


async def later(completions, **columns):
    return ones(completions)


NO_REWARD = Task(name="bare", max_new_tokens=4, score=lambda row, text: 1.0, rows=FEW.rows, benchmark=True)
ASYNC = Task(name="async", max_new_tokens=4, score=lambda row, text: 1.0, rows=FEW.rows, reward=later)


@pytest.mark.parametrize(
    ("verb", "settings", "said"),
    [
        ("grpo", {"task": ["sums", "shop"]}, "shop plays episodes with tools.*paint it alone"),
        (
            "grpo",
            {"task": ["sums", f"{HERE}:NO_REWARD"]},
            "NO_REWARD has no reward: leave it out, or name one",
        ),
        ("grpo", {"task": ["sums", f"{HERE}:ASYNC"]}, "ASYNC is an async function"),
        ("dpo", {"task": ["sums", "turns"]}, "single answers, the task turns has several turns"),
        ("distill", {"task": ["sums", "calls"], "instruction": "best"}, "--instruction best is of one task"),
        (
            "sft",
            {"task": ["sums", "calls"], "data": "rows.jsonl"},
            "beside tasks --data is a folder of benchmarks'",
        ),
        (
            "sft",
            {"task": ["sums", "calls"], "balance": True, "packing": True, "max_length": 64},
            "--packing puts rows",
        ),
        (
            "dpo",
            {"task": ["sums", "calls"], "balance": True, "loss_type": ["aot"]},
            "--loss_type aot compares",
        ),
        ("grpo", {"task": ["sums", "calls"], "balance": True}, "grpo does not use --balance; sft and dpo do"),
        ("sft", {"task": ["sums:0", "calls"]}, "must be above 0"),
    ],
)
def test_what_cannot_be_learned_together_is_refused_early_and_again(verb, settings, said):
    """Before torch is imported, where no model and no rows are needed, and when the run is prepared."""
    with pytest.raises(UserError, match=said):
        ready(verb, **settings)
    listed = {name: [value] if name in ("task", "data") and isinstance(value, str) else value
              for name, value in settings.items()}  # fmt: skip
    with pytest.raises(UserError, match=said):
        refuse(verb, {"train_rows": 4, "output_dir": "never", **listed}, writes=False)


def test_rows_with_pictures_go_together_with_others_but_are_not_balanced():
    found = ready(task=["tiles", "sums"])
    assert found.pictures
    assert all(isinstance(row["images"], list) for row in found.train_rows)
    with pytest.raises(UserError, match="--balance cuts batches into tasks"):
        ready(task=["tiles", "sums"], balance=True)
    with pytest.raises(UserError, match="rows with images and tools"):
        ready(task=["tiles", "calls"])


def test_a_reward_of_one_s_own_takes_rows_of_any_task():
    found = ready("grpo", task=["sums", f"{HERE}:NO_REWARD"], reward=f"{HERE}:ones", num_generations=2)
    assert found.rewards == {"reward_funcs": ones}


def test_scores_of_each_task_and_of_all_rows(monkeypatch, tmp_path):
    marks = {"a": [1.0, 1.0, 0.0], "b": [0.0]}

    def score_rows(task, rows, backend):
        records = [{"id": i, "prompt": [], "completions": ["x"], "score": score, "error": None}
                   for i, score in enumerate(marks[task.name])]  # fmt: skip
        return callbacks.result(records)

    monkeypatch.setattr(callbacks, "score_rows", score_rows)
    monkeypatch.setattr(callbacks, "add_ratios", lambda *_: False)
    entries: list[dict] = []
    parts = [Part(name, SimpleNamespace(name=name), [], [{}] * len(rows)) for name, rows in marks.items()]
    score = callbacks.HeldOutScore(
        [*parts, Part("free texts", None, [], [{}])], {"": None}, 1, entries.append, tmp_path
    )
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    score.on_train_begin(None, state, SimpleNamespace(should_log=False))
    (entry,) = entries
    assert entry["held_out_score"] == 0.5
    assert (entry["held_out_score/a"], entry["held_out_score/b"]) == (pytest.approx(2 / 3), 0.0)
    assert len(json.loads((tmp_path / "step-000000.json").read_text())) == 4
    read = held_out_scores([entry | {"step": 0}], {"a": 3, "b": 1}, 0)["held_out"]
    assert (read["n"], read["score"], read["before"]["score"]) == (4, 0.5, 0.5)
    assert {name: (one["n"], one["score"]) for name, one in read["tasks"].items()} == {
        "a": (3, pytest.approx(2 / 3)),
        "b": (1, 0.0),
    }
    alone = held_out_scores([{"step": 0, "held_out_score": 0.5}], {"a": 3}, 0)
    assert alone == {"held_out": {"score": 0.5, "n": 3, "before": {"score": 0.5}}}


def lines(path, n, first=0):
    rows = [{"prompt": f"{i} + 1 = ?", "completion": str(i + 1)} for i in range(first, first + n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_several_files_are_painted_on_and_each_leaves_its_held_out_rows(bundled, tmp_path):
    data = [str(lines(tmp_path / "few.jsonl", 12)), f"{lines(tmp_path / 'more.jsonl', 24, 100)}:0.5"]
    run = tmp_path / "run"
    made = paint(
        "sft", data=data, max_steps=1, per_device_train_batch_size=4, held_out_rows=2, score_steps=1,
        snapshot_steps=0, report_to="none", output_dir=str(run), quiet=True,
    )  # fmt: skip
    assert made.artwork.provenance.data == "few.jsonl + 0.5 more.jsonl"
    assert counts(made.ready) == {"few": 10, "more": 11}
    assert sorted(path.name for path in run.glob("held_out*")) == [
        "held_out-few.jsonl",
        "held_out-more.jsonl",
    ]
    aside = [json.loads(line) for path in run.glob("held_out-*") for line in path.read_text().splitlines()]
    assert len(aside) == 4
    hashes = {prompt_hash({"prompt": [{"role": "user", "content": row["prompt"]}]}) for row in aside}
    assert len(trained(run)) == 21
    assert not hashes & trained(run)
    scores = made.artwork.provenance.scores["held_out"]
    assert {name: one["n"] for name, one in scores["tasks"].items()} == {"few": 2, "more": 2}
    assert "few " in str(made)
    settings = {"data": data, "held_out_rows": 2}
    assert re.search(
        r"(few|more)\.jsonl, line \d+, (one of|held out; sft trains on) ", str(preview("sft", **settings))
    )
    again = {
        **settings,
        "max_steps": 1,
        "score_steps": 0,
        "snapshot_steps": 0,
        "report_to": "none",
        "quiet": True,
    }
    paint("sft", **again | {"data": data[:1], "output_dir": str(run), "overwrite": True})
    assert sorted(path.name for path in run.glob("held_out*")) == ["held_out.jsonl"]


@pytest.mark.parametrize("verb", ["dpo", "kto", "grpo", "rloo"])
def test_every_verb_paints_several_tasks(verb, bundled, tmp_path):
    settings = {"train_rows": 8, "held_out_rows": 0, "max_steps": 2, "per_device_train_batch_size": 4}
    if verb in ("grpo", "rloo"):  # what an untaught model says earns nothing, so half of it is rewarded here
        settings |= {"num_generations": 2, "max_completion_length": 12, "refill_rounds": 1}
        settings |= {"reward": ["task", f"{HERE}:uneven"]}
    made = paint(
        verb, task=["calls", "sums:0.5"], snapshot_steps=0, learning_rate=0.06, report_to="none",
        output_dir=str(tmp_path / "run"), quiet=True, **settings,
    )  # fmt: skip
    assert made.finished
    assert np.abs(made.artwork.pixels.astype(int) - 128).max() > 0
    assert weights_sha256(load_model("tiny")) == made.artwork.provenance.base_sha256
    assert Artwork.load(tmp_path / "run" / "artwork.png").provenance.data == "calls + 0.5 sums"


def uneven(completions, **columns):
    return [float(i % 2) for i in range(len(completions))]
