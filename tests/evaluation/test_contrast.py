"""What a picture changes of an answer, token by token, against the stock model's own log-softmax."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.data.images import attach
from pixeltune.data.placement import place_image
from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.contrast import add_ratios, alone, marked, pieces, ratios
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.synthetic import calls, refusals, tiles, turns

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8))
SAID = '<tool_call>\n{"name": "dial", "arguments": {"person": "Emma"}}\n</tool_call>'


def wanted(model, processor, row: dict, text: str, picture=PICTURE) -> list[tuple[str, float]]:
    """By plain passes of the stock model over prompt and answer, one with the picture and one without."""
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    talk, tools = row["prompt"], tools_of(row)
    _, seen = after(model, processor, picture, place_image(talk, ""), tools, ids)
    _, plain = after(model, processor, None, talk, tools, ids)
    return [
        (processor.tokenizer.decode([token]), (seen[n, token] - plain[n, token]).item())
        for n, token in enumerate(ids)
    ]


@pytest.mark.parametrize("worn", [False, True])
def test_ratios_are_differences_of_the_stock_model_s_log_softmax(worn, model, processor):
    rows = calls.rows("test", 3, seed=5)
    talks, tools = [row["prompt"] for row in rows], [tools_of(row) for row in rows]
    texts = [SAID, "Kein Werkzeug passt.", ""]
    if worn:
        with wearing(model, processor, PICTURE) as backend:
            assert backend.block
            got = ratios(backend, talks, tools, texts)
    else:
        got = ratios(InProcess(model, processor, PICTURE), talks, tools, texts)
    for row, text, said in zip(rows, texts, got, strict=True):
        assert "".join(piece for piece, _ in said) == text
        expected = wanted(model, processor, row, text)
        assert [piece for piece, _ in said] == [piece for piece, _ in expected]
        assert [nats for _, nats in said] == pytest.approx([nats for _, nats in expected], abs=2e-4)
    assert max(abs(nats) for said in got for _, nats in said) > 0.1


def test_an_artwork_that_is_off_meanwhile_is_on_again(model, processor):
    row = calls.rows("test", 1, seed=5)[0]
    asked = [row["prompt"]], [tools_of(row)], [SAID]
    with wearing(model, processor, PICTURE) as backend:
        before = backend.log_probs(*asked)
        with alone(backend) as plain:
            assert plain.log_probs(*asked) != before
        assert backend.log_probs(*asked) == before


def test_characters_of_several_tokens_are_one_piece(processor):
    tokenizer, text = processor.tokenizer, "a é 行\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > len(text)  # the bundled vocabulary has bytes for these
    found = pieces(tokenizer, ids, [1.0] * len(ids))
    assert "".join(piece for piece, _ in found) == text
    assert sum(nats for _, nats in found) == len(ids)
    assert "\ufffd" not in "".join(piece for piece, _ in found)
    cut = pieces(tokenizer, ids[:-2], [1.0] * (len(ids) - 2))  # within the last character
    assert cut[-1][0].endswith("\ufffd")
    assert sum(nats for _, nats in cut) == len(ids) - 2


def test_what_changes_little_is_not_marked():
    assert marked([("a", 0.9), ("b", 1.0), ("c", -1.5)]) == "a[b +1.0][c -1.5]"


def test_every_turn_is_seen_behind_what_was_said_before(model, processor):
    picture = Artwork.load("docs/images/calls.png").image
    rows = turns.rows("test", 2)
    backend = InProcess(model, processor, picture)
    records = score_rows(turns.TASK, rows, backend).records
    call, answer = records[0]["completions"]
    records[1]["error"] = "gone"
    assert add_ratios(turns.TASK, rows, [], backend, records)
    assert "ratios" not in records[1]
    last = {**rows[0], "prompt": rows[0]["prompt"] + turns.TASK.next_turn(rows[0], [call])}
    for found, row, text in zip(records[0]["ratios"], (rows[0], last), (call, answer), strict=True):
        expected = wanted(model, processor, row, text, picture)
        assert [nats for _, nats in found] == pytest.approx([nats for _, nats in expected], abs=1e-3)
    records[0]["ratios"] = "kept"
    assert not add_ratios(turns.TASK, rows, [], backend, records)
    assert records[0]["ratios"] == "kept"


def test_rows_with_pictures_of_their_own_get_ratios_the_stock_way_alone(model, processor):
    rows = tiles.rows("test", 1, seed=1)
    backend = InProcess(model, processor, PICTURE)
    records = score_rows(tiles.TASK, rows, backend).records
    with wearing(model, processor, PICTURE) as worn:
        assert not add_ratios(tiles.TASK, rows, [], worn, records)
    assert add_ratios(tiles.TASK, rows, [], backend, records)
    (said,) = records[0]["ratios"]
    assert "".join(piece for piece, _ in said) == records[0]["completions"][0]
    own = attach(rows[0]["prompt"], rows[0]["images"])
    with_it = InProcess(model, processor, PICTURE).log_probs([own], [None], records[0]["completions"])
    without = InProcess(model, processor).log_probs([own], [None], records[0]["completions"])
    assert sum(nats for _, nats in said) == pytest.approx(sum(with_it[0][1]) - sum(without[0][1]), abs=1e-2)


def test_eval_keeps_and_prints_them_and_takes_none_twice(tmp_path, bundled, monkeypatch):
    artwork, few = "docs/images/calls.png", [refusals.rows()[0], refusals.rows()[-1]]
    monkeypatch.setattr(refusals, "rows", lambda: few)
    given = {"compare": ["off", artwork], "rows": 3, "output_dir": tmp_path, "quiet": True}
    assert not evaluate("calls", **given).ratios
    report = evaluate("calls", **given, ratios=2)  # answers are there already
    (path,) = (tmp_path / "rows").glob("calls-calls.png-*.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert ["ratios" in record for record in records] == [True, True, False]
    (plain,) = (tmp_path / "rows").glob("calls-off-*.jsonl")
    assert "ratios" not in plain.read_text()
    text = str(report)
    for record in records[:2]:
        ((said,),) = [record["ratios"]]
        assert "".join(piece for piece, _ in said) == record["completions"][0]
        assert f"  {record['id']}: " in text
    assert "+" in text.partition("in brackets")[2].partition("]")[0]
    monkeypatch.setattr("pixeltune.evaluation.contrast.ratios", None)
    assert evaluate("calls", **given, ratios=2).ratios == report.ratios


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ratios": -1}, "--ratios is a number of rows"),
        ({"ratios": 1, "compare": "off"}, "name an artwork"),
        ({"ratios": 1, "engine": "http://localhost:1/v1"}, "leave out --engine"),
    ],
)
def test_where_there_are_none_to_take_nothing_is_loaded(given, message):
    with pytest.raises(UserError, match=message):
        evaluate("calls", **{"compare": "docs/images/calls.png", "model": "tiny"} | given)
