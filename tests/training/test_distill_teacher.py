"""A teacher of its own: a LoRA beside the base it shares, or another model; the picture learns what it says."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.common.accuracy_tasks import part
from benchmarks.common.baselines import LINEAR, train
from pixeltune.adapter import ArtConfig
from pixeltune.cli.refusals import check
from pixeltune.errors import UserError
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.finding import TINY
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.synthetic import calls
from pixeltune.training.arguments import read_settings
from pixeltune.training.distillation import DistillationTrainer, teacher_rows
from pixeltune.training.paint import Painting, paint
from pixeltune.training.teacher import check_adapter, load_teacher

SHORT = {"task": "calls", "save_strategy": "no", "snapshot_steps": 0, "score_steps": 0, "report_to": "none"}
FEW = SHORT | {"max_steps": 6, "train_rows": 48, "per_device_train_batch_size": 8, "learning_rate": 0.06}
TOLD = [{"role": "system", "content": calls.TASK.instruction}]


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")


@pytest.fixture(scope="module")
def lora(bundled, tmp_path_factory):
    """The folder of a LoRA that calls tools."""
    folder = tmp_path_factory.mktemp("teachers") / "caller"
    settings = {"max_steps": 8, "per_device_train_batch_size": 16}
    train("sft", "lora16", 3e-3, 42, part("calls", "train", 128, 42), settings).model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def merged(lora, processor):
    """The folder of another model: the base with the LoRA in its weights."""
    folder = lora.parent / "merged"
    PeftModel.from_pretrained(load_model("tiny"), lora).merge_and_unload().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def start_score(processor):
    return score(processor, Canvas(start_picture("grey", 256, 256)).to_uint8())


def score(processor, pixels):
    with wearing(load_model("tiny"), processor, Image.fromarray(pixels)) as backend:
        return score_rows(calls.TASK, calls.rows("test", 24, seed=5), backend)


def changed(folder, place, config=None, **weights):
    """A copy of an adapter's folder with other settings, and weights beside its own."""
    shutil.copytree(folder, place)
    said = json.loads((place / "adapter_config.json").read_text())
    (place / "adapter_config.json").write_text(json.dumps(said | (config or {})))
    if weights:
        state = load_file(place / "adapter_model.safetensors")
        save_file(state | weights, place / "adapter_model.safetensors")
    return place


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("adapter", {}),
        ("adapter", {"distillation_alpha": 0.5, "generate_from_teacher": False}),
        ("adapter", {"distillation_alpha": 1.0, "instruction": "best"}),
        ("model", {}),
    ],
    ids=["LoRA, forward KL", "LoRA, Jensen-Shannon, on policy", "LoRA that is told, reverse KL", "model"],
)
def test_the_picture_learns_what_the_teacher_does(
    processor, start_score, lora, merged, tmp_path, capsys, kind, settings
):
    """Pixels move, weights do not, and the held-out score rises."""
    folder = {"adapter": lora, "model": merged}[kind]
    more = {"max_completion_length": 32, "output_dir": tmp_path, "teacher": f"{kind}:{folder}"}
    painting = paint("distill", **FEW | more | settings)
    assert painting.finished
    said = capsys.readouterr().out
    assert f"teacher: {kind}:{folder.name}, " in said
    assert ("1.4 MB more memory (the LoRA; the weights of the base are shared)" in said) == (
        kind == "adapter"
    )
    artwork = painting.artwork
    assert artwork.provenance.training["teacher"] == f"{kind}:{folder.name}"
    assert ("prompt_tokens" in artwork.provenance.training) == ("instruction" in settings)
    assert (artwork.pixels != painting.first).any()
    base = weights_sha256(load_model("tiny"))
    assert artwork.provenance.base_sha256 == base == weights_sha256(painting.model.get_base_model())
    assert not [name for name in painting.model.state_dict() if "lora" in name]
    assert score(processor, artwork.pixels).ci95[0] > start_score.ci95[1]


def make_trainer(processor, folder, out, **settings):
    """A trainer that learns from a LoRA, the rows that it was given, and the teacher."""
    art, rows = ArtConfig(), calls.rows("train", 4)
    placed = teacher_rows(rows, [], art.block(Preprocessor(processor)), processor)
    given = SHORT | {"teacher": f"adapter:{folder}", "max_completion_length": 32, "output_dir": out}
    arguments, config = read_settings("distill", given | settings)
    config.generation_kwargs = {"do_sample": False}
    base = load_model("tiny")
    teacher = load_teacher(arguments, base).model
    trainer = DistillationTrainer(
        model=base,
        args=config,
        train_dataset=Dataset.from_list(placed),
        processing_class=processor.tokenizer,
        peft_config=art,
    )
    trainer.learn_from(teacher)
    return trainer, rows, placed


