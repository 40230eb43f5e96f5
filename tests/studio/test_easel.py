"""One painting at a time, made by the stages of `paint`; what is wrong is refused in the command line's words."""

from __future__ import annotations

import json
import re
import time
import warnings

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.folder import HISTORY
from pixeltune.cli.main import main
from pixeltune.errors import UserError
from pixeltune.studio import drawing
from pixeltune.studio.answers import Answers
from pixeltune.studio.easel import Easel, View
from pixeltune.studio.form import Form

QUICK = {"max_steps": 2, "learning_rate": 0.06, "per_device_train_batch_size": 4, "held_out_rows": 6}


def settings(easel: Easel, **changed) -> dict:
    return Form().settings(easel.next_folder()) | QUICK | {"score_steps": 1, "snapshot_steps": 1} | changed


@pytest.fixture(scope="module")
def painted(bundled, tmp_path_factory) -> tuple[Easel, list[View]]:
    """An easel with a finished painting, and all that was seen of it."""
    easel, seen = Easel(tmp_path_factory.mktemp("studio")), []
    see = easel._see

    def remember(**changes) -> None:
        see(**changes)
        seen.append(easel.view)

    easel._see = remember
    easel.begin(settings(easel))
    easel.wait()
    return easel, seen


def test_the_picture_is_seen_while_it_is_painted(painted):
    easel, seen = painted
    states = [view.state for view in seen]
    assert states[0] == "loading"
    assert set(states[1:-1]) == {"painting"}
    assert states[-1] == "finished", easel.view.said
    turns = [view.turn for view in seen]
    assert turns == sorted(set(turns))
    by_step = {view.step: view.pixels for view in seen if view.pixels is not None}
    assert sorted(by_step) == [0, 1, 2]
    assert (by_step[0] == 128).all()  # grey
    assert not np.array_equal(by_step[1], by_step[0])
    assert not np.array_equal(by_step[2], by_step[1])
    assert any(view.step == 1 and "held_out_score" in str(view.history) for view in seen)
    assert re.fullmatch(r"It took .*\nheld-out score .* -> .*n = 6; .*artwork.png", easel.view.said)
    assert "trained are 196,608 numbers of one 256x256 picture" in seen[0].said


def test_what_was_painted_is_a_run_as_of_the_command_line(painted, tmp_path):
    easel, _ = painted
    file = easel.view.subject.file
    artwork = Artwork.load(file)
    assert file.parent == easel.folder / "painting-1"
    assert easel.next_folder() == easel.folder / "painting-2"
    assert np.array_equal(artwork.pixels, easel.view.pixels)
    assert json.loads((file.parent / HISTORY).read_text()) == list(easel.view.history)
    words = [
        word
        for name, value in settings(easel, output_dir=str(tmp_path)).items()
        for word in (f"--{name}", str(value))
    ]
    assert main(["sft", *words]) == 0
    assert Artwork.load(tmp_path).sha256 == artwork.sha256


def test_a_question_is_answered_as_eval_asks(painted):
    easel, _ = painted
    subject, answers = easel.view.subject, Answers()
    assert "?" in subject.example
    assert subject.tools == ()
    without, with_artwork = answers.compare(subject.example, subject)
    assert without != with_artwork
    provider = answers._provider
    assert answers.compare(subject.example, subject) == (without, with_artwork)
    assert answers._provider is provider  # the model was kept
    from PIL import Image

    from pixeltune.evaluation.in_process import InProcess
    from pixeltune.model.loading import load_model, load_processor

    picture = Image.fromarray(Artwork.load(subject.file).pixels)
    for image, said in ((None, without), (picture, with_artwork)):
        stock = InProcess(load_model("tiny"), load_processor("tiny"), image)
        talk = [{"role": "user", "content": subject.example}]
        assert stock.complete([talk], [None], subject.max_new_tokens)[0].text == said


