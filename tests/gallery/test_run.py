"""Reading runs: whole, broken, killed, resumed, hostile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.gallery.run import FRAMES, Point, evenly, no_run, read_run
from runs import STEPS, history, make_evaluation, make_run, pixels, plain_png, provenance, sample, write


def test_a_whole_run(tmp_path):
    make_evaluation(make_run(tmp_path / "calls") / "eval")
    run = read_run(tmp_path / "calls")
    assert run.absent == {}
    assert (run.name, run.score, run.seconds) == ("calls", 0.75, 24.0)
    assert [frame.step for frame in run.frames] == list(range(0, 13, 2))
    assert np.array_equal(np.array(run.frames[-1].image), run.artwork.pixels)
    assert np.array_equal(run.start, np.full((64, 64, 3), 128))
    assert run.series["held_out_score"] == [Point(4, 8.0, 0.25), Point(8, 16.0, 0.5), Point(12, 24.0, 0.75)]
    assert [point.value for point in run.series["loss"]] == [1 / n for n in range(1, 13)]
    assert len(run.evaluations) == 1
    one = run.samples[0]
    assert (one.asked, one.before, one.after) == ("Call Emma.", "Good question!", "dial(Emma)")
    assert (one.score_before, one.score_after) == (0.0, 1.0)
    assert run.png == (tmp_path / "calls" / "artwork.png").read_bytes()


def test_an_artwork_alone_is_a_run_and_everything_missing_has_a_reason(tmp_path):
    Artwork(pixels(STEPS), provenance(start="noise")).save(tmp_path / "artwork.png")
    run = read_run(tmp_path)
    assert set(run.absent) == {"frames", "start", "series", "samples", "evaluation"}
    assert run.start is None
    assert (run.frames, run.series, run.samples, run.evaluations) == ([], {}, [], [])


def test_no_run_is_one_line(tmp_path):
    with pytest.raises(
        ValueError, match=r"nowhere has no artwork.png and is no run: there is no such folder"
    ):
        read_run(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is its training finished"):
        read_run(tmp_path)
    (tmp_path / "artwork.png").write_bytes(plain_png(pixels(1)))
    with pytest.raises(ValueError, match="PNG without pixeltune provenance"):
        read_run(tmp_path)
    (tmp_path / "artwork.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="not a PNG"):
        read_run(tmp_path)


def killed(folder: Path, step: int, image: np.ndarray) -> Path:
    """What a run leaves that was killed: no artwork, and a checkpoint."""
    checkpoint = folder / f"checkpoint-{step}"
    Artwork(image, provenance(steps=step)).save(checkpoint / "artwork.png")
    return checkpoint


def test_the_newest_checkpoint_is_what_to_export_of_a_killed_run(tmp_path):
    killed(tmp_path, 9, pixels(9))
    newest = killed(tmp_path, 10, pixels(10))
    write(tmp_path / "snapshots" / "step-000000.png", "")  # no picture: nobody knows the start
    command = f"pixeltune export {newest} --output {tmp_path / 'artwork.png'}"
    assert no_run(tmp_path).endswith(command)
    (tmp_path / "snapshots" / "step-000000.png").write_bytes(plain_png(pixels(0)))
    assert no_run(tmp_path).endswith(command)


def test_of_a_run_that_trained_nothing_nothing_is_to_be_exported(tmp_path):
    """``pixeltune export`` refuses it."""
    killed(tmp_path, 4, pixels(0))
    write(tmp_path / "snapshots" / "step-000000.png", "")
    (tmp_path / "snapshots" / "step-000000.png").write_bytes(plain_png(pixels(0)))
    assert no_run(tmp_path).endswith("checkpoint-4 holds the picture that it began with")


def test_a_killed_run_whose_artwork_was_exported_is_read_from_its_newest_checkpoint(tmp_path):
    make_run(tmp_path)
    (tmp_path / "log_history.json").unlink()
    for step in (4, 10):
        write(tmp_path / f"checkpoint-{step}" / "trainer_state.json", {"log_history": history(step)})
    write(tmp_path / "checkpoint-999x" / "trainer_state.json", {"log_history": []})
    run = read_run(tmp_path)
    assert run.series["loss"][-1].step == 10
    assert "series" not in run.absent


def test_entries_that_a_resumption_doubled_count_once(tmp_path):
    """The later one of a step counts, and steps are in order."""
    make_run(tmp_path)
    again = [{**entry, "loss": 7.0} for entry in history()[8:] if "loss" in entry]
    write(tmp_path / "log_history.json", history() + again)
    points = read_run(tmp_path).series["loss"]
    assert [point.step for point in points] == list(range(1, 13))
    assert points[0].value == 1.0
    assert points[-1].value == 7.0


def test_what_an_earlier_longer_run_left_is_not_used(tmp_path):
    make_run(tmp_path)
    (tmp_path / "snapshots" / "step-000500.png").write_bytes(plain_png(pixels(30)))
    write(tmp_path / "samples" / "step-000500.json", [sample("0", "Call Emma.", "old", 0.0)])
    write(tmp_path / "log_history.json", [*history(), {"step": 500, "loss": 3.0}])
    run = read_run(tmp_path)
    assert run.frames[-1].step == 12
    assert run.samples[0].after == "dial(Emma)"
    assert run.series["loss"][-1].step == 12


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", "7", '{"log_history": 1}', "[1, null, {}, []]", "[" * 100_000, '[{"step": 1}]', "\xff"],
)
def test_a_broken_log_is_a_reason(content, tmp_path):
    make_run(tmp_path)
    (tmp_path / "log_history.json").write_bytes(content.encode("latin-1"))
    run = read_run(tmp_path)
    assert run.series == {}
    assert "series" in run.absent


def test_values_that_are_no_numbers_are_skipped(tmp_path):
    make_run(tmp_path)
    bad = [*'NaN, Infinity, -Infinity, "1", true, null, [1], 1e999'.split(", "), "1" + "0" * 400]
    lines = [f'{{"step": {i + 1}, "loss": {value}, "seconds": {value}}}' for i, value in enumerate(bad)]
    lines += ['{"step": -3, "loss": 1}', '{"step": true, "loss": 1}', '{"step": 1.5, "loss": 1}']
    (tmp_path / "log_history.json").write_text("[" + ", ".join([*lines, '{"step": 12, "loss": 0.5}']) + "]")
    assert read_run(tmp_path).series == {"loss": [Point(12, None, 0.5)]}


def test_broken_snapshots_are_named_and_the_others_used(tmp_path):
    make_run(tmp_path)
    (tmp_path / "snapshots" / "step-000002.png").write_bytes(b"")
    (tmp_path / "snapshots" / "step-000004.png").write_bytes(plain_png(np.zeros((32, 32, 3), np.uint8)))
    os.mkfifo(tmp_path / "snapshots" / "step-000005.png")  # nobody writes to it: reading would wait for ever
    run = read_run(tmp_path)
    assert [frame.step for frame in run.frames] == [0, 6, 8, 10, 12]
    for name in ("step-000002.png", "step-000004.png (it has another size", "step-000005.png is no file"):
        assert name in run.absent["frames"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "step-000000.json is not JSON"),
        ("7", "step-000000.json is no list of samples"),
        ([7, None], "the samples of the first and of the last step are of different rows"),
        (
            [sample("1", "other", "row", 0.0)],
            "the samples of the first and of the last step are of different rows",
        ),
    ],
)
def test_broken_samples_are_a_reason(content, reason, tmp_path):
    make_run(tmp_path)
    write(tmp_path / "samples" / "step-000000.json", content)
    run = read_run(tmp_path)
    assert (run.samples, run.absent["samples"]) == ([], reason)


def test_of_a_sample_that_says_nothing_nothing_is_shown(tmp_path):
    make_run(tmp_path)
    write(tmp_path / "samples" / "step-000000.json", [{"id": 0}])
    run = read_run(tmp_path)
    (one,) = run.samples
    assert "samples" not in run.absent
    assert (one.asked, one.before, one.score_before) == ("", "", None)
    assert (one.after, one.score_after) == ("dial(Emma)", 1.0)


def test_samples_of_the_start_alone_are_none(tmp_path):
    make_run(tmp_path)
    (tmp_path / "samples" / f"step-{STEPS:06d}.json").unlink()
    run = read_run(tmp_path)
    assert run.samples == []
    assert "held-out scores (--score_steps)" in run.absent["samples"]


def test_a_thousand_snapshots_are_thinned_out_evenly(tmp_path):
    make_run(tmp_path, steps=5000)
    for step in range(0, 5000, 25):
        (tmp_path / "snapshots" / f"step-{step:06d}.png").write_bytes(plain_png(pixels(step % 3)))
    steps = [frame.step for frame in read_run(tmp_path).frames]
    assert len(steps) == FRAMES
    assert (steps[0], steps[-1]) == (0, 4975)


def test_evenly():
    assert evenly("abc", 8) == ["a", "b", "c"]
    assert evenly(range(101), 3) == [0, 50, 100]
    assert evenly([], 3) == []
