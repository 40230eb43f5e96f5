"""What there is to see, as pieces of HTML: the picture, the line below it, the curves. All text is escaped."""

from __future__ import annotations

import html

from pixeltune.artwork.folder import SCORE
from pixeltune.artwork.png import encode_png
from pixeltune.gallery import charts
from pixeltune.gallery.page import drawing
from pixeltune.gallery.run import series_of
from pixeltune.picture.files import data_url
from pixeltune.studio.easel import View

CURVES = ("loss", SCORE)
"""Of the log, as the gallery draws them."""

SAID = {
    "empty": "Nothing is painted yet.",
    "loading": "Settings are fine. Loading the model and the rows.",
    "painting": "Painting.",
    "stopping": "Stopping after the running step.",
    "finished": "Finished.",
    "stopped": "Stopped: a checkpoint is saved, and its picture can be asked and downloaded.",
    "failed": "Failed.",
}
"""By the state of a view."""


def text(said: str) -> str:
    """A text for a page of Gradio's, whose HTML is a template for braces too."""
    return html.escape(said).replace("{", "&#123;").replace("}", "&#125;")


def picture(view: View) -> str:
    """The picture, without losses, or that there is none."""
    if view.pixels is None:
        return '<div class="artwork none" role="img" aria-label="no picture yet"></div>'
    height, width, _ = view.pixels.shape
    alt = f"the picture after step {view.step}, {height} x {width}"
    return f'<img class="artwork" alt="{alt}" src="{data_url(encode_png(view.pixels, {}))}">'


def line(view: View) -> str:
    """What is going on, as readers of screens hear it too, with what pixeltune says of it."""
    where = f" Step {view.step} of {view.steps}." if view.steps else ""
    share = f'<progress max="{view.steps}" value="{view.step}"></progress>' if view.steps else ""
    said = "".join(f"<p>{text(one)}</p>" for one in (*view.said.splitlines(), *view.notes))
    return f'<div class="said {view.state}"><p role="status"><b>{SAID[view.state]}</b>{where}</p>{share}{said}</div>'


def curves(view: View) -> str:
    """Loss and held-out score against steps; those that were logged."""
    series = series_of(list(view.history))
    made = [
        drawing(chart, f"curve-{key}")
        for key in CURVES
        if key in series and (chart := charts.curve(key, series[key], by_seconds=False)) is not None
    ]
    return f'<div class="curves">{"".join(made)}</div>'


def refusal(said: str) -> str:
    """Why something was not begun; nothing for an empty text."""
    return f'<p class="refusal" role="alert">{text(said)}</p>' if said else ""
