"""A new user's first hour: what README.md and the guide's first pages say is typed in, from the wheel.

Not here: commands that a document marks as not run, with the reason; those of the README's table that need a
model of the hub, an engine or rewards; `pixeltune demo` and `pixeltune mix`, which take longer than the rest
together and have their own tests (`tests/cli/test_demo.py`, `tests/evaluation/test_mixing.py`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

from documents import GUIDE, README, blocks, runs

HELPS = re.compile(r"^(The picture |The score rose|The held-out loss fell)", re.M)
"""How the line begins that says whether the picture helps (`pixeltune.training.scores.verdict`)."""


def test_it_is_the_wheel_that_is_imported(user, tmp_path):
    code = "import pixeltune; print(pixeltune.__file__)"
    assert Path(user.types(f"python -c '{code}'", tmp_path).stdout.strip()).parent == user.site / "pixeltune"
    for ours in ("benchmarks", "tests", "documents"):
        assert "ModuleNotFoundError" in user.types(f"python -c 'import {ours}'", tmp_path).stderr


def test_the_first_pages_have_next_to_nothing_that_is_not_run():
    for name in ("quickstart", "own-rows"):
        found = blocks(GUIDE / f"{name}.md")
        assert sum(map(runs, found)) >= len(found) - 1 >= 3, name
    assert sum(map(runs, blocks(README))) == 2


def test_the_quickstart(user, tmp_path):
    paint, show, check, score, look = user.follows(GUIDE / "quickstart.md", tmp_path)
    assert "12 steps" in paint
    assert "runs/sums/artwork.png" in paint
    assert (tmp_path / "runs/sums/artwork.png").is_file()
    assert re.search(r"^data +sums$", show, re.M)
    assert "equal the trained ones bit for bit" in check
    assert re.search(r"points against off \((significant|could be chance)", score)
    assert "runs/eval/report.md" in score
    assert (tmp_path / "runs/eval/report.md").is_file()
    assert look.split() == ["(256,", "256)", "tiny"]


def test_the_readme_and_rows_of_ones_own(user, tmp_path):
    """One folder for both, as a reader has it, and then the verbs that look at what is there."""
    painted, trained = user.follows(README, tmp_path)
    assert "Painting(sft, tiny, sums" in painted
    assert re.search(r"points against off \((significant|could be chance)", painted)
    assert (tmp_path / "runs/sums/artwork.png").is_file()
    assert "0 + 5 = ?" in trained
    assert (tmp_path / "own.png").is_file()

    made, preview, paint, compare = user.follows(GUIDE / "own-rows.md", tmp_path)
    assert made == ""
    assert "[artwork: 64 tokens]" in preview
    assert re.search(r"held-out loss .+ -> .+; held-out score .+ -> .+, n = 20; runs/mine/artwork.png", paint)
    assert HELPS.search(paint)
    assert re.search(r"points against off \((significant|could be chance)", compare)
    assert (tmp_path / "runs/mine-eval/report.md").is_file()

    shutil.copy(tmp_path / "runs/mine/artwork.png", tmp_path / "a.png")
    assert re.search(r"^data +rows.jsonl$", readme_says(user, tmp_path, "pixeltune show a.png"), re.M)
    (step,) = (tmp_path / "runs/mine").glob("checkpoint-*")
    (tmp_path / "a.png").unlink()
    command = "pixeltune export runs/mine/checkpoint-50 --output a.png"
    assert readme_says(user, tmp_path, command, {"checkpoint-50": step.name}) == "a.png\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "runs/mine/artwork.png").read_bytes()
    # Evaluations lie beside the runs, and the folder of the README's own trainer, which has no PNG.
    done = user.types("pixeltune gallery runs/* --output_dir site/", tmp_path)
    assert "pixeltune gallery runs/* --output_dir site/" in README.read_text("utf-8")
    assert (done.returncode, done.stdout) == (0, "site/index.html\n"), done.stderr
    (left_out,) = done.stderr.splitlines()
    assert f"pixeltune export {tmp_path}/runs/own/checkpoint-3" in left_out
    assert {path.name for path in (tmp_path / "site").iterdir() if path.is_dir()} == {"mine", "sums"}
    serve(user, tmp_path)


def readme_says(user, folder: Path, command: str, mine: dict[str, str] | None = None) -> str:
    """What a command of the README says, with names of one's own in place of those that stand there."""
    assert f"`{command}`" in README.read_text("utf-8")
    for theirs, own in (mine or {}).items():
        command = command.replace(theirs, own)
    done = user.types(command, folder)
    assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stderr}"
    return done.stdout


def serve(user, folder: Path) -> None:
    """The last block of the page, at any free port, with an engine that is not there yet: the name is."""
    (block,) = (block for block in blocks(GUIDE / "own-rows.md") if "pixeltune serve" in block["code"])
    copy, command = block["code"].strip().split("\n")
    assert user.types(copy, folder).returncode == 0
    words = command.partition("#")[0].split()
    words[0] = str(user.python.with_name("pixeltune"))
    with subprocess.Popen(
        [*words, "--port", "0"], cwd=folder, env=user.env, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            said = json.loads(server.stderr.readline())
            assert said["event"] == "ready to listen"
            assert "mine" in names(said["address"])
        finally:
            server.terminate()


def names(address: str) -> list[str]:
    """What a gateway that has just begun to listen lists."""
    for attempt in range(20):
        try:
            with urlopen(f"{address}/models", timeout=10) as answer:
                return [model["id"] for model in json.load(answer)["data"]]
        except OSError:
            if attempt == 19:
                raise
            time.sleep(0.5)
    raise AssertionError
