"""The index of the benchmarks is whole, its links lead somewhere, and every script says what it takes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as bench

ROOT = Path(bench.__file__).parents[1]
LINES = [
    line.split("|")[1:-1]
    for line in (ROOT / "benchmarks" / "README.md").read_text().splitlines()
    if re.search(r"`\w+\.py`", line) and line.startswith("| ")
]
NAMED = re.compile(r"`([\w.]+)`")


def test_every_script_is_in_the_index_once():
    assert sorted(name for line in LINES for name in NAMED.findall(line[1])) == [
        script.name for script in bench.scripts()
    ]


def test_every_file_of_results_has_a_script_that_writes_it():
    written = {name: line for line in LINES for name in NAMED.findall(line[2])}
    assert set(written) >= {path.name for path in (ROOT / "benchmarks" / "results").iterdir()}
    for name, line in written.items():
        assert name.startswith(NAMED.findall(line[1])[0].removesuffix(".py"))
        assert (ROOT / "benchmarks" / "results" / name).exists()


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[1].strip(" `"))
def test_the_page_that_publishes_it_has_that_heading(line):
    """A heading's anchor is its words in lower case with hyphens."""
    for page, anchor in re.findall(r"\]\(\.\./([^)#]+)#?([^)]*)\)", line[0]):
        text = (ROOT / page).read_text()
        headings = [title.lower() for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
        anchors = {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in headings}
        assert not anchor or anchor in anchors


@pytest.mark.parametrize("script", [*bench.scripts(), Path(bench.__file__)], ids=lambda path: path.stem)
def test_every_script_says_what_it_takes(script, capsys):
    main = importlib.import_module(f"benchmarks.{script.stem}").main
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert "usage:" in capsys.readouterr().out
    assert (
        'if __name__ == "__main__":\n    main()' in script.read_text()
    )  # else it would do nothing, and end well


def test_what_cannot_run_here_is_said_and_left_out(monkeypatch, capsys):
    monkeypatch.setattr(bench, "NEEDS", {"gpu": (lambda: False, "no GPU")})
    ran = []

    def run(command):
        ran.append(command)
        return type("Done", (), {"returncode": int(command[1].endswith("beauty.py"))})

    monkeypatch.setattr(bench.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"^failed: beauty\.py$"):
        bench.main(["--quick"])
    said = capsys.readouterr().out
    assert "== gpu.py: skipped, no GPU" in said
    assert "== steps.py: skipped, no --quick" in said
    assert {Path(command[1]).name for command in ran} >= {"accuracy.py", "beauty.py", "precision.py"}
    assert all(command[2:] == ["--quick"] for command in ran)
