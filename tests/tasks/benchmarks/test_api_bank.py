from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.base import find_rows
from pixeltune.tasks.benchmarks.api_bank import CATEGORIES, TRAINING, parse, reward, rows, score

FIXTURES = Path(__file__).parents[2] / "fixtures" / "api_bank"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "api_bank"
FOLDER = SHARED if SHARED.is_dir() else FIXTURES
EXAMPLES = 200

MALFORMED = (
    "API-Request: [RecordHealthData(user_id='1234', time='2022-01-01 10:00:00', "
    "health_data='[{'name': 'blood_pressure', 'value': '110/70'}]')]"
)


def row(reference: str) -> dict:
    return {"reference": reference}


def found(split: str) -> dict[str, dict]:
    return {one["id"]: one for one in rows(split, folder=FIXTURES)}


def test_records_become_rows():
    one = found("test")["level-1-api/GetToday-level-1-1.jsonl/0"]
    (message,) = one["prompt"]
    assert message["role"] == "user"
    assert message["content"].startswith("Generate an API request in the format of [ApiName(key1='value1',")
    assert (
        '"description": "The current date. Format: %Y-%m-%d"}}}\nUser: Can you tell me' in message["content"]
    )
    assert message["content"].endswith("AI: Sure, let me check.\nGenerate API Request:")
    assert one["reference"] == one["completion"][0]["content"] == "API-Request: [GetToday()]"
    assert {"level-3-batch-inf/18/0", "level-2-response/GetToday-level-3-1.jsonl/1"} <= set(found("test"))


def test_splits_categories_and_draws():
    groups = Counter(one["group"] for one in found("test").values())
    assert groups == dict(zip(CATEGORIES, (2, 1, 2, 1, 2), strict=True))
    (alone,) = find_rows("api_bank:level-1-response", "test", None, folder=FIXTURES)
    assert alone["reference"] == "Today is 2023-03-31."
    assert len(rows("test", 3, folder=FIXTURES)) == 3
    assert rows("train", folder=FIXTURES, category="lv3-response-train")[0]["group"] == "lv3-response-train"
    with pytest.raises(ValueError, match="choose from lv3-api-train, lv3-response-train"):
        rows("train", folder=FIXTURES, category="level-1-api")
    with pytest.raises(ValueError, match="not 'dev'"):
        rows("dev", folder=FIXTURES)


def test_all_steps_of_one_task_are_in_the_same_part():
    for ids in (set(found("train")), set(found("validation"))):
        steps = {"lv3-api-train/1", "lv3-api-train/2", "lv3-response-train/1"}
        assert steps <= ids or not steps & ids
    assert set(found("train")) | set(found("validation")) == {f"lv3-api-train/{i}" for i in (1, 2, 3)} | {
        "lv3-response-train/1"
    }


