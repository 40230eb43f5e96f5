"""Wrong turns of the first hour: each ends in one line that says what to do, before torch is imported."""

from __future__ import annotations

import pytest

ROWS = {
    "none.jsonl": "",
    "answers.jsonl": '{"question": "a", "answer": "b"}\n',
    "sheet.csv": "question,answer\na,b\n",
    "asked.jsonl": '{"prompt": "a"}\n{"prompt": "b"}\n',
    "wrong.yaml": "task: sums\nmax_steps: abc\n",
    "run/artwork.png": "",
}


@pytest.fixture(scope="module")
def desk(user, tmp_path_factory):
    """A folder with files that do not fit."""
    folder = tmp_path_factory.mktemp("desk")
    for name, text in ROWS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("pixeltune evla", "did you mean eval?"),
        ("pixeltune --hlep", "did you mean --help?"),
        ("pixeltune version", "did you mean --version?"),
        ("pixeltune sft", "give --task (calls, sums, gsm8k, ...) or --data rows.jsonl"),
        ("pixeltune sft --data", "--data: expected at least one argument"),
        ("pixeltune sft --data nowhere.jsonl", "there is no file nowhere.jsonl"),
        ("pixeltune sft --data folder", "name the file in it"),
        ("pixeltune sft --data none.jsonl", "holds no rows"),
        ("pixeltune sft --data answers.jsonl", 'expected: {"prompt": "question", "completion": "answer"}'),
        ("pixeltune sft --data sheet.csv", "or --columns prompt=COLUMN completion=COLUMN"),
        ("pixeltune sft --data rows --columns a", "--columns a: write NAME=COLUMN"),
        ("HF_HUB_OFFLINE=1 pixeltune sft --data owner/rows:main:train", "(HF_HUB_OFFLINE is set)"),
        ("pixeltune sft --lerning_rate 1", "did you mean --learning_rate?"),
        ("pixeltune sft taks", "did you mean --task?"),
        ("pixeltune sft sheet.csv", "did you mean --data sheet.csv?"),
        ("pixeltune demo row", "did you mean --rows?"),
        ("pixeltune sft --task sums --max_steps abc", "--max_steps is 'abc': it must be int"),
        ("pixeltune sft --task sums --height 100 --width 100", "Nearest good sizes: 256x256"),
        ("pixeltune sft --task sums --output_dir run", "holds a run already"),
        ("pixeltune sft --config wrong.yaml", "wrong.yaml: max_steps is 'abc'"),
        ("pixeltune grpo --data asked.jsonl", "name one with --reward package.module:function"),
        ("pixeltune distill --task sums --instruction none.txt", "there is no instruction file none.txt"),
        ("pixeltune sft --task sumz", "did you mean sums?"),
        ("pixeltune eval", "give --task (calls, sums, gsm8k, ...) or --data rows.jsonl"),
        ("pixeltune eval --task sums --artwrok a.png", "did you mean --artwork?"),
        ("pixeltune eval --task sums --compare off nowhere.png", "nowhere.png: cannot read it"),
        ("pixeltune check a.png --modle tiny", "did you mean --model?"),
        ("pixeltune show", "required: artwork"),
        ("pixeltune show nowhere.png", "check the path"),
        ("pixeltune show runs/none", "check the path"),
        ("pixeltune show sheet.csv", "not a PNG"),
        ("pixeltune gallery nowhere --output_dir site", "there is no such folder"),
        ("pixeltune gallery folder --output_dir site", "is its training finished?"),
        (
            "pixeltune serve --upstream http://127.0.0.1:9/v1 --artworks nowhere/",
            "--artworks takes the folder",
        ),
    ],
)
def test_a_wrong_turn_is_one_line(command, said, user, desk):
    done = user.types(command, desk)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert said.lower() in done.stderr.lower()


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("pixeltune", 2, "usage: pixeltune VERB"),
        ("pixeltune --help", 0, "usage: pixeltune VERB"),
        ("pixeltune --version", 0, "pixeltune 0."),
        ("pixeltune sft --help", 0, "Your own rows, a JSON object a line"),
        ("pixeltune help show", 0, "usage: pixeltune show"),
    ],
)
def test_who_asks_for_help_gets_it(command, status, said, user, desk):
    done = user.types(command, desk)
    assert (done.returncode, done.stderr) == (status, "")
    assert said in done.stdout
