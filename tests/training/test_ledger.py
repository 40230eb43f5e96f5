"""A run's ledger: operations against torch's own counter, tokens by hand, and the same numbers after a resumption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AttentionInterface

import families
from pixeltune.adapter import ArtConfig
from pixeltune.artwork.ledger import ledger_of, said
from pixeltune.model.loading import load_processor
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.training.arguments import read_settings
from pixeltune.training.flops import FlopCounter
from pixeltune.training.ledger import _not_counted
from pixeltune.training.paint import Painting

torch.set_num_threads(1)
IMAGES = Path(__file__).parents[2] / "docs/images"
# A picture that answers rightly now and then, so that rewards differ.
ONLINE = {
    "task": "sums",
    "start": str(IMAGES / "sums.png"),
    "licence": "CC0-1.0",
    "num_generations": 2,
    "max_completion_length": 24,
}
VERBS = {
    "sft": {},
    "dpo": {},
    "grpo": ONLINE,
    "distill": {"instruction": "best", "max_completion_length": 16},
}


def painting(verb: str, folder: Path, **settings) -> Painting:
    plain = {
        "model": "tiny",
        "task": "calls",
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "train_rows": 16,
        "held_out_rows": 3,
        "logging_steps": 1,
        "output_dir": str(folder),
    }
    run = Painting(verb, *read_settings(verb, plain | VERBS[verb] | settings), quiet=True)
    run.prepare()
    run.build()
    return run


def ledger(run: Painting) -> dict:
    return run.history[-1]["ledger"]


def total(books: dict) -> int:
    return sum(sum(books[f"{way}_flops"].values()) for way in ("forward", "backward"))


def added(into, left, right, out_shape=None, **_) -> int:
    """Of `addmm_`, which TRL's fused head uses and torch has no formula for."""
    return 2 * left[0] * left[1] * right[1]


def reference() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added})


@pytest.mark.parametrize(
    ("verb", "settings", "shared"),
    [
        ("sft", {}, True),
        ("sft", {}, False),
        ("sft", {"gradient_checkpointing": True, "gradient_accumulation_steps": 2}, True),
        ("sft", {"parametrisation": "grid:8"}, True),
        ("dpo", {}, True),
        ("grpo", {}, True),
        ("distill", {}, True),
    ],
)
def test_operations_of_a_whole_run_are_those_of_torch_s_counter(
    tmp_path, monkeypatch, verb, settings, shared
):
    """Rollouts and scores included, which are generated token by token; attention as plain matrix products."""
    if not shared:
        monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
    run = painting(verb, tmp_path, **settings)
    with sdpa_kernel(SDPBackend.MATH), reference() as mode:
        run.train()
    books = ledger(run)
    assert total(books) == mode.get_total_flops()
    assert books["not_counted"] == []
    training = [
        books[f"{way}_flops"].get(part, 0)
        for way in ("forward", "backward")
        for part in ("steps", "rollouts")
    ]
    assert run.history[-1]["total_flos"] == sum(training)
    assert set(books["backward_flops"]) == {"steps"}


def test_a_shared_prefix_and_frozen_weights_cost_less_than_the_usual_estimate(tmp_path, monkeypatch):
    books = {}
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
        run = painting("sft", tmp_path / str(shared), task="sums", held_out_rows=0)
        run.train()
        books[shared] = ledger(run)
        forward, backward = (books[shared][f"{way}_flops"]["steps"] for way in ("forward", "backward"))
        assert 0.75 < backward / forward < 1.25  # with weights that are trained it is twice the forward pass
    assert total(books[True]) < 0.7 * total(books[False])
    tokens = sum(books[True][f"{name}_tokens"] for name in ("prompt", "completion"))
    estimate = 6 * tokens * run.model.num_parameters(exclude_embeddings=True)
    assert run.history[-1]["total_flos"] == total(books[False]) < estimate


def test_tokens_and_pictures_are_those_of_the_batches(tmp_path):
    run = painting("sft", tmp_path, max_steps=3, train_rows=4)
    run.train()
    template = load_processor("tiny").tokenizer.apply_chat_template
    prompts = completions = 0
    for row in run.ready.train_rows:
        tools = json.loads(row["tools"]) if row.get("tools") else None
        ask = len(template(row["prompt"], tools=tools, add_generation_prompt=True)["input_ids"])
        whole = len(template(row["prompt"] + row["completion"], tools=tools)["input_ids"])
        prompts, completions = prompts + ask + run.art.image_tokens + 2, completions + whole - ask
    books = ledger(run)
    assert (books["prompt_tokens"], books["completion_tokens"]) == (3 * prompts, 3 * completions)
    assert books["picture_encodings"] == 3 + 2  # a step each, and a score before and after


def test_completions_that_are_thrown_away_count_as_rollouts(tmp_path):
    """Groups that are replaced were generated, too."""
    kept = painting("grpo", tmp_path / "kept", max_steps=1, temperature=0.01)
    kept.train()
    refilled = painting("grpo", tmp_path / "refilled", max_steps=1, temperature=0.01, refill_rounds=1)
    refilled.train()
    one, more = ledger(kept), ledger(refilled)
    assert one["rollout_prompt_tokens"] == one["prompt_tokens"]
    assert more["rollout_completion_tokens"] > one["rollout_completion_tokens"]
    assert more["forward_flops"]["rollouts"] > one["forward_flops"]["rollouts"]


