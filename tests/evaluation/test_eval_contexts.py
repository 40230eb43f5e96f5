"""``eval --contexts``: the same rows without contexts and with them, by their kinds."""

from __future__ import annotations

import json

import pytest

from pixeltune.cli.main import main
from pixeltune.data.contexts import Context
from pixeltune.errors import UserError
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.evaluation.plans import Plan, in_contexts
from pixeltune.tasks.synthetic import refusals, sums

HABIT = [
    {"role": "user", "content": "What is 3 + 4?"},
    {"role": "assistant", "content": "Good question!\nI think it is 3.\nAnything else?"},
]
WORDS = [
    {"role": "system", "content": "Work it out column by column. End with Answer: and the number. Be brief."}
]


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "talks.jsonl"
    lines = [{"messages": HABIT, "kind": "habit"}, {"messages": WORDS, "kind": "words"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(autouse=True)
def few_refusals(monkeypatch):
    shown = refusals.rows()
    monkeypatch.setattr(refusals, "rows", lambda: [shown[0], shown[-1]])


def test_scores_without_and_with_by_kind(bundled, talks, tmp_path, capsys):
    out = tmp_path / "out"
    given = ["--contexts", str(talks), "--rows", "16", "--output_dir", str(out), "--compare", "off", "best"]
    assert main(["eval", "--task", "sums", *given]) == 0
    report = json.loads((out / "report.json").read_text())
    assert list(report["tasks"]) == ["sums", "sums in contexts"]
    plain, talked = (report["tasks"][name]["candidates"] for name in report["tasks"])
    assert "groups" not in plain["off"]
    kinds = talked["off"]["groups"]
    assert set(kinds) == {"habit", "words"}
    assert sum(n for _, n in kinds.values()) == 16
    assert kinds["words"][0] > 0.6 > 0.2 > kinds["habit"][0]  # told in a context, or misled by it
    assert plain["off"]["score"] < 0.2 < 0.8 < plain["best"]["score"]
    assert talked["best"]["groups"]["habit"][0] < 0.2
    (path,) = (out / "rows").glob("sums-in-contexts-off-*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["prompt"][-1] for row in rows] == [row["prompt"][-1] for row in sums.rows("test", 16)]
    assert {len(row["prompt"]) for row in rows} == {2, 3}
    assert "habit" in capsys.readouterr().out
    assert "sums in contexts, 16 rows" in (out / "report.md").read_text()


def test_what_makes_no_sense_is_refused_before_the_model_loads(bundled, talks, tmp_path, monkeypatch):
    monkeypatch.setattr("pixeltune.model.loading.load_model", None)
    given = {"rows": 4, "output_dir": tmp_path / "out", "quiet": True}
    with pytest.raises(UserError, match=r"own is of training, .* give RUN/contexts.jsonl"):
        evaluate("sums", contexts="own", **given)
    with pytest.raises(UserError, match="there is no file of contexts"):
        evaluate("sums", contexts=tmp_path / "nowhere.jsonl", **given)
    talks.write_text(
        json.dumps({"messages": [HABIT[0], {"role": "assistant", "content": "a<|im_end|>b"}]}) + "\n"
    )
    with pytest.raises(UserError, match=r"talks.jsonl, line 1: prompt holds '<\|im_end\|>'"):
        evaluate("sums", contexts=talks, **given)
    plan = Plan("seen", sums.TASK, [{"prompt": HABIT[:1], "images": ["a.png"]}], {})
    with pytest.raises(UserError, match="those of seen have images"):
        in_contexts(plan, [Context(HABIT, "habit", "here")])
