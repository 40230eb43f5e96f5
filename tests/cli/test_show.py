"""``pixeltune show``: several at once, and what a stranger wrote into a PNG."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.evaluation import sayings
from pixeltune.evaluation.sayings import CAVEAT, Saying, Sayings

IMAGES = Path(__file__).parents[2] / "docs/images"
NASTY = "\x1b[2J\x07\x9b31m\nbase model      a lie\u202e"


@pytest.fixture
def nasty(tmp_path) -> Path:
    art = Artwork.load(IMAGES / "sums.png")
    made = replace(
        art.provenance,
        base_model=f"other{NASTY}",
        data=NASTY,
        licence=NASTY,
        processor=art.provenance.processor | {f"x{NASTY}": NASTY},
        training={NASTY: NASTY},
        placement=NASTY,
    )
    return Artwork(art.pixels, made).save(tmp_path / "nasty.png")


@pytest.mark.parametrize(
    "verb", ["show", "show --says --model tiny", "check --model tiny", "check --robust --model tiny"]
)
def test_a_stranger_s_text_says_nothing_to_the_terminal(verb, nasty, capsys):
    """Neither in what is printed nor in a refusal: --robust is one, the artwork's task being none."""
    word, *flags = verb.split()
    main([word, str(nasty), *flags])
    output = capsys.readouterr()
    said = output.out + output.err
    assert "\\x1b[2J\\x07\\x9b31m" in said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert not [line for line in said.splitlines() if line.endswith("a lie")]


def test_what_can_be_shown_is_shown(tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    names = [str(IMAGES / "sums.png"), str(tmp_path / "bad.png"), str(IMAGES / "calls.png")]
    assert main(["show", *names]) == 1
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"pixeltune show: {names[1]}: not a PNG")
    headings = [line.removesuffix(":") for line in output.out.splitlines() if line.endswith(".png:")]
    assert headings == [names[0], names[2]]
    assert output.out.count("base model") == 2


def test_one_alone_needs_no_heading(capsys):
    assert main(["show", str(IMAGES / "sums.png")]) == 0
    assert capsys.readouterr().out.startswith("base model")


def test_a_run_s_folder_says_what_it_took(tmp_path, capsys):
    """Only a number is taken from its log, and a log that cannot be read says nothing."""
    Artwork.load(IMAGES / "sums.png").save(tmp_path / "artwork.png")
    log = tmp_path / "log_history.json"
    log.write_text(
        json.dumps([{"step": 1, "ledger": {"picture_encodings": 4, "seconds": {"steps": 2, NASTY: "x"}}}])
    )
    assert main(["show", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ledger")]
    assert line.split("  ", 1)[1].strip() == "4 picture encodings; seconds: steps 2.0"
    for broken in ("{", "7", "[" * 100_000, '[{"ledger": 3}]'):
        log.write_text(broken)
        assert main(["show", str(tmp_path)]) == 0
        assert "ledger" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--says", "--says asks a model: say which with --model"),
        ("--model tiny", "--model and --revision go with --says"),
        ("--revision main", "--model and --revision go with --says"),
        ("--says --model nowhere-at-all", "nowhere-at-all"),
    ],
)
def test_says_and_its_model_go_together(flags, message, capsys):
    assert main(["show", str(IMAGES / "sums.png"), *flags.split()]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err


def test_what_a_model_says_is_printed_behind_what_the_picture_says_of_itself(monkeypatch, capsys, bundled):
    """And control characters, of the model's text as of the prompt, say nothing to the terminal."""
    asked = []

    def says(artwork, **given):
        asked.append((artwork.provenance.data, given))
        text = Saying(NASTY, f"asked{NASTY}", 3, 4.5, 0.25, ((NASTY, 4.5),))
        return Sayings((text,), artwork.sha256, f"model{NASTY}", 8)

    monkeypatch.setattr(sayings, "says", says)
    assert (
        main(["show", str(IMAGES / "sums.png"), str(IMAGES / "calls.png"), "--says", "--model", "tiny"]) == 0
    )
    assert asked == [(task, {"model": "tiny", "revision": None}) for task in ("sums", "calls")]
    said = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in said)
    assert not [line for line in said.splitlines() if line.endswith("a lie")]
    assert said.count(CAVEAT) == said.count("\nbase model ") == said.count("1.   +4.5 nats   25.0%") == 2
    assert said.count(" +4.5]") == said.count(" and 2 more") == 2
    assert "Nothing strong" in said  # 4.5 nats in a quarter of the answers


def stranger(path: Path) -> Path:
    Image.new("RGB", (40, 30), "red").save(path)
    return path


def test_of_a_stranger_s_png_it_is_said_that_nothing_is_known(tmp_path, monkeypatch, capsys, bundled):
    """And the picture is what the model is asked with."""
    asked = []

    def says(picture, **given):
        asked.append(picture)
        return Sayings((), picture.sha256, "tiny", 8, f"Assumed.{NASTY}")

    monkeypatch.setattr(sayings, "says", says)
    assert main(["show", str(stranger(tmp_path / "any.png")), "--says", "--model", "tiny"]) == 0
    said = capsys.readouterr().out
    assert (asked[0].pixels == (255, 0, 0)).all()
    assert said.startswith(
        "provenance      none, so model and size are assumed, not known (PNG without pixeltune"
    )
    assert "size            30 x 40 (height x width)" in said
    assert said.count("Assumed.\\x1b[2J") == 1
    assert all(c.isprintable() or c == "\n" for c in said)


@pytest.mark.parametrize("verb", ["show", "check --model tiny", "push you/it", "mix --output {out}"])
def test_no_other_way_takes_it(verb, tmp_path, capsys):
    word, *flags = verb.format(out=tmp_path / "out.png").split()
    names = [str(stranger(tmp_path / "any.png")), str(IMAGES / "sums.png")]
    assert main([word, *(names if word == "mix" else names[:1]), *flags]) in (1, 2)
    output = capsys.readouterr()
    assert "PNG without pixeltune provenance" in output.err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"no picture", "not a PNG"), (b"\xff\xd8\xff\xe0", "a JPEG, not a PNG")],
    ids=["text", "JPEG"],
)
def test_what_is_no_png_is_not_asked(data, message, tmp_path, monkeypatch, capsys, bundled):
    monkeypatch.setattr(sayings, "says", lambda *_, **__: pytest.fail("it was asked"))
    (tmp_path / "bad.png").write_bytes(data)
    assert main(["show", str(tmp_path / "bad.png"), "--says", "--model", "tiny"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"pixeltune show: {tmp_path / 'bad.png'}: {message}")
