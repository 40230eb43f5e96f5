"""``--preview`` shows the first row of the file, says which it is, and needs no folder of its own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from pixeltune.data.origin import Row
from pixeltune.training.preview import first_row, heading, preview

SAID = {"role": "assistant", "content": "Yes."}


def row(line: int, turns: int = 1) -> Row:
    made = Row(prompt=[{"role": "user", "content": "?"}], completion=[SAID] * turns)
    made.where = f"a, line 9/rows.jsonl, line {line}"
    return made


def ready(train: list[Row], held_out: list[Row], objective: str = "sft", own: bool = True) -> SimpleNamespace:
    return SimpleNamespace(
        objective=objective, own=own, train_rows=train, held_out=held_out, skip_errors=False
    )


def test_the_first_line_is_shown_also_where_it_is_held_out():
    first, second, tenth = row(1), row(2), row(10)
    kept = ready([first, tenth], [second])
    assert first_row(kept) is first
    assert heading(kept, None) == "a, line 9/rows.jsonl, line 1, one of 2 rows that sft trains on:"
    aside = ready([tenth], [second])
    assert first_row(aside) is second
    assert "line 2, held out; sft trains on 1 other rows" in heading(aside, None)
    assert first_row(ready([second], [])) is second


def test_of_a_task_it_is_the_first_row_that_is_trained_on():
    task = ready([{"prompt": [], "completion": [SAID]}], [{"prompt": [], "completion": [SAID]}], own=False)
    assert first_row(task) is task.train_rows[0]
    assert heading(task, "sums") == "sums, row 1, one of 1 rows that sft trains on:"


def test_which_of_several_turns_is_shown_is_said():
    assert "; turn 3 of 3, each is a row of its own:" in heading(ready([row(1, turns=3)], []), None)
    assert "turn" not in heading(ready([row(1, turns=3)], [], objective="grpo"), None)


@pytest.mark.parametrize("seed", range(3))
def test_in_the_folder_of_a_run(bundled, seed, tmp_path):
    """Of three rows one or two are held out; whatever the seed, line 1 is shown, its last turn as trained."""
    talk = [{"role": "user", "content": "One?"}, SAID, {"role": "user", "content": "Two?"}, SAID]
    lines = [{"messages": [{**talk[0], "content": f"Row {i}?"}, *talk[1:]]} for i in range(1, 4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "artwork.png").write_text("of a run that is here")
    before = sorted(tmp_path.rglob("*"))
    shown = preview("sft", data=tmp_path / "rows.jsonl", output_dir=tmp_path, seed=seed)
    assert f"{tmp_path}/rows.jsonl, line 1, " in shown.heading
    assert shown.heading.endswith("; turn 2 of 2, each is a row of its own:")
    assert "Row 1?" in shown.parts[0].text
    assert "Two?" in shown.parts[0].text
    assert sorted(tmp_path.rglob("*")) == before


def test_a_held_out_pair_shows_both_of_its_answers_once(bundled, tmp_path):
    lines = [{"prompt": f"Row {i}?", "chosen": "Good.", "rejected": "Bad."} for i in range(1, 4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = {"data": tmp_path / "rows.jsonl", "output_dir": tmp_path / "out", "held_out_rows": 2}
    shown = [preview("dpo", seed=seed, **given) for seed in range(3)]
    assert any("held out" in one.heading for one in shown)
    for one in shown:
        assert [part.title for part in one.parts] == [
            "prompt, not trained",
            "chosen, trained",
            "rejected, trained",
        ]
