from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.base import find_rows
from pixeltune.tasks.benchmarks.when2call import KINDS, metrics, options, reward, rows, score
from pixeltune.tasks.parsing.tool_calls import parse

FIXTURES = Path(__file__).parents[2] / "fixtures" / "when2call"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "when2call"
FOLDER = SHARED if SHARED.is_dir() else FIXTURES
FILE = "test_llm_judge.jsonl"
EXAMPLES = 200


def first(kind: str) -> tuple[dict, dict]:
    """A record of the fixture and its row."""
    records = [json.loads(line) for line in (FIXTURES / FILE).read_text().splitlines()]
    record = next(record for record in records if record["correct_answer"] == kind)
    return record, next(row for row in rows("test", folder=FIXTURES) if row["id"] == record["uuid"])


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_record_becomes_a_row(kind):
    record, row = first(kind)
    assert row["prompt"] == [{"role": "user", "content": record["question"]}]
    assert row["group"] == kind == KINDS[row["answer"]]
    replies = dict(zip(KINDS, options(row), strict=True))
    (call,) = parse(replies.pop("tool_call"))
    assert call == json.loads(record["answers"].pop("tool_call"))
    assert replies == record["answers"]
    assert row["completion"] == [{"role": "assistant", "content": options(row)[row["answer"]]}]


def test_tools_are_json_schema_and_no_tools_are_no_column():
    record, row = first("tool_call")
    tools = [tool["function"] for tool in json.loads(row["tools"])]
    upstream = [json.loads(tool) for tool in record["tools"]]
    assert [tool["name"] for tool in tools] == [tool["name"] for tool in upstream]
    assert {tool["parameters"]["type"] for tool in upstream} == {"dict"}
    assert {tool["parameters"]["type"] for tool in tools} == {"object"}
    assert [list(tool["parameters"]["properties"]) for tool in tools] == [
        list(tool["parameters"]["properties"]) for tool in upstream
    ]
    assert "tools" not in first("cannot_answer")[1]


def test_splits_kinds_and_draws():
    assert Counter(row["group"] for row in rows("test", folder=FIXTURES)) == {
        "tool_call": 1,
        "request_for_info": 1,
        "cannot_answer": 2,
    }
    assert len(find_rows("when2call:cannot_answer", "test", None, folder=FIXTURES)) == 2
    assert len(rows("test", 3, folder=FIXTURES)) == 3
    with pytest.raises(ValueError, match="when2call has the split test, not 'train'"):
        rows("train", folder=FIXTURES)
    with pytest.raises(ValueError, match="no category 'direct': choose from tool_call"):
        rows("test", folder=FIXTURES, category="direct")


def test_every_reference_scores_one_and_every_other_option_none():
    whole = rows("test", folder=FOLDER)
    for row in whole:
        right = [score(row, text) for text in options(row)]
        assert right == [float(i == row["answer"]) for i in range(4)]
    answers = [row["completion"][0]["content"] for row in whole]
    columns = {name: [row[name] for row in whole] for name in ("options", "answer")}
    assert reward(answers, **columns) == [1.0] * len(whole)
    assert reward([""] * len(whole), **columns) == [0.0] * len(whole)
    assert metrics(whole, answers) == {"macro_f1": 1.0, "tool_hallucination": 0.0}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full data is not here")
def test_the_whole_data():
    whole = rows("test", folder=SHARED)
    assert Counter(row["group"] for row in whole) == dict.fromkeys(KINDS[1:], 100)
    assert sum("tools" not in row for row in whole) == 17
    types = {
        kind["type"]
        for row in whole
        for tool in json.loads(row.get("tools", "[]"))
        for kind in tool["function"]["parameters"]["properties"].values()
    }
    assert types == {"string", "integer", "number", "boolean", "array", "object"}


def test_always_the_same_kind():
    whole = [first(kind)[1] for kind in KINDS[1:]]
    calls = metrics(whole, [options(row)[1] for row in whole])
    assert calls == {"macro_f1": pytest.approx((2 * 1 / (3 + 1)) / 3), "tool_hallucination": 1.0}
    assert metrics(whole, [options(row)[0] for row in whole]) == {"macro_f1": 0.0, "tool_hallucination": 0.0}
    assert metrics(whole, ["other"] * 3) == {"macro_f1": 0.0, "tool_hallucination": 0.0}
    assert metrics(whole[:1], [options(whole[0])[1]]) == {"macro_f1": 1.0, "tool_hallucination": 0.0}
    assert metrics([], []) == {"macro_f1": 0.0, "tool_hallucination": 0.0}


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_macro_f1_is_that_of_scikit_learn(pairs):
    f1_score = pytest.importorskip("sklearn.metrics").f1_score
    replies = json.dumps(list(KINDS))
    whole = [{"options": replies, "answer": right} for right, _ in pairs]
    value = metrics(whole, [KINDS[chosen] for _, chosen in pairs])["macro_f1"]
    right, chosen = zip(*pairs, strict=True)
    assert value == pytest.approx(f1_score(right, chosen, average="macro", zero_division=0))


def test_the_hub_is_asked_for_the_judge_part(monkeypatch):
    asked = []

    def from_hub(*names):
        asked.append(names)
        return [first("request_for_info")[0]]

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub", from_hub)
    assert [row["group"] for row in rows("test")] == ["request_for_info"]
    assert asked == [("nvidia/When2Call", "test", "llm_judge")]


@pytest.mark.parametrize(
    "name", ["when2call_test_llm_judge.jsonl", "data/test/when2call_test_llm_judge.jsonl"]
)
def test_upstream_names_of_the_file(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes((FIXTURES / FILE).read_bytes())
    assert rows("test", folder=tmp_path) == rows("test", folder=FIXTURES)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"correct_answer": "other"}, "record 1: 'correct_answer' is 'other', not one of direct, tool_call"),
        ({"question": None}, "record 1: 'question' is of the type NoneType"),
        ({"uuid": 7}, "record 1: 'uuid' is of the type int"),
        ({"answers": {"direct": "no"}}, "record 1, answers: no 'tool_call'"),
        ({"tool_call": "{"}, "record 1: the 'tool_call' of 'answers' is not JSON"),
        ({"tool_call": "[" * 100_000}, "record 1: the 'tool_call' of 'answers' is not JSON"),
        ({"tool_call": "[]"}, "record 1: the 'tool_call' of 'answers' is no object with a 'name'"),
        ({"request_for_info": "same", "direct": "same "}, "record 1: two of the four 'answers' are the same"),
        ({"request_for_info": " "}, "record 1: two of the four 'answers' are the same, or one is empty"),
        ({"tools": "[]"}, "record 1: 'tools' is of the type str"),
        ({"tools": ["{"]}, "record 1: one of the 'tools' is not JSON"),
        ({"tools": [7]}, "record 1: one of the 'tools' is no object with a 'name'"),
        ({"tools": [{"name": "f", "parameters": None}]}, "record 1, tools: 'parameters' is of the type"),
    ],
)
def test_what_goes_wrong_is_named(change, match, tmp_path):
    record = first("tool_call")[0]
    for name, value in change.items():
        (record["answers"] if name in KINDS else record)[name] = value
    (tmp_path / FILE).write_text(json.dumps(record))
    with pytest.raises(ValueError, match=match):
        rows("test", folder=tmp_path)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text() | st.sampled_from(KINDS))
def test_garbage_earns_nothing(text):
    row = first("tool_call")[1]
    assert score(row, text) == 0.0
    assert metrics([row], [text])["macro_f1"] == 0.0
