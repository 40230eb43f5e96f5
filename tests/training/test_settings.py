"""Settings by name: from Python, from flags, from YAML; what is wrong is said in a line, with the remedy."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from pixeltune.adapter import ArtConfig
from pixeltune.cli.main import main
from pixeltune.cli.train import settings
from pixeltune.errors import UserError
from pixeltune.picture.settings import ArtworkSettings
from pixeltune.training import trainers
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.training.settings import PaintArguments


def test_what_an_artwork_is_stands_in_one_place():
    """No field of it is declared again by PEFT's config or by the arguments, and all arrive."""
    shared = {one.name for one in fields(ArtworkSettings)}
    assert not shared & (PaintArguments.__annotations__.keys() | ArtConfig.__annotations__.keys())
    given = {"image_tokens": 100, "bound": 8, "cells": 9, "parametrisation": "fourier", "robust": "light"}
    given |= {"start": "noise", "backdrop": "#102030", "fit": "pad"}
    arguments, _ = read_settings("sft", {"task": "sums", "revision": "abc", **given})
    art = arguments.artwork(seed=7)
    assert {name: getattr(art, name) for name in given} == given
    assert (art.seed, art.revision) == (7, "abc")


def test_names_of_both_kinds_are_told_apart_and_defaults_are_for_pixels(tmp_path):
    given = {"task": "sums", "learning_rate": 0.05, "output_dir": tmp_path, "data": None}
    arguments, config = read_settings("sft", given)
    assert (arguments.task, arguments.model) == (["sums"], "tiny")
    assert (config.learning_rate, config.weight_decay, config.max_length) == (0.05, 0.0, None)
    assert Path(config.output_dir) == tmp_path
    assert not config.dataloader_pin_memory  # which libraries warn of where there is no accelerator


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_learning_rate_that_moves_nothing_is_refused(rate):
    with pytest.raises(UserError, match=r"--learning_rate is .* must be above 0: 0.005 to 0.1 works"):
        read_settings("sft", {"task": "sums", "learning_rate": float(rate)})


@pytest.mark.parametrize("steps", [0, -2])
def test_no_steps_are_refused(steps):
    with pytest.raises(
        UserError, match=rf"--max_steps is {steps} and must be at least 1, or -1 for --num_train"
    ):
        read_settings("sft", {"task": "sums", "max_steps": steps})


def test_epochs_are_not_cut_off_by_the_usual_steps():
    assert read_settings("sft", {"task": "sums", "num_train_epochs": 2})[1].max_steps == -1
    assert read_settings("sft", {"task": "sums", "num_train_epochs": 2, "max_steps": 7})[1].max_steps == 7


@pytest.mark.parametrize(
    ("objective", "given", "message"),
    [
        (
            "sft",
            {"learnign_rate": 0.1},
            "no setting 'learnign_rate' of pixeltune sft.*did you mean learning_rate",
        ),
        ("sft", {"tasks": "sums"}, "did you mean task"),
        ("grop", {}, "no objective 'grop' .did you mean grpo"),
        ("sft", {"train_rows": "many"}, "train_rows is 'many': it must be int"),
        ("sft", {"bound": 8.5}, r"bound is 8.5: it must be int or null"),
        ("sft", {"overwrite": "yes"}, "overwrite is 'yes': it must be bool"),
        ("sft", {"dtype": "float17"}, "dtype is 'float17' .did you mean float16"),
        ("sft", {"device_map": "sideways"}, "device_map is 'sideways': it must be auto, balanced"),
        ("sft", {"turn_budget_steps": 3}, "sft does not use --turn_budget_steps; grpo does"),
        (
            "sft",
            {"data": [{"prompt": "a"}]},
            "data is a list and must be the name of a file .*: write the rows",
        ),
        ("sft", {"also": [1]}, "also is .1.: it must be list"),
        ("sft", {"max_steps": [1]}, "max_steps is .1.: it must be int"),
        ("sft", {"save_strategy": "sometimes"}, "SFTConfig does not take these settings"),
        ("sft", {"per_device_train_batch_size": 0}, "--per_device_train_batch_size is 0 .* at least 1"),
        ("grpo", {"per_device_train_batch_size": 0}, "per_device_train_batch_size|does not take"),
        ("sft", {"gradient_accumulation_steps": 0}, "--gradient_accumulation_steps is 0 .* at least 1"),
        ("sft", {"dataloader_num_workers": -1}, "--dataloader_num_workers is -1 .* at least 0"),
        ("kto", {"per_device_train_batch_size": 1}, "must be at least 2: kto compares rows of a batch"),
        ("sft", {"report_to": "nosuch"}, "--report_to: nosuch is not supported, only .*tensorboard"),
        ("sft", {"deepspeed": "no.json"}, "SFTConfig does not take these settings: .*deepspeed"),
        ("sft", {"fp16": True, "use_cpu": True}, "--fp16 true works on a GPU only"),
        ("sft", {"eval_strategy": "steps"}, "--score_steps takes held-out scores"),
        ("grpo", {"num_generations": 1}, "GRPOConfig does not take these settings"),
    ],
)
def test_wrong_names_and_values(objective, given, message, tmp_path):
    with pytest.raises(UserError, match=message):
        paint(objective, **{"task": "sums", "output_dir": tmp_path, **given})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("rewards", "kind", "message"),
    [
        ({}, UserError, "^Refusing does not take these settings: No.$"),
        ({"environment_factory": object}, ValueError, "^No.\nNever.$"),  # it may be the environment's own
    ],
)
def test_what_a_trainer_refuses_is_one_line(rewards, kind, message, monkeypatch):
    class Refusing:
        def __init__(self, **given):
            raise ValueError("No.\nNever.")

    monkeypatch.setattr(trainers, "OBJECTIVES", {"dpo": SimpleNamespace(trainer=Refusing)})
    monkeypatch.setattr(trainers, "use_processor", lambda *_: None)
    monkeypatch.setattr(trainers, "declare_context_length", lambda _: None)
    ready = SimpleNamespace(objective="dpo", rewards=rewards, pictures=True)
    with pytest.raises(ValueError, match=message) as refusal:
        trainers.make_trainer(ready, None, None, None, ArtConfig(), None)
    assert type(refusal.value) is kind