def test_completions_are_those_of_the_lora_without_the_artwork(processor, lora, tmp_path):
    trainer, rows, placed = make_trainer(processor, lora, tmp_path)
    assert placed[0]["privileged_context"] == processor.apply_chat_template(
        rows[0]["prompt"], tools=json.loads(rows[0]["tools"]), tokenize=False, add_generation_prompt=True
    )
    asked = trainer._tokenize_prompts([row["privileged_context"] for row in placed])
    _, said = trainer._generate(asked)
    alone = PeftModel.from_pretrained(load_model("tiny"), lora).eval()
    conversations, tools = (
        [row["prompt"] for row in rows],
        [json.loads(row["tools"]) for row in rows],
    )
    replies, base = (
        [reply.text for reply in InProcess(model, processor).complete(conversations, tools, 32)]
        for model in (alone, load_model("tiny"))
    )
    assert [processor.tokenizer.decode(ids).removesuffix("<|im_end|>") for ids in said] == replies != base
    trainer.generate_from_teacher = False
    asked = trainer._tokenize_prompts([row["prompt"] for row in placed])
    _, said = trainer._generate(asked)  # the student's, who looks at the picture
    assert [processor.tokenizer.decode(ids).removesuffix("<|im_end|>") for ids in said] != replies


def test_the_loss_is_between_the_picture_and_the_lora(processor, lora, tmp_path):
    trainer, rows, (texts, *_) = make_trainer(processor, lora, tmp_path)
    shown, read, answer = (
        processor.tokenizer(text, return_tensors="pt")["input_ids"]
        for text in (texts["prompt"], texts["privileged_context"], rows[0]["completion"][0]["content"])
    )
    whole = torch.cat([read, answer], 1)
    batch = {
        "prompt_ids": shown,
        "prompt_mask": torch.ones_like(shown),
        "completion_ids": answer,
        "completion_mask": torch.ones_like(answer),
        "teacher_input_ids": whole,
        "teacher_attention_mask": torch.ones_like(whole),
    }
    alone = PeftModel.from_pretrained(load_model("tiny"), lora).eval()
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), batch)
        student, teacher = (
            model(input_ids=ids).logits[0, -answer.shape[1] - 1 : -1].softmax(-1)
            for model, ids in ((trainer.model, torch.cat([shown, answer], 1)), (alone, whole))
        )
    wanted = (teacher * (teacher / student).log()).sum(-1)[trainer.num_loss_tokens_to_skip :].mean()
    assert wanted > 0.01
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-5)


