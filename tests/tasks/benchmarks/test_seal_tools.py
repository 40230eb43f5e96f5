from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.base import find_rows
from pixeltune.tasks.benchmarks.seal_tools import SPLITS, metrics, reward, rows, score
from pixeltune.tasks.parsing.tool_calls import parse
from pixeltune.tasks.synthetic.calls import render

FIXTURES = Path(__file__).parents[2] / "fixtures" / "seal_tools"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "seal_tools"
FOLDER = SHARED if SHARED.is_dir() else FIXTURES
EXAMPLES = 200

NESTED = [
    {"name": "getPolicy", "arguments": {"library": "Congress"}},
    {"name": "checkPrivacy", "arguments": {"system": "API_call_0", "days": 3}},
]
PLAIN = [
    {"name": "getFrequency", "arguments": {"genotype": "CC", "share": 0.5}},
    {"name": "getRock", "arguments": {"sample": 17, "tags": ["a", "b"]}},
    {"name": "getFrequency", "arguments": {"genotype": "CT"}},
]


def said(*calls: dict) -> str:
    return "\n".join(render(call) for call in calls)


def row(calls: list[dict]) -> dict:
    return {"calls": json.dumps(calls)}


def found(split: str) -> dict[str, dict]:
    return {one["id"]: one for one in rows(split, folder=FIXTURES)}


def test_a_record_becomes_a_row():
    one = found("train")["dev-difficult-646"]
    (message,) = one["prompt"]
    assert message["role"] == "user"
    assert message["content"].startswith(
        "Can you help me with some library-related inquiries? First, retrieve"
    )
    assert message["content"].count("API_call_0") == 1
    assert [call["name"] for call in json.loads(one["calls"])] == [
        "getDigitalAccessPolicy",
        "checkDataPrivacy",
        "getLegalAdvice",
    ]
    assert parse(one["completion"][0]["content"]) == json.loads(one["calls"])
    tools = {tool["function"]["name"]: tool["function"] for tool in json.loads(one["tools"])}
    assert len(tools) == 5
    assert tools["checkDataPrivacy"]["description"].count("Returns ") == 1
    assert tools["checkDataPrivacy"]["parameters"]["type"] == "object"
    assert tools["checkDataPrivacy"]["parameters"]["properties"]["user_role"]["type"] == "string"
    assert set(tools["checkDataPrivacy"]["parameters"]["required"]) <= set(
        tools["checkDataPrivacy"]["parameters"]["properties"]
    )


def test_the_results_of_a_tool_are_named_in_its_description():
    lines = (FIXTURES / "tool.jsonl").read_text().splitlines()
    upstream = {tool["api_name"]: tool for tool in map(json.loads, lines)}
    for one in found("test").values():
        for tool in json.loads(one["tools"]):
            wanted = upstream[tool["function"]["name"]]
            assert tool["function"]["description"].endswith(f". Returns {', '.join(wanted['responses'])}.")
            assert tool["function"]["parameters"]["required"] == wanted["required"]


def test_splits_domains_and_draws():
    assert set(found("validation")) == {"dev-easy-0", "dev-easy-97"}
    assert set(found("train")) == {"dev-difficult-646"}
    assert {one["group"] for one in found("test").values()} == {"in_domain", "out_domain"}
    assert "group" not in found("train")["dev-difficult-646"]
    (alone,) = find_rows("seal_tools:out_domain", "test", None, folder=FIXTURES)
    assert alone["id"] == "test_out_domain-difficult-220"
    assert len(rows("test", 2, folder=FIXTURES)) == 2
    assert rows("test", 2, 1, folder=FIXTURES) == rows("test", 2, 1, folder=FIXTURES)


def test_a_needed_tool_that_is_not_on_offer_leaves_the_row_in():
    one = found("test")["test_out_domain-difficult-220"]
    offered = {tool["function"]["name"] for tool in json.loads(one["tools"])}
    assert not {call["name"] for call in json.loads(one["calls"])} <= offered


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_reference_scores_one_and_the_figures_are_one(split):
    whole = rows(split, folder=FOLDER)
    answers = [one["completion"][0]["content"] for one in whole]
    assert [score(one, text) for one, text in zip(whole, answers, strict=True)] == [1.0] * len(whole)
    assert reward(answers, calls=[one["calls"] for one in whole]) == [1.0] * len(whole)
    assert set(metrics(whole, answers).values()) == {1.0}
    assert set(metrics(whole, [""] * len(whole)).values()) == {0.0}
    assert [score(one, text + said(PLAIN[0])) for one, text in zip(whole, answers, strict=True)] == [
        0.0
    ] * len(whole)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full data is not here")
