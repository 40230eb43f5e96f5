"""Greedy answers without the rows that have ended, against transformers' own `generate`."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from PIL import Image

import families
from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.data.images import attach
from pixeltune.data.tools import tools_of
from pixeltune.evaluation import in_process
from pixeltune.evaluation.greedy import greedy
from pixeltune.evaluation.in_process import InProcess
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, refusals

ASKED = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0}
WORDS = ["a", "What is 3 + 4?", "b?", "Say it again, please.", "x y z", "why", "12345", "no"]


def ends(said: torch.Tensor, prompt: int) -> list[int]:
    """Some tokens at which not all rows end, and not at the same time: those that rows say after a while."""
    return sorted({int(row[prompt + 2 + 3 * i]) for i, row in enumerate(said[:5])})


def both(model, batch) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """What `generate` and `greedy` say, and how many rows each pass of the latter had."""
    prompt = batch["input_ids"].shape[1]
    with torch.no_grad():
        free = model.generate(**batch, **ASKED, eos_token_id=None)
        asked = {**ASKED, "eos_token_id": ends(free, prompt)}
        wanted = model.generate(**batch, **asked)
        rows = []
        head = model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
        got = model.generate(**batch, **asked, custom_generate=greedy)
        hook.remove()
    return wanted, got, rows


@pytest.mark.parametrize("family", families.ALL)
def test_it_says_what_generate_says_token_for_token_in_every_family(family):
    model = families.make_model(family)
    if "Moe" not in type(model).__name__:  # torch's grouped matrix product has no float64
        model = model.double()
    tokenizer = families.make_tokenizer(family)
    batch = tokenizer(WORDS, padding=True, padding_side="left", return_tensors="pt")
    if family == "gemma3":  # it wants to be told
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    wanted, got, rows = both(model, batch)
    assert torch.equal(got, wanted)
    assert (rows[-1] < rows[0]) == (family not in ("qwen3_5", "qwen3_5_moe", "minicpmv4_6"))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_it_says_so_behind_an_artwork_too(family):
    model, processor = families.make_model(family).double(), families.make_processor(family)
    use_processor(model, processor)
    model = get_peft_model(model, ArtConfig(start="noise")).eval()
    texts = [f"<|im_start|>user\n{model.art_block}{words}<|im_end|>\n" for words in WORDS]
    batch = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    wanted, got, _ = both(model, batch)
    assert torch.equal(got, wanted)


def test_it_says_so_of_rows_that_bring_pictures_of_several_sizes(monkeypatch):
    backend = InProcess(load_model("tiny"), load_processor("tiny"))
    rows = [*calls.rows("test", 6), *refusals.rows()[:6]]
    talks = [
        attach(row["prompt"], [Image.new("RGB", (64 + 64 * (i % 3), 128), "navy")] * (1 + i % 2))
        for i, row in enumerate(rows)
    ]
    said, passes = {}, []
    hook = backend.model.get_output_embeddings().register_forward_pre_hook(
        lambda _, args: passes.append(len(args[0]))
    )
    for many in (True, False):
        monkeypatch.setattr(in_process, "_many", lambda many=many: many)
        passes.clear()
        said[many] = [reply.text for reply in backend.complete(talks, list(map(tools_of, rows)), 32)]
    hook.remove()
    assert said[False] == said[True]
    assert passes[-1] < passes[0]  # and rows were left out


def test_drawn_answers_and_several_processes_keep_transformers_own_loop(monkeypatch):
    model, processor = load_model("tiny"), load_processor("tiny")
    asked: list[dict] = []
    talk = [[{"role": "user", "content": "What is 3 + 4?"}]]
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **given: asked.append(given) or generate(**given))
    backend = InProcess(model, processor)
    backend.complete(talk, [None], 2)
    backend.sampling = {"do_sample": True}
    backend.complete(talk, [None], 2)
    backend.sampling = {"do_sample": False}
    monkeypatch.setattr(in_process, "_many", lambda: True)
    backend.complete(talk, [None], 2)
    assert [given.get("custom_generate") for given in asked] == [greedy, None, None]


@pytest.mark.parametrize("many", [False, True])
def test_every_token_is_told_and_nothing_is_said_otherwise_for_it(monkeypatch, many):
    monkeypatch.setattr(in_process, "_many", lambda: many)
    backend = InProcess(load_model("tiny"), load_processor("tiny"))
    talks = [[{"role": "user", "content": words}] for words in WORDS]
    plain = backend.complete(talks, [None] * len(talks), 8)
    told: list[tuple] = []
    backend.ticked = lambda *said: told.append(said)
    assert [reply.text for reply in backend.complete(talks, [None] * len(talks), 8)] == [
        r.text for r in plain
    ]
    longest = max(reply.completion_tokens for reply in plain)
    assert told == [(n, 8, len(WORDS)) for n in range(1, longest + 1)]