@pytest.mark.parametrize(("verb", "score_steps"), [("sft", 3), ("dpo", 3), ("grpo", 1)])
def test_a_resumed_run_has_the_ledger_of_an_unbroken_one(tmp_path, verb, score_steps):
    """What was kept when the checkpoint was saved is computed anew, and was counted before."""
    settings = {"max_steps": 4, "save_steps": 1, "save_total_limit": 9, "logging_steps": 2}
    settings |= {"task": "sums", "score_steps": score_steps}
    whole = painting(verb, tmp_path / "whole", **settings)
    whole.train()
    shutil.copytree(tmp_path / "whole/checkpoint-2", tmp_path / "broken/checkpoint-2")
    again = painting(verb, tmp_path / "broken", **settings, resume_from_checkpoint="true")
    again.train()
    one, two = ledger(whole), ledger(again)
    assert {k: v for k, v in one.items() if k != "seconds"} == {
        k: v for k, v in two.items() if k != "seconds"
    }
    assert one["seconds"].keys() == two["seconds"].keys()
    assert again.history[-1]["total_flos"] == whole.history[-1]["total_flos"]


def test_seconds_are_those_of_the_clock(tmp_path):
    run = painting("grpo", tmp_path)
    run.train()
    seconds = ledger(run)["seconds"]
    assert set(seconds) == {"steps", "rollouts", "scores", "other"}
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) == pytest.approx(run.history[-1]["seconds"], abs=2)


def test_a_model_is_left_as_it_was(tmp_path):
    usual = AttentionInterface()["sdpa"]
    run = painting("sft", tmp_path, max_steps=1)
    assert AttentionInterface()["sdpa"] is not usual
    run.train()
    assert AttentionInterface()["sdpa"] is usual
    assert not any(module._forward_hooks for module in run.model.modules())


def test_two_counters_count_each_model_once(tmp_path):
    """As a second run in this process would, after one that was broken off."""
    counters = []
    for family in ("qwen3_vl", "qwen2_5_vl"):
        model, _ = families.load(families.save(family, tmp_path / family))
        counters.append(FlopCounter())
        counters[-1].watch(model)
    ids = torch.arange(4, 12)[None]
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), reference() as mode:
        model(input_ids=ids)
    first, second = (sum(one.forward.values()) for one in counters)
    assert (first, second) == (0, mode.get_total_flops())
    for one in counters:
        one.release()
    with torch.no_grad():
        model(input_ids=ids)
    assert sum(counters[1].forward.values()) == second


@pytest.mark.parametrize("family", ["qwen3_vl_moe", "gemma3", "qwen3_5", "idefics3"])
def test_other_families_come_near(tmp_path, family):
    """Experts and routers too; of recurrences only projections and convolutions count."""
    from peft import get_peft_model

    model, processor = families.load(families.save(family, tmp_path / family))
    if "moe" in family:
        model.set_experts_implementation("eager")  # torch's counter has no formula for grouped products
    model = get_peft_model(model, ArtConfig(start="grey")).train()
    text = f"{model.art_block}What is 3 + 4?"
    batch = processor.tokenizer([text, text + " And 5?"], padding=True, return_tensors="pt")
    counter = FlopCounter()
    counter.watch(model)
    with sdpa_kernel(SDPBackend.MATH), reference() as mode:
        model(**batch, use_cache=False).logits.sum().backward()
    counter.release()
    own = sum(counter.forward.values()) + sum(counter.backward.values())
    assert own == pytest.approx(mode.get_total_flops(), rel=0.1 if family == "qwen3_5" else 0.002)
    assert counter.pictures.total() == 1


def test_a_ledger_is_read_and_said_whoever_wrote_it():
    books = {
        "prompt_tokens": 1234,
        "completion_tokens": 56,
        "picture_encodings": 3,
        "forward_flops": {"scores": 5e8, "steps": 1.5e12},
        "backward_flops": {"steps": 2e12},
        "seconds": {"other": 1.25, "steps": 60},
        "not_counted": ["x"],
        "evil": "\x1b[2J",
        "worse": {"a": float("nan"), "b": -1, "c": True, "d": 10**400},
    }
    found = ledger_of([None, {"step": 1, "ledger": books}, {"ledger": 3}])
    assert said(found) == (
        "1,234 prompt and 56 completion tokens learned from; 3 picture encodings; 1.5 TFLOP forward (and 500 MFLOP "
        "scores); 2 TFLOP backward; seconds: steps 60.0, other 1.2"
    )
    assert found["worse"] == {}
    assert "evil" not in found
    assert ledger_of([{"loss": 1.0}]) is None


def test_what_is_not_counted_is_said():
    """Here by what the trainer says of itself."""
    text = SimpleNamespace(_attn_implementation="eager", layer_types=["linear_attention", "full_attention"])
    config = SimpleNamespace(_attn_implementation="sdpa", get_text_config=lambda: text)
    args = SimpleNamespace(use_liger_kernel=True)
    trainer = SimpleNamespace(model=SimpleNamespace(config=config), args=args, use_vllm=True)
    assert _not_counted([trainer]) == [
        "rollouts, which an engine computes",
        "recurrences of linear attention",
        "attention by eager",
        "Liger's heads",
    ]