def test_the_time_of_a_task_does_not_part_its_steps(tmp_path):
    record = {"instruction": "Do.", "output": "AI: Done."}
    inputs = [
        f"User: Find yoga class {n}.{time}\nNext:"
        for n in range(20)
        for time in ("", "TIME: 10:00", "TIME: 11:00")
    ]
    text = json.dumps([record | {"input": one} for one in inputs])
    (tmp_path / "lv3-response-train.json").write_text(text)
    kept = rows("validation", folder=tmp_path, category="lv3-response-train")
    assert 0 < len(kept) < 60
    assert len(kept) == 3 * len(
        {one["prompt"][0]["content"].partition(".")[2].partition(".")[0] for one in kept}
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_reference_scores_one(split):
    whole = rows(split, folder=FOLDER)
    answers = [one["completion"][0]["content"] for one in whole]
    assert [score(one, text) for one, text in zip(whole, answers, strict=True)] == [1.0] * len(whole)
    assert reward(answers, reference=[one["reference"] for one in whole]) == [1.0] * len(whole)
    assert {score(one, "") for one in whole} <= {0.0}
    requests = [one for one in whole if one["reference"].startswith("API-Request:")]
    for one in requests:
        text = one["reference"]
        assert score(one, f"I think so.\n{text}->{{'output': [('a)]', None)]}}\nUser: Thanks (a lot)]") == 1.0
        assert (
            score(one, text.replace("(", "s(", 1)) == score(one, text.replace("(", "(more='1', ", 1)) == 0.0
        )
        assert score(one, text.partition("(")[0]) == 0.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full data is not here")
def test_the_whole_data_and_how_much_of_it_is_no_python():
    whole = [one for split in ("train", "validation", "test") for one in rows(split, folder=SHARED)]
    counts = Counter(one["group"] for one in whole)
    assert [counts[name] for name in (*CATEGORIES, *TRAINING)] == [399, 375, 135, 103, 245, 907, 338]
    requests = [one for one in whole if one["reference"].startswith("API-Request:")]
    assert Counter(one["group"] for one in requests) == {
        "level-1-api": 399,
        "level-2-api": 135,
        "level-3-batch-inf": 245,
        "lv3-api-train": 907,
    }
    assert Counter(one["group"] for one in requests if parse(one["reference"]) is None) == {
        "level-1-api": 31,
        "level-2-api": 10,
        "level-3-batch-inf": 10,
        "lv3-api-train": 101,
    }
    tasks = []
    for split in ("train", "validation"):
        prompts = [one["prompt"][0]["content"] for one in rows(split, folder=SHARED)]
        lines = [prompt.rpartition("User: ")[2].partition("\n")[0] for prompt in prompts]
        tasks.append({line.partition("TIME:")[0].strip() for line in lines})
    assert len(tasks[1]) > 20
    assert not tasks[0] & tasks[1]


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("API-Request: [GetToday()]", "GetToday", {}),
        ("API-Request: GetToday()", "GetToday", {}),
        ("[GetToday()]", "GetToday", {}),
        ("Sure: [A(x='1')] or rather [B(x='2')].", "B", {"x": "2"}),
        ("API-Request: [A(x='1')]\nAPI-Request: [B(x='2')]", "B", {"x": "2"}),
        ("API-Request: [A(x='1')] as in [B(x='2')]", "A", {"x": "1"}),
        ("API-Request:\n [ A(x='1', y=\"it's\") ]", "A", {"x": "1", "y": "it's"}),
        ("API-Request: [Calculator(formula='(5+6)*3')]", "Calculator", {"formula": "(5+6)*3"}),
        ("API-Request: [A(x='a)]')]->33.0", "A", {"x": "a)]"}),
        (
            "API-Request: [A(x=5, y=-1.5, z=True, w=None)]",
            "A",
            {"x": "5", "y": "-1.5", "z": "True", "w": "None"},
        ),
        ("API-Request: [A(x=['a', {'b': (1, 2)}])]", "A", {"x": "['a', {'b': (1, 2)}]"}),
        ("API-Request: [A(\n  x='1',\n  y='2',\n)]", "A", {"x": "1", "y": "2"}),
    ],
)
def test_requests_that_are_read(text, name, arguments):
    assert parse(text) == (name, arguments)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GetToday()",
        "API-Request:",
        "API-Request: []",
        "API-Request: [GetToday]",
        "API-Request: [GetToday(]",
        "API-Request: [GetToday()",
        "API-Request: [A('1')]",
        "API-Request: [A(x=y)]",
        "API-Request: [A(x=f('1'))]",
        "API-Request: [A(x='1', x='2')]",
        "API-Request: [A(**{'x': '1'})]",
        "API-Request: [A(*['1'])]",
        "API-Request: [A(x='1'), B(x='2')]",
        "API-Request: [A(x={[]: 1})]",
        "API-Request: [A(x='a'*9)]",
        "API-Request: [A(x='\0')]",
        "API-Request: [A(x=0x" + "f" * 3900 + ")]",
        "API-Request: [A(x=" + "(" * 300 + "1" + ")" * 300 + ")]",
        "API-Request: [A(x=" + "-" * 3900 + "1)]",
        "API-Request: [A(x=" + "a." * 1900 + "a)]",
        "API-Request: [A(x=1)(y=2)]",
        "API-Request: [" + "A" * 101 + "(x=1)]",
        MALFORMED,
    ],
)
def test_requests_that_are_not(text):
    assert parse(text) is None
    assert score(row("API-Request: [A(x='1')]"), text) == 0.0