def test_the_whole_data():
    parts = {split: rows(split, folder=SHARED) for split in ("train", "validation", "test")}
    assert len(parts["train"]) + len(parts["validation"]) == 700
    assert 50 <= len(parts["validation"]) <= 90
    assert [one["group"] for one in parts["test"]] == ["in_domain"] * 700 + ["out_domain"] * 654
    missing, nested = 0, 0
    for one in [one for part in parts.values() for one in part]:
        offered = {tool["function"]["name"]: tool["function"] for tool in json.loads(one["tools"])}
        assert len(offered) == 5
        calls = json.loads(one["calls"])
        missing += any(call["name"] not in offered for call in calls)
        nested += any("API_call_" in str(value) for call in calls for value in call["arguments"].values())
        for call in calls:
            if call["name"] in offered:
                assert set(call["arguments"]) <= set(offered[call["name"]]["parameters"]["properties"])
    assert (missing, nested) == (8, 85)


def test_values_are_compared_as_strings():
    year = row([{"name": "getBudget", "arguments": {"year": "1999", "open": True, "share": 10.0}}])
    right = {"year": 1999, "open": True, "share": 10.0}
    assert score(year, said({"name": "getBudget", "arguments": right})) == 1.0
    for wrong in ({"share": 10}, {"year": 1998}, {"open": "true"}, {"more": 1}):
        assert score(year, said({"name": "getBudget", "arguments": right | wrong})) == 0.0
    assert score(year, said({"name": "getBudgets", "arguments": right})) == 0.0
    assert score(year, said({"name": "getBudget", "arguments": {"year": 1999, "open": True}})) == 0.0


def test_calls_between_tags_have_the_types_of_the_reference():
    text = (
        "<tool_call>\n<function=getRock>\n<parameter=sample>\n17\n</parameter>\n"
        '<parameter=tags>\n["a", "b"]\n</parameter>\n</function>\n</tool_call>'
    )
    assert score(row(PLAIN[1:2]), text) == 1.0
    assert score(row(PLAIN[1:2]), text.replace("17", "18")) == 0.0


def test_order_is_free_until_a_parameter_refers_to_a_result():
    assert score(row(PLAIN), said(*PLAIN)) == score(row(PLAIN), said(*reversed(PLAIN))) == 1.0
    assert score(row(NESTED), said(*NESTED)) == 1.0
    assert score(row(NESTED), said(*reversed(NESTED))) == 0.0
    assert score(row(PLAIN), said(PLAIN[0], PLAIN[1], PLAIN[1])) == 0.0
    assert score(row(PLAIN), said(*PLAIN[:2])) == 0.0
    assert score(row([PLAIN[0], PLAIN[0]]), said(PLAIN[0], PLAIN[1])) == 0.0
    assert score(row(PLAIN), said(*PLAIN, PLAIN[0])) == 0.0


def test_figures_worked_out_by_hand():
    """Three tools and five parameters are wanted of the first row, two and three of the second."""
    answers = [
        said(PLAIN[0], {"name": "getRock", "arguments": {"sample": "17", "tag": "a"}}, NESTED[0]),
        "I cannot do that.",
    ]
    assert metrics([row(PLAIN), row(NESTED)], answers) == pytest.approx(
        {
            "format": 1 / 2,
            "tool_precision": 2 / 3,
            "tool_recall": 2 / 5,
            "tool_f1": 2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5),
            "parameter_precision": 3 / 5,  # genotype, share and sample, of these with tag and library
            "parameter_recall": 3 / 8,
            "parameter_f1": 2 * (3 / 5) * (3 / 8) / (3 / 5 + 3 / 8),
        }
    )


def test_a_call_that_is_repeated_is_right_once():
    again = metrics([row(PLAIN[:1])], [said(*[PLAIN[0]] * 4)])
    assert (again["tool_recall"], again["tool_precision"], again["parameter_precision"]) == (1.0, 0.25, 0.25)
    assert metrics([row(PLAIN)], [said(*PLAIN)])["parameter_f1"] == 1.0  # getFrequency is called twice


def test_calls_without_parameters_and_arguments_that_are_none():
    bare = row([{"name": "getTheory", "arguments": {}}])
    assert score(bare, said({"name": "getTheory", "arguments": {}})) == 1.0
    for text in ('{"name": "getTheory", "arguments": []}', '{"name": "getTheory"}'):
        assert score(bare, f"<tool_call>{text}</tool_call>") == 0.0
        figures = metrics([bare], [f"<tool_call>{text}</tool_call>"])
        assert (figures["tool_f1"], figures["parameter_f1"]) == (1.0, 0.0)


