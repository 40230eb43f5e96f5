from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks import bbh

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bbh"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "bbh"  # where somebody has put whole files
EXAMPLES = 200
RECORD = {"task": "snarks", "index": 3, "input": "Which?", "target": "(A)"}


def whole() -> list[dict]:
    if not (SHARED / "bbh.jsonl").is_file():
        pytest.skip("no bbh here")
    return bbh.rows("test", folder=SHARED)


def upstream(text: str, target: str) -> bool:
    """The rule of suzgunmirac/BIG-Bench-Hard's own transcripts, letter by letter."""
    return text.rpartition("So the answer is ")[2].removesuffix(".") == target


def test_a_record_becomes_a_row():
    first, *rest = bbh.rows("test", folder=FIXTURES)
    assert first == {
        "id": "boolean_expressions-112",
        "prompt": [
            {
                "role": "user",
                "content": "( ( not ( True ) ) ) is\n\nEnd your response with: So the answer is X.\n"
                "X is True or False.",
            }
        ],
        "completion": [{"role": "assistant", "content": "So the answer is False."}],
        "answer": "False",
        "group": "boolean_expressions",
    }
    assert [row["answer"] for row in rest] == "(B)|] ]|valid|(B)|31|yes|no|No|beth kenya".split("|")
    assert [row["id"] for row in bbh.rows("test", folder=FIXTURES, category="sports_understanding")] == [
        "sports_understanding-168",
        "sports_understanding-202",
    ]
    assert len(bbh.rows("test", 4, folder=FIXTURES)) == 4


def test_it_is_for_testing_only():
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=r"only the split test, .* its authors ask not to train on it"):
            bbh.rows(split, folder=FIXTURES)
    with pytest.raises(
        ValueError, match=r"no category 'chess': choose from boolean_expressions, .*, few_shot"
    ):
        bbh.rows("test", folder=FIXTURES, category="chess")


def test_a_folder_as_upstream_has_it(tmp_path):
    (tmp_path / "snarks.json").write_text(
        json.dumps({"canary": "...", "examples": [RECORD, RECORD]}, indent=4)
    )
    assert [row["id"] for row in bbh.rows("test", folder=tmp_path, category="snarks")] == [
        "snarks-0",
        "snarks-1",
    ]
    with pytest.raises(ValueError, match=r"has no bbh\.jsonl and no boolean_expressions\.json"):
        bbh.rows("test", folder=tmp_path)  # a mean over tasks is one over all of them
    for text in (
        "{",
        "[" * 100_000,
        "[1]",
        '{"examples": [1]}',
        '{"examples": 1}',
        '{"questions": []}',
        "\xff",
    ):
        (tmp_path / "snarks.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"snarks\.json is no task of BBH"):
            bbh.rows("test", folder=tmp_path, category="snarks")


def test_the_hub_has_a_config_for_each_task(monkeypatch):
    asked = []

    def from_hub(*words):
        asked.append(words)
        return [{"input": "Which?", "target": "(A)"}] * 2

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub", from_hub)
    assert [row["id"] for row in bbh.rows("test", category="snarks")] == ["snarks-0", "snarks-1"]
    assert asked == [("SaylorTwift/bbh", "snarks", "test")]
    assert len(bbh.rows("test")) == 2 * 27
    assert len({task for _, task, _ in asked}) == 27


@pytest.mark.parametrize("variant", ["cot_zeroshot", "cot_fewshot"])
def test_tasks_are_those_of_the_evaluation_harness(variant):
    """Names and repository as in lm-eval's own files, where it is installed."""
    if (spec := find_spec("lm_eval")) is None:
        pytest.skip("no lm_eval here")
    folder = Path(spec.submodule_search_locations[0]) / "tasks" / "bbh" / variant
    texts = [path.read_text() for path in folder.glob("*.yaml")]
    names = [found[1] for text in texts if (found := re.search(r'"?dataset_name"?: "?(\w+)', text))]
    assert sorted(names) == sorted(bbh.CATEGORIES)
    (template,) = folder.glob("*_template_yaml")
    assert yaml.safe_load(template.read_text())["dataset_path"] == bbh.HUB


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "chess"}, "bbh.jsonl, record 1: there is no task 'chess'"),
        ({"index": "3"}, "bbh.jsonl, record 1: 'index' is of the type str"),
        ({"target": True}, "bbh test, snarks 3: 'target' is of the type bool"),
        ({"input": " "}, "bbh test, snarks 3: 'input' or 'target' is empty"),
    ],
)
def test_a_record_that_is_not_one_is_named(change, message, tmp_path):
    (tmp_path / "bbh.jsonl").write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=re.escape(message)):
        bbh.rows("test", folder=tmp_path)


def test_worked_examples_in_front(tmp_path):
    with pytest.raises(ValueError, match=r"few_shot needs a folder with cot_prompts\.jsonl"):
        bbh.rows("test", category="few_shot")
    with pytest.raises(ValueError, match=r"has no cot_prompts\.jsonl"):
        bbh.rows("test", folder=FIXTURES, category="few_shot")
    (tmp_path / "bbh.jsonl").write_text(json.dumps(RECORD))
    (tmp_path / "cot_prompts.jsonl").write_text(
        json.dumps({"task": "snarks", "prompt": "Task.\n\nQ: 1\nA: 2\n"})
    )
    (row,) = bbh.rows("test", folder=tmp_path, category="few_shot")
    assert row["prompt"][0]["content"] == "Task.\n\nQ: 1\nA: 2\n\nQ: Which?\nA: Let's think step by step."
    (tmp_path / "cot_prompts.jsonl").write_text(json.dumps({"task": "navigate", "prompt": "Task."}))
    with pytest.raises(ValueError, match=r"cot_prompts\.jsonl has no examples of snarks"):
        bbh.rows("test", folder=tmp_path, category="few_shot")


