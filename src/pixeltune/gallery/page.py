"""What the pages say: everything that the templates of `templates/` are filled with."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from pixeltune.gallery import charts, pictures
from pixeltune.gallery.evaluations import Evaluation
from pixeltune.gallery.maps import TokenMaps
from pixeltune.gallery.run import SERIES, Frame, Run, ledger_in
from pixeltune.gallery.untrusted import printable
from pixeltune.version import __version__

# All text of a run is a stranger's: escaped by Jinja wherever it stands, and made printable first.
_PAGES = jinja2.Environment(
    loader=jinja2.FunctionLoader(lambda name: (files(__package__) / "templates" / name).read_text("utf-8")),
    autoescape=True,
    finalize=printable,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals["version"] = __version__
_PAGES.filters["percent"] = charts.percent


@dataclass(frozen=True)
class ListedRun:
    """A run with the name of its folder on the site."""

    run: Run
    slug: str


def index(entries: list[ListedRun], evaluations: list[Evaluation]) -> str:
    """The page that lists all runs."""
    runs = [
        {
            "slug": entry.slug,
            "name": entry.run.name,
            "made": entry.run.artwork.provenance,
            "height": entry.run.artwork.size[0],
            "width": entry.run.artwork.size[1],
            "score": entry.run.score,
            "seconds": entry.run.seconds,
        }
        for entry in entries
    ]
    return _PAGES.get_template("index.html.j2").render(runs=runs, evaluations=evaluations)


def page(run: Run, strip: list[tuple[Frame, str]], maps: TokenMaps | None) -> str:
    """The page of one run.

    Args:
        run: read by `read_run`.
        strip: frames of the film strip with the names of their files.
        maps: of the artwork; None: ``run.absent["maps"]`` says why.
    """
    made, absent = run.artwork.provenance, dict(run.absent)
    by_steps = [charts.curve(key, run.series[key], False) for key in SERIES if key in run.series]
    timed = [charts.curve(key, run.series[key], True) for key in SERIES if key in run.series]
    by_seconds = [chart for chart in timed if chart is not None]
    if by_steps and not by_seconds:
        absent["seconds"] = "the run did not log them"
    height, width = run.artwork.size
    return _PAGES.get_template("run.html.j2").render(
        name=run.name,
        made=made,
        absent=absent,
        height=height,
        width=width,
        size=f"{len(run.png) / 1000:,.0f} kB",
        looks=_looks(run),
        facts=_facts(run),
        strip=[
            {"file": file, "step": frame.step, "width": frame.image.width, "height": frame.image.height}
            for frame, file in strip
        ],
        animated=len(run.frames) if len(run.frames) > 1 else 0,
        change=_change(run),
        histograms=_histograms(run),
        maps=_grids(run, maps) if maps else None,
        by_steps=by_steps,
        by_seconds=by_seconds,
        unlogged=[title for key, title in SERIES.items() if key not in run.series] if by_steps else [],
        samples=run.samples,
        shaded=any(one.shades_before or one.shades_after for one in run.samples),
        evaluations=run.evaluations,
        commands=_commands(run),
        provenance=[*run.artwork.describe(), *ledger_in(run.folder)],
    )


def drawing(chart: charts.Chart, name: str) -> str:
    """A chart as HTML with inline SVG, for a page that has styles of its own; `name` is unique on it."""
    return str(_PAGES.get_template("charts.html.j2").module.curve(chart, name))


def asset(name: str) -> str:
    """The text of a file that goes beside the pages as it is."""
    return (files(__package__) / "templates" / name).read_text("utf-8")


def _facts(run: Run) -> list[tuple[str, str]]:
    """The few figures of the label."""
    made = run.artwork.provenance
    facts = [("image tokens", f"{made.image_tokens:,}")]
    if run.score is not None:
        facts.insert(0, ("held-out score", charts.percent(run.score)))
    if made.steps is not None:
        facts.append(("steps", f"{made.steps:,}"))
    if run.seconds is not None:
        facts.append(("seconds", f"{run.seconds:,.0f}"))
    if made.start:
        facts.append(("start", made.start))
    if made.licence:
        facts.append(("licence", made.licence))
    return facts


def _looks(run: Run) -> str:
    """The picture in words, for those who do not see it."""
    mean = run.artwork.pixels.reshape(-1, 3).mean(axis=0)
    spread = float(run.artwork.pixels.std())
    colour = f"mean colour red {mean[0]:.0f}, green {mean[1]:.0f}, blue {mean[2]:.0f} of 255"
    return f"{run.artwork.size[1]} by {run.artwork.size[0]} pixels, {colour}, spread {spread:.0f}"


def _change(run: Run) -> str:
    if run.start is None:
        return ""
    levels = pictures.difference(run.artwork.pixels, run.start)
    return (
        f"Mean {levels.mean():.1f} grey levels, largest {levels.max()}; "
        f"{np.mean(levels == 0):.1%} of the pixels did not change."
    )


def _histograms(run: Run) -> list[tuple[charts.Chart, str]]:
    out = [(charts.levels(pictures.histogram(run.artwork.pixels)), "Grey levels of the artwork")]
    if run.start is not None and run.start.min() != run.start.max():
        out.append((charts.levels(pictures.histogram(run.start)), "Grey levels of the start picture"))
    return out


def _grids(run: Run, maps: TokenMaps) -> dict[str, Any]:
    hidden = "the start picture" if maps.occluded_with == "start" else "grey"
    told = [
        (
            "Occlusion",
            maps.occlusion,
            "nats",
            f"How much less likely a completion is with {hidden} in the square",
        ),
        (
            "Gradient",
            maps.gradient,
            "nats per unit",
            "How steeply its likelihood changes with the square's pixels",
        ),
    ]
    grids = []
    for title, grid, unit, caption in told:
        values = np.array(grid)
        top = max(float(values.max()), 1e-12)
        row, column = (int(n) + 1 for n in np.unravel_index(values.argmax(), values.shape))
        most = f"{charts.figure(float(values.max()))} {unit} in row {row}, column {column}"
        squares = [
            {
                "x": x * maps.cell,
                "y": y * maps.cell,
                "veil": 0.92 * (1 - min(1.0, max(0.0, float(value) / top)) ** 0.5),
                "label": f"row {y + 1}, column {x + 1}: {charts.figure(float(value))} {unit}",
            }
            for (y, x), value in np.ndenumerate(values)
        ]
        grids.append(
            {
                "title": title,
                "caption": f"{caption.lower()}; most {most}.",
                "description": f"{caption}, for {values.shape[0]} by {values.shape[1]} squares: most {most}.",
                "width": run.artwork.size[1],
                "height": run.artwork.size[0],
                "cell": maps.cell,
                "squares": squares,
            }
        )
    whole = f"{charts.figure(maps.whole)} nats"
    return {"rows": maps.rows, "task": maps.task, "grids": grids, "whole": whole, "hidden": hidden}


def _commands(run: Run) -> list[tuple[str, str]]:
    """How to serve it, to be copied: names are a stranger's, so they are quoted for shell and Python."""
    model = printable(run.artwork.provenance.base_model)
    name = (
        "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in run.name).strip("-")
        or "artwork"
    )
    folder = (
        "\"$(python -c 'from pixeltune.bundled.tiny import PATH; print(PATH)')\" --served-model-name tiny"
    )
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "..."}]})
    return [
        ("Check it", f"pixeltune check artwork.png --model {shlex.quote(model)}"),
        (
            "By name, through the gateway",
            f"vllm serve {folder if model == 'tiny' else shlex.quote(model)}\n"
            f"mkdir -p artworks && cp artwork.png artworks/{name}.png\n"
            "pixeltune serve --upstream http://localhost:8000/v1 --artworks artworks/\n"
            "curl localhost:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
            f"     -d '{body}'",
        ),
        (
            "By a client that adds it",
            "from openai import OpenAI\n"
            "from pixeltune.engines.client import with_artwork\n\n"
            'engine = OpenAI(base_url="http://localhost:8000/v1", api_key="none")\n'
            'client = with_artwork(engine, "artwork.png")\n'
            f"client.chat.completions.create(model={json.dumps(model)}, "
            'messages=[{"role": "user", "content": "..."}])',
        ),
    ]
