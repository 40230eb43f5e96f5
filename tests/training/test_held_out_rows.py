"""Which of the user's own rows are held out, and what a run leaves to be scored on later."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from pixeltune.data.hashes import TRAINED, prompt_hash, trained
from pixeltune.data.messages import text_of
from pixeltune.errors import UserError
from pixeltune.tasks import own
from pixeltune.training import own_rows
from pixeltune.training.arguments import read_settings
from pixeltune.training.folder import HELD_OUT, clear

GOOD = {"completion": "7", "label": True}
BAD = {"completion": "8", "label": False}


def read(path, lines, verb="sft", **settings):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return own_rows.read(verb, str(path), *read_settings(verb, {"data": path, **settings}))


def sums(n: int) -> list[dict]:
    return [{"prompt": f"{i} + 1 = ?", "completion": str(i + 1)} for i in range(n)]


def asked(rows) -> list[str]:
    return [text_of(row["prompt"][0]["content"]) for row in rows]


@pytest.mark.parametrize(("rows", "held_out"), [(2, 0), (3, 1), (59, 19), (60, 20), (200, 20), (300, 30)])
def test_how_many_are_held_out(tmp_path, rows, held_out):
    found = read(tmp_path / "rows.jsonl", sums(rows))
    assert (len(found.held_out), len(found.train)) == (held_out, rows - held_out)
    assert found.notes == (
        () if held_out else ("no rows are held out: there are too few, or too few prompts",)
    )
    named = read(tmp_path / "rows.jsonl", sums(rows), held_out_rows=1)
    assert len(named.held_out) == 1


def test_no_prompt_is_on_both_sides(tmp_path):
    """Rows of one prompt stay together, whether they are the same or answer it in another way."""
    lines = sums(90) + sums(60) + [row | {"completion": "many"} for row in sums(30)]
    found = read(tmp_path / "rows.jsonl", lines)
    assert not set(asked(found.train)) & set(asked(found.held_out))
    assert 18 <= len(found.held_out) <= 20
    assert len(found.train) + len(found.held_out) == 180
    (note,) = found.notes
    assert note.startswith("90 rows of 180 ask what an earlier one asks")
    assert read(tmp_path / "rows.jsonl", lines).held_out == found.held_out
    assert read(tmp_path / "rows.jsonl", lines, seed=7).held_out != found.held_out


def test_few_prompts_of_many_rows(tmp_path):
    def of(prompts: int, **settings):
        lines = [{"prompt": f"{i % prompts}?", "completion": str(i)} for i in range(90)]
        return read(tmp_path / "rows.jsonl", lines, **settings)

    assert len(of(3).held_out) == 30  # more than asked for, rather than none
    one = of(1)
    assert not one.held_out
    assert "no rows are held out" in one.notes[1]
    with pytest.raises(UserError, match=r"--held_out_rows 9: rows of one prompt stay together.* 30 or more"):
        of(3, held_out_rows=9)


def test_bad_completions_of_held_out_prompts_are_left_out(tmp_path):
    lines = [row | more for row in sums(30) for more in (GOOD, BAD)]
    found = read(tmp_path / "rows.jsonl", lines, "kto")
    assert len(found.held_out) == 10
    assert len(found.train) == 40
    assert found.notes[1] == "10 bad completions of held-out prompts: not trained on either"
    assert len(found.notes) == 2  # as many good ones as bad ones: no word of weights
    lines = [row | GOOD for row in sums(30)] + [row | BAD for row in sums(12)[10:]]
    with pytest.raises(UserError, match="all bad completions answer prompts that are held out"):
        read(tmp_path / "rows.jsonl", lines, "kto", held_out_rows=29)


@pytest.mark.parametrize(("label", "remedy"), [(GOOD, "use sft on good completions"), (BAD, "add good ones")])
def test_kto_needs_both_labels(tmp_path, label, remedy):
    with pytest.raises(UserError, match=f"every row of .*rows.jsonl has the label .*: {remedy}"):
        read(tmp_path / "rows.jsonl", [row | label for row in sums(9)], "kto")


def test_uneven_labels_are_told_with_the_weight_that_makes_them_even(tmp_path):
    few = [row | GOOD for row in sums(80)] + [{"prompt": f"{i}?"} | BAD for i in range(15)]
    found = read(tmp_path / "rows.jsonl", few, "kto")
    assert found.notes == (
        "60 good completions and 15 bad, weighted 1 and 1: --undesirable_weight 4 would give both sides the same "
        "weight",
    )
    assert read(tmp_path / "rows.jsonl", few, "kto", undesirable_weight=4).notes == ()
    many = [row | GOOD for row in sums(60)] + [{"prompt": f"{i}?"} | BAD for i in range(70)]
    (note,) = read(tmp_path / "rows.jsonl", many, "kto").notes
    assert "--desirable_weight 1.75 " in note


@pytest.mark.parametrize("verb", ["sft", "dpo", "kto", "grpo"])
def test_what_a_run_leaves_is_scored_as_its_held_out_rows(tmp_path, recwarn, verb):
    """By `pixeltune eval --data`, whatever the objective learned from, with the pictures, from another folder."""
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "data" / "a.png")
    lines = sums(30)
    if verb == "dpo":
        lines = [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": "no"} for r in lines]
    if verb == "kto":
        lines = [row | {"label": True} for row in lines] + [{"prompt": "?", "images": ["a.png"]} | BAD] * 15
    lines = [row | {"images": ["a.png"]} for row in lines]
    data, run = tmp_path / "data" / "rows.jsonl", tmp_path / "run"
    found = read(data, lines, verb)
    own_rows.keep(run, verb, [data], found.train, found.held_out)
    task, rows = own.read(run / HELD_OUT)
    assert not recwarn.list
    assert asked(rows) == asked(found.held_out)
    assert [own.reference(row) for row in rows] == [own.reference(row) for row in found.held_out]
    assert all(task.score(row, own.reference(row)) == 1 for row in rows)
    assert trained(run) == {prompt_hash(row) for row in found.train}
    assert not trained(run) & set(map(prompt_hash, rows))
    assert rows[0]["images"] == [str(tmp_path / "data" / "a.png")]


def test_lines_stay_as_they_were_given(tmp_path):
    turns = [{"role": "user", "content": "1 + 1 = ?"}, {"role": "assistant", "content": "2"}]
    more = {"messages": [*turns, {"role": "user", "content": "and?"}, turns[1]], "note": {"mine": [1]}}
    data = tmp_path / "rows.jsonl"
    with pytest.warns(UserWarning, match="'note' is not used"):
        found = read(
            data,
            [{**more, "messages": [{**turns[0], "content": f"{i}?"}, *more["messages"][1:]]} for i in "abc"],
        )
    own_rows.keep(tmp_path, "sft", [data], found.train, found.held_out)
    (line,) = kept(tmp_path)
    assert line["note"] == more["note"]
    assert line["prompt"] == found.held_out[0]["prompt"]
    assert line["completion"] == more["messages"][1:]
    lines = [row | {"label": "a reward's own", "reference_of": i} for i, row in enumerate(sums(6))]
    found = read(data, lines, "grpo")
    own_rows.keep(tmp_path, "grpo", [data], found.train, found.held_out)
    assert kept(tmp_path) == [line for line in lines if line["prompt"] in asked(found.held_out)]


def kept(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / HELD_OUT).read_text().splitlines()]


def test_another_run_in_the_folder_removes_them(tmp_path):
    data = tmp_path / "rows.jsonl"
    found = read(data, sums(9))
    own_rows.keep(tmp_path / "run", "sft", [data], found.train, found.held_out)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [HELD_OUT, TRAINED]
    clear(tmp_path / "run", None)
    assert not list((tmp_path / "run").iterdir())
