"""The artwork in a real, unmodified vLLM server does what it does here."""

from __future__ import annotations

import json

import pytest

from pixeltune.cli.main import main
from pixeltune.data.placement import place_image
from pixeltune.engines.engine import Engine
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, sums, tiles

N = 60  # prompts per task; two tasks


@pytest.fixture(scope="module")
def engine(vllm_url):
    return Engine(vllm_url)


@pytest.fixture(scope="module")
def stock():
    return load_model("tiny"), load_processor("tiny")


@pytest.mark.parametrize("picture", ["artwork", "text only"])
@pytest.mark.parametrize("task", [calls.TASK, sums.TASK], ids=lambda task: task.name)
def test_greedy_completions_are_identical_and_so_is_the_score(engine, stock, painted, task, picture):
    """120 held-out prompts with the artwork, 120 without; the last may differ only where two tokens tie."""
    art = painted[task.name] if picture == "artwork" else None
    rows = task.rows("test", N, seed=7)
    here = score_rows(task, rows, InProcess(*stock, art.image if art else None))
    there = score_rows(task, rows, OnEngine(engine, art.data_url() if art else None))
    assert [r["completions"] for r in there.records] == [r["completions"] for r in here.records]
    assert there.score == here.score
    if art:
        assert there.score > 0.8
        assert there.ci95[0] > 0.4  # the start picture and no picture get 0


def test_questions_about_the_users_pictures_get_the_same_answers(engine, stock, painted):
    """Two pictures in a request: the artwork, and the one that is asked about."""
    art, rows = painted["calls"], tiles.rows("test", 40, seed=7)
    here = score_rows(tiles.TASK, rows, InProcess(*stock, art.image))
    there = score_rows(tiles.TASK, rows, OnEngine(engine, art.data_url()))
    assert [r["completions"] for r in there.records] == [r["completions"] for r in here.records]
    assert len({r["completions"][0] for r in here.records}) > 4
    assert [r["prompt_tokens"] for r in there.records] == [r["prompt_tokens"] for r in here.records]


@pytest.mark.parametrize("picture", ["artwork", "text only"])
@pytest.mark.parametrize("task", [calls.TASK, sums.TASK], ids=lambda task: task.name)
def test_tokens_and_log_probs_agree(engine, stock, painted, task, picture):
    """Same prompt token ids on both sides, and the same log-probs to 1e-3 for every generated token."""
    art = painted[task.name] if picture == "artwork" else None
    gap = 0.0
    for row in task.rows("test", 12, seed=8):
        tools = json.loads(row["tools"]) if "tools" in row else None
        messages = place_image(row["prompt"], art.data_url()) if art else row["prompt"]
        answer = engine.complete(messages, tools, max_tokens=task.max_new_tokens, logprobs=True)
        prompt, table = after(*stock, art.image if art else None, messages, tools, answer.token_ids)
        here = [table[i, token].item() for i, token in enumerate(answer.token_ids)]
        assert answer.prompt_token_ids == prompt
        gap = max([gap, *(abs(a - b) for a, b in zip(answer.logprobs, here, strict=True))])
    assert gap < 1e-3


def test_check_and_eval_speak_to_the_engine(vllm_url, painted, tmp_path, capsys):
    png = str(painted["sums"].save(tmp_path / "sums.png"))
    assert main(["check", png, "--model", "tiny", "--engine", vllm_url, "--prompts", "4"]) == 0
    assert "largest log-prob gap" in capsys.readouterr().out
    flags = ["--engine", vllm_url, "--rows", "20", "--output_dir", str(tmp_path / "out")]
    assert main(["eval", "--task", "sums", "--artwork", png, *flags]) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["tasks"]["sums"]["candidates"]["sums.png"]["score"] >= 0.8


def test_check_finds_an_engine_that_sees_something_else(vllm_url, painted, tmp_path, capsys):
    """The check can fail: against a tolerance below float32's own rounding it does."""
    png = str(painted["sums"].save(tmp_path / "sums.png"))
    flags = ["--engine", vllm_url, "--prompts", "2", "--tolerance", "1e-12"]
    assert main(["check", png, "--model", "tiny", *flags]) == 1
    assert "ABOVE" in capsys.readouterr().out