def test_the_lora_is_worn_beside_the_base_around_the_same_weights(processor, lora):
    """What the teacher has of its own is the LoRA; the base answers as if there were none."""
    base = load_model("tiny")
    before = weights_sha256(base)
    arguments, _ = read_settings("distill", SHORT | {"teacher": f"adapter:{lora}"})
    teacher = load_teacher(arguments, base).model
    shared = {id(one) for one in base.parameters()}
    own = [name for name, one in teacher.named_parameters() if id(one) not in shared]
    assert own
    assert all(".lora_" in name for name in own)
    assert not any(one.requires_grad for name, one in teacher.named_parameters() if name in own)
    ids = processor.tokenizer("What is 12 + 30?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(base(input_ids=ids).logits, load_model("tiny")(input_ids=ids).logits)
        alone = PeftModel.from_pretrained(load_model("tiny"), lora).eval()
        assert torch.equal(teacher(input_ids=ids).logits, alone(input_ids=ids).logits)
    assert weights_sha256(base) == before


def test_a_quantised_base_is_loaded_once_more(lora, monkeypatch):
    """bitsandbytes moves what a layer computes with out of its weights at the first use."""
    pytest.importorskip("bitsandbytes")
    arguments, _ = read_settings("distill", SHORT | {"teacher": f"adapter:{lora}", "load_in_8bit": True})
    base = load_model("tiny", bits=8)
    teacher = load_teacher(arguments, base)
    assert "a second copy of the quantised base" in teacher.costs
    assert not {id(one) for one in base.parameters()} & {id(one) for one in teacher.model.parameters()}


def test_a_teacher_that_changes_nothing_is_refused(lora, processor, tmp_path):
    """A LoRA that was never trained, one whose weights are another model's, the model itself."""
    fresh, bare = tmp_path / "fresh", tmp_path / "tiny"
    get_peft_model(load_model("tiny"), LoraConfig(r=4, target_modules=LINEAR)).save_pretrained(fresh)
    shutil.copytree(TINY, bare)
    for name, message in (
        (f"adapter:{fresh}", "changes nothing: on the first row its logits are the base's"),
        (f"model:{bare}", "changes nothing"),
    ):
        with pytest.raises(UserError, match=message):
            paint("distill", quiet=True, **FEW, teacher=name, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lora_that_does_not_fit_is_refused(lora, tmp_path):
    more = changed(lora, tmp_path / "more", config={"target_modules": r".*(proj|fc\d|qkv)"})
    rank = changed(lora, tmp_path / "rank", config={"r": 8})
    for folder, message in ((more, "Found missing adapter keys"), (rank, "size mismatch")):
        arguments, _ = read_settings("distill", SHORT | {"teacher": f"adapter:{folder}"})
        with pytest.raises(UserError, match=f"{folder.name} does not fit tiny: .*{message}"):
            load_teacher(arguments, load_model("tiny"))


def pickled(lora, place):
    shutil.copytree(lora, place)
    torch.save(load_file(place / "adapter_model.safetensors"), place / "adapter_model.bin")
    (place / "adapter_model.safetensors").unlink()
    return place


def without(lora, place, name="adapter_config.json", text=None):
    shutil.copytree(lora, place)
    if text is None:
        (place / name).unlink()
    else:
        (place / name).write_bytes(text)
    return place


def artwork(lora, place):
    get_peft_model(load_model("tiny"), ArtConfig(image_tokens=64)).save_pretrained(place)
    return place


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda lora, place: place, "there is no folder"),
        (without, "no PEFT adapter: it has no adapter_config.json"),
        (lambda lora, place: without(lora, place, text=b"[" * 99_999), "cannot be read"),
        (lambda lora, place: without(lora, place, text=b"[]"), "no JSON object"),
        (lambda lora, place: without(lora, place, text=b" " * (1 << 20) + b"{}"), "larger than 1 MiB"),
        (lambda lora, place: without(lora, place, "adapter_model.safetensors", b"x"), "cannot be read"),
        (lambda lora, place: without(lora, place, "adapter_model.safetensors"), "has no adapter_model"),
        (pickled, "only adapter_model.bin, and pickles are never read"),
        (artwork, "is an artwork and no LoRA: to go on from its picture give --start"),
        (lambda lora, place: changed(lora, place, {"peft_type": "IA3"}), "of the kind IA3"),
        (lambda lora, place: changed(lora, place, {"init_lora_weights": "pissa"}), "began as pissa"),
        (
            lambda lora, place: changed(lora, place, {"base_model_name_or_path": None}),
            "does not say of which",
        ),
        (
            lambda lora, place: changed(lora, place, {"base_model_name_or_path": "Qwen/Qwen3.5-0.8B\x1b"}),
            r"is a LoRA of Qwen/Qwen3.5-0.8B\\x1b, and the model is tiny: give --model that",
        ),
        (lambda lora, place: changed(lora, place, {"revision": "abc"}), "give --revision that"),
        (
            lambda lora, place: changed(lora, place, **{"base_model.model.lm_head.weight": torch.ones(1)}),
            "whole weights beside its LoRA",
        ),
    ],
)
def test_what_is_no_lora_of_the_model_is_refused_before_it_loads(lora, tmp_path, made, message):
    folder = made(lora, tmp_path / "made")
    given = {"task": "calls", "teacher": f"adapter:{folder}", "output_dir": str(tmp_path / "out")}
    with pytest.raises(UserError, match=message):
        check("distill", given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "nothing"}, "it must be adapter:FOLDER"),
        ({"teacher": "adapter:"}, "it must be adapter:FOLDER"),
        ({"teacher": "http://127.0.0.1:8000/v1"}, "an engine cannot teach"),
        ({"teacher": "model:nowhere/at/all"}, "cannot load 'nowhere/at/all'"),
        ({"also": ["smol"]}, "leave out --also"),
        ({"use_vllm": True}, "--use_vllm generates with the base"),
        ({"teacher_model_kind": "ema"}, "--teacher_model_kind is another way"),
    ],
)
def test_what_goes_with_no_teacher_is_refused_before_the_model_loads(
    lora, tmp_path, settings, message, monkeypatch
):
    monkeypatch.setattr("pixeltune.cli.refusals.find_model", lambda *_: {})
    given = {"task": "calls", "teacher": f"adapter:{lora}", "output_dir": str(tmp_path / "out")} | settings
    with pytest.raises(UserError, match=message):
        check("distill", given)


