"""What `evaluate`, `mix`, `check` and `robustness` are called with by mistake: a line that names it, at once."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from pixeltune import Artwork
from pixeltune.errors import UserError
from pixeltune.evaluation import robustness as robust
from pixeltune.evaluation.candidates import candidates
from pixeltune.evaluation.check import check
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.mixing import mix
from pixeltune.evaluation.plans import own_plan

ARTWORK = Path(__file__).parents[2] / "docs/images/calls.png"


def rows_in(folder: Path, count: int = 5) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"{i}+1?", "completion": str(i + 1)}) + "\n" for i in range(count))
    )
    return path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": "two"}, "rows is 'two'"),
        ({"task": 5}, "task is 5"),
        ({"task": ["sums", 5]}, "task is 5"),
        ({"engine": 5}, "engine is 5"),
        ({"concurrency": None}, "concurrency is None"),
        ({"compare": []}, r"compare is \[\]"),
        ({"compare": None}, "compare is None"),
        ({"compare": ["off", 5]}, "compare has 5"),
        ({"task": None, "data": [{"prompt": "x"}]}, "data is a list and must be the name of a file"),
        ({"task": None, "data": "rows.jsonl", "reward": len}, "reward is <built-in function len>"),
    ],
)
def test_evaluate_names_the_argument(given, message):
    with pytest.raises(UserError, match=message):
        evaluate(**{"task": "sums"} | given)


def test_an_artwork_to_compare_is_to_be_saved():
    with pytest.raises(UserError, match="save it, and name the PNG"):
        evaluate("sums", compare=["off", Artwork.load(ARTWORK)])


def test_one_candidate_alone_and_paths_are_taken():
    assert [one.name for one in candidates("off", False)] == ["off"]
    assert [one.name for one in candidates(ARTWORK, False)] == ["calls.png"]
    assert [one.name for one in candidates(["off", ARTWORK], False)] == ["off", "calls.png"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_for_a_folder_is_refused_before_work(below, tmp_path):
    data = rows_in(tmp_path)
    with pytest.raises(UserError, match=r"rows\.jsonl is a file: give the name of a folder"):
        evaluate(data=data, output_dir=data / below)


@pytest.mark.parametrize(
    ("artworks", "given", "message"),
    [
        ([], {}, "artworks is"),
        (None, {}, "artworks is None"),
        ([5], {"strength": 0.5}, "not 5"),
        (ARTWORK, {"strength": "x"}, "strength is 'x'"),
    ],
)
def test_mix_names_the_argument(artworks, given, message):
    with pytest.raises(UserError, match=message):
        mix(artworks, **given)


@pytest.mark.parametrize("one", [ARTWORK, str(ARTWORK), Artwork.load(ARTWORK)])
def test_one_artwork_alone_is_mixed(one):
    assert mix(one, strength=1).artwork.sha256 == Artwork.load(ARTWORK).sha256


def test_check_and_robustness_name_the_argument():
    with pytest.raises(UserError, match="rows is 'x'"):
        check(ARTWORK, model="tiny", rows="x")
    with pytest.raises(UserError, match="data is a list"):
        robust.robustness(ARTWORK, data=[1])


def test_rows_shown_as_examples_are_said_to_be_missing_from_the_score(tmp_path):
    data = rows_in(tmp_path)
    plan = own_plan(None, data, None, None, 8, None, candidates(["off", "few-shot:2"], False))
    assert len(plan.rows) == 3
    assert "without the first 2, which are shown as examples" in plan.source
    assert "without" not in own_plan(None, data, None, None, 8, None, candidates("off", False)).source


def test_robustness_takes_rows_of_a_file(tmp_path):
    artwork, data = Artwork.load(ARTWORK), rows_in(tmp_path)
    task, rows = robust.task_and_rows(artwork, None, data, 2)
    assert [row["prompt"][0]["content"] for row in rows] == ["0+1?", "1+1?"]
    assert task.score(rows[0], "1") == 1
    data.write_text(json.dumps({"prompt": "a <|image_pad|>", "completion": "1"}))
    with pytest.raises(UserError, match="stands for pictures"):
        robust.task_and_rows(artwork, None, data, 2)


def test_a_long_prompt_is_counted_without_a_warning_of_the_tokenizer(caplog):
    from pixeltune.model.loading import load_processor

    processor = load_processor("tiny")
    processor.tokenizer.deprecation_warnings = {}
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        words = "word " * (processor.tokenizer.model_max_length + 1)
        (length,) = InProcess(None, processor).prompt_lengths([[{"role": "user", "content": words}]], [None])
    finally:
        library.removeHandler(caplog.handler)
    assert length > processor.tokenizer.model_max_length
    assert "Token indices" not in caplog.text
