"""The way in: what is asked wrongly is one line, what is broken keeps its traceback."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from itertools import chain

import pytest

from pixeltune.cli import show
from pixeltune.cli.main import VERBS, main
from pixeltune.cli.parser import with_underscores
from pixeltune.data.messages import UnusedDataWarning
from pixeltune.errors import RunError, UserError
from pixeltune.training.defaults import GOALS


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


@pytest.mark.parametrize("verb", [v for v in chain.from_iterable(VERBS.values()) if v not in GOALS])
def test_an_unknown_flag_is_told_which_one_is_near(verb, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, "--hepl"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_a_typo_is_named_before_what_is_missing_because_of_it(capsys):
    with pytest.raises(SystemExit) as end:
        main(["check", "a.png", "--modle", "tiny"])
    assert end.value.code == 2
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
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_help_takes_a_verb(capsys):
    with pytest.raises(SystemExit) as end:
        main(["help", "show"])
    assert end.value.code == 0
    assert "usage: pixeltune show" in capsys.readouterr().out


def test_flags_are_taken_with_dashes_and_with_underscores():
    given = ["--batch-size", "4", "--api_key=a-b", "-x", "a-b.png", "--", "--no-op"]
    assert with_underscores(given) == ["--batch_size", "4", "--api_key=a-b", "-x", "a-b.png", "--", "--no_op"]


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
