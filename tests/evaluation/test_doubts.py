"""Rows that a candidate was trained on, and how rows of one's own are called."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.data.hashes import prompt_hash, write_trained
from pixeltune.data.rows import read_rows
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import candidates
from pixeltune.evaluation.doubts import DoubtWarning, trained_rows
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.tasks import own
from pixeltune.tasks.synthetic import refusals

ARTWORK = Artwork.load(Path(__file__).parents[2] / "docs/images/sums.png")


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"{i} + 1 = ?", "completion": f"{i + 1}"} | row) + "\n"
                            for i, row in enumerate(rows)))  # fmt: skip
    return path


@pytest.fixture
def run(tmp_path) -> Path:
    """A run's folder whose artwork was painted on the first two of three rows."""
    folder, rows = tmp_path / "runs/x", read_rows(write(tmp_path / "rows.jsonl", {}, {}, {}))
    ARTWORK.save(folder / "artwork.png")
    write_trained(folder, map(prompt_hash, rows[:2]))
    return folder


def of(spec: Path | str, rows: list[dict]) -> str | None:
    *_, one = candidates([str(spec)], False)
    return trained_rows(one, rows)


def test_rows_that_were_trained_on_are_counted_and_others_are_named(run, tmp_path):
    _, rows = own.read(tmp_path / "rows.jsonl")
    assert of(run, rows) == "x was trained on 2 of these 3 rows: score it on other rows"
    (run / "held_out.jsonl").touch()
    remedy = f"--data {run}/held_out.jsonl has rows that it has not seen"
    assert of(run / "artwork.png", rows) == f"artwork.png was trained on 2 of these 3 rows: {remedy}"
    ARTWORK.save(run / "snapshots/step-000001.png")
    assert remedy in of(run / "snapshots/step-000001.png", rows)
    assert of(run, rows[2:]) is None
    assert of(ARTWORK.save(tmp_path / "elsewhere/moved.png"), rows) is None
    assert of("off", rows) is None


def test_an_evaluation_says_so_and_names_the_file_and_its_rows(run, tmp_path, monkeypatch, capfd):
    shown = refusals.rows()
    monkeypatch.setattr(refusals, "rows", lambda: shown[:1] + shown[-1:])
    given = {
        "compare": ["off", str(run)],
        "data": tmp_path / "rows.jsonl",
        "max_new_tokens": 4,
        "quiet": True,
    }
    with pytest.warns(DoubtWarning, match=r"^x was trained on 2 of these 3 rows: score it on other rows$"):
        report = evaluate(output_dir=tmp_path / "out", **given)
    assert "greedy, rows of rows.jsonl, by their numbers; " in report.about
    assert report.about.endswith("Holm's p. x was trained on 2 of these 3 rows: score it on other rows.")
    assert report.tasks["rows"]["tests"][0]["a"] == "x"
    write(given["data"], {}, {"id": "second"}, {"prompt": "9 + 1 = ?"})
    write_trained(run, [])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        report = evaluate(output_dir=tmp_path / "out", **given)
    assert "greedy, rows of rows.jsonl, by their ids; " in report.about
    assert capfd.readouterr() == ("", ""), "quiet means quiet"


def test_ids_that_are_given_are_kept_whatever_scores(tmp_path):
    ids = {"id": "a"}, {}, {"id": 7}, {"id": None}
    path = write(tmp_path / "rows.jsonl", *ids)
    for how in ({}, {"score": "number"}, {"reward": "pixeltune.tasks.synthetic.sums:reward"}):
        if "reward" in how:
            write(path, *({"answer": "1", **one} for one in ids))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as: the column id is not used
            _, rows = own.read(path, **how)
        assert [row["id"] for row in rows] == ["a", "2", "7", "4"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "line 3: the id 'a' occurs twice, first in .*line 1"),
        (["a", 1, "1"], "line 3: the id '1' occurs twice, first in .*line 2"),
        (["2", None], "line 2: the id '2' occurs twice, first in .*line 1"),
        (["a", ["b"]], "line 2: id must be a text or a whole number, not a list"),
        ([True], "line 1: id must be a text or a whole number, not true"),
    ],
)
def test_ids_that_tell_nothing_apart_are_refused_with_their_line(ids, message, tmp_path):
    path = write(tmp_path / "rows.jsonl", *({"id": one} for one in ids))
    with pytest.raises(UserError, match=message):
        own.read(path)
