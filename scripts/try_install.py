"""Install a wheel as users do, and see that every verb either works or says which extra it needs.

    python scripts/try_install.py dist/*.whl                                    # with this Python
    python scripts/try_install.py dist/*.whl --python python3.12 --python python3.14
    python scripts/try_install.py dist/*.whl --bare                             # without the extras: seconds

For each Python: a new virtual environment, `pip install WHEEL` and nothing else, every verb; then the extras
(gigabytes: torch), and a training of two steps with what one does with its picture. Needs nothing but the
standard library and the package index. The exit status is 1 if anything was otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "train,eval,serve,gallery"
ENGINE = "http://127.0.0.1:9/v1"  # nobody listens there


class Try(NamedTuple):
    """One command line, and how it should end."""

    words: str
    said: str
    """A part of what it prints: on stderr where the status is 1, else on stdout."""
    status: int = 0


def needs(extra: str, *lines: str) -> list[Try]:
    return [Try(words, f"pip install 'pixeltune[{extra}]'", 1) for words in lines]


BARE = [
    Try("--version", "pixeltune "),
    Try("--help", "usage: pixeltune VERB"),
    Try("show a.png", "base model"),
    *needs("train", *(f"{verb} --task sums" for verb in ("sft", "dpo", "kto", "grpo", "rloo", "distill"))),
    *needs("train", "sft --data rows.jsonl", "demo", "eval --task sums --compare off a.png"),
    *needs("train", "check a.png --model tiny", f"check a.png --model tiny --engine {ENGINE}"),
    *needs("train", "mix a.png a.png --output b.png", "export checkpoint --output b.png"),
    *needs("train", "sample --task sums --output c.jsonl"),
    *needs(
        "eval",
        f"eval --task sums --engine {ENGINE}",
        f"sample --task sums --output c.jsonl --engine {ENGINE}",
    ),
    *needs("gallery", "gallery run --output_dir site"),
    *needs("serve", f"serve --artworks . --upstream {ENGINE}"),
    Try("studio --port 0", "pip install 'pixeltune[", 1),  # two, and one is missed first
    Try("push a.png name", "pip install huggingface_hub", 1),
    Try("pull owner/name", "pip install huggingface_hub", 1),
]
"""With the wheel and its own requirements alone. Every verb of `pixeltune --help` is in it, which is checked."""

WHOLE = [
    Try(
        "sft --task sums --max_steps 2 --per_device_train_batch_size 4 --train_rows 64 --held_out_rows 8 "
        "--learning_rate 0.06 --output_dir runs/one",
        "runs/one/artwork.png",
    ),
    Try("show runs/one", "base model"),
    Try("check runs/one --model tiny", "bit for bit"),
    Try("eval --task sums --rows 4 --compare off runs/one --output_dir runs/eval", "runs/eval/report.md"),
    Try("export runs/one/checkpoint-2 --output b.png", "b.png"),
    Try("gallery runs/one --output_dir site", "site/index.html"),
    Try("serve --help", "usage: pixeltune serve"),
]
"""With the extras, one after the other."""


def desk(folder: Path) -> Path:
    """A folder with the files that the commands name."""
    for name in ("run", "checkpoint"):
        (folder / name).mkdir(parents=True)
    for path in ("a.png", "run/artwork.png"):
        shutil.copy(ROOT / "docs" / "images" / "calls.png", folder / path)
    (folder / "rows.jsonl").write_text('{"prompt": "1 + 1?", "completion": "2"}\n' * 40)
    (folder / "checkpoint" / "adapter_config.json").write_text('{"peft_type": "ART"}')
    (folder / "checkpoint" / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def verbs(pixeltune: Path) -> set[str]:
    """Those that `pixeltune --help` lists."""
    done = subprocess.run(
        [pixeltune, "--help"], capture_output=True, text=True, check=True, env=environment()
    )
    return set(re.findall(r"^  (\w+) ", done.stdout, re.M))


def faults(pixeltune: Path, tries: Sequence[Try], folder: Path) -> Iterator[tuple[str, str]]:
    """Run each command.

    Yields:
        The command, and what was otherwise than it should be; "" if nothing was.
    """
    for words, said, status in tries:
        done = subprocess.run(
            [pixeltune, *words.split()],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=900,
        )
        text = done.stderr if status else done.stdout
        right = done.returncode == status and said in text and "Traceback" not in done.stderr
        if status and done.stderr.count("\n") != 1:
            right = False
        wrong = f"status {done.returncode} instead of {status}, or it does not say {said!r} in one line"
        yield words, "" if right else f"{wrong}:\n{done.stdout[-1500:]}{done.stderr[-3000:]}"


def environment() -> dict[str, str]:
    """Ours, without what would show the user's interpreter to another."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
    }


def try_python(python: str, wheel: Path, folder: Path, bare: bool) -> int:
    """How many commands went wrong with one interpreter; each is printed."""
    subprocess.run([python, "-m", "venv", str(folder / "env")], check=True, env=environment())
    inside = folder / "env" / "bin"
    version = subprocess.run(
        [inside / "python", "--version"], capture_output=True, text=True, check=True
    ).stdout

    def install(what: str) -> None:
        pip = [
            inside / "python",
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "install",
        ]
        subprocess.run([*pip, what], check=True, env=environment(), stdin=subprocess.DEVNULL)

    install(str(wheel))
    print(f"{version.strip()}: {wheel.name} alone", flush=True)
    missing = verbs(inside / "pixeltune") - {words.partition(" ")[0] for words, *_ in BARE}
    wrong = report([(f"{verb} ...", "no such verb in BARE") for verb in sorted(missing)])
    wrong += report(faults(inside / "pixeltune", BARE, desk(folder / "bare")))
    if not bare:
        install(f"{wheel}[{EXTRAS}]")
        print(f"{version.strip()}: with {EXTRAS}", flush=True)
        wrong += report(faults(inside / "pixeltune", WHOLE, desk(folder / "whole")))
    return wrong


def report(found: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> int:
    """Print what was found, command by command; returns how many were wrong."""
    wrong = 0
    for words, fault in found:
        wrong += bool(fault)
        print(f"  {'WRONG' if fault else 'ok'}  pixeltune {words}{fault and ': ' + fault}", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="install a wheel as users do, and run every verb")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", action="append", help="interpreter; may be repeated (default: this one)")
    parser.add_argument("--bare", action="store_true", help="without the extras")
    arguments = parser.parse_args()
    wrong = 0
    for python in arguments.python or [sys.executable]:
        with tempfile.TemporaryDirectory() as folder:
            wrong += try_python(python, arguments.wheel.resolve(), Path(folder), arguments.bare)
    sys.exit(f"{wrong} commands went wrong" if wrong else 0)


if __name__ == "__main__":
    main()