def test_kto_without_its_kl_term_takes_single_rows():
    given = {"task": "sums", "per_device_train_batch_size": 1, "loss_type": "apo_zero_unpaired"}
    assert read_settings("kto", given)[1].per_device_train_batch_size == 1


def test_a_text_is_a_list_of_one_and_a_path_a_text(tmp_path):
    arguments, _ = read_settings("sft", {"data": tmp_path / "rows.jsonl", "also": "other"})
    assert (arguments.data, arguments.also) == ([str(tmp_path / "rows.jsonl")], ["other"])


def test_flags_and_yaml_say_only_what_is_in_them(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("task: sums\nlearning_rate: 1e-3\nchat_template_kwargs: {enable_thinking: false}\n")
    given = settings("grpo", [f"--config={recipe}", "--max_steps", "3", "--overwrite"])
    thinking = {"enable_thinking": False}
    assert given == {
        "task": ["sums"],
        "learning_rate": 0.001,  # a text to YAML 1.1
        "chat_template_kwargs": thinking,
        "max_steps": 3,
        "overwrite": True,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: sums\nlearnign_rate: 0.01\n", "no setting 'learnign_rate' .*did you mean learning_rate"),
        ("task: [sums\n", "is not YAML"),
        ("a: b: c\n", "is not YAML"),
        ("- task\n", "must hold names and values"),
        ("just words", "must hold names and values"),
        ("? [1, 2]\n: 3\n", "is not YAML|no setting"),
        ("help: true\n", "no setting 'help'"),
        ("config: other.yaml\n", "no setting 'config'"),
        ("1: 2\n", "no setting 1"),
        ("x: !!python/object/apply:os.getcwd []\n", "is not YAML"),
        ("task: sums\nmax_steps: [1]\n", "max_steps is .1.: it must be int"),
        ("task: 3\n", "task is 3: it must be list"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"\x00", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        (None, "there is no file"),
    ],
)
def test_yaml_that_cannot_be_used_is_one_line(text, message, tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    if text is not None:
        recipe.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        paint("sft", **settings("sft", ["--config", str(recipe)]))
    assert main(["sft", "--config", str(recipe)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        ("--config", 2, "followed by the name of one YAML file"),
        ("--task sums --learnign_rate 1", 2, "no --learnign_rate .did you mean --learning_rate"),
        ("--task sums --max_step 1", 2, "no --max_step .did you mean --max_steps"),  # and no abbreviations
        ("--task sums --max_steps 3 more", 2, "'more' has no flag"),
        ("--task sums --fp16 true --bf16 true", 1, "does not take these settings"),
    ],
)
def test_flags_that_cannot_be_used_are_one_line(flags, status, message, capsys):
    assert main(["sft", *flags.split()]) == status
    import re

    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line)
