"""Names with weights, and how many rows a weight is."""

from __future__ import annotations

from collections import Counter

import pytest

from pixeltune.errors import UserError
from pixeltune.training.settings import PaintArguments
from pixeltune.training.shares import Share, described, drawn, of_files, of_tasks


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("sums", Share("sums")),
        ("sums:0.5", Share("sums", 0.5)),
        ("sums:2", Share("sums", 2.0)),
        ("sums:.25", Share("sums", 0.25)),
        ("sums:1e-1", Share("sums", 0.1)),
        ("seal_tools:single", Share("seal_tools:single")),
        ("seal_tools:single:0.5", Share("seal_tools:single", 0.5)),
        ("api_bank:level-1-api", Share("api_bank:level-1-api")),
        ("my.tasks:TASK", Share("my.tasks:TASK")),
        ("my.tasks:TASK:3", Share("my.tasks:TASK", 3.0)),
        (
            "my.tasks:TASK:easy:3",
            Share("my.tasks:TASK:easy", 3.0),
        ),  # no number: a category, which find_task's rows refuse
    ],
)
def test_a_number_behind_the_last_colon_of_a_task_is_its_weight(name, share):
    assert of_tasks(["calls", name]) == [Share("calls"), share]


def test_one_task_alone_keeps_its_whole_name():
    assert of_tasks(["bfcl:3"]) == [Share("bfcl:3")]
    with pytest.raises(UserError, match=r"sums:0.5: a weight is for several tasks.*--train_rows"):
        of_tasks(["sums:0.5"])


@pytest.mark.parametrize("weight", ["0", "-1", "0.0", "1e999"])
def test_a_weight_is_above_zero(weight):
    with pytest.raises(UserError, match="must be above 0 and at most 100: leave sums out"):
        of_tasks(["calls", f"sums:{weight}"])


def test_what_is_there_twice_is_refused():
    with pytest.raises(UserError, match=r"the task sums is there twice.*sums:2"):
        of_tasks(["sums", "sums:0.5"])


def test_files_and_names_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl", "b.jsonl:3", "c"):
        (tmp_path / name).write_text("{}\n")
    assert of_files(["a.jsonl", "b.jsonl:0.5"]) == [Share("a.jsonl"), Share("b.jsonl", 0.5)]
    assert of_files(["a.jsonl", "b.jsonl:3"])[1] == Share("b.jsonl:3")  # a file is there under that name
    assert of_files(["a.jsonl", "c:2"])[1] == Share("c", 2.0)
    assert of_files(["a.jsonl", "data/nowhere.jsonl:2"])[1] == Share("data/nowhere.jsonl", 2.0)
    for name, share in (
        ("owner/name", Share("owner/name")),
        ("owner/name:config", Share("owner/name:config")),
        ("owner/name:config:split", Share("owner/name:config:split")),
        ("owner/name::train:0.5", Share("owner/name::train", 0.5)),
        ("owner/name:2020:train:0.5", Share("owner/name:2020:train", 0.5)),
        ("owner/name:config:train[:100]", Share("owner/name:config:train[:100]")),
    ):
        assert of_files(["a.jsonl", name])[1] == share
        assert of_files([name]) == [Share(name)]
    assert of_files(["owner/name:2020"]) == [Share("owner/name:2020")]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("owner/name:2020", "owner/name:2020:train:1"), ("owner/name:config:2", "owner/name:config:2:1")],
)
def test_a_number_that_may_be_a_part_of_a_hub_s_name_is_asked_about(name, remedy):
    with pytest.raises(UserError, match=f"may be a weight or a part of the name.*{remedy}") as caught:
        of_files(["other/rows", name])
    assert "\n" not in str(caught.value)
    assert of_files(["other/rows", remedy])[1] == Share(remedy.removesuffix(":1"), 1.0)


def test_one_file_alone_has_no_weight_and_two_no_title_in_common(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="a weight is for several files"):
        of_files([f"{tmp_path}/a/rows.jsonl:0.5"])
    with pytest.raises(UserError, match=r"would be called rows.*rename"):
        of_files([f"{tmp_path}/{folder}/rows.jsonl" for folder in "ab"])


def test_what_strangers_may_know(tmp_path):
    assert described([Share("calls"), Share("sums", 0.5)], files=False) == "calls + 0.5 sums"
    shares = [Share(str(tmp_path / "rows.jsonl"), 2.0), Share("owner/name:config:train")]
    assert described(shares, files=True) == "2 rows.jsonl + owner/name:config:train"


def rows(n: int) -> list[dict]:
    return [{"id": number} for number in range(n)]


@pytest.mark.parametrize(
    ("n", "weight", "expected"), [(10, 0.5, 5), (10, 1, 10), (10, 2.5, 25), (3, 0.01, 1), (7, 1 / 7, 1)]
)
def test_a_weight_is_a_share_of_the_rows_and_repeats_none_before_all_are_there(n, weight, expected):
    found = drawn(rows(n), weight, 42, "sums")
    assert len(found) == expected
    often = Counter(row["id"] for row in found)
    assert max(often.values()) - (min(often.values()) if len(often) == n else 0) <= 1


def test_the_draw_is_of_the_seed_and_of_the_name():
    first = drawn(rows(100), 0.3, 42, "sums")
    assert first == drawn(rows(100), 0.3, 42, "sums")
    assert first != drawn(rows(100), 0.3, 43, "sums")
    assert first != drawn(rows(100), 0.3, 42, "calls")
    assert drawn(rows(100), 1, 42, "sums") == rows(100)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": ["sums"], "balance": True}, "--balance is between several"),
        ({"task": ["sums", "calls"], "data": ["a.jsonl", "b.jsonl"]}, "several files are rows of your own"),
        ({"task": ["sums", "calls"], "columns": ["prompt=question"]}, "a task's rows have their columns"),
        ({"task": None, "data": None}, "give --task"),
        ({"task": []}, "give --task"),
        ({"data": ["a.jsonl", {"prompt": "?"}]}, "data is a dict and must be the name of a file"),
    ],
)
def test_settings_that_do_not_go_together(settings, said):
    with pytest.raises(UserError, match=said):
        PaintArguments(**settings)


def test_one_name_is_a_list_of_one(tmp_path):
    assert PaintArguments(task="sums").task == ["sums"]
    assert PaintArguments(data=tmp_path).data == [str(tmp_path)]
    assert PaintArguments(task="sums", data=None).data == []
