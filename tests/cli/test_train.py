"""The training verbs' way in: help and what is wrong are said before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pixeltune.cli.main import main
from pixeltune.cli.train import HELP, SCREEN

LIGHT = (
    "import sys; from pixeltune.cli.main import main\n"
    "try:\n    status = main(sys.argv[1:])\nexcept SystemExit as end:\n    status = end.code\n"
    "assert not {'torch', 'trl', 'transformers'} & set(sys.modules), 'heavy'\nsys.exit(status)"
)


def light(*words: str) -> subprocess.CompletedProcess:
    """Run a command that must need neither torch nor TRL."""
    return subprocess.run([sys.executable, "-c", LIGHT, *words], capture_output=True, text=True)


@pytest.mark.parametrize("verb", HELP)
def test_the_first_screen_of_help_is_one_screen_and_needs_no_torch(verb):
    done = light(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") < 90
    assert "--help all" in done.stdout
    for name in ("model", "data", "output_dir", "max_steps", "learning_rate", "image_tokens"):
        assert f"  --{name} " in done.stdout
    assert all(title in done.stdout for title in SCREEN)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lerning_rate", "1"], "there is no --lerning_rate (did you mean --learning_rate?)"),
        (["--modle", "x", "--task", "sums"], "did you mean --model?"),
        (["--task", "sumz"], "did you mean 'sums'?"),
        (["--data", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
        (["--data", "bad.jsonl"], "bad.jsonl, line 1"),
        (["--task", "sums", "--start", "nowhere.png", "--licence", "MIT"], "nowhere.png"),
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"prompt": "?", "answer": "!"}) + "\n")
    done = light("sft", *words)
    assert done.returncode == 1
    assert "heavy" not in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_all_of_trls_settings_are_behind_help_all(capsys):
    with pytest.raises(SystemExit) as end:
        main(["sft", "--help", "all"])
    assert end.value.code == 0
    assert "--packing_strategy" in capsys.readouterr().out
