"""Distilling words into a picture: what teacher and student read, and who generates."""

from __future__ import annotations

import json

import pytest
import torch
from datasets import Dataset
from PIL import Image

from pixeltune.adapter import ArtConfig
from pixeltune.artwork.artwork import Artwork
from pixeltune.bundled.tiny.behaviours import AXES
from pixeltune.cli.train import run, settings
from pixeltune.data.instruction import read_instruction, tell
from pixeltune.data.placement import place_image
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.synthetic import calls
from pixeltune.training.arguments import read_settings
from pixeltune.training.distillation import DistillationTrainer, prompt_tokens, teacher_rows
from pixeltune.training.paint import paint

TOLD = [{"role": "system", "content": calls.TASK.instruction}]
PHRASES = [phrase for values in AXES.values() for phrase in next(iter(values.values())).phrases]
LONG = [{"role": "system", "content": " ".join(PHRASES * 2)}]
EXAMPLES = [m for row in calls.rows("train", 4, seed=99) for m in [*row["prompt"], *row["completion"]]]
SHORT = "--task calls --save_strategy no --snapshot_steps 0 --score_steps 0 --report_to none "


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")


def test_the_student_reads_the_artwork_and_the_teacher_the_words(processor):
    block = ArtConfig().block(Preprocessor(processor))
    rows = calls.rows("train", 3)
    placed = teacher_rows(rows, TOLD, block, processor)
    for row, texts in zip(rows, placed, strict=True):
        assert block in texts["prompt"]
        assert calls.TASK.instruction not in texts["prompt"]
        assert texts["privileged_context"] == processor.apply_chat_template(
            [*TOLD, *row["prompt"]],
            tools=json.loads(row["tools"]),
            tokenize=False,
            add_generation_prompt=True,
        )
    tokens = prompt_tokens(placed, processor.tokenizer)
    words = len(processor.tokenizer(f"{calls.TASK.instruction}\n\n")["input_ids"])
    assert tokens["saved"] == words - 66  # 64 image tokens and their two brackets


@pytest.mark.parametrize("told", [LONG, EXAMPLES], ids=["long", "examples"])
def test_tokens_saved_are_what_a_request_loses(processor, told):
    """Counted once more, in the requests that are served: words without a picture, a PNG without words."""
    rows = calls.rows("train", 5)
    tokens = prompt_tokens(
        teacher_rows(rows, told, ArtConfig().block(Preprocessor(processor)), processor), processor.tokenizer
    )
    picture = Image.fromarray(Canvas(start_picture("grey", 256, 256)).to_uint8())
    words = with_artwork = 0
    for row in rows:
        for messages in (tell(row["prompt"], told), image_parts(place_image(row["prompt"], ""))):
            text = processor.apply_chat_template(
                messages, tools=json.loads(row["tools"]), tokenize=False, add_generation_prompt=True
            )
            if "<|image_pad|>" in text:
                with_artwork += len(processor(text=[text], images=[[picture]])["input_ids"][0])
            else:
                words += len(processor.tokenizer(text)["input_ids"])
    assert tokens == {
        "artwork": with_artwork / 5,
        "words": words / 5,
        "saved": pytest.approx((words - with_artwork) / 5),
    }
    assert tokens["saved"] > 0


def test_tokens_saved_are_printed_and_kept(bundled, tmp_path, capsys):
    (tmp_path / "long.json").write_text(json.dumps(LONG))
    flags = SHORT + "--max_steps 1 --per_device_train_batch_size 2 --max_completion_length 2 --train_rows 2 "
    flags += f"--instruction {tmp_path / 'long.json'} --output_dir {tmp_path}"
    assert run("distill", flags.split()) == 0
    tokens = Artwork.load(tmp_path / "artwork.png").provenance.training["prompt_tokens"]
    assert tokens["saved"] > 0
    assert f"prompt tokens per request: {tokens['words']} in words" in (said := capsys.readouterr().out)
    assert f"{tokens['saved']} saved" in said


@pytest.mark.parametrize(
    ("instruction", "messages", "roles"),
    [
        (["system"], ["user"], ["system", "user"]),
        (["system"], ["system", "user"], ["system", "user"]),
        (["user", "assistant"], ["user"], ["user", "assistant", "user"]),
        (["user", "assistant"], ["system", "user"], ["system", "user", "assistant", "user"]),
        (["system", "user", "assistant"], ["system", "user"], ["system", "user", "assistant", "user"]),
    ],
)
def test_the_instruction_goes_in_front(instruction, messages, roles):
    told = tell(
        [{"role": role, "content": "b"} for role in messages],
        [{"role": role, "content": "a"} for role in instruction],
    )
    assert [message["role"] for message in told] == roles
    both_are_system = instruction[0] == messages[0] == "system"
    assert told[0]["content"] == ("a\n\nb" if both_are_system else told[0]["content"])


