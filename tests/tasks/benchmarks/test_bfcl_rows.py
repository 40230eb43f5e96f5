"""Rows of BFCL, from the shared copy, upstream's files and the hub."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pixeltune.tasks.base import find_rows
from pixeltune.tasks.benchmarks import bfcl, dataset
from pixeltune.tasks.parsing.tool_calls import parse, render

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bfcl"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "bfcl"
FOLDER = SHARED if SHARED.is_dir() else FIXTURES
FIXED = bfcl.rows("test", folder=FIXTURES)


def row(identity: str) -> dict:
    """A row of the fixtures."""
    return next(row for row in FIXED if row["id"] == identity)


def said(row: dict) -> list[str]:
    return [turn["content"] for turn in row["completion"] if turn["role"] == "assistant"]


@pytest.mark.parametrize("folder", [FIXTURES, FOLDER], ids=["fixtures", "shared"])
def test_every_reference_is_right_and_no_other_categorys_is(folder):
    rows = bfcl.rows("test", folder=folder)
    assert {row["group"] for row in rows} == set(bfcl.CATEGORIES)
    for found in rows:
        if "completion" in found:
            assert bfcl.score(found, said(found)) == bfcl.grade(found, said(found)) == 1.0, found["id"]
        assert bfcl.score(found, ["I cannot do that."]) == (found["group"] == bfcl.IRRELEVANCE)
        assert bfcl.score(found, [render([{"name": "f", "arguments": {}}])]) == 0.0


def test_all_of_the_shared_copy():
    if not SHARED.is_dir():
        pytest.skip("no shared data")
    rows = bfcl.rows("test", folder=SHARED)
    assert Counter(row["group"] for row in rows) == {
        "simple_python": 320,
        "multiple": 160,
        "parallel": 160,
        "parallel_multiple": 160,
        "irrelevance": 192,
        "multi_turn_base": 160,
    }
    without = [row["id"] for row in rows if "completion" not in row and row["group"] != "irrelevance"]
    assert without == ["multi_turn_base_167"]  # its last turn calls nothing
    assert json.loads(next(row for row in rows if row["id"] == without[0])["ground_truth"])[-1] == []


def test_tools_are_json_schema_and_keep_their_names():
    found = row("multiple_8")
    tools = [tool["function"] for tool in json.loads(found["tools"])]
    (tool,) = (tool for tool in tools if tool["name"] == "realestate.find_properties")
    assert tool["parameters"]["type"] == "object"
    assert tool["parameters"]["properties"]["budget"]["type"] == "object"
    assert tool["parameters"]["properties"]["budget"]["properties"]["min"]["type"] == "number"
    (document,) = json.loads(found["functions"])  # the rule needs the types by BFCL's names
    assert document["parameters"]["properties"]["budget"]["type"] == "dict"
    assert found["prompt"][-1]["role"] == "user"


def test_what_a_reference_gives():
    (call,) = parse(row("simple_python_89")["completion"][0]["content"])
    assert call["arguments"]["conditions"] == {"department": "Science", "school": "Bluebird High School"}
    assert "fetch_limit" not in call["arguments"]  # "" comes first: better left out
    (call,) = parse(row("simple_python_96")["completion"][0]["content"])
    assert call["arguments"]["conditions"][0] == {"field": "age", "operation": ">", "value": "25"}
    calls = parse(row("parallel_multiple_26")["completion"][0]["content"])
    assert "type" not in calls[1]["arguments"]  # the document does not know it: upstream counts it as wrong
    assert calls[1]["arguments"]["transactions"] == []


def test_a_required_value_is_given_even_if_the_data_says_it_may_be_left_out(tmp_path):
    answer = {"id": "simple_python_1", "ground_truth": [{"math.factorial": {"number": ["", 5]}}]}
    folder = copied(tmp_path)
    only(folder, "simple_python", "simple_python_1")
    (folder / "possible_answer" / "simple_python.jsonl").write_text(json.dumps(answer))
    (found,) = bfcl.rows("test", folder=folder, category="simple_python")
    assert parse(said(found)[0])[0]["arguments"] == {"number": 5}


def test_a_draw_and_a_category():
    assert bfcl.rows("test", 5, 3, folder=FIXTURES) == bfcl.rows("test", 5, 3, folder=FIXTURES)
    assert bfcl.rows("test", 5, 3, folder=FIXTURES) != bfcl.rows("test", 5, 4, folder=FIXTURES)
    assert len(bfcl.rows("test", 5, folder=FIXTURES)) == 5
    parallel = [row for row in FIXED if row["group"] == "parallel"]
    assert find_rows("bfcl:parallel", "test", None, folder=FIXTURES) == parallel
    assert len({row["id"] for row in FIXED}) == len(FIXED)


def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES, tmp_path / "bfcl"))


def only(folder: Path, category: str, identity: str) -> None:
    for path in (folder / f"{category}.jsonl", folder / "possible_answer" / f"{category}.jsonl"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if json.loads(line)["id"] == identity))


def change(folder: Path, name: str, **values: object) -> None:
    """Change fields of the first record of a file; None takes a field away."""
    first, *others = (folder / name).read_text().splitlines()
    record = {key: value for key, value in (json.loads(first) | values).items() if value is not None}
    (folder / name).write_text("\n".join([json.dumps(record), *others]))


@pytest.mark.parametrize("version", ["v4", "v3"])
def test_the_official_names(tmp_path, version):
    folder = copied(tmp_path)
    for path in [*folder.glob("*.jsonl"), *folder.glob("possible_answer/*.jsonl")]:
        name = path.stem.replace("_python", "") if version == "v3" else path.stem
        path.rename(path.with_name(f"BFCL_{version}_{name}.json"))
    for path in folder.glob("multi_turn_func_doc/*.jsonl"):
        path.rename(path.with_suffix(".json"))
    assert bfcl.rows("test", folder=folder) == FIXED


def test_the_hub_is_asked_for_the_official_names(monkeypatch):
    asked = []

    def from_hub_file(repository: str, names: list[str]) -> list[dict]:
        asked.append((repository, *names))
        ours = names[0].replace("BFCL_v4_", "").removesuffix("json")
        return dataset.from_folder(FIXTURES, [f"{ours}jsonl"])

    monkeypatch.setattr(dataset, "from_hub_file", from_hub_file)
    assert bfcl.rows("test") == FIXED
    hub = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"
    assert asked[0] == (hub, "BFCL_v4_simple_python.json", "BFCL_v3_simple.json")
    assert (hub, "possible_answer/BFCL_v4_parallel.json", "possible_answer/BFCL_v3_parallel.json") in asked
    assert (hub, "multi_turn_func_doc/math_api.json") in asked
    assert len(asked) == 6 + 5 + 2


def test_answers_belong_by_id_and_else_by_place(tmp_path):
    folder = copied(tmp_path)
    answers = folder / "possible_answer" / "parallel.jsonl"
    whole = bfcl.rows("test", folder=folder, category="parallel")
    lines = answers.read_text().splitlines()
    answers.write_text("\n".join(reversed(lines)))
    assert bfcl.rows("test", folder=folder, category="parallel") == whole
    renamed = [json.dumps(json.loads(line) | {"id": f"other_{i}"}) for i, line in enumerate(lines)]
    answers.write_text("\n".join(renamed))
    assert bfcl.rows("test", folder=folder, category="parallel") == whole
    answers.write_text("\n".join(renamed[1:]))
    with pytest.raises(ValueError, match="bfcl test parallel has 3 questions and 2 answers"):
        bfcl.rows("test", folder=folder, category="parallel")


USER = {"role": "user", "content": "?"}
PARAMETERS = {"properties": {}, "required": []}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("multiple", {"id": None}, "bfcl test multiple, record 1: no 'id'"),
        ("multiple", {"question": None}, "bfcl test multiple, record 1: no 'question'"),
        ("multiple", {"question": []}, "record 1: 'question' is not a list of turns"),
        ("multiple", {"question": [USER]}, "record 1: 'question' is not a list of turns"),
        ("multiple", {"question": [[]]}, "record 1: 'question' is not a list of turns"),
        ("multiple", {"question": [[{"role": "user", "content": 1}]]}, "record 1: 'question' is not a list"),
        ("multiple", {"question": [[{"content": "?"}]]}, "record 1: no 'role'"),
        ("multiple", {"question": [[USER], [USER]]}, "record 1: 'question' has 2 turns"),
        ("multiple", {"function": {}}, "record 1: 'function' is of the type dict"),
        ("multiple", {"function": [1]}, "record 1: 'function' holds something else"),
        ("multiple", {"function": [{"name": "f"}]}, "record 1: no 'parameters'"),
        ("multiple", {"function": [{"name": "f", "parameters": {}}]}, "record 1: no 'properties'"),
        (
            "multiple",
            {"function": [{"name": "f", "parameters": {"properties": {"p": "string"}}}]},
            "record 1: 'p' is of the type str",
        ),
        (
            "multiple",
            {"function": [{"name": "f", "parameters": PARAMETERS}]},
            "calls 'realestate.find_properties', which 'function' does not describe",
        ),
        ("possible_answer/multiple", {"ground_truth": None}, "multiple, record 1: no 'ground_truth'"),
        ("possible_answer/multiple", {"ground_truth": [{}]}, "bfcl test multiple, record 1: a call in"),
        ("multi_turn_base", {"involved_classes": ["Os"]}, "'involved_classes' has 'Os'; known are Gorilla"),
        ("multi_turn_base", {"excluded_function": "cp"}, "'excluded_function' is of the type str"),
        (
            "multi_turn_base",
            {"excluded_function": ["ls"]},
            "'ls(a=True)' in 'ground_truth' calls what is not",
        ),
        ("multi_turn_base", {"question": [[USER]]}, "has not one list of calls for each turn"),
        ("possible_answer/multi_turn_base", {"ground_truth": ["ls()"] * 4}, "a turn in 'ground_truth' is no"),
        (
            "possible_answer/multi_turn_base",
            {"ground_truth": [[1], [], [], []]},
            "'int' in 'ground_truth' is no literal Python call",
        ),
    ],
)
def test_records_that_cannot_be_used(tmp_path, name, values, message):
    folder = copied(tmp_path)
    change(folder, f"{name}.jsonl", **values)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        bfcl.rows("test", folder=folder, category=name.rpartition("/")[2])
    assert "\n" not in str(error.value)


def test_an_id_that_occurs_twice(tmp_path):
    folder = copied(tmp_path)
    change(folder, "irrelevance.jsonl", id="multiple_8")
    with pytest.raises(ValueError, match="the id 'multiple_8' occurs twice"):
        bfcl.rows("test", folder=folder)


@pytest.mark.parametrize("arguments", [("train",), ("test", None, 0)])
def test_other_splits_categories_and_folders(arguments, tmp_path):
    with pytest.raises(ValueError, match=r"split test|no category 'live'"):
        bfcl.rows(*arguments, folder=FIXTURES, category="live")
    with pytest.raises(
        ValueError, match=r"has no simple_python.jsonl or BFCL_v4_simple_python.json or BFCL_v3"
    ):
        bfcl.rows("test", folder=tmp_path)
