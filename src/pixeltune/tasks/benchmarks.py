"""Word problems of GSM8K and SVAMP as rows to paint from, with a number in ``answer``.

::

    python -m pixeltune.tasks.benchmarks gsm8k train gsm8k_train.jsonl
    python -m pixeltune.tasks.benchmarks svamp train svamp_train.jsonl --data FOLDER

Both are MIT: GSM8K (Cobbe et al., arXiv 2110.14168), SVAMP (Patel et al., arXiv 2103.07191; the hub's copy
parts its 1,000 problems into 700 for training and 300 for testing, the original SVAMP.json does not).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixeltune.files import write_atomically
from pixeltune.tasks.answers import number

HUB = {"gsm8k": ("openai/gsm8k", "main"), "svamp": ("ChilleD/SVAMP", None)}
SPLITS = ("train", "test", "all")
SUFFIX = "\n\nEnd your response with: Answer: <number>"
"""What the questions end with in ART's released evaluation code (arXiv 2606.11854)."""


def rows(name: str, split: str, folder: str | Path | None = None) -> list[dict]:
    """Rows with ``prompt`` (one user message that asks for ``Answer: <number>``) and ``answer`` (digits).

    Args:
        name: "gsm8k" or "svamp".
        split: "train", "test" or "all".
        folder: holds the original files; None reads the hub.

    Raises:
        ValueError: the data cannot be had, or a record lacks its question or a number to answer it.
    """
    if name not in HUB or split not in SPLITS:
        raise ValueError(f"there is {', '.join(HUB)} in {', '.join(SPLITS)}, not {name!r} in {split!r}")
    records = _hub(name, split) if folder is None else _folder(name, split, Path(folder))
    return [_row(name, record, f"{name} {split}, record {i}") for i, record in enumerate(records, start=1)]


def _row(name: str, record: Any, where: str) -> dict:
    try:
        if name == "gsm8k":
            question, answer = record["question"], record["answer"].rpartition("####")[2]
        else:
            question, answer = f"{record['Body'].strip()} {record['Question']}", str(record["Answer"])
        value = number(answer)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where}: not a record of {name} ({error!r})") from error
    if value is None or not question.strip():
        raise ValueError(f"{where}: no question, or no number in {answer[:80]!r}")
    text = str(value) if value.denominator == 1 else answer.strip().replace(",", "")
    return {"prompt": [{"role": "user", "content": question.strip() + SUFFIX}], "answer": text}


def _folder(name: str, split: str, folder: Path) -> list[Any]:
    """Records of JSON Lines, or of one JSON list, named after the split or, for "all", the benchmark."""
    stems = (split, name, name.upper()) if split == "all" else (split,)
    paths = [folder / f"{stem}{suffix}" for stem in stems for suffix in (".jsonl", ".json")]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ValueError(f"{folder} has none of {', '.join(path.name for path in paths)}")
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is neither JSON Lines nor a JSON list: {error}") from error


def _hub(name: str, split: str) -> list[Any]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise ValueError("the datasets package is missing: pip install 'pixeltune[train]'") from None
    repository, config = HUB[name]
    try:
        return list(load_dataset(repository, config, split=split))
    except (OSError, ValueError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot read {repository} from the hub ({line}): give a folder with its files with --data"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Write a JSONL file; returns the exit status, 1 with one line on stderr if it could not be done."""
    parser = argparse.ArgumentParser(
        prog="python -m pixeltune.tasks.benchmarks",
        description="Write GSM8K or SVAMP as JSONL rows with prompt and answer.",
    )
    parser.add_argument("name", choices=HUB)
    parser.add_argument("split", choices=SPLITS)
    parser.add_argument("output", help="the JSONL file to write")
    parser.add_argument("--data", help="folder with the original files; default: the hub")
    arguments = parser.parse_args(argv)
    try:
        out = rows(arguments.name, arguments.split, arguments.data)
        write_atomically(arguments.output, "".join(json.dumps(row) + "\n" for row in out))
    except (ValueError, OSError) as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {len(out)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
