"""The page: fields on the left, the easel on the right, a question below. Gradio lays it out and carries it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from pixeltune.errors import UserError
from pixeltune.picture.files import FITS, STARTS
from pixeltune.studio import drawing
from pixeltune.studio.answers import Answers
from pixeltune.studio.easel import AT_WORK, Easel
from pixeltune.studio.form import AS_IT_IS, OWN_PICTURE, OWN_ROWS, Form, command
from pixeltune.tasks.base import names

LOOK_SECONDS = 0.7
"""How often a page asks whether there is something new to see."""

PICTURES = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"]
ROWS = [".jsonl", ".json", ".csv", ".parquet"]


def build(easel: Easel) -> gr.Blocks:
    """The page of an easel; any number of browsers may have it open, and all see the same picture."""
    usual, answers = Form(), Answers()

    with gr.Blocks(title="pixeltune studio", analytics_enabled=False) as page:
        seen = gr.State(-1)
        gr.HTML(
            '<div class="studio-title"><h1>pixeltune studio</h1><p>Paint one picture that goes with every request to a '
            "frozen model.</p></div>"
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                model = gr.Textbox(
                    usual.model,
                    label="Model",
                    info='--model: "tiny", a folder, or a name on the hub',
                    max_lines=1,
                )
                task = gr.Dropdown(
                    [*names(), OWN_ROWS],
                    value=usual.task,
                    label="Rows",
                    info="--task, or --data for a file of yours",
                )
                rows = gr.File(
                    label="Rows of my own", file_types=ROWS, visible=False, height=120, elem_id="own-rows"
                )
                start = gr.Dropdown(
                    [*STARTS, OWN_PICTURE], value=usual.start, label="Start picture", info="--start"
                )
                with gr.Group(visible=False) as own_picture:
                    picture = gr.File(
                        label="Picture of my own", file_types=PICTURES, height=120, elem_id="own-picture"
                    )
                    fit = gr.Dropdown(
                        [AS_IT_IS, *FITS], value=usual.fit, label="Of another shape", info="--fit"
                    )
                    licence = gr.Textbox(label="Licence of the artwork", info="--licence, such as CC0-1.0")
                style = gr.Textbox(
                    label="Style",
                    info="--style, such as 3 * l2; may stay empty",
                    placeholder="3 * l2",
                    max_lines=1,
                )
                with gr.Row():
                    steps = gr.Number(
                        usual.max_steps,
                        label="Steps",
                        info="--max_steps",
                        precision=0,
                        minimum=1,
                        min_width=120,
                    )
                    rate = gr.Number(
                        usual.learning_rate,
                        label="Learning rate",
                        info="--learning_rate",
                        step=0.005,
                        min_width=120,
                    )
                batch = gr.Number(
                    usual.batch_size, label="Rows a step", info="--per_device_train_batch_size", precision=0
                )
                with gr.Row():
                    paint = gr.Button("Paint", variant="primary")
                    stop = gr.Button("Stop", variant="stop", interactive=False)
                refused = gr.HTML()
                said = gr.Textbox(
                    label="The same in a terminal",
                    interactive=False,
                    visible=False,
                    elem_classes="command",
                    lines=3,
                )
            with gr.Column(scale=3, min_width=320):
                canvas = gr.HTML(drawing.picture(easel.view))
                line = gr.HTML(drawing.line(easel.view))
                curves = gr.HTML()
                download = gr.DownloadButton("Download the PNG", interactive=False)
        gr.Markdown("## Ask it")
        question = gr.Textbox(
            label="Question", info="It goes to the model alone, and once more behind the artwork.", lines=2
        )
        ask = gr.Button("Ask with and without the artwork", interactive=False)
        unanswered = gr.HTML()
        with gr.Row():
            without = gr.Textbox(label="Without the artwork", interactive=False, lines=5)
            with_artwork = gr.Textbox(label="With the artwork", interactive=False, lines=5)

        def show(turn: int, typed: str) -> tuple[Any, ...]:
            """What has changed since a page looked last."""
            view = easel.view
            if view.turn == turn:
                return (gr.skip(),) * 8
            subject, busy = view.subject, view.state in AT_WORK
            fresh = subject is not None and not typed.strip()
            return (
                view.turn,
                drawing.picture(view),
                drawing.line(view),
                drawing.curves(view),
                gr.update(value=str(subject.file) if subject else None, interactive=subject is not None),
                gr.update(interactive=busy and view.state != "stopping"),
                gr.update(interactive=subject is not None),
                subject.example if fresh else gr.skip(),
            )

        def begin(*fields: Any) -> tuple[Any, Any]:
            try:
                settings = Form(*fields).settings(easel.next_folder())
                easel.begin(settings)
            except UserError as error:
                return drawing.refusal(str(error)), gr.skip()
            return "", gr.update(value=command(settings), visible=True)

        def compare(asked: str) -> tuple[str, Any, Any]:
            subject = easel.view.subject
            try:
                if subject is None:
                    raise UserError("there is no artwork to ask yet: paint one")
                with easel.alone():
                    return "", *answers.compare(asked, subject)
            except UserError as error:
                return drawing.refusal(str(error)), gr.skip(), gr.skip()

        def private(
            listener: Any, function: Any, inputs: Any = None, outputs: Any = None, **how: Any
        ) -> None:
            """No name in an API, and nobody waits for another's turn: the easel says who must."""
            listener(
                function, inputs, outputs, api_visibility="private", concurrency_limit=None,
                **{"show_progress": "hidden"} | how,
            )  # fmt: skip

        parts = [seen, canvas, line, curves, download, stop, ask, question]
        private(gr.Timer(LOOK_SECONDS).tick, show, [seen, question], parts)
        private(page.load, show, [seen, question], parts)
        private(task.change, lambda name: gr.update(visible=name == OWN_ROWS), task, rows)
        private(start.change, lambda name: gr.update(visible=name == OWN_PICTURE), start, own_picture)
        fields = [model, task, rows, start, picture, fit, licence, style, steps, rate, batch]
        private(paint.click, begin, fields, [refused, said])
        private(stop.click, easel.stop)
        private(ask.click, compare, question, [unanswered, without, with_artwork], show_progress="minimal")
    return page


def styles() -> Path:
    """The page's style sheet."""
    return Path(__file__).with_name("studio.css")
