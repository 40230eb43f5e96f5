"""Rows with pictures of their own: read, shown to the model, sent to engines, trained on."""

from __future__ import annotations

import base64
import io
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pixeltune.adapter import ArtConfig
from pixeltune.artwork.png import encode_png
from pixeltune.cli.main import main
from pixeltune.cli.train import settings
from pixeltune.data.images import MAX_PICTURES, as_record, as_urls, attach, attached, place_pictures
from pixeltune.data.rows import read_rows as read
from pixeltune.engines.replies import EngineError
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.files import data_url
from pixeltune.tasks.synthetic import tiles
from pixeltune.training import trainers as training
from pixeltune.training.paint import paint
from test_rollouts import GRPO, Oracle, pictures

SHORT = (
    "--task tiles --report_to none --score_steps 0 --snapshot_steps 0 --train_rows 16 --max_steps 2 "
    "--per_device_train_batch_size 4 --learning_rate 0.06 --save_strategy no"
)


def decoded(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def test_a_conversation_keeps_its_pictures_and_sends_them(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "what?"}]
    shown = attach(talk, [str(tmp_path / "a.png"), clear])
    assert talk[1]["content"] == "what?"
    assert [part["type"] for part in shown[1]["content"]] == ["image", "image", "text"]
    parts = [talk[0], {"role": "user", "content": [{"type": "text", "text": "what?"}]}]
    assert attach(parts, [str(tmp_path / "a.png"), clear]) == shown
    one, other = attached(shown)
    assert (np.asarray(one) == noise).all()
    assert (np.asarray(other) == 255).all()  # what is transparent stands on white
    sent = as_urls(shown)
    assert (decoded(sent[1]["content"][0]["image_url"]["url"]) == noise).all()
    assert sent[0] == talk[0]
    record = json.loads(json.dumps(as_record(shown)))
    assert record[1]["content"][0]["size"] == [30, 20]
    assert record[1]["content"][0]["sha256"] != record[1]["content"][1]["sha256"]
    (row,) = place_pictures([{"images": [one, other]}], Image.new("RGB", (32, 32)))
    stand_in, first, _ = row["images"]
    assert Image.open(io.BytesIO(stand_in["bytes"])).size == (32, 32)
    assert (np.asarray(Image.open(io.BytesIO(first["bytes"]))) == noise).all()
    with pytest.raises(ValueError, match="no user message"):
        attach(talk[:1], [one])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("a.png", "line 1: images must be a list"),
        ([1], "line 1: images must be a list"),
        (["none.png"], "line 1: the row's picture .* is not a file"),
        (["text.png"], "line 1: cannot read the row's picture"),
        (["a.png"] * (MAX_PICTURES + 1), "line 1: 17 pictures"),
    ],
)
def test_bad_pictures_are_named(tmp_path, images, message):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("hello")
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "a", "completion": "b", "images": images}))
    with pytest.raises(ValueError, match=message):
        read(file)


@pytest.fixture(scope="module")
def asked(bundled):
    """Rows about pictures, the bundled model and its processor."""
    return tiles.rows("test", 24, seed=3), load_model("tiny"), load_processor("tiny")


def test_the_model_sees_the_pictures_of_the_rows(asked):
    """It answers questions about them, and not when it is shown other ones."""
    rows, model, processor = asked
    told = score_rows(tiles.TASK, rows, InProcess(model, processor), tiles.TASK.instruction)
    other = [{**row, "images": rows[(i + 1) % len(rows)]["images"]} for i, row in enumerate(rows)]
    mixed_up = score_rows(tiles.TASK, other, InProcess(model, processor), tiles.TASK.instruction)
    assert told.score >= 0.9
    assert mixed_up.score <= 0.5
    assert json.dumps(told.records)


def test_the_live_adapter_and_its_png_see_the_same(asked):
    from peft import get_peft_model  # which needs what pixeltune declares

    rows, model, processor = asked
    worn = get_peft_model(load_model("tiny"), ArtConfig(start="noise"))
    png = Image.fromarray(worn.get_artwork_image())
    live, sent = (
        score_rows(tiles.TASK, rows[:12], backend).records
        for backend in (InProcess(worn, processor), InProcess(model, processor, png))
    )
    assert [record["completions"] for record in live] == [record["completions"] for record in sent]
    assert [record["prompt_tokens"] for record in live] == [record["prompt_tokens"] for record in sent]
    plain = InProcess(model, processor)
    conversations = [attach(row["prompt"], row["images"]) for row in rows[:3]]
    counted = plain.prompt_lengths(conversations, [None] * 3)
    assert [count + 66 for count in counted] == [record["prompt_tokens"] for record in live[:3]]


