"""`smol` in a real, unmodified vLLM server says what it says here, with pictures and without."""

from __future__ import annotations

import base64
import io
import random

import pytest
from PIL import Image

from pixeltune.bundled.smol import pictures, reading
from pixeltune.data.placement import place_image
from pixeltune.engines.engine import Engine
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls


@pytest.fixture(scope="module")
def here(smol_folder):
    return load_model(str(smol_folder)), load_processor(str(smol_folder))


def data_url(picture: Image.Image) -> str:
    png = io.BytesIO()
    picture.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def drawn(count: int) -> list[tuple[Image.Image, str]]:
    """Pictures of words, of shapes and of noise, with a question each."""
    rng, found = random.Random("served"), []
    for number in range(count):
        make = (reading.written, reading.seen, lambda rng: (pictures.texture(rng), [("Describe it.", "")]))
        picture, asked = make[number % 3](rng)
        found.append((Image.fromarray(picture), asked[0][0]))
    return found


@pytest.mark.parametrize("shown", [True, False], ids=["picture", "text only"])
def test_tokens_and_log_probs_are_the_same(smol_url, here, shown):
    engine, gap = Engine(smol_url), 0.0
    for picture, question in drawn(9):
        row = [{"role": "user", "content": question}]
        messages = place_image(row, data_url(picture)) if shown else row
        answer = engine.complete(messages, None, max_tokens=16, logprobs=True)
        prompt, table = after(*here, picture if shown else None, messages, None, answer.token_ids)
        assert answer.prompt_token_ids == prompt
        assert answer.token_ids[0] == table[0].argmax()
        mine = [table[i, token].item() for i, token in enumerate(answer.token_ids)]
        gap = max([gap, *(abs(a - b) for a, b in zip(answer.logprobs, mine, strict=True))])
    assert gap < 1e-3


def test_greedy_answers_to_requests_with_tools_are_the_same(smol_url, here):
    (picture, _), rows = drawn(1)[0], calls.TASK.rows("test", 12, seed=7)
    mine = score_rows(calls.TASK, rows, InProcess(*here, picture))
    served = score_rows(calls.TASK, rows, OnEngine(Engine(smol_url), data_url(picture)))
    assert [r["completions"] for r in served.records] == [r["completions"] for r in mine.records]
    assert [r["prompt_tokens"] for r in served.records] == [r["prompt_tokens"] for r in mine.records]
