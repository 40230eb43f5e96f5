"""DPO and KTO over several turns: only what the assistant says counts, token for token as TRL's own masks have it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trl
from trl.chat_template_utils import get_training_chat_template
from trl.data_utils import _tokenize, common_prefix_length

from pixeltune.data.placement import place_row
from pixeltune.data.turns import each_turn
from pixeltune.errors import UserError
from pixeltune.model.loading import load_processor, weights_sha256
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.training.arguments import read_settings
from pixeltune.training.callbacks import HeldOutLoss
from pixeltune.training.masks import AssistantOnly, answer_masks
from pixeltune.training.paint import Painting, paint
from pixeltune.training.preview import preview
from pixeltune.training.table import as_dataset

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
TOOL = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "Look a price up.",
        "parameters": {"type": "object", "properties": {"of": {"type": "string"}}, "required": ["of"]},
    },
}
ASK = {"role": "user", "content": "What do a pen and a cup cost?"}


def call(what: str) -> dict:
    function = {"name": "price", "arguments": {"of": what}}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}


def told(text: str) -> dict:
    return {"role": "tool", "content": text}


def say(text: str) -> dict:
    return {"role": "assistant", "content": text}


GOOD = [call("pen"), told("3"), call("cup"), told("4"), say("Answer: 7")]
BAD = [
    call("cup"),
    told("4"),
    say("I can not tell. Which pen?"),
    {"role": "user", "content": "Any."},
    say("4"),
]
TOOLS = json.dumps([TOOL])


def tokenizer_of(template: str | None):
    """The bundled model's, and the training template that TRL has for what it then wears."""
    tokenizer = load_processor("tiny").tokenizer
    if template is not None:
        tokenizer.chat_template = (TEMPLATES / f"{template}.jinja").read_text()
        return tokenizer, get_training_chat_template(tokenizer)
    own = tokenizer.chat_template
    marked = own.replace(
        "{{- '<|im_start|>assistant\\n' + content -}}",
        "{{- '<|im_start|>assistant\\n' -}}{%- generation -%}{{- content -}}",
    )
    end = "    {%- endfor -%}\n    {{- '<|im_end|>\\n' -}}\n  {%- elif message.role == 'tool' -%}"
    assert marked != own
    assert end in own
    return tokenizer, marked.replace(
        end, end.replace("<|im_end|>\\n' -}}", "<|im_end|>\\n' -}}{%- endgeneration -%}")
    )


