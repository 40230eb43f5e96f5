"""The studio in a real browser: paint, watch, stop, ask, download; nothing is asked of or written anywhere else."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.studio.defaults import MAX_UPLOAD

pytest.importorskip("gradio", reason="the extra `studio` is not installed")
httpx = pytest.importorskip("httpx")  # which comes with it
pytestmark = pytest.mark.skipif(
    os.environ.get("PIXELTUNE_SKIP_BROWSER") == "1", reason="PIXELTUNE_SKIP_BROWSER=1"
)
PATIENCE = 90_000  # ms, of a machine that does other things as well
NOISE = "Method not implemented."  # said by the client of Gradio 6.31 while it uploads


class Server:
    """``pixeltune studio`` in folders where everything that it writes is seen."""

    def __init__(self, root: Path):
        self.root, self.out = root, root / "out"
        for name in ("home", "tmp", "cwd"):
            (root / name).mkdir()
        env = {**os.environ, "HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pixeltune", "studio", "--port", "0", "--output_dir", "../out"],
            **{
                "cwd": root / "cwd",
                "env": env,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
            },
        )
        self.address = self.process.stdout.readline().split()[0]

    def elsewhere(self) -> list[Path]:
        """What it wrote outside of its folder, but for caches that torch and matplotlib keep for every program."""
        names = "home", "tmp", "cwd"
        files = [path for name in names for path in (self.root / name).rglob("*") if path.is_file()]
        return [path for path in files if not re.search("torchinductor|cache/matplotlib", str(path))]


@pytest.fixture(scope="module")
def server(bundled, tmp_path_factory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("studio"))
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait()


@contextmanager
def opened(browser, server: Server, width: int = 1280, **settings) -> Iterator:
    """The page; at its end nothing may have been asked of anybody else, nor complained about."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
    page, troubles = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    ours = (server.address, "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(ours) or troubles.append(r.url))
    page.on("console", lambda message: message.text == NOISE or troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    try:
        page.goto(server.address)
        page.get_by_role("button", name="Paint").wait_for()
        yield page
        assert page.evaluate("window.pwned") is None
        assert troubles == []
    finally:  # an open page would be asking during the tests that follow
        context.close()


def number(page, name: str, value: str) -> None:
    page.get_by_role("spinbutton", name=name).fill(value)


def field(page, name: str):
    """A text field by the beginning of its name, behind which Gradio puts the help."""
    return page.get_by_role("textbox", name=re.compile(f"^{name} "))


def choose(page, name: str, value: str) -> None:
    page.get_by_role("combobox", name=name).click()
    page.get_by_role("option", name=value, exact=True).click()


def bring(page, field_id: str, file: Path) -> None:
    """Give a file to a field, and wait until it lies there (its name stands in two parts, and whole in the label)."""
    page.locator(f"#{field_id} input[type=file]").set_input_files(file)
    page.locator(f'#{field_id} td[aria-label="{file.name}"]').wait_for()


def wait_for(page, selector: str, said: str) -> str:
    found = page.locator(selector, has_text=re.compile(said))
    found.wait_for()
    return found.inner_text()


def shown(page) -> str:
    return page.locator("img.artwork").get_attribute("src")


def test_it_is_of_this_machine_alone_and_gives_out_its_own_files_only(server):
    assert server.address.startswith("http://127.0.0.1:")
    assert httpx.get(server.address).status_code == 200
    assert httpx.get(server.address, headers={"Host": "stranger.example"}).status_code == 403
    inside, outside = server.out / "picture.txt", server.root / "home" / "secret.txt"
    for path, status in ((inside, 200), (outside, 403), (Path("/etc/passwd"), 403)):
        if path.parent.is_relative_to(server.root):
            path.write_text("x")
        answer = httpx.get(f"{server.address}/gradio_api/file={path}")
        assert answer.status_code == status, path
    outside.unlink()


def test_a_large_file_is_refused(server):
    files = {"files": ("a.jsonl", b"0" * (MAX_UPLOAD + 1))}
    answer = httpx.post(f"{server.address}/gradio_api/upload", files=files, timeout=60)
    assert answer.status_code == 413
    kept = [path for path in (server.out / "uploads").rglob("*") if path.is_file()]
    assert max((path.stat().st_size for path in kept), default=0) <= MAX_UPLOAD


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_its_window_and_has_its_colours(browser, server, width, scheme):
    with opened(browser, server, width, color_scheme=scheme) as page:
        page.locator(".said").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        with Image.open(io.BytesIO(page.screenshot())) as shot:
            ground = int(np.bincount(np.array(shot.convert("L")).ravel()).argmax())
        assert (ground > 235) if scheme == "light" else (ground < 50)
        text = page.locator(".said p").first.evaluate("e => getComputedStyle(e).color")
        assert abs(ground - np.mean([int(level) for level in re.findall(r"\d+", text)[:3]])) > 150


def test_wrong_settings_are_refused_on_the_page(browser, server, tmp_path):
    broken = tmp_path / "no picture.png"
    broken.write_text("<script>window.pwned = 1</script>")
    with opened(browser, server) as page:
        field(page, "Model").fill("<img src=x onerror=window.pwned=1> {{1}}")
        page.get_by_role("button", name="Paint").click()
        said = wait_for(page, ".refusal", "cannot load")
        assert "'<img src=x onerror=window.pwned=1> {{1}}': there is no such folder" in said
        field(page, "Model").fill("tiny")
        field(page, "Style").fill("3 * beauty")
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".refusal", "beauty")
        field(page, "Style").fill("")
        choose(page, "Start picture", "a picture of my own")
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".refusal", "no file yet: bring your picture")
        bring(page, "own-picture", broken)
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".refusal", "say under which licence")
        field(page, "Licence").fill("CC0-1.0")
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".refusal", "cannot read the start picture")
        assert page.get_by_role("button", name="Ask with").is_disabled()
    assert not list(server.out.glob("painting-*"))


