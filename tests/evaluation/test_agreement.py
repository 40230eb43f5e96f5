"""Engines that tell much, less and next to nothing of themselves, played by a stand-in that answers alike.

The artworks are those in docs/images. The real second engines run where their environments are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.data.placement import place_image
from pixeltune.engines.replies import Completion, EngineError
from pixeltune.evaluation.agreement import Greedy, compare, greedy
from pixeltune.evaluation.check import ask_engine, meet, told
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, sums
from test_engine import Canned, choice

PNG = Path(__file__).parents[2] / "docs" / "images" / "sums.png"
ART = Artwork.load(PNG)


@pytest.fixture(scope="module")
def stock():
    return load_model("tiny"), load_processor("tiny")


@pytest.fixture(scope="module")
def answers(stock) -> dict[str, Greedy]:
    """What the model answers to the prompts of `--prompts 2`, by the last user text; and to "hello"."""
    out = {}
    for row in calls.rows("test", 1) + sums.rows("test", 1):
        tools = json.loads(row["tools"]) if "tools" in row else None
        messages = place_image(row["prompt"], ART.data_url())
        out[row["prompt"][-1]["content"]] = greedy(*stock, ART.image, messages, tools, 48)
    return out


class Stand:
    """Answers as the model does, tells as much of it as `tells` says, and refuses what `refuses` says."""

    def __init__(self, stock, answers: dict[str, Greedy], *tells: str, refuses: tuple[str, ...] = ()) -> None:
        self.tokenizer, self.answers, self.tells, self.refuses = stock[1].tokenizer, answers, tells, refuses
        self.lie = 0.0  # added to log-probs
        self.blind = False  # says something else

    def __call__(self, body: dict) -> dict:
        if unknown := [name for name in self.refuses if name in body]:
            return {"status": 422, "error": {"message": f"unexpected fields {unknown}"}}
        content = body["messages"][-1]["content"]
        asked = content if isinstance(content, str) else content[-1]["text"]
        if asked not in self.answers:
            answer, said = Greedy([1, 2], [3], [-0.5], False), [3]
        else:
            answer = self.answers[asked]
            said = answer.said[:-1] if answer.ended else answer.said
        if self.blind:
            said = said[:-2]
        text = self.tokenizer.decode(said, skip_special_tokens="plain text" in self.tells)
        more: dict = {}
        if body.get("logprobs") and "logprobs" in self.tells:
            entries = [
                {"token": self.tokenizer.decode([token]), "logprob": logprob + self.lie, "top_logprobs": []}
                for token, logprob in zip(said, answer.logprobs, strict=False)
            ]
            if "ids" in self.tells:
                entries = [entry | {"id": token} for entry, token in zip(entries, said, strict=True)]
            more["logprobs"] = {"content": entries}
        out: dict = {"choices": [choice(text, **more)]}
        if "usage" in self.tells:
            dropped = 20 if "tools left out" in self.tells and body.get("tool_choice") == "none" else 0
            count = len(answer.prompt) - dropped
            out["usage"] = {"prompt_tokens": count, "completion_tokens": len(said), "total_tokens": count}
        return out


@pytest.fixture
def server() -> Iterator[Canned]:
    with Canned() as canned:
        threading.Thread(target=canned.serve_forever, daemon=True).start()
        yield canned
        canned.shutdown()


def found(server: Canned, stock, stand: Stand) -> tuple[str, bool]:
    server.answer = stand
    engine, logprobs = meet(server.url, None)
    lines, bad = told(ask_engine(ART, *stock, engine, logprobs, 2), 1e-3)
    return "\n".join(lines), bad


@pytest.mark.parametrize(
    ("tells", "refuses", "expected"),
    [
        (("logprobs", "ids", "usage"), (), ("by token ids", "largest log-prob gap", "as many tokens")),
        (
            ("logprobs", "usage"),
            ("return_token_ids",),
            ("by tokens", "largest log-prob gap", "as many tokens"),
        ),
        (("usage",), ("return_token_ids", "logprobs"), ("by text", "gives no log-probs", "as many tokens")),
        (
            ("plain text",),
            ("return_token_ids",),
            ("by text", "gives no log-probs", "does not say what it saw"),
        ),
    ],
)
def test_each_engine_is_held_to_what_it_tells(server, stock, answers, tells, refuses, expected):
    lines, bad = found(server, stock, Stand(stock, answers, *tells, refuses=refuses))
    assert not bad
    assert "2 of 2 answers are the same" in lines
    for words in expected:
        assert words in lines


def test_an_engine_that_says_something_else_is_found_at_every_level(server, stock, answers):
    for tells in ((), ("logprobs",), ("logprobs", "ids")):
        stand = Stand(stock, answers, *tells)
        stand.blind = True
        lines, bad = found(server, stock, stand)
        assert bad
        assert "0 of 2 answers are the same" in lines


def test_log_probs_that_differ_are_found_where_the_answers_do_not(server, stock, answers):
    for tells in (("logprobs",), ("logprobs", "ids")):
        stand = Stand(stock, answers, *tells)
        stand.lie = 0.01
        lines, bad = found(server, stock, stand)
        assert bad
        assert "largest log-prob gap 1.00e-02" in lines
        assert "ABOVE" in lines


def test_an_engine_that_leaves_tools_out_is_asked_with_its_own_tool_choice(server, stock, answers):
    lines, bad = found(server, stock, Stand(stock, answers, "usage", "tools left out"))
    assert not bad
    assert "as many tokens as here in 2 of 2" in lines
    asked = [body.get("tool_choice") for body, _ in server.seen if "tools" in body]
    assert asked == ["none", None]


def test_other_prompt_tokens_are_a_difference(server, stock, answers):
    longer = {
        asked: Greedy([*answer.prompt, 1], answer.said, answer.logprobs, answer.ended)
        for asked, answer in answers.items()
    }
    lines, bad = found(server, stock, Stand(stock, longer, "logprobs", "usage"))
    assert bad
    assert "OTHER tokens in 2 of 2" in lines


def test_the_margin_of_a_first_difference_is_the_models_own(stock, answers):
    """Against a plain forward pass: the best log-prob minus that of the token the engine said instead."""
    import torch

    model, processor = stock
    (row,) = sums.rows("test", 1)
    messages = place_image(row["prompt"], ART.data_url())
    reference = answers[row["prompt"][-1]["content"]]
    at, other = 3, (reference.said[3] + 1) % 100
    answer = Completion("", "stop", 0.0, token_ids=[*reference.said[:at], other])
    result = compare(answer, reference, model, processor, ART.image, messages, None)
    parts = [{"type": "image", "image": ART.image}, {"type": "text", "text": row["prompt"][-1]["content"]}]
    batch = processor.apply_chat_template(
        [*row["prompt"][:-1], {"role": "user", "content": parts}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = torch.cat([batch["input_ids"], torch.tensor([reference.said[:at]])], 1)
    kinds = torch.cat([batch["mm_token_type_ids"], torch.zeros(1, at, dtype=torch.long)], 1)
    batch |= {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": kinds}
    with torch.no_grad():
        last = model(**batch).logits[0, -1].log_softmax(-1)
    assert not result.same
    assert result.margin == pytest.approx((last.max() - last[other]).item(), abs=1e-4)


def test_parsed_calls_count_as_the_same_answer(stock, answers):
    model, processor = stock
    said = processor.tokenizer('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>')["input_ids"]
    reference = Greedy([1], said, [0.0] * len(said), False)
    spaced = '<tool_call>\n{"name":"f", "arguments":{"a":1}}\n</tool_call>'
    for text, same in ((spaced, True), (spaced.replace("1", "2"), False)):
        result = compare(Completion(text, "stop", 0.0), reference, model, processor, None, [], None)
        assert (result.same, result.prompt) == (same, None)


def test_an_answer_cut_short_is_not_the_same(stock):
    """An engine may leave out the end-of-turn token, and nothing else."""
    for ended in (True, False):
        reference = Greedy([1], [16, 17, 18], [0.0] * 3, ended)
        answer = Completion("12", "stop", 0.0, tokens=["1", "2"], logprobs=[0.0, 0.0])
        assert compare(answer, reference, None, stock[1], None, [], None).same == ended


def test_check_speaks_to_an_engine_without_extras(server, stock, answers, capsys):
    server.answer = Stand(stock, answers, "logprobs", "usage", refuses=("return_token_ids",))
    assert main(["check", str(PNG), "--model", "tiny", "--engine", server.url, "--prompts", "2"]) == 0
    out = capsys.readouterr().out
    assert "which ones this engine does not say" in out
    server.answer.blind = True
    assert main(["check", str(PNG), "--model", "tiny", "--engine", server.url, "--prompts", "2"]) == 1


def test_an_engine_that_fails_is_one_line(server):
    server.status, server.answer = 500, {"error": {"message": "out of memory"}}
    with pytest.raises(EngineError, match="see its log"):
        meet(server.url, None)