def trl_mask(tokenizer, training: str, messages: list[dict]) -> tuple[list[int], list[int]]:
    made = tokenizer.apply_chat_template(
        messages,
        tools=[TOOL],
        chat_template=training,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return list(made["input_ids"]), list(made["assistant_masks"])


@pytest.mark.parametrize("template", [None, "qwen2_5_vl", "qwen3_vl", "qwen3_instruct_2507"])
@pytest.mark.parametrize("answer", [GOOD, BAD, [say("7")], [call("pen"), say("7")]])
def test_masks_are_trls_assistant_masks(bundled, template, answer):
    tokenizer, training = tokenizer_of(template)
    ids, mask = trl_mask(tokenizer, training, [ASK, *answer])
    row = {"prompt": [ASK], "completion": answer, "tools": TOOLS}
    made, said = answer_masks(row, tokenizer)["completion"]
    assert made == ids[-len(made) :]
    assert said == mask[-len(made) :]
    assert sum(said) == sum(mask)


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_vl"])
def test_masks_are_what_trl_trains_of_each_turn_alone(bundled, template):
    """Some training templates count what asks for a turn, too (``<think>``); TRL's split at the prompt does not."""
    tokenizer, _ = tokenizer_of(template)
    wanted = []
    for row in each_turn([{"prompt": [ASK], "completion": GOOD}]):
        prompt = _tokenize(tokenizer, row["prompt"], add_generation_prompt=True, tools=[TOOL])["input_ids"]
        whole = _tokenize(tokenizer, row["prompt"] + row["completion"], tools=[TOOL])["input_ids"]
        wanted += whole[common_prefix_length(prompt, whole) :]
    ids, said = answer_masks({"prompt": [ASK], "completion": GOOD, "tools": TOOLS}, tokenizer)["completion"]
    assert [token for token, is_said in zip(ids, said, strict=True) if is_said] == wanted


def test_rows_of_each_turn_train_what_trls_assistant_mask_has(bundled):
    tokenizer, training = tokenizer_of(None)
    ids, mask = trl_mask(tokenizer, training, [ASK, *GOOD])
    trained = []
    for row in each_turn([{"prompt": [ASK], "completion": GOOD, "tools": TOOLS}]):
        made, said = answer_masks(row, tokenizer)["completion"]
        assert set(said) == {1}
        trained += made
    assert trained == [token for token, is_said in zip(ids, mask, strict=True) if is_said]


def test_masks_leave_out_what_grpo_masks_of_tools(bundled):
    """TRL's `tool_mask` is 0 from behind the end of a turn to where the next one begins."""
    from trl import GRPOTrainer

    tokenizer, _ = tokenizer_of("qwen3_vl")
    asked = object.__new__(GRPOTrainer)
    asked.processing_class = asked._tokenizer = tokenizer
    asked.chat_template, asked.chat_template_kwargs, asked.tools = None, {}, [TOOL]
    asked._is_vlm = False
    suffix = asked._get_tool_suffix_ids([{**told("3"), "name": "price"}])
    suffix = list(suffix[0] if isinstance(suffix, tuple) else suffix)
    row = {"prompt": [ASK], "completion": [call("pen"), told("3"), say("3")], "tools": TOOLS}
    ids, mask = answer_masks(row, tokenizer)["completion"]
    gap = [token for token, is_said in zip(ids, mask, strict=True) if not is_said]
    ended = tokenizer("\n", add_special_tokens=False)[
        "input_ids"
    ]  # behind <|im_end|>: SFT's side of the turn
    assert suffix == ended + gap


def test_a_template_that_writes_earlier_turns_otherwise_is_refused(bundled):
    tokenizer, _ = tokenizer_of("qwen3")
    row = {"prompt": [ASK], "completion": [say("<think>\nA.\n</think>\n\n3"), ASK, say("7")]}
    with pytest.raises(UserError, match="writes a turn otherwise once others follow"):
        answer_masks(row, tokenizer)


def rows(verb: str) -> list[dict]:
    out = []
    for number in range(8):
        ask = {"role": "user", "content": f"{ASK['content']} Case {number}."}
        if verb == "dpo":
            out.append({"prompt": [ask], "chosen": GOOD, "rejected": BAD, "tools": [TOOL]})
        elif verb == "kto":
            good = number % 2 == 0
            out.append({"prompt": [ask], "completion": GOOD if good else BAD, "label": good, "tools": [TOOL]})
        else:
            out.append({"messages": [ask, *GOOD], "tools": [TOOL]})
    return out


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def settings(verb: str, tmp_path: Path, **more) -> dict:
    fixed = {
        "held_out_rows": 0,
        "per_device_train_batch_size": 4,
        "save_strategy": "no",
        "snapshot_steps": 0,
        "score_steps": 0,
        "report_to": "none",
        "logging_steps": 1,
    }
    data = more.pop("data", None) or write(tmp_path / "rows.jsonl", rows(verb))
    return {"data": data, "output_dir": str(tmp_path / "out"), **fixed, **more}


def built(verb: str, tmp_path: Path, **more) -> Painting:
    painting = Painting(verb, *read_settings(verb, settings(verb, tmp_path, max_steps=1, **more)), quiet=True)
    painting.prepare()
    painting.build()
    return painting


@pytest.mark.parametrize("cut", [None, 170])
@pytest.mark.parametrize("verb", ["dpo", "kto"])
def test_batches_count_the_assistants_tokens_alone(bundled, tmp_path, verb, cut):
    """Of every sequence in a batch, KTO's mismatched ones too, also where it is cut."""
    more = {} if cut is None else {"max_length": cut}
    trainer = built(verb, tmp_path, **more).trainer
    tokenizer, training = tokenizer_of(None)
    batch = next(iter(trainer.get_train_dataloader()))
    wanted = {}
    for prompt in rows(verb):
        for answer in (GOOD, BAD):
            placed = place_row({"prompt": prompt["prompt"]}, trainer.model.art_block)["prompt"]
            ids, mask = trl_mask(tokenizer, training, [*placed, *answer])
            wanted[tuple(ids[:cut])] = mask[:cut]
    for prefix in ("", "KL_") if verb == "kto" else ("",):
        columns = [
            batch[f"{prefix}{name}"].tolist() for name in ("input_ids", "attention_mask", "completion_mask")
        ]
        for ids, shown, counted in zip(*columns, strict=True):
            length = sum(shown)
            assert counted[:length] == wanted[tuple(ids[:length])]
            assert not any(counted[length:])


@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
@pytest.mark.parametrize("verb", ["sft", "dpo", "kto"])
def test_a_training_on_turns_moves_pixels_and_not_the_weights_and_its_loss_falls(bundled, tmp_path, verb):
    painting = paint(verb, quiet=True, **settings(verb, tmp_path, max_steps=8, learning_rate=0.06))
    artwork = painting.artwork
    start = Canvas(start_picture("grey", *artwork.size)).to_uint8()
    assert np.abs(artwork.pixels.astype(int) - start).mean() > 1
    assert weights_sha256(painting.models["tiny"]) == artwork.provenance.base_sha256
    losses = [entry["loss"] for entry in painting.history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_a_shared_beginning_in_the_prompt_gives_the_same_loss_and_gradient(bundled, tmp_path):
    """In DPO's loss what both say alike cancels, so moving it to the prompt is exact."""
    same = [call("pen"), told("3")]
    pair = {
        "prompt": [ASK],
        "chosen": [*same, say("Answer: 3")],
        "rejected": [*same, say("No.")],
        "tools": [TOOL],
    }
    data = write(tmp_path / "rows.jsonl", [pair, pair])
    found = []
    for name in ("cut", "whole"):
        painting = built("dpo", tmp_path, data=data, per_device_train_batch_size=2)
        trainer = painting.trainer
        dataset = painting.ready.train_rows
        assert dataset[0]["prompt"] == [ASK, *same]
        if name == "whole":
            row = place_row({**pair, "tools": TOOLS}, painting.block)
            made = as_dataset([row, row])
            tokenizer = painting.processor.tokenizer
            collate = getattr(trainer.data_collator, "collate", trainer.data_collator)
            trainer.data_collator = AssistantOnly(collate, made, tokenizer)
            trainer.train_dataset = trainer._prepare_dataset(made, tokenizer, trainer.args, "train")
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        # Away from the start picture, where policy and reference are one.
        canvas = next(p for p in trainer.model.parameters() if p.requires_grad)
        with torch.no_grad():
            canvas.add_(torch.linspace(-0.2, 0.2, canvas.numel()).view_as(canvas))
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        found.append((loss.item(), canvas.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][0] != pytest.approx(np.log(2), abs=1e-3)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_a_preview_marks_what_is_trained(bundled, tmp_path):
    shown = preview("dpo", **settings("dpo", tmp_path))
    titles = [part.title for part in shown.parts]
    assert titles[:4] == [
        "prompt, not trained",
        "chosen, turn 1, trained",
        "between, not trained",
        "chosen, turn 2, trained",
    ]
    trained = [part for part in shown.parts if part.title.startswith("chosen")]
    assert not any("tool_response" in part.text for part in trained)
    assert trained[-1].text.startswith("Answer: 7<|im_end|>")


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        ({}, {"precompute_ref_log_probs": True}, "line 1: an answer has several turns, .*leave it out"),
        (
            {"images": ["red.png"], "tools": None},
            {},
            "line 1: an answer has several turns, and rows have images",
        ),
    ],
)
def test_what_would_count_tools_is_refused_before_the_model_loads(
    bundled, tmp_path, monkeypatch, lines, more, message
):
    from PIL import Image

    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    plain = {"chosen": [say("3"), ASK, say("7")], "rejected": [say("4"), ASK, say("7")]} if lines else {}
    data = write(tmp_path / "rows.jsonl", [{**row, **plain, **lines} for row in rows("dpo")])
    with pytest.raises(UserError, match=message):
        paint("dpo", quiet=True, **settings("dpo", tmp_path, data=data, **more))


def test_the_held_out_loss_is_of_the_assistants_turns(bundled, tmp_path):
    """Else it would be one of what tools say, too, and could not be compared with a training's."""
    painting = built("sft", tmp_path, held_out_rows=2)
    (callback,) = [one for one in painting.trainer.callback_handler.callbacks if isinstance(one, HeldOutLoss)]
    assert [row["completion"] for row in callback.rows] == [
        [turn] for turn in (GOOD[0], GOOD[2], GOOD[4])
    ] * 2
