"""The committed figures are those that the script makes from the committed results, and the page says their numbers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest

from benchmarks import figures
from benchmarks.common.accuracy_table import finals, interval, pooled
from benchmarks.common.baselines import RATES
from benchmarks.common.cells import read

MADE = {figure.name: figure for figure in figures.figures()}
PAGES = [figures.OUT.parent / name for name in ("accuracy.md", "released.md")]
SVG = "{http://www.w3.org/2000/svg}"


def committed(name: str) -> str:
    return (figures.OUT / f"{name}.svg").read_text()


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_there_is_one_file_for_each_figure_and_no_other():
    assert {path.stem for path in figures.OUT.iterdir()} == set(MADE)
    assert {"accuracy_sft", "accuracy_grpo", "accuracy_seconds", "accuracy_rows"} <= set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_committed_figure_shows_the_committed_results(name):
    text = committed(name)
    said = re.search(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)[1]
    assert json.loads(said.replace("&lt;", "<").replace("&amp;", "&")) == json.loads(
        json.dumps(MADE[name].points)
    )
    if f"Matplotlib v{mpl.__version__}," in text:
        assert text == MADE[name].svg()


@pytest.mark.parametrize("name", MADE)
def test_the_page_shows_it_and_says_its_numbers(name):
    assert any(MADE[name].line() in page.read_text() for page in PAGES)


@pytest.mark.parametrize("name", MADE)
def test_a_figure_has_no_background_and_is_text(name):
    root = ET.fromstring(committed(name))
    background = root.find(f".//{SVG}g[@id='patch_1']/{SVG}path")
    assert "fill: none" in background.get("style")
    assert "full fine-tuning" in "".join(root.itertext()) or name == "accuracy_rows"


@pytest.mark.parametrize("colour", [figures.GREY, *(colour for colour, _ in figures.LOOKS.values())])
def test_colours_are_seen_on_light_and_on_dark_pages(colour):
    """3 to 1, what WCAG asks of graphics and large text; GitHub's dark page and the site's."""
    own = luminance(colour)
    for page in ("#ffffff", "#0d1117", "#1e2129"):
        light, dark = sorted((own, luminance(page)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_points_are_the_tables_numbers():
    report = read(figures.RESULTS / "accuracy_sft.json")
    middle, low, high = MADE["accuracy_sft"].points["calls"]["lora16"]
    assert interval(pooled(finals(report, "calls", "lora16"))) == f"{middle}% ({low}% to {high}%), n = 600"
    ten = MADE["accuracy_rows"].points["calls"]["lora16"][0]
    assert (
        interval(report["cells"]["calls/lora16/rows/10/42"]["right"])
        == f"{ten[1]}% ({ten[2]}% to {ten[3]}%), n = 200"
    )
    page = PAGES[0].read_text()
    for method, line in MADE["accuracy_seconds"].points["calls, SFT"].items():
        row = next(
            text
            for text in page.splitlines()
            if text.startswith(f"| calls | {figures.NAMES[method]} |") and " s) |" in text
        )
        assert [float(score) for score in re.findall(r"([\d.]+) \([\d.]+ s\)", row)] == [
            point[1] for point in line
        ]


def test_every_method_has_a_look_and_a_method_that_learned_nothing_says_so():
    assert set(figures.LOOKS) == set(figures.NAMES) >= set(RATES)
    cells = {"sums/artwork/42": {"right": "1110"}, "sums/full/tune/0.1": {"steps": 8, "lessons": 0}}
    (figure,) = figures.scores("a", {"cells": cells, "plan": {"batch": 2}}, "GRPO")
    assert figure.points == {"sums": {"artwork": [75.0, 30.1, 95.4], "full": []}}
    assert "full fine-tuning no reward to learn from" in figure.alt
    assert "no reward to learn from" in figure.svg()


def test_what_has_no_results_has_no_figure(tmp_path):
    assert list(figures.figures(tmp_path)) == []


def test_the_script_writes_and_prints_them(tmp_path: Path, capsys):
    figures.main(["--folder", str(tmp_path)])
    assert {path.stem for path in tmp_path.iterdir()} == set(MADE)
    said = capsys.readouterr().out
    assert all(figure.line() in said for figure in MADE.values())
