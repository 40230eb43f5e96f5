"""Names and arguments of calls weigh more in SFT; calls that failed are not learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pixeltune.data.tool_errors import failed_turns, says_error
from pixeltune.data.turns import each_turn
from pixeltune.errors import UserError
from pixeltune.model.loading import load_processor
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.training.arguments import read_settings
from pixeltune.training.key_tokens import WEIGHTS, key_mask, key_spans
from pixeltune.training.paint import Painting
from pixeltune.training.preparation import prepare
from pixeltune.training.preview import preview

torch.set_num_threads(1)
CALL = {"name": "get_price", "arguments": {"item": "a pen", "amount": 3}}


def written(call: dict) -> dict:
    return {"role": "assistant", "content": f"<tool_call>\n{json.dumps(call)}\n</tool_call>"}


def structured(call: dict) -> dict:
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}


def painting(folder: Path, **settings) -> Painting:
    plain = {
        "task": "calls",
        "train_rows": 8,
        "held_out_rows": 0,
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 0.06,
        "snapshot_steps": 0,
        "output_dir": str(folder),
    }
    run = Painting("sft", *read_settings("sft", plain | settings), quiet=True)
    run.prepare()
    run.build()
    return run


@pytest.mark.parametrize("make", [written, structured])
def test_key_are_names_and_values_and_nothing_around_them(make):
    tokenizer = load_processor("tiny").tokenizer
    row = {"prompt": [{"role": "user", "content": "get_price a pen 3"}], "completion": [make(CALL)]}
    ids, mask = key_mask(row, tokenizer)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False)
    assert ids == tokenizer(whole, add_special_tokens=False)["input_ids"]
    key, other = (
        "|".join(tokenizer.decode([i]) for i, bit in zip(ids, mask, strict=True) if bit == b) for b in (1, 0)
    )
    for word in ("get_price", "item", "a pen", "amount", "3"):
        assert word.replace(" ", "") in key.replace("|", "").replace(" ", "")
    for skeleton in ("arguments", "tool_call", "name"):
        assert skeleton in other.replace("|", "")
        assert skeleton not in key.replace("|", "")
    assert mask.index(1) > ids.index(tokenizer.convert_tokens_to_ids("<|im_end|>"))  # nothing of the question


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (json.dumps(CALL), ["get_price", "item", "a pen", "amount", "3"]),
        (
            "<function=get_price>\n<parameter=item>\na pen\n</parameter>\n<parameter=amount>\n3\n</parameter>",
            ["get_price", "item", "a pen", "amount", "3"],
        ),
        ("[get_price(item='a pen', amount=3)]", ["get_price", "item", "a pen", "amount", "3"]),
    ],
)
def test_however_a_template_writes_them(text, wanted):
    said = "I ask get_price. " + text
    message = {**structured(CALL), "content": "I ask get_price."}
    assert [said[first:last] for first, last in key_spans(said, message)] == wanted


def test_of_arguments_that_look_like_something_else():
    call = {"name": "f", "arguments": {"s": {"t": ["x\ny", True, None]}, "umlaut": "ä"}}
    text = '{"name": "f", "arguments": {"s": {"t": ["x\\ny", true, null]}, "umlaut": "\\u00e4"}}'
    spans = key_spans(text, structured(call))
    found = [text[first:last] for first, last in spans]
    assert found == ["f", "s", "t", "x\\ny", "true", "null", "umlaut", "\\u00e4"]
    assert text[spans[1][0] - 1 : spans[1][1] + 1] == '"s"'  # and not that of "arguments"
    said = f"I ask get_price.\n{written(CALL)['content']}"
    assert key_spans(said, {"role": "assistant", "content": said})[0][0] == said.index('"get_price') + 1
    assert key_spans("It costs 3.", {"role": "assistant", "content": "It costs 3."}) == []
    with pytest.raises(UserError, match="otherwise, so --key_tokens cannot find"):
        key_spans("nothing of it", structured(CALL))
    with pytest.raises(UserError, match="cannot be read"):
        key_spans("", {"role": "assistant", "content": "<tool_call>{"})


def gradient(run: Painting, batch: dict, items: int) -> tuple[float, torch.Tensor]:
    (pixels,) = [one for one in run.model.parameters() if one.requires_grad]
    pixels.grad = None
    run.model.train()
    loss = run.trainer.compute_loss(run.model, dict(batch), num_items_in_batch=items)
    loss.backward()
    return loss.item(), pixels.grad.clone()


def test_the_loss_is_the_weighed_mean_with_and_without_a_shared_prefix(tmp_path, monkeypatch):
    run = painting(tmp_path, key_tokens=5.0)
    batch = next(iter(run.trainer.get_train_dataloader()))
    labels = batch["labels"][:, 1:]
    said, items = labels != -100, int((batch["labels"] != -100).sum())
    weights = {round(w, 5) for w in batch[WEIGHTS][:, 1:][said].tolist()}
    assert len(weights) == 2
    assert max(weights) / min(weights) == pytest.approx(5, rel=1e-4)
    with torch.no_grad():
        own = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logprobs = run.model(**own).logits[:, :-1].log_softmax(-1)
    each = -logprobs.gather(-1, labels.clamp(min=0)[..., None])[..., 0] * batch[WEIGHTS][:, 1:]
    loss, moved = gradient(run, batch, items)
    assert loss == pytest.approx((each[said].sum() / items).item(), rel=1e-4)
    flat = {**batch, WEIGHTS: torch.ones_like(batch[WEIGHTS])}
    assert abs(loss - gradient(run, flat, items)[0]) > 1e-3
    monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
    again, plain = gradient(run, batch, items)
    assert again == pytest.approx(loss, rel=1e-4)
    assert torch.allclose(moved, plain, rtol=1e-2, atol=1e-3 * plain.abs().max().item())


def test_the_mean_weight_of_all_answers_is_one(tmp_path):
    run = painting(tmp_path, key_tokens=3.0)
    examples = list(run.trainer.train_dataset)
    batch = run.trainer.data_collator(examples)
    assert batch[WEIGHTS][batch["labels"] != -100].mean().item() == pytest.approx(1, abs=1e-5)
    assert batch[WEIGHTS].shape == batch["input_ids"].shape
    assert batch[WEIGHTS].dtype == torch.float32


def test_it_paints_another_picture_and_a_resumed_run_keeps_the_weight(tmp_path):
    pictures = {}
    for weight in (None, 8.0):
        run = painting(tmp_path / f"{weight}", key_tokens=weight)
        run.train()
        run.finish()  # which refuses pixels that did not move and weights that did
        pictures[weight] = run.artwork.pixels
        assert run.artwork.provenance.training.get("key_tokens") == weight
    assert (pictures[None] != pictures[8.0]).mean() > 0.01
    assert not np.array_equal(pictures[8.0], run.first)
    with pytest.raises(UserError, match=r"--key_tokens was 8\.0 and is now 2\.0"):
        painting(tmp_path / "8.0", key_tokens=2.0, max_steps=4, resume_from_checkpoint="true")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"key_tokens": 0.0}, "above 0"),
        ({"key_tokens": float("inf")}, "above 0"),
        ({"loss_type": "dft"}, "--loss_type dft is another"),
        ({"label_smoothing_factor": 0.1}, "--label_smoothing_factor is another"),
        ({"completion_only_loss": False}, "--completion_only_loss false is another"),
    ],
)
def test_what_cannot_be_weighed_is_refused(settings, said):
    given = {"task": "calls", "output_dir": "never", "key_tokens": 2.0} | settings
    with pytest.raises(UserError, match=said):
        prepare("sft", *read_settings("sft", given), writes=False)


def test_rows_without_calls_and_other_verbs_are_refused(tmp_path):
    with pytest.raises(UserError, match="no row calls anything"):
        painting(tmp_path, task="sums", key_tokens=2.0)
    for settings in ({"key_tokens": 2.0}, {"skip_errors": True}):
        with pytest.raises(UserError, match="dpo does not use --"):
            prepare(
                "dpo",
                *read_settings("dpo", {"task": "calls", "output_dir": "never"} | settings),
                writes=False,
            )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{'error': 'no such item: pen'}", True),
        ('{"error": "x"}', True),
        ('{"error": null, "price": 3}', False),
        ('{"price": 3, "error": "late"}', True),
        ('{"status": "Error", "code": 4}', True),
        ('{"isError": true}', True),
        ("Error: not found", True),
        ("Traceback (most recent call last)", True),
        ("KeyError: 'pen'", True),
        ('[{"error": "no such item"}]', True),
        ("Error", True),
        ("Error rate: 3 %", False),
        ("Errors: 0", False),
        ('{"isError": "false"}', False),
        ("errors were made by nobody", False),
        ("3 errors", False),
        ('{"price": 3}', False),
        ("[" * 100_000, False),
        ("{" * 100_000, False),
        ("", False),
    ],
)
def test_what_says_an_error(text, wrong):
    assert says_error({"role": "tool", "content": text}) is wrong


def trace(*results: str) -> list[dict]:
    talk = []
    for number, result in enumerate(results):
        call = structured({"name": "get_price", "arguments": {"item": f"pen {number}"}})
        talk += [call, {"role": "tool", "content": result}]
    return [*talk, {"role": "assistant", "content": "It costs 3."}]


def test_a_preview_shows_a_turn_that_is_learned(tmp_path, bundled):
    function = {"name": "get_price", "description": "Price of an item", "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": function}]
    talk = trace("3", "Error: no such item")[:-1]  # what comes last is a call that failed
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Pen {i}?", "completion": talk, "tools": tools} for i in range(4)]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    shown = str(preview("sft", data=str(path), held_out_rows=0, skip_errors=True))
    assert "turn 1 of 2" in shown
    assert "pen 1" not in shown
    assert "turn 2 of 2" in str(preview("sft", data=str(path), held_out_rows=0))


def test_calls_that_failed_are_not_learned_and_stay_in_what_follows(tmp_path):
    row = {"prompt": [{"role": "user", "content": "A pen?"}], "completion": trace("Error: no such item", "3")}
    assert failed_turns(row) == {0}
    learned = each_turn([row], failed_turns)
    assert [one["completion"][0] for one in learned] == [row["completion"][2], row["completion"][4]]
    assert learned[0]["prompt"] == [*row["prompt"], *row["completion"][:2]]
    parameters = {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}
    function = {"name": "get_price", "description": "Price of an item", "parameters": parameters}
    tools = [{"type": "function", "function": function}]

    def data(*rows: list[dict]) -> dict:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        lines = [{"prompt": f"Pen {i}?", "completion": one, "tools": tools} for i, one in enumerate(rows)]
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return {"data": str(path), "task": None, "train_rows": 100, "skip_errors": True, "key_tokens": 2.0}

    run = painting(tmp_path / "run", **data(row["completion"], trace("4"), trace("{'error': 'x'}")))
    assert "2 of 7 turns are not learned" in "\n".join(run.ready.notes)
    assert len(run.trainer.train_dataset) == 5
    for rows, said in (
        ([trace("4")], "says that it failed: leave it out"),
        ([trace("error")[:2]], "nothing is left"),
    ):
        with pytest.raises(UserError, match=said):
            painting(tmp_path / "other", **data(*rows))
