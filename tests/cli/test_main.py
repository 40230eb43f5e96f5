"""The way in: what is asked wrongly is one line, what is broken keeps its traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from itertools import chain
from pathlib import Path

import pytest

from pixeltune.cli import show
from pixeltune.cli.main import VERBS, main
from pixeltune.cli.parser import with_underscores
from pixeltune.data.messages import UnusedDataWarning
from pixeltune.errors import RunError, UserError
from pixeltune.training.defaults import OBJECTIVE_FACTS

ROOT = Path(__file__).parents[2]


def test_the_overview_names_every_verb_and_is_quick(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb} " in said for verbs in VERBS.values() for verb in verbs)
    code = (
        "import sys; from pixeltune.cli.main import main; main(['--help']); assert 'numpy' not in sys.modules"
    )
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert time.perf_counter() - begin < 5  # half a second on a quiet machine, and tests share theirs


def test_no_verb_is_told_what_there_is(capsys):
    assert main([]) == 2
    assert "usage: pixeltune VERB" in capsys.readouterr().out


def test_an_unknown_verb_is_called_unknown(capsys):
    assert main(["evla"]) == 2
    assert "there is no verb 'evla' (did you mean eval?)" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [v for v in chain.from_iterable(VERBS.values()) if v not in OBJECTIVE_FACTS])
def test_an_unknown_flag_is_told_which_one_is_near(verb, capsys):
    assert main([verb, "--hepl"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_typo_is_named_before_what_is_missing_because_of_it(capsys):
    assert main(["check", "a.png", "--modle", "tiny"]) == 2
    assert "there is no --modle (did you mean --model?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "row"], "'row' has no flag (did you mean --rows?)"),
        (
            ["serve", "--upstream", "u", "--artworks", "a", "prot"],
            "'prot' has no flag (did you mean --port?)",
        ),
    ],
)
def test_a_word_that_no_flag_takes_is_told_which_may_be_meant(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sft", "other", "status"),
    [
        ("sft --dat x", "eval --dat x", 2),  # no such flag
        ("sft word", "serve --upstream u --artworks a word", 2),
        ("sft --data", "eval --data", 2),  # no value
        ("sft --config", "show", 2),
        ("sft --task sums --max_steps abc", "eval --task sums --rows abc", 2),  # another type
        ("sft --task sums --dtype float17", "eval --task sums --score beauty", 2),  # none of a list
        ("sft", "eval", 1),  # read, and refused
        ("sft --task sumz", "eval --task sumz", 1),
        (
            "sft --task sums --load_in_8bit --load_in_4bit",
            "eval --task sums --load_in_8bit --load_in_4bit",
            1,
        ),
        ("sft --config none.yaml", "show none.png", 1),
    ],
)
def test_the_exit_status_follows_one_rule(sft, other, status, capsys):
    for words in (sft, other):
        assert main(words.split()) == status, words
        said = capsys.readouterr().err
        assert said.startswith(f"pixeltune {words.split()[0]}: ")
        assert said.count("\n") == 1


def test_a_config_s_wrong_value_is_content(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("task: sums\nmax_steps: abc\n")
    assert main(["sft", "--config", str(tmp_path / "r.yaml")]) == 1


@pytest.mark.parametrize("words", [["--help"], ["grpo", "--help", "all"], ["show", "docs/images/calls.png"]])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_enough_ends_it_quietly(words, buffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, *(() if buffered else ("-u",)), "-m", "pixeltune", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_help_takes_a_verb(capsys):
    with pytest.raises(SystemExit) as end:
        main(["help", "show"])
    assert end.value.code == 0
    assert "usage: pixeltune show" in capsys.readouterr().out


def test_flags_are_taken_with_dashes_and_with_underscores():
    given = ["--batch-size", "4", "--api_key=a-b", "-x", "a-b.png", "--no-op"]
    assert with_underscores(given) == ["--batch_size", "4", "--api_key=a-b", "-x", "a-b.png", "--no_op"]


def test_behind_two_dashes_there_are_names_and_no_flags(capsys):
    assert main(["show", "--", "--my-file.png"]) == 1
    assert "--my-file.png: cannot read it" in capsys.readouterr().err


@pytest.mark.parametrize("error", [UserError("no\n  such thing"), RunError("no such thing")])
def test_our_refusals_are_one_line(error, monkeypatch, capsys):
    monkeypatch.setattr(show, "run", lambda _: (_ for _ in ()).throw(error))
    assert main(["show", "a.png"]) == 1
    assert capsys.readouterr().err == "pixeltune show: no such thing\n"


@pytest.mark.parametrize("error", [ValueError, RuntimeError, OSError, KeyError, ModuleNotFoundError])
def test_everything_else_keeps_its_traceback(error, monkeypatch):
    monkeypatch.setattr(show, "run", lambda _: (_ for _ in ()).throw(error("a bug")))
    with pytest.raises(error, match="a bug"):
        main(["show", "a.png"])


def test_a_path_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["show", str(tmp_path / "none.png")]) == 1
    assert "none.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "extra"), [("torch", "train"), ("openai", "eval"), ("jinja2", "gallery")]
)
def test_a_missing_package_names_the_extra_that_brings_it(package, extra, monkeypatch, capsys):
    error = ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.nn")
    monkeypatch.setattr(show, "run", lambda _: (_ for _ in ()).throw(error))
    assert main(["show", "a.png"]) == 1
    said = f"this needs {package}, which is not installed. Run: pip install 'pixeltune[{extra}]'"
    assert capsys.readouterr().err == f"pixeltune show: {said}\n"


def test_a_missing_package_is_found_behind_a_library_s_own_error(monkeypatch, capsys):
    def run(_):
        try:
            raise ModuleNotFoundError("No module named 'datasets'", name="datasets")
        except ModuleNotFoundError as error:
            raise RuntimeError("Failed to import trl.trainer.sft_trainer") from error

    monkeypatch.setattr(show, "run", run)
    assert main(["show", "a.png"]) == 1
    assert "this needs datasets" in capsys.readouterr().err


def test_pixeltune_s_own_warnings_are_one_line(monkeypatch, capsys):
    def run(_):
        warnings.warn("names nobody reads", UnusedDataWarning, stacklevel=1)
        warnings.warn("of a library", FutureWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(show, "run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # As Python shows them where nobody collects them, as pytest does.
        monkeypatch.setattr(
            warnings,
            "showwarning",
            lambda *told, **_: sys.stderr.write(warnings.formatwarning(*told[:4])),
        )
        assert main(["show", "a.png"]) == 0
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "pixeltune: names nobody reads"
    assert second.endswith("FutureWarning: of a library")