def test_arguments_are_compared_as_texts_in_any_order():
    right = row("API-Request: [Book(day='2023-03-05', guests='2', names=['a', 'b'])]")
    for same in (
        "API-Request: [Book(names=['a', 'b'], guests=2, day='2023-03-05')]",
        'API-Request: [Book(day="2023-03-05", guests="2", names="[\'a\', \'b\']")]',
        "[Book( day = '2023-03-05', guests = '2', names = [ 'a','b' ] )]",
    ):
        assert score(right, same) == 1.0
    for other in (
        "API-Request: [Book(day='2023-03-05', guests='3', names=['a', 'b'])]",
        "API-Request: [Book(day='2023-03-05', guests='2', names=['b', 'a'])]",
        "API-Request: [Book(day='2023-03-05', guests='2.0', names=['a', 'b'])]",
        "API-Request: [Book(day='2023-03-05', guests='2')]",
        "API-Request: [Book(day=2023-03-05, guests='2', names=['a', 'b'])]",
        "API-Request: [book(day='2023-03-05', guests='2', names=['a', 'b'])]",
    ):
        assert score(right, other) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        MALFORMED,
        MALFORMED.replace("='[", "=[").replace("]')", "])"),
        MALFORMED.replace("='[", '="[').replace("]')", ']")'),
        MALFORMED.replace("'[{", "'[{ ").replace(": ", ":"),
        "[RecordHealthData(health_data=[{'name': 'blood_pressure', 'value': '110/70'}], "
        "time='2022-01-01 10:00:00', user_id=1234)]",
    ],
)
def test_a_reference_that_is_no_python_is_compared_without_its_quotes(text):
    assert score(row(MALFORMED), text) == 1.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1234", "123"),
        ("110/70", "110/7"),
        ("10:00:00", "100000"),
        ("2022-01-01 10", "2022-01-0110"),
        ("RecordHealthData", "QueryHealthData"),
        ("user_id='1234', ", ""),
        ("user_id", "user"),
        ("API-Request: [", ""),
    ],
)
def test_and_is_not_right_with_another_value(old, new):
    assert score(row(MALFORMED), MALFORMED.replace(old, new)) == 0.0


def test_a_reference_without_quotes():
    right = row("API-Request: [GetSurgeryCost(surgery=heart transplant, location=Los Angeles)]")
    assert (
        score(right, "API-Request: [GetSurgeryCost(location='Los Angeles', surgery='heart transplant')]")
        == 1.0
    )
    assert score(right, "API-Request: [GetSurgeryCost(location='Los Angeles', surgery='heart')]") == 0.0
    assert score(right, "no request") == score(right, "") == 0.0


def test_what_goes_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no level-1-api\.jsonl or test-data/level-1-api\.json or"):
        rows("test", folder=tmp_path)
    good = {
        "instruction": "Do.",
        "input": "This.",
        "output": "API-Request: [A()]",
        "sample_id": 1,
        "api_id": 2,
    }
    (tmp_path / "test-data").mkdir()
    for change, match in (
        ({"input": 7}, "level-3-batch-inf, record 2: 'input' is of the type int"),
        ({"output": None}, "record 2: 'output' is of the type NoneType"),
        ({"output": " "}, "record 2: 'output' is neither a request nor a reply"),
        (
            {"output": "API-Request: none"},
            "record 2: 'output' is neither a request nor a reply: 'API-Request",
        ),
        ({}, "the id 'level-3-batch-inf/1/2' occurs twice"),
    ):
        (tmp_path / "test-data" / "level-3-batch-inf.json").write_text(json.dumps([good, good | change]))
        with pytest.raises(ValueError, match=match):
            rows("test", folder=tmp_path, category="level-3-batch-inf")


def test_the_hub_is_asked_for_upstream_files(monkeypatch):
    asked = []

    def from_hub_file(repository, names):
        asked.append((repository, names))
        return [{"instruction": "Do.", "input": f"User: {len(asked)}", "output": "AI: Done."}]

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub_file", from_hub_file)
    assert len(rows("train")) + len(rows("validation")) <= 4
    (one,) = rows("test", category="level-2-api")
    assert one["id"] == "level-2-api/1"
    assert asked[0] == ("liminghao1630/API-Bank", ["training-data/lv3-api-train.json"])
    assert asked[-1] == ("liminghao1630/API-Bank", ["test-data/level-2-api.json"])


PIECES = [*"[]'\"\\),({1é \n\0", "API-Request:", "A(", "x=", "->", "f("]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_garbage_never_raises_and_earns_nothing(text):
    for reference in ("API-Request: [Sum(terms='(1+2)', base='31415')]", MALFORMED):
        assert score(row(reference), text) == 0.0
    assert 0.0 <= score(row("The result is 33."), text) <= 1.0


@pytest.mark.parametrize(
    "piece", [*PIECES, "[A(", "[A()", "API-Request: [A(", ",x=", "x'='", "word ", "a)]->"]
)
def test_hostile_text_takes_no_longer_than_its_length(piece):
    text = piece * 200_000
    begin = time.process_time()
    for reference in ("API-Request: [A(x='1')]", MALFORMED, "word " * 3000):
        score(row(reference), text)
        score(row(reference), "API-Request: [A(" + text)
    assert time.process_time() - begin < 4
