"""Rows that would end a run in its middle are refused before the model loads, with file, line and reason."""

from __future__ import annotations

import json

import pytest
from PIL import Image

import families
from pixeltune.cli.main import main
from pixeltune.data.images import check_pictures
from pixeltune.data.placeholders import KNOWN, check_rows, placeholder_tokens
from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError
from pixeltune.evaluation import plans
from pixeltune.model import loading
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.tasks.synthetic import sums
from pixeltune.training import paint as training

PAD = "<|image_pad|>"
CALL = {"type": "function", "function": {"name": "f", "arguments": {"text": f"see {PAD}"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": f"draws {PAD}", "parameters": {}}}
ASK = {"role": "user", "content": "a"}


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    """Whoever loads a model is too late."""

    def load(*_, **__):
        raise AssertionError("the model loads")

    monkeypatch.setattr(training, "load_model", load)
    monkeypatch.setattr(loading, "load_model", load)


def refused(capsys, tmp_path, line, *words):
    """What the command line says of a file whose third line is not good."""
    good = {"prompt": "a", "completion": "b", "chosen": "b", "rejected": "c", "label": True, "answer": "b"}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, good, {**good, **line}])))
    (tmp_path / "told.txt").write_text("Be brief.")
    words = [word.replace("told.txt", str(tmp_path / "told.txt")) for word in words]
    status = main([*words, "--data", str(path), "--output_dir", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert status == 1
    assert f"{path}, line 3" in error
    assert "Traceback" not in error
    return error


@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("sft", {"prompt": f"What is {PAD}?"}),
        ("sft", {"prompt": [{"role": "system", "content": PAD}, ASK]}),
        ("sft", {"prompt": [{**ASK, "content": [{"type": "text", "text": PAD}]}]}),
        (
            "sft",
            {"prompt": [ASK, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "4"}]},
        ),
        ("sft", {"prompt": [ASK, {"role": "assistant", "content": "b"}, {"role": "tool", "content": PAD}]}),
        ("sft", {"completion": f"It is {PAD}"}),
        ("sft", {"completion": [{"role": "assistant", "content": None, "tool_calls": [CALL]}]}),
        ("sft", {"tools": [TOOL]}),
        ("sft", {"completion": "<|vision_start|>"}),
        ("dpo", {"chosen": PAD}),
        ("dpo", {"rejected": PAD}),
        ("grpo --reward pixeltune.tasks.visual:class_equality", {"prompt": PAD}),
        ("distill --instruction told.txt", {"prompt": PAD}),
        ("eval --task own --reward pixeltune.tasks.visual:class_equality", {"prompt": PAD}),
    ],
)
def test_a_quoted_picture_token_is_named(bundled, capsys, tmp_path, verb, line):
    error = refused(capsys, tmp_path, line, *verb.split())
    assert ("<|vision_start|>" if "<|vision_start|>" in str(line) else PAD) in error


@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
@pytest.mark.parametrize(
    ("verb", "line", "tokens"),
    [
        ("sft", {"prompt": "word " * 5000}, "5078 tokens, 66 of them the artwork's, do not fit"),
        ("sft", {"completion": "word " * 5000}, "context of 4096"),
        ("sft", {"images": ["wide.png"], "prompt": "word " * 3000}, "context of 4096"),
        ("dpo", {"rejected": "word " * 5000}, "context of 4096"),
        ("kto", {"prompt": "word " * 5000, "label": False}, "context of 4096"),
        ("grpo --reward pixeltune.tasks.visual:class_equality", {"prompt": "word " * 3900}, "256 of an answ"),
        ("distill --instruction told.txt", {"prompt": "word " * 3900}, "256 of an answer"),
    ],
)
def test_a_row_that_is_longer_than_the_context_is_named(bundled, capsys, tmp_path, verb, line, tokens):
    Image.new("RGB", (1024, 1024)).save(tmp_path / "wide.png")
    verb = f"{verb} --held_out_rows 0" if "sft" not in verb else verb  # there it may be any row
    assert tokens in refused(capsys, tmp_path, line, *verb.split())


