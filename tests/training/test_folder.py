"""Two runs never mix in one folder, and nothing of value goes without a word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pixeltune.errors import UserError
from pixeltune.training.folder import check_folder, check_inputs, clear, find_checkpoint, holds


def write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder


def checkpoint(folder: Path, step: int) -> Path:
    write(folder, f"checkpoint-{step}/optimizer.pt")
    state = folder / f"checkpoint-{step}" / "trainer_state.json"
    state.write_text(json.dumps({"global_step": step}))
    return state.parent


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["artwork.png", "log_history.json", "snapshots/step-000025.png"])
def test_a_folder_that_holds_a_run_is_refused(name, tmp_path):
    write(tmp_path, name)
    with pytest.raises(UserError, match=rf"holds a run already \({name.split('/')[0]}\).*--overwrite"):
        check_folder(tmp_path, overwrite=False, checkpoint=None)
    check_folder(tmp_path, overwrite=True, checkpoint=None)


READ = [
    "held_out.jsonl",
    "held_out-a.jsonl",
    "contexts.jsonl",
    "artwork.png",
    "snapshots/step-000025.png",
    "checkpoint-5/optimizer.pt",
]


def test_what_is_to_be_read_is_not_removed(tmp_path):
    write(tmp_path, *READ, "mine.jsonl")
    whole = checkpoint(tmp_path, 5)
    check_inputs(
        tmp_path, None, ["mine.jsonl", str(tmp_path / "mine.jsonl"), "tiny", str(tmp_path / "gone.jsonl")]
    )
    for name in READ:
        with pytest.raises(UserError, match=rf"{name} is of the run that .* would be removed: copy it"):
            check_inputs(tmp_path, None, [str(tmp_path / name)])
        check_inputs(tmp_path, whole, [str(tmp_path / name)])
    clear(tmp_path, None)
    assert files(tmp_path) == {"mine.jsonl"}


def test_a_whole_checkpoint_is_a_run_to_go_on_with(tmp_path):
    whole = checkpoint(tmp_path, 50)
    with pytest.raises(UserError, match=r"checkpoint-50.*--resume_from_checkpoint true to go on"):
        check_folder(tmp_path, overwrite=False, checkpoint=None)
    check_folder(tmp_path, overwrite=False, checkpoint=whole)
    with pytest.raises(UserError, match="give either"):
        check_folder(tmp_path, overwrite=True, checkpoint=whole)


def test_what_a_killed_run_left_before_its_first_checkpoint_is_no_run(tmp_path):
    """Nor is another's file, nor a folder of runs."""
    write(tmp_path, "checkpoint-2/optimizer.pt", "snapshots/step-000000.png", "samples/step-000000.json")
    write(tmp_path, "notes.txt", "other/artwork.png", "checkpoint-two/trainer_state.json")
    assert holds(tmp_path) == []
    check_folder(tmp_path, overwrite=False, checkpoint=None)
    clear(tmp_path, None)
    assert files(tmp_path) == {"notes.txt", "other/artwork.png", "checkpoint-two/trainer_state.json"}


def test_resuming_from_elsewhere_does_not_mix(tmp_path):
    elsewhere, here = checkpoint(tmp_path / "a", 4), write(tmp_path / "b", "artwork.png")
    with pytest.raises(UserError, match="holds a run already"):
        check_folder(here, overwrite=False, checkpoint=elsewhere)
    check_folder(tmp_path / "new", overwrite=False, checkpoint=elsewhere)


def test_overwriting_removes_all_of_a_run_and_nothing_else(tmp_path):
    checkpoint(tmp_path, 50)
    write(tmp_path, "artwork.png", "log_history.json", "adapter_config.json", "snapshots/step-000050.png")
    write(tmp_path, "samples/step-000050.json", "samples/other/step-000050.json", "training_args.bin")
    (tmp_path / "README.md").write_text('---\nlibrary_name: "pixeltune"\n---\n')
    write(tmp_path, "snapshots/mine.png", "notes.txt", "own/README.md")
    clear(tmp_path, None)
    assert files(tmp_path) == {"snapshots/mine.png", "notes.txt", "own/README.md"}


def test_a_readme_of_somebody_elses_stays(tmp_path):
    (tmp_path / "README.md").write_text("# My project\n")
    write(tmp_path, "artwork.png")
    clear(tmp_path, None)
    assert files(tmp_path) == {"README.md"}


def test_going_on_removes_what_came_after_the_checkpoint(tmp_path):
    first = checkpoint(tmp_path, 50)
    checkpoint(tmp_path, 100)
    write(tmp_path, "artwork.png", "snapshots/step-000050.png", "snapshots/step-000075.png")
    clear(tmp_path, first)
    left = files(tmp_path)
    assert "snapshots/step-000050.png" in left
    assert "artwork.png" in left  # until there is another
    assert not {name for name in left if "075" in name or "100" in name}


def test_evaluations_of_the_old_artwork_are_not_thrown_away(tmp_path):
    write(tmp_path, "artwork.png", "eval/report.json")
    with pytest.raises(UserError, match=r"evaluations of the old artwork \(eval\): move them"):
        check_folder(tmp_path, overwrite=True, checkpoint=None)


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(UserError, match="is a file"):
        check_folder(write(tmp_path, "out") / "out", overwrite=False, checkpoint=None)


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    write(tmp_path, "checkpoint-11/optimizer.pt", "checkpoint-last/trainer_state.json")
    write(tmp_path, "checkpoint-12/trainer_state.json")  # of which half was written
    assert find_checkpoint("true", tmp_path) == find_checkpoint(True, tmp_path) == newest
    assert find_checkpoint(None, tmp_path) is None
    with pytest.raises(UserError, match="no checkpoint in"):
        find_checkpoint(str(tmp_path / "checkpoint-11"), tmp_path)
