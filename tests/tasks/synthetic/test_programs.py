"""programs: its tool, its rows, its score, and the verbs that train on it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pixeltune.cli.train import settings
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.tasks.synthetic import calls, programs
from pixeltune.training.paint import paint

HERE = __name__


def run(program: object) -> str:
    return calls.render({"name": "run", "arguments": {"program": program}})


def test_the_tool_is_described_to_the_model_as_transformers_would():
    from transformers.utils import get_json_schema

    assert [get_json_schema(programs.Programs().run)] == programs.TOOLS
    assert [name for name in vars(programs.Programs) if not name.startswith("_")] == ["reset", "run"]


def test_the_tool_evaluates_and_says_what_is_wrong():
    row = programs.rows("test", 1)[0]
    for text, result in [
        (run("2 * 21"), '{"result": 42}'),
        (run("x = 7\nx / 2"), '{"result": 3.5}'),
        (run("9 ** 9 ** 9"), "{'error': 'an exponent is at most 100, and a power at most 1e+30'}"),
        (run("().__class__"), "is not part of a program"),
        (run(None), "program is a text"),
        (run("1" * 2**20), "at most 1000 characters"),
        (calls.render({"name": "run", "arguments": {}}), "missing 1 required positional argument"),
        (calls.render({"name": "run", "arguments": {"code": "1"}}), "unexpected keyword argument"),
        (calls.render({"name": "reset", "arguments": {}}), "Tool reset not found"),
        (calls.render({"name": "__init__", "arguments": {}}), "not found"),
    ]:
        said, heard = programs.next_turn(row, [text])
        assert said == {"role": "assistant", "content": text}
        assert result in heard["content"]
        assert len(heard["content"]) < 200


def test_references_are_right_and_deviations_are_not():
    rows, steps = programs.rows("test", 200), set()
    for row in rows:
        said = [turn["content"] for turn in row["completion"] if turn["role"] == "assistant"]
        heard = json.loads(row["completion"][1]["content"])
        assert heard == {"result": row["answer"]}
        assert row["answer"] >= 0
        assert programs.score(row, said) == 1.0
        assert programs.score(row, said[:1]) == programs.score(row, [said[0], "Answer: -1"]) == 0.0
        assert programs.next_turn(row, said[:1]) == row["completion"][:2]
        assert programs.next_turn(row, said) is None
        steps.add(len(json.loads(said[0].split("\n")[1])["arguments"]["program"].splitlines()))
    assert steps == {1, 3, 4}  # an expression, or a line for each step and the name
    assert programs.next_turn(rows[0], [run("1")] * programs.MAX_TURNS) is None
    episodes = [row["completion"] for row in rows]
    assert programs.reward(episodes, answer=[row["answer"] for row in rows]) == [1.0] * 200
    assert (
        programs.reward(episodes[:1], answer=[-1]) == programs.reward([episodes[0][:1]], answer=[1]) == [0.0]
    )


def test_no_question_is_in_both_splits():
    texts = [
        {row["prompt"][0]["content"] for row in programs.rows(split, 400, seed=1)}
        for split in ("train", "test")
    ]
    assert not texts[0] & texts[1]


def varied(completions, environments, **_):
    """Something to learn whatever the model says."""
    assert all(isinstance(one, programs.Programs) for one in environments)
    return [float(len(str(turns)) % 7) for turns in completions]


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("sft", "--per_device_train_batch_size 4"),
        ("grpo", f"--reward task {HERE}:varied --num_generations 4"),
    ],
)
def test_verbs_train_on_it(verb, flags, bundled, tmp_path):
    words = (
        f"--task programs --max_steps 2 --train_rows 16 --held_out_rows 2 --learning_rate 0.06 --score_steps 2 "
        f"--snapshot_steps 0 --save_strategy no --report_to none --output_dir {tmp_path} {flags}"
    )
    if verb == "grpo":
        words += " --per_device_train_batch_size 8 --max_completion_length 96"
    painting = paint(verb, quiet=True, **settings(verb, words.split()))
    assert painting.finished
    artwork = painting.artwork
    assert weights_sha256(load_model("tiny")) == artwork.provenance.base_sha256
    assert np.abs(artwork.pixels.astype(int) - 128).max() > 0
    assert any("held_out_score" in entry for entry in painting.history)


def test_it_is_evaluated_over_its_turns(bundled, tmp_path):
    report = evaluate("programs", ["best"], rows=2, quiet=True, output_dir=tmp_path)
    said = json.loads((tmp_path / "report.json").read_text())["tasks"]["programs"]
    assert report is not None
    assert said["candidates"]["best"]["n"] == 2