def test_a_quoted_mark_of_turns_is_named(bundled, capsys, tmp_path):
    assert "'<|im_end|>', a special token" in refused(capsys, tmp_path, {"completion": "b<|im_end|>"}, "sft")


@pytest.mark.parametrize("verb", ["sft", "eval --task own --reward pixeltune.tasks.visual:class_equality"])
def test_a_picture_that_the_processor_cannot_take_is_named(bundled, capsys, tmp_path, verb):
    Image.new("RGB", (1024, 4)).save(tmp_path / "thin.png")
    error = refused(capsys, tmp_path, {"images": ["thin.png"]}, *verb.split())
    assert "thin.png" in error
    assert "4x1024" in error


def test_rows_that_are_written_otherwise_are_refused_there_too(bundled, capsys, tmp_path):
    line = {"prompt": [{"role": "developer", "content": "s"}, ASK]}
    assert 'write "system"' in refused(capsys, tmp_path, line, "sft")


def test_rows_of_tasks_are_named_by_their_id(bundled, tmp_path, capsys, monkeypatch):
    rows = [{**row, "id": f"sum-{i}"} for i, row in enumerate(sums.rows("test", 3, 0))]
    rows[1]["prompt"] = [{"role": "user", "content": PAD}]
    monkeypatch.setattr(plans, "find_rows", lambda *_, **__: rows)
    assert main(["eval", "--task", "sums", "--output_dir", str(tmp_path)]) == 1
    assert f"row sum-1: prompt holds '{PAD}'" in capsys.readouterr().err


@pytest.mark.parametrize("family", families.ALL)
def test_every_familys_own_tokens_are_known(family):
    if families.missing(family):
        pytest.skip(f"needs {families.missing(family)}")
    processor = families.make_processor(family)
    preprocessor = Preprocessor(processor)
    block = preprocessor.block(*preprocessor.size_for_tokens(64))
    tokens = placeholder_tokens(processor, block)
    image = processor.tokenizer.convert_ids_to_tokens(preprocessor.image_token_id)
    assert image in tokens
    assert image in KNOWN
    for token in (image, processor.image_token):
        with pytest.raises(UserError, match="row 2: prompt holds"):
            check_rows([{"prompt": [ASK]}, {"prompt": [{"role": "user", "content": f"x{token}y"}]}], tokens)
    others = {"role": "user", "content": "<|im_start|> <b>image</b> [INST] <|image_pad |>"}
    check_rows([{"prompt": [others]}], tokens)


def test_another_familys_tokens_are_words(bundled):
    tokens = placeholder_tokens(loading.load_processor("tiny"))
    check_rows([{"prompt": [{"role": "user", "content": "<image> <video> [IMG] <start_of_image>"}]}], tokens)


def test_pictures_without_a_file_are_counted():
    def take(image):
        if image.width > 8:
            raise UserError("too wide")

    rows = [{"images": [Image.new("RGB", (8, 8))]}, {"id": "x", "images": [Image.new("L", (4, 4))] * 2}, {}]
    check_pictures(rows, take)
    rows[1]["images"][1] = Image.new("RGB", (9, 8))
    with pytest.raises(UserError, match="row x: picture 2: too wide"):
        check_pictures(rows, take)


@pytest.mark.parametrize("size", [(1, 1), (40, 1), (1, 40), (40, 3), (3, 40)])
def test_pictures_with_a_side_like_channels_are_refused_with_their_line(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "fine.png")
    lines = [{"prompt": "what?", "completion": "red", "images": [name]} for name in ("fine.png", "thin.png")]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with pytest.raises(UserError, match=rf"line 2: .*thin.png: {size[1]}x{size[0]} pixels .* side needs 4"):
        check_pictures(read(tmp_path / "rows.jsonl", ("prompt", "completion")), lambda _: None)
