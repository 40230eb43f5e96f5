"""`benchmarks/samples.py`: the pool is what it says, and the tables compare the same rows."""

from __future__ import annotations

from benchmarks import samples
from benchmarks.common.sample_table import table
from pixeltune.tasks.synthetic import sums


def test_of_five_right_answers_in_the_pool_one_can_be_said():
    rows = samples.pool(40, 42)
    tasks = {task["prompt"][0]["content"]: task for task in sums.rows("train", 80, 42)}
    assert len({row["prompt"][0]["content"] for row in rows}) == 40  # else `sample` would ask fewer
    for row in rows:
        task = tasks[row["prompt"][0]["content"]]
        assert len(set(row["texts"])) == len(samples.POOL) == 5
        assert [sums.score(task, text) for text in row["texts"]] == [1.0, 0.0, 0.0, 0.0, 0.0]
        assert all(str(task["answer"]) in text for text in row["texts"])
        assert sorted(row["shown"]) == sorted(row["texts"])
    assert len({row["texts"].index(row["shown"][0]) for row in rows}) > 2  # the place says nothing


def test_rounds_and_grpo_have_equally_many_completions():
    asked = samples.ROUNDS * samples.ROUND_PROMPTS * samples.SAMPLES
    assert asked == samples.GRPO_STEPS * samples.COMPLETIONS


def test_the_prompts_of_rounds_of_pairs_are_other_ones(monkeypatch):
    monkeypatch.setattr(samples, "few", 5)
    asked = [samples.lines_of(samples.Path(samples.asked_tiles(7, number))) for number in range(2)]
    assert [len(lines) for lines in asked] == [5, 5]
    boards = [{samples.Path(row["images"][0]).read_bytes() for row in lines} for lines in asked]
    assert not boards[0] & boards[1]
    assert all(set(row) == {"prompt", "answer", "images"} for row in asked[0])


def test_tables_pool_seeds_and_compare_the_same_rows():
    kept = {"can be said": 1, "not": 4}
    cells = {
        "pool/likeliest/1": {"right": "1111", "kept": {"can be said": 5, "not": 0}},
        "pool/likeliest/2": {"right": "1110", "kept": {"can be said": 5, "not": 0}},
        "pool/random/1": {"right": "1000", "kept": kept},
        "rounds/sums/rounds/1": {"right": "1110", "after": [0.25, 0.75], "rows": [3, 9]},
        "rounds/sums/rounds/2": {"right": "1100", "after": [0.25, 0.5], "rows": [5, 9]},
        "rounds/sums/grpo/1": {"right": "1111"},
        "pairs/stale/1": {"right": "1100", "pairs": [4, 4]},
        "pairs/fresh/1": {"right": "1110", "pairs": [4, 2]},
        "own/sums/references/1": {"right": "11", "others": other([[2.0, 2], [1.0, 2]])},
        "own/sums/own/1": {"right": "11", "others": other([[1.0, 2], [0.5, 2]])},
    }
    lines = table(cells).splitlines()
    (likeliest,) = [line for line in lines if "--keep likeliest" in line]
    assert "| 100% | 87.5%" in likeliest
    assert "| +75.0 (" in likeliest  # seed 1 alone, which both have
    (drawn,) = [line for line in lines if line.startswith("| drawn")]
    assert "| 20% | 25.0%" in drawn
    (rounds,) = [line for line in lines if line.startswith("| sums | rounds")]
    assert rounds.endswith("| 25.0%, 62.5% | 4, 9 | 75.0% |")
    (fresh,) = [line for line in lines if "fresh" in line]
    assert "| 4, 2 | +25.0 (" in fresh
    own = [line for line in lines if "own right answers" in line]
    assert any("| calls | 50.0%" in line and "| 0.375 | -0.375 (" in line for line in own)


def other(losses: list[list[float]]) -> dict:
    return {name: {"right": "10", "losses": losses} for name in ("calls", "turns")}