@pytest.mark.parametrize(
    ("target", "text", "right"),
    [
        ("(B)", "So the answer is (B).", 1.0),
        ("(B)", "so the answer is: B", 1.0),
        ("(B)", "So the answer is **(B)**.\n\nI hope that helps.", 1.0),
        ("(B)", "**So the answer is (B).**", 1.0),
        ("(B)", "Answer: B", 1.0),
        ("(B)", "**Answer:** (B)", 1.0),
        ("(B)", "So the answer is (A). No. So the answer is (B).", 1.0),
        ("(B)", "Answer: A\nSo the answer is (B).", 1.0),
        ("(B)", "So the answer is (B).\nAnswer: A", 0.0),
        ("(B)", "So the answer is (B) or (C).", 0.0),
        ("(B)", "So the answer is (b).", 0.0),
        ("(B)", "It is (B).", 0.0),
        ("(B)", "So the answer is X.", 0.0),
        ("Yes", "So the answer is Yes.", 1.0),
        ("yes", "So the answer is Yes.", 0.0),  # upstream's targets have their case
        ("31", "So the answer is 31.", 1.0),
        ("31", "So the answer is 31.5", 0.0),
        ("-50", "So the answer is -50", 1.0),
        ("] ]", "So the answer is ]  ] .", 1.0),
        ("] ]", "So the answer is ] ] ].", 0.0),
        ("> )", "So the answer is > ).", 1.0),
        ("beth kenya", "So the answer is beth  kenya.", 1.0),
        ("beth kenya", "So the answer is kenya beth.", 0.0),
        ("Monsters, Inc", "So the answer is Monsters, Inc.", 1.0),
        ("No", "", 0.0),
        ("No", "So the answer is", 0.0),
        ("No", None, 0.0),
    ],
)
def test_scores(target, text, right):
    assert bbh.score({"answer": target}, text) == right
    if text is not None:
        assert bbh.reward([text], answer=[target], group=["snarks"]) == [right]


def test_the_mean_is_over_tasks():
    rows = bbh.rows("test", folder=FIXTURES)
    assert bbh.metrics(rows, [row["completion"][0]["content"] for row in rows]) == {"mean_over_tasks": 1.0}
    only = ["So the answer is yes." for _ in rows]  # half of one task of nine
    assert bbh.metrics(rows, only) == {"mean_over_tasks": pytest.approx(0.5 / 9)}


def test_the_whole_file_and_upstreams_rule():
    """References score, and an answer to another question of a task scores exactly where it is the same."""
    rows = whole()
    assert len(rows) == 6511
    sizes = {task: sum(row["group"] == task for row in rows) for task in bbh.CATEGORIES}
    odd = {"causal_judgement": 187, "penguins_in_a_table": 146, "snarks": 178}
    assert sizes == dict.fromkeys(bbh.CATEGORIES, 250) | odd
    for before, row in zip(rows[-1:] + rows, rows, strict=False):
        own, other = row["completion"][0]["content"], before["completion"][0]["content"]
        assert upstream(own, row["answer"])
        assert bbh.score(row, own) == 1.0
        assert bbh.score(row, other) == upstream(other, row["answer"])


def test_forms_that_the_prompt_names_are_those_of_the_targets():
    forms = {"a number": r"-?\d+", "a number in digits": r"\d+", bbh.CATEGORIES["snarks"]: r"\([A-R]\)"}
    stray = set()
    for row in whole():
        form = bbh.CATEGORIES[row["group"]]
        pattern = forms.get(form, form.replace(" or ", "|") if " or " in form else ".+")
        if not re.fullmatch(pattern, row["answer"]):
            stray.add(row["answer"])
    assert stray == {"Monsters, Inc", "dearth, wind, & fire", "rita, sue and bob poo"}  # upstream's slips


def test_upstreams_worked_examples_are_read():
    whole()
    worked = bbh.few_shot(SHARED)
    assert worked.keys() == bbh.CATEGORIES.keys()
    for task, prompt in worked.items():
        _, *examples = prompt.split("\n\nQ: ")
        assert len(examples) == 3
        for example in examples:
            target = example.rpartition("So the answer is ")[2].strip().removesuffix(".")
            assert bbh.score({"answer": target}, example) == 1.0, task
    row = bbh.rows("test", 1, folder=SHARED, category="few_shot")[0]
    assert row["prompt"][0]["content"].startswith(worked[row["group"]].strip())


@settings(max_examples=EXAMPLES)
@given(
    st.text()
    | st.lists(st.sampled_from(["So the answer is", "Answer:", "(", "A", ")", ".", " ", "\n"])).map("".join),
    st.sampled_from(["(B)", "Yes", "] >", "-31", "beth kenya"]),
)
def test_garbage_never_raises_and_scores_nothing(text, target):
    assert bbh.score({"answer": target}, text) == 0.0
    assert bbh.score({"answer": target}, f"{text}\nSo the answer is {target}.") == 1.0
