"""The rooms of the package, and who may know whom: imports go up this list, never down, so without circles.

`docs/design/architecture.md` says what each room is for. Imports inside functions count like all others;
those for type checkers only do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pixeltune

SOURCE = Path(pixeltune.__file__).parent
ROOMS: dict[str, set[str]] = {  # each may import those named, which stand above it
    "picture": set(),
    "artwork": {"picture"},
    "data": {"picture", "artwork"},
    "tasks": {"data"},
    "engines": {"artwork", "data", "tasks"},
    "model": {"picture", "data"},
    "adapter": {"picture", "data", "model"},
    "evaluation": {"picture", "artwork", "data", "tasks", "engines", "model", "adapter"},
    "training": {"picture", "artwork", "data", "tasks", "engines", "model", "adapter", "evaluation"},
    "serve": {"artwork", "data", "engines"},
    "gallery": {"artwork", "data", "tasks", "model", "evaluation"},
    "tiny": {"picture", "artwork", "data", "tasks", "model", "evaluation", "training"},
}
ROOMS["cli"] = set(ROOMS)  # in the functions of its verbs, so that --help is fast
SMALL = {
    "errors",
    "lookup",
    "terminal",
    "writing",
    "version",
}  # open to all, and they import nothing but each other
LIGHT = ("artwork", "data", "engines", "tasks", "serve", "gallery")  # work where there is no torch
LIBRARIES = {  # who may import what is heavy
    "torch": {"picture", "model", "adapter", "evaluation", "training", "gallery", "tiny"},
    "transformers": {"model", "adapter", "evaluation", "training", "tiny"},
    "peft": {"adapter", "evaluation", "training"},
    "trl": {"training"},
}
EXCEPTIONS: dict[tuple[str, str], str] = {}  # (file, what it imports): the reason


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    """The folder a module is in, or the module's own name at the top."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


@cache
def imported(path: Path) -> list[str]:
    """Dotted names that a module imports, anywhere in it."""
    return list(_imports(ast.parse(path.read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from names if node.module == "pixeltune" else [node.module]
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def violations(wrong) -> list[str]:
    """Imports for which `wrong(room, dotted name)` holds, those with a reason left out."""
    return [
        f"{path.relative_to(SOURCE)} imports {name}"
        for path in modules()
        for name in imported(path)
        if wrong(room(path), name) and (str(path.relative_to(SOURCE)), name) not in EXCEPTIONS
    ]


def test_every_folder_is_a_room_of_the_list():
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert folders == set(ROOMS)


def test_rooms_know_those_above_them_only_so_there_is_no_circle():
    above: set[str] = set()
    for name, known in ROOMS.items():
        assert known <= above, name
        above.add(name)


def test_no_room_imports_one_that_it_may_not_know():
    def wrong(here: str, name: str) -> bool:
        target = [*name.split("."), ""][1]
        return here in ROOMS and target in ROOMS and target != here and target not in ROOMS[here]

    assert not violations(wrong)


def test_no_modules_import_each_other_in_a_circle():
    """Not inside a room either, wherever in a file the imports stand."""
    names = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in modules()}
    graph = {name: set(imported(path)) & set(names) - {name} for name, path in names.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


def test_the_small_modules_import_no_room():
    assert not violations(lambda here, name: here in SMALL and [*name.split("."), ""][1] in ROOMS)


@pytest.mark.parametrize("library", LIBRARIES)
def test_heavy_libraries_are_known_where_they_belong(library):
    assert not violations(
        lambda here, name: name.split(".")[0] == library and here in ROOMS and here not in LIBRARIES[library]
    )


def test_light_rooms_import_neither_torch_nor_transformers():
    """Importing every module of theirs, in a fresh process, loads neither."""
    names = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if room(path) in LIGHT
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'transformers'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_every_room_says_what_it_is_for_and_what_it_may_import(path):
    if path.parent == SOURCE:
        return
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(said.split()) >= 10
    assert "import" in said.lower()


def test_every_exception_is_still_needed():
    for file, name in EXCEPTIONS:
        assert name in imported(SOURCE / file), f"{file} no longer imports {name}"
