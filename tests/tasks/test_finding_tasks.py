"""Tasks by name, by entry point and by dotted path, and what is said where there is none."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pixeltune.errors import UserError
from pixeltune.evaluation.backends import Reply
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks import base
from pixeltune.tasks.base import Task, find_rows, find_task, held_out_rows, is_benchmark, is_known, names

PAGE = Path(__file__).parents[2] / "docs/guide/tasks.md"
MODULE = """
from pixeltune.tasks.base import Task

def rows(split, n, seed=0, folder=None, category=None):
    return [{"id": str(i), "prompt": [{"role": "user", "content": f"{split} {category}"}]} for i in range(n)]

TASK = Task(name="greeting", max_new_tokens=8, score=lambda row, text: 1.0, rows=rows)
PUBLIC = Task(name="public", max_new_tokens=8, score=lambda row, text: 1.0, rows=rows, benchmark=True)
EMPTY = Task(name="empty", max_new_tokens=8, score=lambda row, text: 1.0, rows=lambda *_: [])
TEXTS = Task(name="texts", max_new_tokens=8, score=lambda row, text: 1.0, rows=lambda *_: [{"prompt": "Hi"}])
NO_ROWS = Task(name="none", max_new_tokens=8, score=lambda row, text: 1.0)
NOTHING = 5
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module of the user's own on the path."""
    (tmp_path / "greetings.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("greetings", None)


def install(folder: Path, name: str, **points: str) -> None:
    """What pip leaves behind of a distribution with entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{point} = {value}\n" for point, value in points.items())
    (info / "entry_points.txt").write_text(f"[{base.GROUP}]\n{lines}")


@pytest.mark.parametrize("name", base.SYNTHETIC + base.BENCHMARKS)
def test_every_task_of_ours_is_found_under_its_name(name):
    task = find_task(f"{name}:category")
    assert isinstance(task, Task)
    assert task.name == name
    assert task.instruction
    assert task.benchmark == is_benchmark(name) == (name in base.BENCHMARKS)
    assert is_known(name)


def test_a_task_by_its_dotted_path(package):
    assert find_task("greetings:TASK").name == "greeting"
    assert "greetings:TASK" not in names()
    (row,) = find_rows("greetings:TASK", "train", 1)
    assert row["prompt"][0]["content"] == "train None"
    assert held_out_rows("greetings:TASK", 1)[0]["prompt"][0]["content"] == "test None"
    (row,) = find_rows("greetings:PUBLIC:easy", "test", 1)
    assert row["prompt"][0]["content"] == "test easy"
    assert held_out_rows("greetings:PUBLIC", 1)[0]["prompt"][0]["content"] == "validation None"


def test_an_installed_task_has_a_name(package):
    assert not is_known("greeting")
    install(
        package, "greetings", greeting="greetings:TASK", public="greetings:PUBLIC", calls="greetings:TASK"
    )
    assert {"greeting", "public"} < set(names())
    assert is_known("greeting")
    assert is_known("public:easy")
    assert find_task("greeting").name == "greeting"
    assert find_task("calls").name == "calls"  # ours
    assert find_rows("public:easy", "test", 1)[0]["prompt"][0]["content"] == "test easy"
    with pytest.raises(
        UserError, match=r"no task 'greting' \(did you mean greeting\?\); there are calls, .*greeting"
    ):
        find_task("greting")


def test_two_packages_that_install_one_name(package):
    install(package, "one", greeting="greetings:TASK")
    install(package, "again", greeting="greetings:TASK")  # the same thing twice is no riddle
    assert find_task("greeting").name == "greeting"
    install(package, "other", greeting="greetings:PUBLIC")
    with pytest.raises(UserError, match=r"installed more than once, as greetings:\w+ and greetings:\w+"):
        find_task("greeting")


@pytest.mark.parametrize("value", ["greetings:MISSING", "nowhere:TASK"])
def test_an_installed_task_that_cannot_be_loaded(package, value):
    install(package, "greetings", greeting=value)
    with pytest.raises(UserError, match="the installed task 'greeting' cannot be loaded"):
        find_task("greeting")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "there is no task ''; there are calls"),
        ("sumz", r"no task 'sumz' \(did you mean sums\?\); there are calls, .*, and tasks of your own as"),
        (
            "bflc:parallel",
            r"no task 'bflc:parallel' \(did you mean bfcl\?\): No module named 'bflc'; there are",
        ),
        ("greetings.TASK", "no task 'greetings.TASK'; .* tasks of your own as package.module:TASK"),
        ("greetings:MISSING", "no task 'greetings:MISSING': .* has no attribute 'MISSING'"),
        ("greetings:", "no task 'greetings:'"),
        (":TASK", "no task ':TASK': Empty module name"),
        ("greetings:NOTHING", r"'greetings:NOTHING' is no pixeltune\.tasks\.base\.Task but a int"),
        ("os:getcwd", r"'os:getcwd' is no pixeltune\.tasks\.base\.Task"),
    ],
)
def test_what_is_no_task_is_said_with_what_there_is(package, name, said):
    with pytest.raises(UserError, match=said):
        find_task(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("greetings:TASK:easy", "makes its own rows: it has no categories"),
        ("greetings:EMPTY", "greetings:EMPTY has no rows in the split 'test'"),
        ("greetings:TEXTS", "no 'prompt' that is a list of messages"),
        ("greetings:NO_ROWS", "has no rows of its own"),
    ],
)
def test_rows_that_cannot_be_used(package, name, said):
    with pytest.raises(UserError, match=said):
        find_rows(name, "test", 2)


def test_a_name_out_of_a_file_is_not_imported(package):
    assert not is_known("greetings:TASK")
    assert not is_known(None)
    assert "greetings" not in sys.modules


def test_the_example_of_the_guide(tmp_path, monkeypatch):
    """Its module is a task whose references earn full marks, and other answers nothing."""
    (source,) = re.findall(r"cat > vowels\.py <<'END'\n(.*?)^END$", PAGE.read_text(), re.M | re.S)
    (tmp_path / "vowels.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    task, rows = find_task("vowels:TASK"), find_rows("vowels:TASK", "test", 12)
    train = {row["prompt"][0]["content"] for row in find_rows("vowels:TASK", "train", 200)}
    assert not train & {row["prompt"][0]["content"] for row in rows}

    class Parrot:
        chunk, workers = 12, 1

        def complete(self, conversations, tools, max_new_tokens):
            return [Reply(row["completion"][0]["content"]) for row in rows]

    assert score_rows(task, rows, Parrot()).score == 1.0
    said = [row["completion"] for row in rows]
    answers = {name: [row[name] for row in rows] for name in rows[0] if name not in ("prompt", "completion")}
    assert task.reward(completions=said, **answers) == [1.0] * 12
    assert task.reward(completions=["Answer: -1"] * 12, **answers) == [0.0] * 12
    sys.modules.pop("vowels", None)
