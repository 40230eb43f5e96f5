"""A new user's first hour: what README.md and the guide's first pages say is typed in, from the wheel.

Not here: commands that a document marks as not run, with the reason, and verbs that need a model of the hub, an
engine or rewards; `pixeltune demo` and `pixeltune mix`, which take longer than the rest together and have their
own tests (`tests/cli/test_demo.py`, `tests/evaluation/test_mixing.py`).
"""

from __future__ import annotations

import json
import re
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
    found = blocks(README)
    assert (len(found), sum(map(runs, found))) == (4, 2)


def test_the_quickstart(user, tmp_path):
    paint, show, check, score, python = user.follows(GUIDE / "quickstart.md", tmp_path)
    assert "12 steps" in paint
    assert "runs/sums/artwork.png" in paint
    assert (tmp_path / "runs/sums/artwork.png").is_file()
    assert re.search(r"^data +sums$", show, re.M)
    assert "equal the trained ones bit for bit" in check
    assert re.search(r"points against off \((significant|could be chance)", score)
    assert "runs/eval/report.md" in score
    assert (tmp_path / "runs/eval/report.md").is_file()
    assert "Painting(sft, tiny, calls" in python
    assert re.search(r"points against off \((significant|could be chance)", python)
    assert python.split()[-3:] == ["(256,", "256)", "tiny"]


def test_the_readme_and_rows_of_ones_own(user, tmp_path):
    """One folder for both, as a reader has it, and then the verbs that look at what is there."""
    painted, trained = user.follows(README, tmp_path)
    assert "held-out score 0.0 % (0 to 16) -> 100.0 % (84 to 100), n = 20" in painted
    assert "0 of 20 before and 20 of 20 after" in README.read_text("utf-8")
    assert re.search(r"^data +rows.jsonl$", painted, re.M)  # show
    assert (tmp_path / "runs/first/artwork.png").is_file()
    assert trained.strip()
    for of_the_prompt in ("<|", "0 + 5 = ?"):
        assert of_the_prompt not in trained  # the model's answer alone

    made, preview, paint, compare = user.follows(GUIDE / "own-rows.md", tmp_path)
    assert made == ""
    assert "[artwork: 64 tokens]" in preview
    assert re.search(r"held-out loss .+ -> .+; held-out score .+ -> .+, n = 20; runs/mine/artwork.png", paint)
    assert HELPS.search(paint)
    assert re.search(r"points against off \((significant|could be chance)", compare)
    assert "held_out, 20 rows" in compare
    assert (tmp_path / "runs/mine-eval/report.md").is_file()

    (step,) = (tmp_path / "runs/mine").glob("checkpoint-*")
    assert user.says(f"pixeltune export runs/mine/{step.name} --output a.png", tmp_path) == "a.png\n"
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "runs/mine/artwork.png").read_bytes()
    # Evaluations lie beside the runs, and the folder of the README's own trainer, which has no PNG.
    done = user.types("pixeltune gallery runs/* --output_dir site/", tmp_path)
    assert "pixeltune gallery runs/* --output_dir site/" in (GUIDE / "gallery.md").read_text("utf-8")
    assert (done.returncode, done.stdout) == (0, "site/index.html\n"), done.stderr
    (left_out,) = done.stderr.splitlines()
    assert f"pixeltune export {tmp_path}/runs/own/checkpoint-3" in left_out
    assert {path.name for path in (tmp_path / "site").iterdir() if path.is_dir()} == {"mine", "first"}
    serve(user, tmp_path)


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