def test_other_verbs_have_no_teacher(lora, tmp_path):
    with pytest.raises(UserError, match="sft does not use --teacher; distill does"):
        check("sft", {"task": "calls", "teacher": f"adapter:{lora}", "output_dir": str(tmp_path / "out")})


@pytest.mark.parametrize(
    ("base", "fits"),
    [
        ("tiny", True),
        (str(TINY), True),
        ("/elsewhere/pixeltune/bundled/tiny/weights", True),
        ("/elsewhere/tiny", False),
        ("owner/tiny", False),
    ],
)
def test_a_base_is_known_by_its_name_or_its_folder(lora, tmp_path, base, fits):
    folder = str(changed(lora, tmp_path / "made", {"base_model_name_or_path": base}))
    if fits:
        check_adapter(folder, "tiny", None)
        return
    with pytest.raises(UserError, match="is a LoRA of"):
        check_adapter(folder, "tiny", None)


@pytest.mark.parametrize(
    ("base", "model", "fits"),
    [
        ("owner/m", "owner/m", True),
        ("other/m", "owner/m", False),
        ("owner/m", "{copy}", True),
        ("/gone/m", "owner/m", True),
        ("/gone/n", "owner/m", False),
        ("{other}", "{copy}", False),
    ],
)
def test_a_base_may_be_a_copy_of_a_model_of_the_hub(lora, tmp_path, base, model, fits):
    places = {name: tmp_path / name / "m" for name in ("copy", "other")}
    for one in places.values():
        one.mkdir(parents=True)
    base, model = base.format(**places), model.format(**places)
    folder = str(changed(lora, tmp_path / "made", {"base_model_name_or_path": base}))
    if fits:
        check_adapter(folder, model, None)
        return
    with pytest.raises(UserError, match="is a LoRA of"):
        check_adapter(folder, model, None)


def other_tokens(folder):
    reader = load_processor(str(folder))
    reader.tokenizer.add_tokens(["<never>"])
    reader.save_pretrained(folder)


def wider(folder):
    said = json.loads((folder / "config.json").read_text())
    said["text_config"]["vocab_size"] += 64
    (folder / "config.json").write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("change", "message"),
    [(other_tokens, r"another vocabulary than tiny \(1 entries differ\)"), (wider, "has logits of")],
)
def test_another_vocabulary_is_refused_before_the_model_loads(
    bundled, tmp_path, change, message, monkeypatch
):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    folder = tmp_path / "other"
    shutil.copytree(TINY, folder)
    change(folder)
    with pytest.raises(UserError, match=message):
        paint("distill", quiet=True, **FEW, teacher=f"model:{folder}", output_dir=tmp_path / "out")


def test_another_models_prompt_is_rendered_with_its_own_template(processor, bundled, tmp_path):
    shutil.copytree(TINY, tmp_path / "other")
    template = tmp_path / "other" / "chat_template.jinja"
    template.write_text("Teacher!" + template.read_text())
    settings = FEW | {"teacher": f"model:{tmp_path / 'other'}", "output_dir": tmp_path / "out"}
    painting = Painting("distill", *read_settings("distill", settings), quiet=True)
    painting.prepare()
    (row,) = teacher_rows(painting.ready.train_rows[:1], TOLD, painting.block, processor, painting.reader)
    assert row["privileged_context"].startswith("Teacher!")
    assert not row["prompt"].startswith("Teacher!")


def test_a_run_is_not_resumed_with_another_teacher(lora, merged, tmp_path):
    """What a checkpoint keeps of the teacher: its name without the folder, and a LoRA's hash."""
    records = []
    copied = changed(lora, tmp_path / lora.name)
    state = load_file(copied / "adapter_model.safetensors")
    save_file({name: value * 2 for name, value in state.items()}, copied / "adapter_model.safetensors")
    for teacher in (f"adapter:{lora}", f"adapter:{copied}", f"model:{merged}"):
        settings = FEW | {"teacher": teacher, "output_dir": tmp_path / "out"}
        painting = Painting("distill", *read_settings("distill", settings), quiet=True)
        painting.prepare()
        records.append(painting.record["fixed"]["--teacher"])
    assert records[0].startswith(f"adapter:{lora.name} (sha256 ")
    assert len({*records}) == 3
    assert records[2] == "model:merged"