def test_an_engine_gets_the_artwork_first_and_then_the_rows_pictures():
    rows, seen = tiles.rows("test", 2, seed=3), []

    class Listener:
        def show(self, url): ...

        def complete(self, messages, tools, max_tokens):
            seen.append({"messages": messages})
            raise EngineError("heard")

    art = np.full((32, 32, 3), 7, np.uint8)
    result = score_rows(tiles.TASK, rows, OnEngine(Listener(), data_url(encode_png(art, {})), concurrency=1))
    assert result.failed == 2
    for row, body in zip(rows, seen, strict=True):
        first, second = pictures(body)
        assert (np.asarray(first) == art).all()
        assert (np.asarray(second) == np.asarray(row["images"][0])).all()


@pytest.mark.parametrize("verb", ["sft", "dpo", "kto", "grpo", "rloo"])
def test_every_objective_paints_on_rows_with_pictures(bundled, tmp_path, verb):
    flags = f"{SHORT} --output_dir {tmp_path}"
    if verb in ("grpo", "rloo"):
        flags += " --num_generations 4 --max_completion_length 12 --temperature 1.0"
        flags += " --reward test_images:uneven"
    painting = paint(verb, quiet=True, **settings(verb, flags.split()))
    artwork, finished = painting.artwork, painting.finished
    grey = np.full_like(artwork.pixels, 128)
    assert finished
    assert (artwork.pixels != grey).any()
    assert artwork.provenance.base_sha256 == weights_sha256(load_model("tiny"))
    assert artwork.provenance.objective == verb


def uneven(completions, **_) -> list[float]:
    """Rewards that differ within every group, so that there is something to learn from."""
    return [float(i % 2) for i in range(len(completions))]


def test_rows_of_ones_own_with_picture_files(bundled, tmp_path):
    lines = []
    for i, row in enumerate(tiles.rows("train", 8, seed=1)):
        row["images"][0].save(tmp_path / f"{i}.png")
        lines.append({"prompt": row["prompt"], "completion": row["completion"], "images": [f"{i}.png"]})
    lines.append({"prompt": "What is 1 + 1?", "completion": "Answer: 2"})  # and one that has none
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    flags = f"--data {tmp_path / 'rows.jsonl'} --max_steps 2 --per_device_train_batch_size 4 --report_to none"
    flags += f" --learning_rate 0.06 --snapshot_steps 0 --save_strategy no --output_dir {tmp_path / 'out'}"
    artwork = paint("sft", quiet=True, **settings("sft", flags.split())).artwork
    assert (artwork.pixels != 128).any()


@pytest.mark.parametrize(
    ("verb", "extra", "row", "message"),
    [
        ("distill", "--instruction best", {}, "distill takes rows of text"),
        ("grpo", "--refill_rounds 1", {}, "--refill_rounds exchanges questions"),
        ("sft", "", {"tools": "[]"}, "would leave the tools out"),
    ],
)
def test_what_would_lose_the_pictures_is_refused(monkeypatch, tmp_path, capsys, verb, extra, row, message):
    rows = [found | row for found in tiles.rows("train", 2)]
    monkeypatch.setattr(tiles, "TASK", replace(tiles.TASK, rows=lambda *_, **__: rows))
    words = [verb, "--task", "tiles", "--output_dir", str(tmp_path), "--score_steps", "0", *extra.split()]
    assert main(words) == 1
    assert message in capsys.readouterr().err


def test_rollouts_take_the_rows_pictures_along(bundled, tmp_path, monkeypatch):
    rows, real = [], training.ask_engines
    monkeypatch.setattr(training, "ask_engines", lambda *given: rows.extend(given[2]) or real(*given))
    with Oracle(load_processor("tiny")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = GRPO.replace("--task calls", "--task tiles").replace("--max_steps 4", "--max_steps 2")
        flags = f"{flags} --rollouts {server.url} --output_dir {tmp_path} --reward test_images:uneven"
        artwork = paint("grpo", quiet=True, **settings("grpo", flags.split())).artwork
        server.shutdown()
    assert (artwork.pixels != 128).any()
    questions = {np.asarray(row["images"][0]).tobytes(): row["prompt"][0]["content"] for row in rows}
    steps = set()
    for body, _ in server.seen:
        art, own = (np.asarray(picture).tobytes() for picture in pictures(body))
        (user,) = [message for message in body["messages"] if message["role"] == "user"]
        assert user["content"][-1]["text"] == questions[own]
        steps.add(art)
    assert len(steps) == 2  # each step's picture
