"""Processes that share the frozen base out among them (FSDP2) paint what one process paints with the double batch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.errors import UserError
from pixeltune.model.sharding import asked_for, is_sharded
from pixeltune.training.settings import PaintArguments
from pixeltune.training.sharded import check_sharded
from vllm_server import free_port

LAUNCHED = {
    "ACCELERATE_USE_FSDP": "true",
    "WORLD_SIZE": "2",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


@pytest.fixture
def launched(monkeypatch) -> pytest.MonkeyPatch:
    """As `accelerate launch` of the guide sets the environment."""
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def check(verb: str = "sft", fsdp: bool = False, **settings: Any) -> None:
    config: Any = SimpleNamespace(fsdp=fsdp, bf16=settings.pop("bf16", False), fp16=False)
    check_sharded(verb, PaintArguments(task=["calls"], **settings), config)


def test_what_the_guide_says_is_taken(launched):
    assert asked_for()
    check()


def test_nothing_is_refused_where_nothing_is_sharded(launched):
    launched.setenv("WORLD_SIZE", "1")
    check("grpo", also=["smol"], bf16=True)
    launched.delenv("ACCELERATE_USE_FSDP")
    launched.setenv("WORLD_SIZE", "2")
    check("grpo", also=["smol"], bf16=True)


@pytest.mark.parametrize("verb", ["dpo", "kto", "grpo", "rloo", "distill"])
def test_only_sft_is_taken(launched, verb):
    with pytest.raises(UserError, match="only sft works: leave out --use_fsdp"):
        check(verb)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("FSDP_VERSION", "1", "add --fsdp_version 2"),
        ("FSDP_AUTO_WRAP_POLICY", "NO_WRAP", "add --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP"),
        ("FSDP_OFFLOAD_PARAMS", "true", "leave it or --use_fsdp out"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "add --fsdp_cpu_ram_efficient_loading false"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "--gradient_checkpointing true"),
    ],
)
def test_a_launch_that_cannot_work_is_refused_with_the_remedy(launched, name, value, remedy):
    launched.setenv(name, value)
    with pytest.raises(UserError, match=remedy) as refused:
        check()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"also": ["smol"]},
        {"load_in_4bit": True},
        {"device_map": "auto"},
        {"contexts": "own"},
        {"style": "l2"},
        {"bf16": True},
    ],
)
def test_settings_that_were_not_tried_are_refused(launched, settings):
    with pytest.raises(UserError, match="was not shown to work while a model is shared out"):
        check(**settings)


def test_the_launcher_and_not_a_flag_shards(monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    with pytest.raises(UserError, match="accelerate launch --use_fsdp"):
        check(fsdp=True)


def test_layers_that_are_shared_out_are_not_cast_unless_that_is_asked_for(launched):
    import torch

    from pixeltune.training.arguments import defaults

    launched.setattr(torch.cuda, "is_available", lambda: True)
    launched.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert defaults("sft")["bf16"] is False
    launched.delenv("ACCELERATE_USE_FSDP")
    assert defaults("sft")["bf16"] is True


@pytest.fixture
def sharded(bundled, tmp_path):
    """The bundled model with an artwork, sharded as accelerate does it, by a group of one process."""
    import torch
    from peft import get_peft_model
    from torch.distributed.fsdp import fully_shard

    from pixeltune.adapter import ArtConfig
    from pixeltune.adapter.guard import art_layer
    from pixeltune.model.loading import load_model

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", world_size=1, rank=0)
    try:
        model = get_peft_model(load_model("tiny"), ArtConfig())
        canvas = set(art_layer(model).art_canvas.parameters())
        for module in list(model.modules()):
            if type(module).__name__ in ("Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock"):
                fully_shard(module)
        embeddings = [model.get_input_embeddings(), model.get_output_embeddings()]
        fully_shard(embeddings, reshard_after_forward=False)
        fully_shard(model, ignored_params=canvas)
        yield model
    finally:
        torch.distributed.destroy_process_group()


def test_weights_that_are_shared_out_have_the_hash_of_the_whole(sharded):
    from torch.distributed.tensor import DTensor

    from pixeltune.adapter.guard import art_layer
    from pixeltune.model.loading import load_model, weights_sha256

    assert is_sharded(sharded)
    pixels = list(art_layer(sharded).art_canvas.parameters())
    assert not any(isinstance(one, DTensor) for one in pixels)
    assert sum(isinstance(one, DTensor) for one in sharded.parameters()) > 50
    assert weights_sha256(sharded.get_base_model()) == weights_sha256(load_model("tiny"))


@pytest.fixture
def plugin(monkeypatch) -> SimpleNamespace:
    """What accelerate holds of how it is to shard."""
    from accelerate.state import AcceleratorState

    made = SimpleNamespace(
        fsdp_version=2,
        cpu_ram_efficient_loading=False,
        ignored_modules=None,
        transformer_cls_names_to_wrap=None,
    )
    monkeypatch.setitem(AcceleratorState._shared_state, "fsdp_plugin", made)
    return made


def init_end(model: Any) -> None:
    from pixeltune.adapter.sharding import WholeCanvas

    WholeCanvas().on_init_end(SimpleNamespace(device="cpu"), None, None, model=model)


def test_any_trainer_leaves_the_canvas_whole_and_names_the_layers_that_are_there(bundled, plugin):
    """Some families name layers of a tower's text part, which accelerate does not find in the model."""
    from peft import get_peft_model

    from pixeltune.adapter import ArtConfig
    from pixeltune.adapter.guard import art_layer
    from pixeltune.model.loading import load_model

    base = load_model("tiny")
    init_end(base)
    assert plugin.ignored_modules is None  # the training of another model
    base._no_split_modules = [*base._no_split_modules, "SiglipTextEmbeddings"]
    model = get_peft_model(base, ArtConfig())
    init_end(model)
    assert plugin.ignored_modules == [art_layer(model).art_canvas]
    assert sorted(plugin.transformer_cls_names_to_wrap) == ["Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock"]
    plugin.transformer_cls_names_to_wrap = ["Qwen3VLVisionBlock"]
    init_end(model)
    assert plugin.transformer_cls_names_to_wrap == ["Qwen3VLVisionBlock"]  # what somebody chose
    plugin.fsdp_version = 1
    with pytest.raises(UserError, match="--fsdp_version 2"):
        init_end(model)
    plugin.fsdp_version, plugin.cpu_ram_efficient_loading = 2, True
    with pytest.raises(UserError, match="--fsdp_cpu_ram_efficient_loading false"):
        init_end(model)