def test_one_call_that_cannot_be_read_spoils_the_format():
    text = said(*PLAIN) + "<tool_call>{</tool_call>"
    assert score(row(PLAIN), text) == 0.0
    assert metrics([row(PLAIN)], [text])["format"] == 0.0


def test_what_goes_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"fetch Seal-Tools_Dataset from github\.com/fairyshine/Seal-Tools"):
        rows("test")
    with pytest.raises(ValueError, match="seal_tools has no category 'in_domain': choose from single"):
        rows("train", folder=FIXTURES, category="in_domain")
    with pytest.raises(ValueError, match="not 'dev'"):
        rows("dev", folder=FIXTURES)
    copy = tmp_path / "Seal-Tools_Dataset"
    shutil.copytree(FIXTURES, copy)
    assert len(rows("test", folder=tmp_path)) == 3

    def fails(match: str, name: str, old: str, new: str) -> None:
        text = (FIXTURES / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=match):
            rows("test", folder=copy)
        shutil.copy(FIXTURES / name, copy / name)

    out, where = "test_out_domain.jsonl", r"test_out_domain\.jsonl, record 1: "
    fails(where + "no 'query'", out, '"query"', '"question"')
    fails(where + "'calling' is of the type str", out, '"calling": [', '"calling": "", "x": [')
    fails(where + "'calling' is empty", out, '"calling": [', '"calling": [], "x": [')
    fails(where + "'calling' holds something else", out, '"calling": [', '"calling": [7,')
    fails(where + "no 'api'", out, '"api": "getRecipe"', '"name": "getRecipe"')
    fails("has no 'test_out_domain-difficult-220'", "candidates.jsonl", "out_domain-difficult", "x")
    fails(r"candidates\.jsonl, record 1: no 'candidates'", "candidates.jsonl", '"candidates"', '"names"')
    fails(r"tool\.jsonl, record 1: no 'responses'", "tool.jsonl", '"responses"', '"returns"')
    fails(r"getPostmodernTheory are not in tool\.jsonl", "tool.jsonl", "getPostmodernTheory", "getTheory")
    (copy / "candidates.jsonl").unlink()
    with pytest.raises(ValueError, match=r"has no candidates\.jsonl"):
        rows("test", folder=copy)


PIECES = [
    "<tool_call>",
    "</tool_call>",
    '{"name": "getPolicy", "arguments": {"library": ',
    '"Congress"',
    "[" * 2000,
    '{"a":' * 400,
    "1e999",
    "NaN",
    "9" * 5000,
    "}}",
    "<function=getRock>",
    "</function>",
    "<parameter=tags>",
    "</parameter>",
    "\n",
]
WHOLE = rows("test", folder=FIXTURES)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=12).map("".join))
def test_garbage_never_raises_and_earns_nothing(text):
    for one in (*WHOLE, row(PLAIN)):
        assert score(one, text) == 0.0
        assert all(0.0 <= value <= 1.0 for value in metrics([one], [text]).values())


@pytest.mark.parametrize("depth", [100, 300, 900, 950, 980, 100_000])
def test_values_as_deep_as_a_well(depth):
    for value in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        text = f'<tool_call>{{"name": "getPolicy", "arguments": {{"library": {value}}}}}</tool_call>'
        tags = f"<tool_call><function=getPolicy><parameter=library>{value}</parameter></function></tool_call>"
        for one in (NESTED[:1], [{"name": "getPolicy", "arguments": {"library": ["a"]}}]):
            assert score(row(one), text) == score(row(one), tags) == 0.0
            assert metrics([row(one)], [text])["parameter_f1"] == 0.0
            assert metrics([row(one)], [tags])["parameter_f1"] == 0.0


@pytest.mark.skipif(not SHARED.exists(), reason="no copy of the data")
@pytest.mark.parametrize(("category", "offered"), [("single", 5), ("single_of_two", 2)])
def test_single_calls_are_rows_of_their_own(category, offered):
    sizes = {split: find_rows(f"seal_tools:{category}", split, None, folder=SHARED) for split in SPLITS}
    assert {split: len(found) for split, found in sizes.items()} == {
        "train": 178,
        "validation": 22,
        "test": 294,
    }
    assert not {row["id"] for row in sizes["train"]} & {row["id"] for row in sizes["validation"]}
    places = []
    for row in sizes["test"]:
        (call,), names = json.loads(row["calls"]), [t["function"]["name"] for t in json.loads(row["tools"])]
        assert len(set(names)) <= offered
        assert "API_call_" not in row["prompt"][0]["content"]
        if category == "single_of_two":
            places.append(names.index(call["name"]))
    assert len(places) == 0 or 0.4 < sum(places) / len(places) < 0.6