def test_instructions_are_texts_or_messages(tmp_path):
    text, examples = tmp_path / "a.txt", tmp_path / "b.json"
    text.write_text("Be brief.\n")
    assert read_instruction(text) == [{"role": "system", "content": "Be brief."}]
    shots = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    examples.write_text(json.dumps(shots))
    assert read_instruction(examples) == shots


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no instruction file"),
        ("empty.txt", b"", "must hold a text"),
        ("bad.txt", b"\xff\xfe\xff", "cannot be read"),
        ("bad.json", b"[" * 100_000, "cannot be read"),
        ("bad.json", b'[{"role": "user"}]', "must hold a text"),
        ("large.txt", b"a" * ((1 << 20) + 1), "larger than 1 MiB"),
    ],
)
def test_bad_instructions_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_instruction(tmp_path / name)


def make_trainer(kind, processor, tmp_path, **settings):
    """A trainer with our settings, and the rows it was given."""
    art, rows = ArtConfig(), calls.rows("train", 4)
    placed = teacher_rows(rows, TOLD, art.block(Preprocessor(processor)), processor)
    usual = {"task": "calls", "instruction": "best", "max_completion_length": 64, "report_to": "none"}
    _, config = read_settings("distill", {**usual, "output_dir": tmp_path, **settings})
    config.generation_kwargs = {"do_sample": False}
    config.teacher_prompt_template = "{privileged_context}"
    trainer = kind(
        model=load_model("tiny"),
        args=config,
        train_dataset=Dataset.from_list(placed),
        processing_class=processor.tokenizer,
        peft_config=art,
    )
    return trainer, rows, placed


@pytest.mark.parametrize("trainer_class", [DistillationTrainer, DistillationTrainer.__base__])
def test_completions_come_from_the_base_model_told_in_words(processor, tmp_path, trainer_class):
    """TRL alone generates with the adapter on, which refuses a text without the artwork.

    When that part fails, TRL has mended it and `DistillationTrainer` can go.
    """
    trainer, rows, placed = make_trainer(trainer_class, processor, tmp_path)
    asked = trainer._tokenize_prompts([row["privileged_context"] for row in placed])
    if trainer_class is not DistillationTrainer:
        with pytest.raises(ValueError, match="place_dataset"):
            trainer._generate(asked)
        return
    _, said = trainer._generate(asked)
    told = InProcess(load_model("tiny"), processor).complete(
        [[*TOLD, *row["prompt"]] for row in rows], [json.loads(row["tools"]) for row in rows], 64
    )
    assert [processor.tokenizer.decode(ids).removesuffix("<|im_end|>") for ids in said] == [
        reply.text for reply in told
    ]


@pytest.mark.parametrize(
    ("settings", "divergence"),
    [
        ({}, lambda s, t: (t * (t / s).log()).sum(-1)),
        ({"distillation_alpha": 1}, lambda s, t: (s * (s / t).log()).sum(-1)),
        (
            {"distillation_alpha": 0.5},
            lambda s, t: sum((p * (2 * p / (s + t)).log()).sum(-1) for p in (s, t)) / 2,
        ),
    ],
    ids=["forward KL unless told otherwise", "reverse KL", "Jensen-Shannon"],
)
def test_the_loss_is_between_the_picture_and_the_words(processor, tmp_path, settings, divergence):
    """Token by token of an answer: the model looking at the artwork, and the base model told in words."""
    trainer, rows, (texts, *_) = make_trainer(DistillationTrainer, processor, tmp_path, **settings)
    asked, told, answer = (
        processor.tokenizer(text, return_tensors="pt")["input_ids"]
        for text in (texts["prompt"], texts["privileged_context"], rows[0]["completion"][0]["content"])
    )
    shown, read = torch.cat([asked, answer], 1), torch.cat([told, answer], 1)
    batch = {
        "prompt_ids": asked,
        "prompt_mask": torch.ones_like(asked),
        "completion_ids": answer,
        "completion_mask": torch.ones_like(answer),
        "teacher_input_ids": read,
        "teacher_attention_mask": torch.ones_like(read),
    }
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), batch)
        student, teacher = (
            model(input_ids=ids).logits[0, -answer.shape[1] - 1 : -1].softmax(-1)
            for model, ids in ((trainer.model, shown), (load_model("tiny"), read))
        )
    wanted = divergence(student, teacher)[trainer.num_loss_tokens_to_skip :].mean()
    assert wanted > 0.01
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def start_score(processor):
    """Of grey, on 40 held-out rows."""
    picture = Image.fromarray(Canvas(start_picture("grey", 256, 256)).to_uint8())
    return score_rows(
        calls.TASK, calls.rows("test", 40, seed=5), InProcess(load_model("tiny"), processor, picture)
    )


@pytest.mark.parametrize(
    "option", ["--distillation_alpha 1", "--distillation_alpha 0.5"], ids=["reverse KL", "Jensen-Shannon"]
)
def test_the_other_divergences_lift_the_held_out_score(processor, start_score, tmp_path, option):
    flags = SHORT + "--max_steps 12 --train_rows 96 --per_device_train_batch_size 8 --learning_rate 0.06 "
    flags += f"--max_completion_length 40 --instruction best {option} --output_dir {tmp_path}"
    painting = paint("distill", quiet=True, **settings("distill", flags.split()))
    assert painting.finished
    rows = calls.rows("test", 40, seed=5)
    after = score_rows(calls.TASK, rows, InProcess(load_model("tiny"), processor, painting.artwork.image))
    assert after.ci95[0] > start_score.ci95[1]
