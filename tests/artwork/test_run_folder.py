"""What a run's folder holds."""

from __future__ import annotations

from pixeltune.artwork.folder import checkpoints


def test_checkpoints_are_by_step_and_nothing_else_is_one(tmp_path):
    for name in (
        "checkpoint-10",
        "checkpoint-9",
        "checkpoint-last",
        "checkpoint-9x",
        "checkpoint-09",
        "eval",
    ):
        (tmp_path / name).mkdir()
    assert list(checkpoints(tmp_path).items()) == [
        (9, tmp_path / "checkpoint-9"),
        (10, tmp_path / "checkpoint-10"),
    ]
    assert checkpoints(tmp_path / "nowhere") == {}
