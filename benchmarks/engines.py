"""The same PNG and the same prompts in other engines, token for token beside transformers in float32.

    python benchmarks/engines.py build openvino  # makes .venv-openvino, and the model as the engine wants it
    python benchmarks/engines.py run  # every engine whose environment is there; or name some
    python benchmarks/engines.py files  # what engines over HTTP make of the artwork in other files
    python benchmarks/engines.py table  # writes the matrix into docs/results/engines.md

The bundled model, its two artworks, held-out prompts of calls and sums, each with the artwork and without.
Without arguments: run, then files; both write the page. vLLM's environment is made by `make .venv-vllm`.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common.cells import once, read
from benchmarks.common.engine_environments import RUNNERS, build, python
from benchmarks.common.engine_page import write_page
from benchmarks.common.engine_questions import (
    MAX_TOKENS,
    ROWS,
    SEED,
    TASKS,
    artworks,
    given,
    here,
    references,
    requests,
)
from benchmarks.common.engine_servers import ENGINES, OVER_HTTP
from pixeltune.engines.replies import Completion
from pixeltune.evaluation.agreement import Comparison, Greedy, compare
from pixeltune.picture.files import data_url

OUT = Path(__file__).parent / "results" / "engines.json"
FILE_ROWS = 10


def measure(name: str) -> dict:
    """One engine beside transformers: a cell of the report."""
    environment, package, precision, run = ENGINES[name]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    version = subprocess.run([python(environment), "-c", code], capture_output=True, text=True, check=True)
    found = []
    with run(precision) as answers:
        given_answers = list(answers(requests()))
    for (answer, total), request, reference in zip(given_answers, requests(), references(), strict=True):
        found.append((request, answer, total, compare(answer, reference, *given(request)), reference))
    return {
        "engine": name.partition(",")[0],
        "version": version.stdout.strip(),
        "precision": precision,
        **summary(found),
    }


def other_files() -> dict[str, str]:
    """The artwork for sums in files that are not quite it, as data URLs."""
    picture, exif = artworks()["sums"].image, Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees to look at it
    half = picture.convert("RGBA")
    half.putalpha(128)
    files = {
        "opaque alpha channel": (picture.convert("RGBA"), {}),
        "half transparent": (half, {}),
        "EXIF says turn it": (picture, {"exif": exif}),
        "250 x 256 pixels": (picture.resize((250, 256)), {}),
    }
    return {label: _data_url(image, options) for label, (image, options) in files.items()}


def _data_url(image: Any, options: dict) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return data_url(buffer.getvalue())


def measure_files(name: str) -> dict:
    """What an engine makes of such files, beside what transformers makes of the artwork itself: a cell."""
    chosen = [
        (request, reference)
        for request, reference in zip(requests(), references(), strict=True)
        if request["picture"] and request["task"] == "sums"
    ][:FILE_ROWS]
    *_, precision, run = ENGINES[name]
    cell: dict[str, Any] = {"n": len(chosen), "files": {}}
    with run(precision) as answers:
        for label, url in other_files().items():
            said = answers([request | {"url": url} for request, _ in chosen])
            found = [
                compare(answer, reference, *given(request))
                for (answer, _), (request, reference) in zip(said, chosen, strict=True)
            ]
            gaps = [gap for comparison in found for gap in comparison.gaps]
            cell["files"][label] = {
                "same": sum(comparison.same for comparison in found),
                "prompts": sorted({str(comparison.prompt) for comparison in found}),
                "largest_gap": max(gaps, default=None),
            }
    return cell


def summary(found: list[tuple[dict, Completion, float | None, Comparison, Greedy]]) -> dict:
    """Counts over prompts: agreement, right answers, gaps, and where answers differ first."""
    out: dict[str, Any] = {"n": len(found)}
    comparisons = [comparison for *_, comparison, _ in found]
    out["same"] = sum(comparison.same for comparison in comparisons)
    out["by"] = sorted({comparison.by for comparison in comparisons})
    out["prompts"] = sorted({str(comparison.prompt) for comparison in comparisons})
    gaps = [gap for comparison in comparisons for gap in comparison.gaps]
    out["largest_gap"], out["tokens"] = max(gaps, default=None), len(gaps)
    # Where an engine gives one log-prob for a whole answer: compared where the answers are the same.
    totals = [
        abs(total - sum(reference.logprobs))
        for _, _, total, comparison, reference in found
        if total is not None and comparison.same
    ]
    out["largest_gap_of_an_answer"] = max(totals, default=None)
    for label, chosen in (("artwork", True), ("text", False)):
        part = [row for row in found if (row[0]["picture"] is not None) == chosen]
        out[label] = {
            "n": len(part),
            "same": sum(comparison.same for *_, comparison, _ in part),
            "right": sum(right(request, said(answer)) for request, answer, *_ in part),
            "right_here": sum(right(request, decode(reference.said)) for request, *_, reference in part),
        }
    out["differences"] = [
        {"margin": comparison.margin, "theirs": said(answer), "prompt": request["messages"][-1]["content"]}
        for request, answer, _, comparison, _ in found
        if not comparison.same
    ]
    return out


def decode(ids: list[int]) -> str:
    return here()[1].tokenizer.decode(ids)


def said(answer: Completion) -> str:
    """An engine's answer with its special tokens, where that can be known."""
    return answer.text if answer.token_ids is None else decode(answer.token_ids)


def right(request: dict, text: str) -> bool:
    """Whether the task's own judge takes the answer."""
    task = {task.name: task for task in TASKS}[request["task"]]
    return task.score(request["row"], text.removesuffix("\n").removesuffix("<|im_end|>")) == 1.0


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = ("build", "run", "files", "table")
    parser.add_argument("verb", nargs="?", choices=verbs, help="all of `run` and `files` if none is named")
    parser.add_argument("names", nargs="*", help="engines; environments for `build`")
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        main(["run"])
    verb, names = arguments.verb or "files", arguments.names
    if verb == "build":
        for name in names or [path.stem for path in RUNNERS.glob("*.txt")]:
            build(name)
        return
    if unknown := set(names) - ENGINES.keys():
        raise ValueError(f"no engine {sorted(unknown)}: choose from {', '.join(ENGINES)}")
    work = {"run": measure, "files": measure_files}
    for name in (names or (ENGINES if verb == "run" else OVER_HTTP)) if verb in work else ():
        environment, _, precision, _ = ENGINES[name]
        if not python(environment).exists():
            print(f"{name}: skipped, no environment: python benchmarks/engines.py build {environment}")
            continue
        settings = {
            "rows": ROWS,
            "seed": SEED,
            "max_tokens": MAX_TOKENS,
            "precision": precision,
        }
        settings["artworks"] = {task: art.sha256 for task, art in artworks().items()}
        made_by = "python benchmarks/engines.py run"
        key = name if verb == "run" else f"files: {name}"
        cell = once(OUT, key, settings, partial(work[verb], name), again=bool(names), made_by=made_by)
        print(f"{key}: {cell.get('same', cell.get('files'))} of {cell['n']} the same", flush=True)
    write_page(read(OUT))


if __name__ == "__main__":
    main()
