"""The pages in a real browser, from file URLs: what is on them, that nothing is fetched, how they look."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixeltune.cli.main import main
from pixeltune.gallery.maps import TokenMaps, store_maps
from pixeltune.gallery.run import read_run
from runs import STEPS, make_evaluation, make_run, sample, write

pytestmark = pytest.mark.skipif(
    os.environ.get("PIXELTUNE_SKIP_BROWSER") == "1", reason="PIXELTUNE_SKIP_BROWSER=1"
)
WIDTHS = {"phone": 390, "desktop": 1280}
NAME = "b <script>window.pwned=1</script>"


PARTS = (
    "#painting .strip img",
    "#changes svg .level",
    "#matters svg .veil",
    "#curves svg .line",
    "#samples pre",
    "#evaluation table .interval",
    "#serve pre",
    "#provenance dd",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    make_evaluation(make_run(folder / "a calls") / "eval")
    record = sample("0", "Call Emma.", "dial(Emma)", 1.0)
    shades = [["dial", 4.5], ["(Em", 2.5], ["ma", 1.5], [")", -2.0]]
    write(folder / "a calls" / "samples" / f"step-{STEPS:06d}.json", [record | {"ratios": [shades]}])
    run = read_run(folder / "a calls")
    grid = [[0.1, 0.2], [0.0, 0.9]]
    store_maps(run.folder, TokenMaps(run.artwork.sha256, "calls", 8, 32, "start", grid, grid, 3.0))
    make_run(
        folder / NAME.replace("/", ""), steps=900, base_model="<img src=x onerror=pwned=1>", data="n" * 200
    )
    make_run(folder / "c", objective="sft", steps=None)
    runs = [str(p) for p in sorted(folder.iterdir())]
    assert (
        main(
            [
                "gallery",
                *runs,
                "--output_dir",
                str(folder / "site"),
                "--eval",
                str(folder / "a calls" / "eval"),
            ]
        )
        == 0
    )
    return folder / "site"


@contextmanager
def opened(browser, path: Path, width: str = "desktop", **settings) -> Iterator:
    """A page; at its end nothing may have been fetched, complained about, or run that is not ours."""
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 844}, **settings)
    page, troubles = context.new_page(), []
    page.on("request", lambda r: r.url.startswith("file:") or troubles.append(r.url))
    page.on("requestfailed", lambda r: troubles.append(f"{r.url} {r.failure}"))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("for (const image of document.images) image.loading = 'eager'")
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")  # fails on a broken one
    yield page
    assert page.evaluate("window.pwned") is None
    assert troubles == []
    context.close()


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_its_window_and_has_its_colours(browser, site, width, scheme):
    assert len(pages(site)) == 4
    for path in pages(site):
        with opened(browser, path, width, color_scheme=scheme) as page:
            assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
            with Image.open(io.BytesIO(page.screenshot(full_page=True))) as shot:
                grey = np.array(shot.convert("L"))
            ground = int(np.bincount(grey.ravel()).argmax())
            assert (ground > 235) if scheme == "light" else (ground < 30)
            text = page.evaluate("getComputedStyle(document.body).color").strip("rgb()").split(",")
            assert abs(ground - np.mean([int(level) for level in text])) > 150


def test_the_parts_of_a_run_are_seen(browser, site):
    with opened(browser, site / "a-calls" / "index.html") as page:
        assert page.title() == "a calls · pixeltune gallery"
        for name in PARTS:
            assert page.locator(name).first.is_visible(), name
        assert page.locator(".strip img").count() == 7
        assert page.locator("#matters .veil").count() == 8
        assert page.locator(".hero img").bounding_box()["width"] > 400
        assert page.get_by_role("img", name="Loss").first.is_visible()
        assert page.evaluate("[...document.querySelectorAll('img')].every(image => image.alt)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shades_differ_and_can_be_read(browser, site, scheme):
    """By WCAG's contrast of text on what is really painted behind it."""

    def luminance(colour) -> float:
        parts = np.array(colour[:3]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    with opened(browser, site / "a-calls" / "index.html", color_scheme=scheme) as page:
        marks = page.locator("#samples pre mark")
        assert marks.count() == 4
        ink = [
            int(v) for v in marks.first.evaluate("e => getComputedStyle(e).color").strip("rgb()").split(",")
        ]
        grounds = []
        for mark in marks.all():
            with Image.open(io.BytesIO(mark.screenshot())) as shot:
                pixels = np.array(shot.convert("RGB")).reshape(-1, 3)
            colours, counts = np.unique(pixels, axis=0, return_counts=True)
            grounds.append(tuple(colours[counts.argmax()]))
            light, dark = sorted([luminance(ink), luminance(grounds[-1])], reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 4.5
        assert len(set(grounds)) == 4
        assert page.locator("#samples pre .unseen").first.bounding_box()["width"] == 1


def test_curves_change_their_axis_from_the_keyboard(browser, site):
    with opened(browser, site / "a-calls" / "index.html") as page:
        steps, seconds = page.locator(".against-steps"), page.locator(".against-seconds")
        assert (steps.is_visible(), seconds.is_visible()) == (True, False)
        page.locator("#axis-steps").focus()
        page.keyboard.press("ArrowRight")
        assert (steps.is_visible(), seconds.is_visible()) == (False, True)


def test_the_index_is_sorted_by_click_and_key(browser, site):
    def names(page):
        return page.locator("table.runs tbody th a").all_inner_texts()

    with opened(browser, site / "index.html") as page:
        first = names(page)
        assert [name[0] for name in first] == ["a", "b", "c"]
        assert first[1] == NAME.replace("/", "")
        page.get_by_role("button", name="steps").click()
        assert [name[0] for name in names(page)] == ["b", "a", "c"]  # 900, 12, unknown
        assert page.locator("th[aria-sort]").all_inner_texts() == ["steps"]
        page.get_by_role("button", name="steps").focus()
        page.keyboard.press("Enter")
        assert [name[0] for name in names(page)] == ["a", "b", "c"]  # unknown ones stay last
        page.get_by_role("button", name="name").click()
        page.get_by_role("button", name="name").click()
        assert names(page) == first[::-1]
        page.locator("table.runs tbody th a").first.click()
        assert page.locator("h1").inner_text() == "c"


def test_without_scripts_everything_but_sorting_is_there(browser, site):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((site / "index.html").as_uri())
        assert page.locator("table.runs tbody tr").count() == 3
        assert page.locator("button").count() == 0
        page.goto((site / "a-calls" / "index.html").as_uri())
        page.locator("label[for=axis-seconds]").click()
        assert page.locator(".against-seconds").is_visible()


def test_every_control_is_reached_with_the_tab_key(browser, site):
    with opened(browser, site / "index.html") as page:
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            what = page.evaluate("(e => e.tagName + ' ' + e.textContent.trim())(document.activeElement)")
            if what in seen:
                break
            seen.append(what)
        assert seen[0] == "A Skip to the content"
        assert {"BUTTON steps", "A a calls", "A c"} <= set(seen)