def test_paint_watch_ask_and_take_home(browser, server, tmp_path):
    with opened(browser, server, accept_downloads=True) as page, opened(browser, server) as other:
        number(page, "Steps", "3")
        number(page, "Learning rate", "0.06")
        number(page, "Rows a step", "8")
        page.get_by_role("button", name="Paint").click()
        assert "--max_steps 3" in page.get_by_label("The same in a terminal").input_value()
        wait_for(page, ".said", r"Step 0 of 3")
        grey = shown(page)
        other.get_by_role("button", name="Paint").click()
        wait_for(other, ".refusal", r"a picture is being painted.*: wait until it is finished, or stop it")
        wait_for(page, ".said", r"Step [12] of 3")
        assert shown(page) != grey
        on_the_way = shown(page)
        page.locator(".curves svg").nth(1).wait_for()
        wait_for(page, ".said", r"Finished\. Step 3 of 3")
        assert shown(page) not in (grey, on_the_way)
        titles = page.locator(".curves figcaption b").all_inner_texts()
        assert titles == ["Loss", "Held-out score"]
        assert wait_for(other, ".said", "Finished") == page.locator(".said").inner_text()

        assert page.get_by_label("Question").input_value()  # one of the rows
        page.get_by_label("Question").fill("What is 12 + 5?")
        page.get_by_role("button", name="Ask with").click()
        answers = [page.get_by_label(f"{how} the artwork", exact=True) for how in ("Without", "With")]
        deadline = time.monotonic() + 120
        while not all(answer.input_value() for answer in answers) and time.monotonic() < deadline:
            time.sleep(0.2)
        without, with_artwork = (answer.input_value() for answer in answers)
        assert without != with_artwork
        assert "17" in with_artwork

        with page.expect_download() as got:
            page.get_by_role("link", name="Download").or_(
                page.get_by_role("button", name="Download")
            ).first.click()
        got.value.save_as(tmp_path / "mine.png")
    (run,) = server.out.glob("painting-*")
    artwork = Artwork.load(tmp_path / "mine.png")
    assert artwork.sha256 == Artwork.load(run).sha256
    assert (tmp_path / "mine.png").read_bytes() == (run / "artwork.png").read_bytes()


def test_rows_and_a_picture_of_ones_own_and_stop(browser, server, tmp_path):
    rows, picture = tmp_path / "rows.jsonl", tmp_path / "waves.png"
    rows.write_text(
        "".join(f'{{"prompt": "{n} + 1?", "completion": "Answer: {n + 1}"}}\n' for n in range(40))
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(picture)
    with opened(browser, server) as page:
        choose(page, "Rows", "a file of my own")
        bring(page, "own-rows", rows)
        choose(page, "Start picture", "a picture of my own")
        bring(page, "own-picture", picture)
        field(page, "Licence").fill("CC0-1.0")
        choose(page, "Of another shape", "crop")
        number(page, "Steps", "400")
        number(page, "Rows a step", "4")
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".said", r"Painting\. Step [1-9]")
        page.get_by_role("button", name="Stop").click()
        said = wait_for(page, ".said", "Stopped")
        page.get_by_role("button", name="Ask with").click()
        wait_for(page, ".said", "Stopped")
    (file,) = re.findall(r"\.\./out/painting-\d+/checkpoint-\d+/artwork.png", said)
    made = Artwork.load(server.root / "cwd" / file).provenance
    assert (made.licence, made.start, made.data) == ("CC0-1.0", "waves.png", "rows.jsonl")
    assert str(server.out) not in str(made)  # an artwork does not say where it was painted


def test_ctrl_c_stops_a_painting_with_a_checkpoint_and_nothing_lies_elsewhere(browser, server):
    with opened(browser, server) as page:
        number(page, "Steps", "400")
        number(page, "Rows a step", "4")
        page.get_by_role("button", name="Paint").click()
        wait_for(page, ".said", r"Painting\. Step [1-9]")
        before = set(server.out.glob("painting-*/checkpoint-*"))
    watching = browser.new_context().new_page()  # the page stays open in a browser, as it does on most desks
    watching.goto(server.address)
    watching.get_by_role("button", name="Paint").wait_for(timeout=PATIENCE)
    server.process.send_signal(signal.SIGINT)
    _, err = server.process.communicate(timeout=120)
    watching.context.close()
    assert server.process.returncode == 130, err
    assert err == "pixeltune studio: interrupted\n"
    (saved,) = set(server.out.glob("painting-*/checkpoint-*")) - before
    assert Artwork.load(saved).provenance.steps == int(saved.name.partition("-")[2])
    assert server.elsewhere() == []
