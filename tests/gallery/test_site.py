"""The folder of pages: what stands in it, where it may be written, what a stranger's text can do to it."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pixeltune.cli.main import main
from pixeltune.gallery import site
from pixeltune.gallery.untrusted import MAX_TEXT
from runs import STEPS, make_evaluation, make_run, sample, write

VOID = {"meta", "link", "img", "input", "source", "br"}


class Page(HTMLParser):
    """A page's elements; every one that is opened is closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text, self.open = "", []
        self.feed(path.read_text("utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def gallery(*words: str | Path) -> None:
    assert main(["gallery", *map(str, words)]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    make_evaluation(make_run(folder / "calls") / "eval")
    make_run(folder / "sums", data="sums", objective="sft")
    gallery(folder / "calls", folder / "sums", "--output_dir", folder / "site")
    return folder / "site"


def test_the_page_of_a_run(made):
    page = Page(made / "calls" / "index.html")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    parts = {"painting", "changes", "matters", "curves", "samples", "evaluation", "serve", "provenance"}
    assert parts <= set(ids)
    assert all(attributes.get("alt") for attributes in page.all("img"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for title in ("Loss", "Reward", "Held-out score", "Completion length, tokens", "KL to the start, nats"):
        assert page.text.count(title) >= 4  # caption and title, against steps and against seconds
    for text in (
        "Call Emma.",
        "Good question!",
        "dial(Emma)",
        "90.0%",
        "60.0% to 98.0%",
        "CC0-1.0",
        "step 12",
    ):
        assert text in page.text
    assert "secret" not in page.text  # system messages are not shown
    assert "not computed (--maps 8 does)" in page.text


def test_every_address_is_a_file_of_the_folder(made):
    for path in made.rglob("*.html"):
        page = Page(path)
        for tag, attributes in page.elements:
            for name in ("src", "href", "srcset"):
                address = attributes.get(name)
                if address is None or (tag == "a" and address.startswith("#")):
                    continue
                target = (path.parent / address).resolve()
                assert target.is_file(), address
                assert made in target.parents
        assert not any("style" in attributes for _, attributes in page.elements)  # forbidden by the policy
        policy = next(
            m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
        )
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy


def test_the_artwork_on_the_page_is_the_file_itself(made):
    assert (made / "calls" / "artwork.png").read_bytes() == (
        made.parent / "calls" / "artwork.png"
    ).read_bytes()
    with Image.open(made / "calls" / "animation.webp") as film:
        assert film.n_frames == 7


def test_the_index_lists_runs_by_name_and_what_they_are(made):
    page = Page(made / "index.html")
    links = [attributes["href"] for attributes in page.all("a") if "tabindex" not in attributes]
    assert links == ["#main", "calls/index.html", "sums/index.html"]
    assert {"grpo", "sft", "tiny", "75 %"} <= set(re.split(r"\s{2,}|\n", page.text))


def test_missing_parts_have_a_reason_and_no_picture(tmp_path):
    make_run(tmp_path / "bare", start="noise")
    for name in ("snapshots", "samples"):
        (tmp_path / "bare" / name).rename(tmp_path / name)
    (tmp_path / "bare" / "log_history.json").unlink()
    gallery(tmp_path / "bare", "--output_dir", tmp_path / "site")
    page = Page(tmp_path / "site" / "bare" / "index.html")
    for reason in (
        "the run kept no snapshots",
        "is not known",
        "neither log_history.json",
        "no samples",
        "no report",
    ):
        assert reason in page.text
    files = {p.name for p in (tmp_path / "site" / "bare").iterdir()}
    assert files == {"index.html", "artwork.png"}


def test_a_log_without_seconds_is_drawn_against_steps_alone(tmp_path):
    """As a trainer that is not ours leaves it."""
    run = make_run(tmp_path / "run")
    write(run / "log_history.json", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}])
    gallery(run, "--output_dir", tmp_path / "site")
    text = Page(tmp_path / "site" / "run" / "index.html").text
    assert "the run did not log them" in text
    assert "older version" not in text


HOSTILE = (
    "<script>window.pwned=1</script>\"'><img src=x onerror=pwned=1>{{ 7*7 }}"
    "\u202e\x00\ud800&amp;$(touch pwned)"
)


def test_hostile_text_stays_text(tmp_path):
    name = HOSTILE.replace("/", "").replace("\x00", "").replace("\ud800", "")
    plain = HOSTILE.replace("\ud800", "")
    run = make_run(tmp_path / name, base_model=HOSTILE, data=plain, objective=plain, licence=plain)
    write(run / "samples" / "step-000000.json", [sample("0", HOSTILE, HOSTILE * 900, 0.0)])
    write(run / "samples" / f"step-{STEPS:06d}.json", [sample("0", "", HOSTILE, 1.0)])
    report = make_evaluation(run / "eval") / "report.json"
    report.write_text(report.read_text().replace("a.png", "<script>b.png").replace("in process", "<script>x"))
    gallery(run, "--output_dir", tmp_path / "site")
    for path in (tmp_path / "site").rglob("*.html"):
        page = Page(path)
        assert len(page.all("script")) == (path.parent.name == "site")
        assert not any(
            "onerror" in attributes or attributes.get("src") == "x" for _, attributes in page.elements
        )
        raw = path.read_text("utf-8")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\ud800-\udfff]", raw)
        assert "{{ 7*7 }}" in page.text
    assert f"{len(HOSTILE * 900):,} characters in all" in page.text
    assert len(page.text) < 20 * MAX_TEXT
    folder = next(p.name for p in (tmp_path / "site").iterdir() if p.is_dir())
    assert re.fullmatch(r"[A-Za-z0-9_-]+", folder)


def test_commands_of_a_hostile_model_name_do_nothing_else(tmp_path):
    name = "a/b'; touch pwned; echo $(touch pwned) `touch pwned`\n touch pwned #"
    gallery(make_run(tmp_path / "run", base_model=name), "--output_dir", tmp_path / "site")
    raw = Page(tmp_path / "site" / "run" / "index.html").text
    command = raw[raw.index("pixeltune check artwork.png") : raw.index("By name, through")].strip()
    assert shlex.split(command) == ["pixeltune", "check", "artwork.png", "--model", name]
    subprocess.run(["sh", "-c", f"echo {command}"], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "pwned").exists()
    code = raw[raw.index("client.chat.completions.create") :].split(", messages")[0] + ")"
    seen = {}
    create = type("C", (), {"create": staticmethod(lambda model: seen.update(model=model))})
    chat = type("C", (), {"completions": create})
    eval(code, {"client": type("C", (), {"chat": chat})})
    assert seen["model"] == name


def test_runs_of_one_name_get_folders_of_their_own(tmp_path):
    runs = [make_run(tmp_path / parent / "Run") for parent in "ab"] + [make_run(tmp_path / "c" / "run")]
    gallery(*runs, runs[0], "--output_dir", tmp_path / "site")
    assert {p.name for p in (tmp_path / "site").iterdir() if p.is_dir()} == {"Run", "Run-2", "run-3"}


def test_a_gallery_is_replaced_and_nothing_else(tmp_path, capsys):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    gallery(run, "--output_dir", out)
    before = (out / "index.html").read_bytes()
    (out / "notes.txt").write_text("mine")
    assert main(["gallery", str(run), "--output_dir", str(out)]) == 1
    assert "holds notes.txt, which is no part of the gallery" in capsys.readouterr().err
    assert (out / "index.html").read_bytes() == before
    (out / "notes.txt").unlink()
    gallery(make_run(tmp_path / "other"), "--output_dir", out)
    assert not (out / "run").exists()
    assert (out / "other" / "index.html").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("there", ["folder", "file", "link", "run"])
def test_what_is_no_gallery_is_left_alone(there, tmp_path, capsys):
    run, out = make_run(tmp_path / "run"), tmp_path / "out"
    if there == "folder":
        write(out / "a.txt", "mine")
    elif there == "file":
        out.write_text("mine")
    elif there == "link":
        out.symlink_to(tmp_path / "elsewhere")
    else:
        out = tmp_path / "run"
    before = sorted(tmp_path.rglob("*"))
    assert main(["gallery", str(run), "--output_dir", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "give another folder" in error
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "site").mkdir()
    gallery(make_run(tmp_path / "run"), "--output_dir", tmp_path / "site")


def test_a_failure_while_writing_leaves_the_old_gallery(tmp_path, monkeypatch):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    gallery(run, "--output_dir", out)
    rename = site.os.rename

    def fail(source, target):
        if Path(target) == out and source != str(out) and str(source).endswith(".tmp"):
            raise OSError("disk is gone")
        rename(source, target)

    monkeypatch.setattr(site.os, "rename", fail)
    with pytest.raises(OSError, match="disk is gone"):
        main(["gallery", str(run), "--output_dir", str(out)])
    assert (out / "index.html").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nowhere --output_dir {0}/site", "there is no such folder"),
        ("{0}/run --output_dir {0}/site --eval {0}/run", "report.json is no file"),
        ("{0}/run --output_dir {0}/site --maps -1", "1 or more"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(words, message, tmp_path, capsys):
    make_run(tmp_path / "run")
    assert main(["gallery", *words.format(tmp_path).split()]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "site").exists()


def test_of_all_that_lies_beside_runs_evaluations_are_shown_and_the_rest_is_left_out_aloud(tmp_path, capsys):
    """As a shell writes out ``runs/*``."""
    make_run(tmp_path / "runs" / "calls")
    make_evaluation(tmp_path / "runs" / "eval")
    (tmp_path / "runs" / "own" / "checkpoint-3").mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").write_text("later")
    write(tmp_path / "runs" / "demo" / "report.json", {"passed": True})
    gallery(*sorted((tmp_path / "runs").iterdir()), "--output_dir", tmp_path / "site")
    said = capsys.readouterr().err.splitlines()
    assert [Path(line.split()[2]).name for line in said] == ["demo", "notes.txt", "own"]
    assert f"pixeltune export {tmp_path / 'runs/own/checkpoint-3'} --output" in said[2]
    index = Page(tmp_path / "site" / "index.html")
    pages = {link["href"] for link in index.all("a") if link["href"].endswith("index.html")}
    assert pages == {"calls/index.html"}
    assert "+90.0 points against off" in index.text


def test_help_and_a_gallery_need_no_torch(tmp_path):
    make_run(tmp_path / "run")
    code = (
        "import sys\nfrom pixeltune.cli.main import main\n"
        f"main(['gallery', {str(tmp_path / 'run')!r}, '--output_dir', {str(tmp_path / 'site')!r}])\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "main(['gallery', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--maps ROWS" in done.stdout


def test_what_is_left_out_is_said_without_control_characters(tmp_path, capsys):
    (tmp_path / "x\x1b[2J").mkdir()
    site.read_folders([make_run(tmp_path / "calls"), tmp_path / "x\x1b[2J"])
    said = capsys.readouterr().err
    assert "left out: " in said
    assert "x\\x1b[2J" in said
    assert "\x1b" not in said


def test_a_page_says_what_the_run_took(tmp_path):
    run = make_run(tmp_path / "run")
    entries = [{"step": 1, "loss": 1.0}, {"step": 2, "ledger": {"picture_encodings": 4}}]
    write(run / "log_history.json", entries)
    gallery(run, "--output_dir", tmp_path / "site")
    assert "4 picture encodings" in Page(tmp_path / "site/run/index.html").text
