"""The matrix of engines: its generator, and OpenVINO GenAI and llama.cpp where their environments are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import engines
from benchmarks.common import engine_environments, engine_page, engine_questions, engine_servers
from pixeltune.cli.main import main
from pixeltune.engines.replies import Completion
from pixeltune.evaluation.agreement import Comparison, Greedy

REPORT = json.loads(engines.OUT.read_text())
PNG = engine_environments.ROOT / "docs" / "images" / "sums.png"


def test_the_page_holds_the_table_of_the_results():
    assert engine_page.table(REPORT) in engine_page.PAGE.read_text()


def test_the_page_is_written_between_its_marks_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{engine_page.MARKS[0]}\nold\n{engine_page.MARKS[1]}\nafter\n")
    engine_page.write_page({"machines": [], "cells": {}}, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("not run") == len(engine_servers.ENGINES)
    page.write_text("no marks")
    with pytest.raises(ValueError, match="the marks"):
        engine_page.write_page({"machines": [], "cells": {}}, page)


def test_a_summary_counts_what_differs_and_by_how_much(monkeypatch):
    monkeypatch.setattr(engines, "right", lambda request, text: text == "right")
    monkeypatch.setattr(engines, "decode", lambda ids: "right" if ids == [1] else "wrong")
    request = {"picture": "a.png", "messages": [{"role": "user", "content": "?"}]}
    reference = Greedy([0], [1], [-0.5], True)
    found = [
        (request, Completion("", "stop", 0.0, token_ids=[1]), -0.75, _same((0.25, 0.125)), reference),
        (request, Completion("", "stop", 0.0, token_ids=[2]), -9.0, _other(0.03), reference),
        (request | {"picture": None}, Completion("right", "stop", 0.0), None, _same(()), reference),
    ]
    out = engines.summary(found)
    assert (out["n"], out["same"], out["tokens"]) == (3, 2, 2)
    assert (out["largest_gap"], out["largest_gap_of_an_answer"]) == (0.25, 0.25)
    assert out["artwork"] == {"n": 2, "same": 1, "right": 1, "right_here": 2}
    assert out["text"] == {"n": 1, "same": 1, "right": 1, "right_here": 1}
    assert [row["margin"] for row in out["differences"]] == [0.03]
    cell = out | {"engine": "vLLM", "version": "1", "precision": "float32"}
    files = {"n": 10, "files": {"opaque": {"same": 9, "prompts": ["same ids"], "largest_gap": 0.5}}}
    lines = engine_page.table({"cells": {"vLLM": cell, "files: vLLM": files}}).splitlines()
    assert lines[-1] == "| opaque | 9, 5.0e-01, same ids |"
    line = lines[2]
    assert "1 of 2" in line
    assert "at margins of 3.0e-02 to 3.0e-02" in line


def _same(gaps: tuple) -> Comparison:
    return Comparison(True, "token ids", "same ids", gaps)


def _other(margin: float) -> Comparison:
    return Comparison(False, "token ids", "same ids", (), margin)


def test_an_unknown_engine_is_named():
    with pytest.raises(ValueError, match="openvino"):
        engine_environments.build("chess")
    with pytest.raises(ValueError, match="chess"):
        engines.main(["run", "chess"])


def needs(engine: str, file: Path) -> None:
    """Skip, aloud, where an engine's environment is not there."""
    if not file.exists():
        pytest.skip(f"no {file.name} of {engine}: python benchmarks/engines.py build {engine}")


@pytest.mark.parametrize("name", ["OpenVINO GenAI", "llama.cpp"])
def test_the_engine_answers_as_transformers_does(name, monkeypatch):
    environment, _, precision, _ = engine_servers.ENGINES[name]
    needs(environment, engine_environments.python(environment))
    needs(environment, engine_environments.model_of(environment, precision))
    monkeypatch.setattr(engine_questions, "ROWS", 2)
    for held in (engine_questions.requests, engine_questions.references):
        held.cache_clear()
    try:
        cell = engines.measure(name)
    finally:
        for held in (engine_questions.requests, engine_questions.references):
            held.cache_clear()
    assert cell["n"] == 8
    assert cell["same"] == 8
    assert (cell["largest_gap"] or cell["largest_gap_of_an_answer"]) < 1e-2


def test_check_covers_a_real_engine_that_is_not_vllm(capsys):
    needs("llama.cpp", engine_environments.python("llama.cpp"))
    port, model = engine_servers.free_port(), engine_environments.model_of("llama.cpp", "float32")
    needs("llama.cpp", model)
    command = [engine_environments.python("llama.cpp"), engine_environments.RUNNERS / "llamacpp_server.py"]
    command += [model / "model.gguf", model / "mmproj.gguf", port, "f32"]
    with engine_servers.served(command, port, "health") as url:
        status = main(["check", str(PNG), "--model", "tiny", "--engine", url, "--prompts", "2"])
    out = capsys.readouterr().out
    assert status == 0, out
    assert "2 of 2 answers are the same, by token ids" in out
    assert "within 0.001" in out
