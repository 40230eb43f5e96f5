"""Answers shaded by what the picture changes: on the page, heard as well as seen, and of a stranger's file."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pixeltune.gallery import page
from pixeltune.gallery.run import read_run
from pixeltune.gallery.samples import said
from pixeltune.gallery.shading import Piece, shaded
from pixeltune.gallery.site import build_gallery
from pixeltune.gallery.untrusted import MAX_TEXT
from runs import STEPS, make_evaluation, make_run, sample, write

RATIOS = [["dial", 4.2], ["(", 0.3], ["Em", 2.04], ["ma", 1.0], [")", -1.5]]


class Marks(HTMLParser):
    """The marks of a page that are not in its legends: class, and what is read out."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[list[str]] = []
        self.inside = self.answer = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.answer |= tag == "pre"
        if tag == "mark" and self.answer:
            self.inside = True
            self.found.append([dict(attrs)["class"], ""])

    def handle_endtag(self, tag):
        self.answer &= tag != "pre"
        self.inside &= tag != "mark"

    def handle_data(self, data):
        if self.inside:
            self.found[-1][1] += data


def html(folder: Path) -> str:
    first = build_gallery([folder], folder.with_name("site"))
    return next(first.parent.glob("*/index.html")).read_text("utf-8")


def with_ratios(folder: Path, text: str, ratios: list) -> Path:
    make_run(folder)
    record = {**sample("0", "Call Emma.", text, 1.0), "ratios": [ratios]}
    write(folder / "samples" / f"step-{STEPS:06d}.json", json.dumps([record]))
    return folder


def test_tokens_are_shaded_by_their_ratio_and_read_out_with_it(tmp_path):
    made = html(with_ratios(tmp_path / "run", "dial(Emma)", RATIOS))
    assert Marks(made).found == [
        ["up3", "dial (+4.2) "],
        ["up2", "Em (+2.0) "],
        ["up1", "ma (+1.0) "],
        ["down", ") (-1.5) "],
    ]
    assert made.count('class="unseen"> (') == 4
    assert made.count("Shaded is what the picture changes") == 1
    assert "style=" not in made  # which the page's policy forbids
    style = page.asset("style.css")
    assert all(f".{name} {{ --shade" in style for name in ("up1", "up2", "up3", "down"))


def test_answers_without_ratios_are_plain(tmp_path):
    make_evaluation(make_run(tmp_path / "run") / "eval")
    made = html(tmp_path / "run")
    assert "<mark" not in made
    assert '<pre dir="auto">dial(Emma)</pre>' in made


def test_what_candidates_said_is_shaded_too(tmp_path):
    folder = make_evaluation(make_run(tmp_path / "run") / "eval")
    path = folder / "rows" / "calls-a.png-0123456789ab.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()[:10]]
    records[1]["ratios"] = [RATIOS]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    made = html(tmp_path / "run")
    assert len(Marks(made).found) == 4
    assert made.count("Shaded is what the picture changes") == 1
    (table,) = read_run(tmp_path / "run").evaluations[0].tables
    assert [[bool(shades) for shades in row.shades] for row in table.answers] == [
        [False, False],
        [False, True],
        [False, False],
    ]


def test_turns_are_joined_as_they_are_without_shades():
    record = {"completions": ["ab", "c"], "ratios": [[["a", 0], ["b", 3]], [["c", 1.5]]]}
    assert shaded(record) == [Piece("a", 0), Piece("b", 3), Piece("\n\n", 0), Piece("c", 1.5)]
    assert "".join(piece.text for piece in shaded(record)) == said(record["completions"])


@pytest.mark.parametrize(
    "ratios",
    [
        None,
        7,
        {},
        [],
        [[["a", 1], ["b", 2]], []],
        [7],
        [[["a", 1]]],  # not the whole text
        [[["ab", 1], ["", 2]]],
        [[["ab", "1"]]],
        [[["ab", True]]],
        [[["ab", float("inf")]]],
        [[["ab", float("nan")]]],
        [[["ab", 1, 2]]],
        [["ab"]],
        [[[5, 1]]],
        [[["a", 1], ["c", 1]]],
    ],
)
def test_ratios_that_are_none_of_this_text_are_not_used(ratios):
    assert shaded({"completions": ["ab"], "ratios": ratios}) == []
    assert shaded({"completions": None, "ratios": [[["ab", 1]]]}) == []


def test_longer_texts_than_a_page_shows_are_not_shaded():
    record = {"completions": ["a" * (MAX_TEXT + 1)]}
    assert shaded({**record, "ratios": [[["a", 1.0]] * (MAX_TEXT + 1)]}) == []


def test_a_stranger_s_pieces_stay_text(tmp_path):
    text = "<script>x</script>\u202e\x1b{{ 7*7 }}"
    made = html(with_ratios(tmp_path / "run", text, [[text[:9], 5.0], [text[9:], 5.0]]))
    assert [said for _, said in Marks(made).found] == [
        "<script>x (+5.0) ",
        "</script>\ufffd\ufffd{{ 7*7 }} (+5.0) ",
    ]
    assert "<script>x" not in made
    assert not re.search("[\u202a-\u202e\x1b]", made)