@pytest.mark.parametrize(
    ("question", "said"), [(" ", "the question is empty"), ("a" * 20_001, "more than 20,000")]
)
def test_what_is_no_question_is_refused(painted, question, said):
    with pytest.raises(UserError, match=said):
        Answers().compare(question, painted[0].view.subject)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "no/such folder"},
        {"style": "3 * beauty"},
        {"learning_rate": -1.0},
        {"max_steps": 0},
        {"start": "none.png"},
    ],
)
def test_the_refusal_is_the_command_line_s_and_the_easel_stays_free(changed, bundled, tmp_path, capsys):
    easel = Easel(tmp_path)
    with pytest.raises(UserError) as refused:
        easel.begin(settings(easel, **changed))
    said = settings(easel, **changed)
    main(["sft", *(word for name, value in said.items() for word in (f"--{name}", str(value)))])
    assert capsys.readouterr().err == f"pixeltune sft: {' '.join(str(refused.value).split())}\n"
    assert easel.view == View()
    assert list(tmp_path.iterdir()) == []
    with easel.alone():
        pass


def test_a_second_one_has_to_wait_and_the_first_can_be_stopped(bundled, tmp_path):
    easel = Easel(tmp_path)
    easel.stop()  # nothing to stop
    easel.begin(settings(easel, max_steps=500, score_steps=500))
    with pytest.raises(
        UserError, match=r"a picture is being painted.*: wait until it is finished, or stop it"
    ):
        easel.begin(settings(easel))
    with pytest.raises(UserError, match="a picture is being painted"), easel.alone():
        raise AssertionError
    deadline = time.monotonic() + 300
    while not easel.view.step and time.monotonic() < deadline:
        time.sleep(0.1)
    easel.stop()
    assert easel.view.state == "stopping"
    easel.wait()
    view = easel.view
    assert view.state == "stopped", view.said
    assert 0 < view.step < 500
    assert np.array_equal(Artwork.load(view.subject.file).pixels, view.pixels)
    assert view.subject.file.parent.name == f"checkpoint-{view.step}"
    with easel.alone():
        pass


def test_what_goes_wrong_in_the_thread_is_said_and_the_easel_is_free(bundled, tmp_path, monkeypatch, capsys):
    from pixeltune.training.paint import Painting

    for error, said in (
        (UserError("no such engine"), "no such engine"),
        (KeyError("x"), "'x' (unexpected: the terminal says where)"),
    ):

        def fail(_, error=error) -> None:
            raise error

        monkeypatch.setattr(Painting, "build", fail)
        easel = Easel(tmp_path)
        easel.begin(settings(easel))
        easel.wait()
        assert (easel.view.state, easel.view.said) == ("failed", said)
        with easel.alone():
            pass
    assert "KeyError" in capsys.readouterr().err


def test_warnings_of_ours_are_seen_on_the_page(bundled, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"{n} + 1?", "completion": f"{n + 1}", "colour": "red"} for n in range(12)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    easel = Easel(tmp_path / "out")
    given = settings(easel, data=str(rows), held_out_rows=3)
    del given["task"]
    with warnings.catch_warnings(record=True) as others:
        easel.begin(given)
        easel.wait()
    assert not [one for one in others if one.category.__module__.startswith("pixeltune.")]
    assert any("colour" in note for note in easel.view.notes), easel.view
    assert "colour" in drawing.line(easel.view)


def test_what_is_drawn_says_its_text_and_runs_none_of_it():
    view = View(
        "failed", 3, 1, 4, np.zeros((4, 6, 3), np.uint8), ({"step": 1, "loss": 0.5},), "<b>{{1}} ${2}"
    )
    assert 'alt="the picture after step 1, 4 x 6"' in drawing.picture(view)
    assert "&lt;b&gt;&#123;&#123;1&#125;&#125; $&#123;2&#125;" in drawing.line(view)
    assert "Step 1 of 4." in drawing.line(view)
    assert drawing.curves(view).count("<svg") == 1
    assert drawing.curves(View()) == '<div class="curves"></div>'
    assert drawing.refusal("") == ""
    assert "&lt;img" in drawing.refusal("<img>")
    assert "no picture yet" in drawing.picture(View())
