"""Scores by the number of turns that an episode may have, and rows of one's own that are asked turn by turn."""

from __future__ import annotations

import json

import pytest

from pixeltune import evaluate
from pixeltune.evaluation.backends import Reply
from pixeltune.evaluation.report import lines, markdown, summary
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks import own, own_turns
from pixeltune.tasks.base import find_task
from pixeltune.tasks.synthetic import shop

CALL = '<tool_call>\n{{"name": "{}", "arguments": {}}}\n</tool_call>'


class Script:
    """Says what stands in a script, for each question its turns one after another."""

    workers, chunk = 1, 100

    def __init__(self, script: dict[str, list[str]]) -> None:
        self.script, self.asked = script, []

    def complete(self, conversations, tools, max_new_tokens):
        out = []
        for talk in conversations:
            self.asked.append(talk)
            turn = sum(message["role"] == "assistant" for message in talk)
            out.append(Reply(self.script[talk[0]["content"]][turn], 1, 1, 0.0))
        return out


def test_an_episode_that_is_cut_is_worth_what_was_said_until_then():
    row = next(row for row in shop.rows("test", 40) if "get_price" in row["completion"][0]["content"])
    lookup, answer = row["completion"][0]["content"], row["completion"][-1]["content"]
    asked = [{**row, "prompt": [{"role": "user", "content": f"{i}"}]} for i in range(4)]
    script = {"0": [answer], "1": [lookup, answer], "2": [lookup, lookup, answer], "3": [lookup, "no idea"]}
    got = score_rows(shop.TASK, asked, Script(script))
    (one,) = summary({"off": got}, asked, shop.TASK, "off")["candidates"].values()
    assert [(part["turns"], part["score"], part["ended"], part["n"]) for part in one["turns"]] == [
        (1, 0.25, 0.25, 4),
        (2, 0.5, 0.75, 4),
        (3, 0.75, 1.0, 4),
    ]
    assert one["turns"][-1]["score"] == one["score"]
    low, high = one["turns"][1]["ci95"]
    assert 0.1 < low < 0.5 < high < 0.9


def test_scores_by_turns_are_printed_and_only_where_there_are_several(tmp_path):
    report = evaluate("shop", ["best"], rows=3, quiet=True, output_dir=tmp_path / "shop")
    said = json.loads((tmp_path / "shop/report.json").read_text())["tasks"]["shop"]
    turns = said["candidates"]["best"]["turns"]
    assert [part["turns"] for part in turns] == list(range(1, len(turns) + 1))
    assert len(turns) > 1
    labels = [line[0] for line in lines(said)[1]]
    assert labels[1].startswith("  within 1 turn, ")
    assert f"within {len(turns)} turns, 100% ended" in str(report)
    assert "within 1 turn, " in markdown(report.as_dict())
    one_turn = find_task("sums")
    got = score_rows(
        one_turn, rows := one_turn.rows("test", 1), Script({rows[0]["prompt"][0]["content"]: ["7"]})
    )
    assert "turns" not in summary({"off": got}, rows, one_turn, "off")["candidates"]["off"]


def row(**changes) -> dict:
    talk = [
        {"role": "assistant", "content": CALL.format("price", '{"item": "pen"}')},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": CALL.format("price", '{"item": "cup"}')},
        {"role": "tool", "content": "4"},
        {"role": "user", "content": "Both?"},
        {"role": "assistant", "content": "Together 7."},
    ]
    parameters = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    function = {"name": "price", "description": "Price of an item", "parameters": parameters}
    return {
        "prompt": [{"role": "user", "content": "A pen and a cup?"}],
        "completion": talk,
        "tools": [{"type": "function", "function": function}],
    } | changes


@pytest.fixture
def data(tmp_path):
    rows = [row(), row(prompt=[{"role": "user", "content": "Nothing."}], completion="No tool fits.")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_rows_of_one_s_own_are_asked_turn_by_turn(data):
    task, rows = own.read(data, score="calls")
    assert task.next_turn is None
    task = own_turns.played(task, rows)
    first, *_, last = (message["content"] for message in rows[0]["completion"])
    backend = Script({"A pen and a cup?": [first, "wrong", last], "Nothing.": ["No."]})
    got = score_rows(task, rows, backend)
    assert [record["score"] for record in got.records] == [pytest.approx(2 / 3), 1.0]
    said = next(talk for talk in reversed(backend.asked) if len(talk) > 1)
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "assistant", "tool", "user"]
    assert [said[3]["content"], said[4]["content"], said[5]["content"]] == ["wrong", "4", "Both?"]
    turns = summary({"off": got}, rows, task, "off")["candidates"]["off"]["turns"]
    assert [part["score"] for part in turns] == [
        pytest.approx(x) for x in ((1 / 3 + 1) / 2, (1 / 3 + 1) / 2, 5 / 6)
    ]
    assert [part["ended"] for part in turns] == [0.5, 0.5, 1.0]


def test_turns_without_anything_to_be_scored_by_are_asked_and_not_scored():
    rows = [row(completion=[*row()["completion"][:2], {"role": "assistant", "content": "Answer: 7"}], id="1")]
    task = own_turns.played(own.own_task("mine", "number", 8), rows)
    assert task.score(rows[0], ["whatever", "It is 7"]) == 1.0
    assert task.score(rows[0], ["Answer: 7"]) == 0.0


def test_a_reward_is_given_the_first_turn_as_in_training(data):
    task, rows = own.read(data, reward="trl.rewards:think_format_reward")
    assert own_turns.played(task, rows) is task
    task, rows = own.read(data, score="calls")
    assert own_turns.played(task, rows[1:]) is task


def test_eval_asks_them_so_and_says_it(data, tmp_path):
    report = evaluate(data=data, quiet=True, output_dir=tmp_path / "out", max_new_tokens=24)
    assert report.about.count("turn by turn") == 1
    (part,) = report.tasks.values()
    assert len(part["candidates"]["off"]["turns"]) == 3
    (records,) = [p for p in (tmp_path / "out/rows").glob("*.jsonl") if not p.name.startswith("refusals")]
    played = json.loads(records.read_text().splitlines()[0])
    assert [message["role"] for message in played["prompt"]][-2:] == ["tool", "user"]
    assert len(played["completions"]) == 3
