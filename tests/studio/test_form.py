"""What is filled in is what `pixeltune sft` takes, and is refused in the same words."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pixeltune.cli.given import settings as flags
from pixeltune.errors import UserError
from pixeltune.studio.form import OWN_PICTURE, OWN_ROWS, Form, command


class Brought(str):
    """What Gradio hands over."""


FOLDER = Path("runs/studio/painting-1")


def test_the_command_that_is_shown_says_the_same():
    form = Form(style="3 * l2", max_steps=10, learning_rate=0.06, batch_size=8, start="noise", model=" tiny ")
    given = form.settings(FOLDER)
    pixeltune, verb, *words = shlex.split(command(given))
    assert (pixeltune, verb) == ("pixeltune", "sft")
    assert flags(verb, words) == given | {"task": [given["task"]]}  # of which there may be several
    assert given["output_dir"] == str(FOLDER)
    assert given["score_steps"] == 3  # four readings after the first


def test_usual_fields_are_the_verb_s_defaults():
    given = Form().settings(FOLDER)
    assert {
        "max_steps": 100,
        "learning_rate": 0.02,
        "per_device_train_batch_size": 32,
    }.items() <= given.items()
    assert given["score_steps"] == given["snapshot_steps"] == 25


def test_files_that_are_brought_take_the_place_of_names():
    form = Form(
        task=OWN_ROWS, rows="r.jsonl", start=OWN_PICTURE, picture="p.png", fit="crop", licence=" MIT "
    )
    given = form.settings(FOLDER)
    assert (given["data"], given["start"], given["fit"], given["licence"]) == (
        "r.jsonl",
        "p.png",
        "crop",
        "MIT",
    )
    assert "task" not in given
    assert type(Form(task=OWN_ROWS, rows=Brought("r.jsonl")).settings(FOLDER)["data"]) is str
    assert "fit" not in replace(form, fit=Form.fit).settings(FOLDER)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": OWN_ROWS}, "no file yet: bring your rows"),
        ({"start": OWN_PICTURE}, "no file yet: bring your picture"),
        ({"task": "os.path:join"}, "there is no task 'os.path:join' here"),
        ({"task": "sumz"}, "there is no task 'sumz' here"),
        ({"start": "/etc/passwd"}, "there is no start '/etc/passwd'"),
        ({"max_steps": None}, "--max_steps is empty"),
    ],
)
def test_what_no_field_can_mean_is_refused(changed, said):
    with pytest.raises(UserError, match=said.replace("/", ".")):
        Form(**changed).settings(FOLDER)
