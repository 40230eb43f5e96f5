"""How each harness is called on the rows of `harness_files`, and where it leaves its score of each row."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from benchmarks.common.engine_environments import ROOT, python
from benchmarks.common.harness_environments import RUNNERS
from benchmarks.common.harness_files import CATEGORIES, ids

ENTRY, BASE_ENTRY = "gpt-4.1-2025-04-14", "gpt-4.1-nano-2025-04-14"
"""bfcl-eval asks for models of its own table only: names of two, for the artwork and for the base model."""

ANSWER = r"Answer:\s*(-?\d[\d,]*)"  # what the score of `sums` reads, the last of them


@dataclass(frozen=True)
class Harness:
    """A harness on one task."""

    environment: str
    task: str
    """As `harness_files.ours` knows it."""
    model: tuple[str, str]
    """What it asks for, of the gateway: without the artwork and with it."""
    commands: Callable[[str, str], list[list[str]]]
    """From the gateway's address and the model: what is run, in the folder of the rows."""
    marks: Callable[[Path], list[float]]
    """The score of each row in the order of the files, from that folder."""


def run(harness: Harness, folder: Path, url: str, model: str) -> str:
    """A 1 or 0 for each row.

    Raises:
        RuntimeError: the harness failed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"}
    environment |= {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none",
        "BFCL_PROJECT_ROOT": str(folder / "out"),
    }
    (folder / "out").mkdir()
    for command in harness.commands(url, model):
        program = [str(python(harness.environment).with_name(command[0])), *command[1:]]
        done = subprocess.run(
            program, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return "".join(f"{mark:.0f}" for mark in harness.marks(folder))


def shown(harness: Harness, model: str) -> list[str]:
    """Its commands as a reader would type them, from the root of the checkout."""
    return [
        " ".join(map(_quoted, command)).replace(f"{ROOT}/", "")
        for command in harness.commands("http://localhost:8080/v1", model)
    ]


def _quoted(word: str) -> str:
    return f"'{word}'" if set(word) & set(' {"|()*') else word


def _lm_eval(shots: int) -> Callable[[str, str], list[list[str]]]:
    def commands(url: str, model: str) -> list[list[str]]:
        arguments = f"base_url={url}/chat/completions,model={model},num_concurrent=4,tokenized_requests=False"
        command = ["lm_eval", "run", "--model", "local-chat-completions", "--model_args", arguments]
        command += ["--apply_chat_template", "--tasks", "pixeltune_sums", "--include_path", str(RUNNERS)]
        return [[*command, "--num_fewshot", str(shots), "--log_samples", "--output_path", "out"]]

    return commands


def _lm_eval_marks(folder: Path) -> list[float]:
    records = sorted(_records(folder, "samples_*.jsonl"), key=lambda record: record["doc_id"])
    return [record["exact_match"] for record in records]


def _lighteval(shots: int) -> Callable[[str, str], list[list[str]]]:
    def commands(url: str, model: str) -> list[list[str]]:
        arguments = f"model_name=openai/{model},base_url={url},api_key=none,concurrent_requests=4,"
        arguments += "max_model_length=2048,cache_dir=cache,generation_parameters={temperature:0.0}"
        command = ["lighteval", "endpoint", "litellm", arguments, f"pixeltune_sums|{shots}"]
        command += ["--custom-tasks", str(RUNNERS / "lighteval_sums.py")]
        return [[*command, "--save-details", "--output-dir", "out"]]

    return commands


def _lighteval_marks(folder: Path) -> list[float]:
    (file,) = (folder / "out").rglob("details_*.parquet")
    records = pyarrow.parquet.read_table(file).to_pylist()
    records.sort(key=lambda record: int(record["doc"]["id"]))
    return [record["metric"]["last_answer"] for record in records]


def _evalscope(url: str, model: str, name: str, options: dict, generation: dict) -> list[str]:
    command = ["evalscope", "eval", "--eval-type", "openai_api", "--api-url", url, "--api-key", "none"]
    command += ["--model", model, "--datasets", name, "--dataset-args", json.dumps({name: options})]
    command += ["--generation-config", json.dumps(generation)]
    return [*command, "--work-dir", "out", "--no-timestamp"]


def _evalscope_sums(url: str, model: str) -> list[list[str]]:
    options = {
        "dataset_id": "sums",
        "subset_list": ["default"],
        "few_shot_num": 0,
        "prompt_template": "{question}",
    }
    options["filters"] = {"regex": {"regex_pattern": ANSWER, "group_select": -1}}
    return [_evalscope(url, model, "gsm8k", options, {"temperature": 0, "max_tokens": 96})]


def _evalscope_sums_marks(folder: Path) -> list[float]:
    records = sorted(_records(folder, "reviews/*/*.jsonl"), key=lambda record: record["index"])
    return [record["sample_score"]["score"]["value"]["accuracy"] for record in records]


def _evalscope_calls(url: str, model: str) -> list[list[str]]:
    command = _evalscope(url, model, "bfcl_v4", {"subset_list": list(CATEGORIES)}, {"temperature": 0})
    return [_on_our_rows(command)]


def _evalscope_calls_marks(folder: Path) -> list[float]:
    scores = {
        record["sample_score"]["sample_metadata"]["id"]: record["sample_score"]["score"]["value"]["acc"]
        for record in _records(folder, "reviews/*/*.jsonl")
    }
    return [scores[name] for name in ids(folder)]


def _bfcl(_: str, model: str) -> list[list[str]]:
    asked = ["--model", f"{model}-FC", "--test-category", ",".join(CATEGORIES)]
    return [
        _on_our_rows(["bfcl", "generate", *asked, "--temperature", "0", "--num-threads", "4"]),
        _on_our_rows(["bfcl", "evaluate", *asked]),
    ]


def _bfcl_marks(folder: Path) -> list[float]:
    """It lists the rows that are wrong, behind a line with their number."""
    records = _records(folder, "score/*/*/*_score.json")
    wrong = {record["id"] for record in records if "id" in record}
    if sum(record.get("total_count", 0) for record in records) != len(ids(folder)):
        raise RuntimeError("bfcl-eval did not score all rows")
    return [float(name not in wrong) for name in ids(folder)]


def _on_our_rows(command: list[str]) -> list[str]:
    return ["python", str(RUNNERS / "bfcl_rows.py"), "bfcl", *command]


def _records(folder: Path, files: str) -> list[dict]:
    return [
        json.loads(line) for file in (folder / "out").rglob(files) for line in file.read_text().splitlines()
    ]


HARNESSES = {
    "lm-eval, sums": Harness("lm-eval", "sums", ("tiny", "sums"), _lm_eval(0), _lm_eval_marks),
    "lm-eval, sums, 2 shots": Harness(
        "lm-eval", "sums, 2 shots", ("tiny", "sums"), _lm_eval(2), _lm_eval_marks
    ),
    "lighteval, sums": Harness("lighteval", "sums", ("tiny", "sums"), _lighteval(0), _lighteval_marks),
    "lighteval, sums, 2 shots": Harness(
        "lighteval", "sums, 2 shots", ("tiny", "sums"), _lighteval(2), _lighteval_marks
    ),
    "evalscope, sums": Harness("evalscope", "sums", ("tiny", "sums"), _evalscope_sums, _evalscope_sums_marks),
    "evalscope bfcl_v4, calls": Harness(
        "evalscope", "calls", ("tiny", "calls"), _evalscope_calls, _evalscope_calls_marks
    ),
    "bfcl-eval, calls": Harness("bfcl-eval", "calls, hint", (BASE_ENTRY, ENTRY), _bfcl, _bfcl_marks),
}