def test_what_a_process_holds_is_said_and_a_model_that_is_not_shared_out_refused(sharded, bundled):
    from pixeltune.model.loading import load_model
    from pixeltune.training.memory import Shares

    said: list[str] = []
    args: Any = SimpleNamespace(device=SimpleNamespace(type="cpu"), world_size=1)
    state: Any = SimpleNamespace(is_world_process_zero=True)
    Shares(said.append).on_train_begin(args, state, None, model=sharded)
    (line,) = said
    total = sum(one.numel() * 4 for one in sharded.parameters() if not one.requires_grad)
    assert f"{total:,} of {total:,} bytes" in line
    with pytest.raises(UserError, match="on cpu: leave out --use_fsdp"):
        Shares(said.append).on_train_begin(args, state, None, model=load_model("tiny"))


def test_each_layer_is_called_once_whatever_the_rows_share(sharded):
    """Else processes whose rows share more, or have seen them before, would wait for the others for ever."""
    import torch

    from pixeltune.model.families import text_model, vision_tower
    from pixeltune.model.loading import load_processor

    backbone, _ = vision_tower(sharded.get_base_model())
    layer, calls = text_model(backbone).layers[0], []
    layer.register_forward_hook(lambda *_: calls.append(1))
    tokenizer, block = load_processor("tiny").tokenizer, sharded.art_block
    sharded.train()
    for texts in (["Say one", "Say two"], ["Say one", "Say two"], ["Say one"], ["one", "two 3"]):
        asked = [[{"role": "user", "content": block + text}] for text in texts]
        batch = tokenizer.apply_chat_template(asked, padding=True, return_dict=True, return_tensors="pt")
        before = len(calls)
        sharded(**batch).logits.sum().backward()
        assert len(calls) == before + 1
    with torch.no_grad():
        sharded(**batch, use_cache=False)
    assert len(calls) == before + 2


FLAGS = (
    "--task calls --max_steps 4 --train_rows 32 --learning_rate 0.05 --report_to none --snapshot_steps 0 "
    "--use_cpu true --seed 3 --gradient_accumulation_steps 2 --held_out_rows 3 --score_steps 2 --save_steps 2"
).split()
LAUNCH = (
    "-m accelerate.commands.launch --use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_cpu_ram_efficient_loading false --num_processes 2 --main_process_port"
).split()
HERE = Path(__file__).parent / "sharded_on_cpu.py"


def launch(folder: Path, *more: str) -> str:
    """Two processes; returns what they said."""
    words = [
        sys.executable,
        *LAUNCH,
        str(free_port()),
        str(HERE),
        "sft",
        *FLAGS,
        *more,
        "--ddp_backend",
        "gloo",
    ]
    words += ["--per_device_train_batch_size", "2", "--output_dir", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_with_half_the_base_each_paint_what_one_does_with_the_double_batch(bundled, tmp_path):
    """Scores, loss and PNG are those of one process, and those of a run that went on from its checkpoint."""
    import json
    import shutil

    from pixeltune.cli.train import settings
    from pixeltune.training.paint import paint

    words = ["--per_device_train_batch_size", "4", "--output_dir", str(tmp_path / "one")]
    one = paint("sft", quiet=True, **settings("sft", [*FLAGS, *words])).artwork
    said = launch(tmp_path / "two")
    two = Artwork.load(tmp_path / "two" / "artwork.png")
    # Of the weights before they were shared out; the run compared it with that of all parts at its end.
    assert two.provenance.base_sha256 == one.provenance.base_sha256
    taken = re.search(r"FSDP2\): ([\d,]+) of ([\d,]+) bytes", said)
    here, whole = (int(number.replace(",", "")) for number in taken.groups())
    assert 0.5 <= here / whole < 0.51
    assert said.count(str(tmp_path / "two" / "artwork.png")) == 1  # one of them speaks
    assert np.abs(one.pixels.astype(int) - 128).mean() > 2
    assert (np.abs(one.pixels.astype(int) - two.pixels.astype(int)) <= 1).mean() > 0.995
    logs = [json.loads((tmp_path / name / "log_history.json").read_text()) for name in ("one", "two")]
    scores = [[entry["held_out_score"] for entry in log if "held_out_score" in entry] for log in logs]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 3

    shutil.rmtree(tmp_path / "two" / "checkpoint-4")
    launch(tmp_path / "two", "--resume_from_checkpoint", "true")
    again = Artwork.load(tmp_path / "two" / "artwork.png")
    assert (np.abs(again.pixels.astype(int) - two.pixels.astype(int)) <= 1).mean() > 0.995
