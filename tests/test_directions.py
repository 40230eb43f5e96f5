"""The rooms of the package, and who may know whom: imports go up this list, never down, so without circles.

`docs/design/architecture.md` says what each room is for. Imports inside functions count like all others;
those for type checkers only do not.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pixeltune
from documents import ROOT

SOURCE = Path(pixeltune.__file__).parent
ROOMS: dict[str, set[str]] = {  # each may import those named, which stand above it
    "picture": set(),
    "artwork": {"picture"},
    "data": {"picture"},
    "tasks": {"data"},
    "engines": {"artwork", "data", "tasks"},
    "model": {"picture", "data"},
    "adapter": {"picture", "model"},
    "evaluation": {"picture", "artwork", "data", "tasks", "engines", "model", "adapter"},
    "training": {"picture", "artwork", "data", "tasks", "engines", "model", "adapter", "evaluation"},
    "serve": {"picture", "artwork", "data", "engines"},
    "gallery": {"artwork", "data", "tasks", "model", "evaluation"},
    "studio": {"picture", "artwork", "data", "tasks", "model", "evaluation", "training", "gallery"},
    "bundled": {"picture", "artwork", "tasks", "model", "evaluation", "training"},
    # In the functions of its verbs, so that --help is fast.
    "cli": set("picture artwork tasks model evaluation training serve gallery studio bundled".split()),
}
SMALL = {
    "asking",
    "errors",
    "writing",
    "version",
}  # open to all, and they import nothing but each other
LIGHT = ("artwork", "data", "engines", "tasks", "serve", "gallery")  # work where there is no torch
PLUGINS = {"pixeltune.serve.litellm_hook"}  # imported by software that is not here; tests/serve runs it
LIBRARIES = {  # who may import what is heavy
    "torch": {"picture", "model", "adapter", "evaluation", "training", "gallery", "bundled"},
    "transformers": {"model", "adapter", "training", "bundled"},
    "peft": {"adapter", "evaluation", "training"},
    "trl": {"training"},
}
EXCEPTIONS: dict[tuple[str, str], str] = {}  # (file, what it imports): the reason


def modules(source: Path = SOURCE) -> list[Path]:
    return sorted(source.rglob("*.py"))


def dotted(path: Path, source: Path = SOURCE) -> str:
    """The name that a module is imported by; a package's is that of its `__init__`."""
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def room(path: Path) -> str:
    """The folder a module is in, or the module's own name at the top."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def room_of(name: str) -> str:
    """The same of a dotted name; of other packages' names, and of pixeltune itself, none."""
    package, *parts = name.split(".")
    return parts[0] if package == "pixeltune" and parts else ""


@cache
def imported(path: Path, source: Path = SOURCE) -> list[str]:
    """Dotted names of the modules that a module imports, anywhere in it."""
    return list(_imports(ast.parse(path.read_text()), source))


def _imports(node: ast.AST, source: Path) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if _is_module(name, source) else node.module
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, source)


def _is_module(name: str, source: Path) -> bool:
    """Whether this names a file or a folder of the package, and not something that is in one."""
    path = source.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def graph(source: Path = SOURCE) -> dict[str, set[str]]:
    """By module the modules of the package that it imports."""
    names = {dotted(path, source): path for path in modules(source)}
    return {name: set(imported(path, source)) & set(names) - {name} for name, path in names.items()}


def rooms_used(folder: Path) -> set[str]:
    """The rooms that the modules of a folder import, its own left out."""
    targets = {room_of(name) for path in modules(folder) for name in imported(path)}
    return targets & set(ROOMS) - {room(folder)}


def parts_used(folder: Path) -> set[str]:
    """What the modules of a folder in a room import of that room, as `room.module`; of a room nothing."""
    own = room(folder)
    parts = [name.split(".") for path in modules(folder) for name in imported(path)]
    beside = {".".join(part[1:3]) for part in parts if part[:2] == ["pixeltune", own]}
    return set() if folder.name == own else beside - {f"{own}.{folder.name}"}


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
    assert folders - SMALL == set(ROOMS)


def test_rooms_know_those_above_them_only_so_there_is_no_circle():
    above: set[str] = set()
    for name, known in ROOMS.items():
        assert known <= above, name
        above.add(name)


def test_no_room_imports_one_that_it_may_not_know():
    def wrong(here: str, name: str) -> bool:
        if name == "pixeltune":  # its public names, which hide the room that they are of
            return here in ROOMS
        target = room_of(name)
        return here in ROOMS and target in ROOMS and target != here and target not in ROOMS[here]

    assert not violations(wrong)


def test_no_modules_import_each_other_in_a_circle():
    """Not inside a room either, wherever in a file the imports stand."""
    list(TopologicalSorter(graph()).static_order())  # raises CycleError, naming the circle


@pytest.mark.parametrize(
    ("file", "line", "through"),
    [
        ("adapter/rows.py", "from pixeltune.adapter.model import ArtModel", "pixeltune.adapter.model"),
        ("adapter/rows.py", "from pixeltune.adapter import model", "pixeltune.adapter.model"),
        ("adapter/rows.py", "import pixeltune.adapter.model as other", "pixeltune.adapter.model"),
        ("adapter/rows.py", "def f():\n    from pixeltune.adapter import model", "pixeltune.adapter.model"),
        ("adapter/config.py", "from pixeltune.adapter import ArtConfig", "pixeltune.adapter"),
    ],
)
def test_a_circle_is_found_however_it_is_imported(tmp_path, file, line, through):
    copy = tmp_path / "pixeltune"
    shutil.copytree(SOURCE / "adapter", copy / "adapter")
    list(TopologicalSorter(graph(copy)).static_order())
    with (copy / file).open("a") as planted:
        planted.write(f"\n{line}\n")
    imported.cache_clear()
    with pytest.raises(CycleError) as found:
        list(TopologicalSorter(graph(copy)).static_order())
    circle = found.value.args[1]
    assert {through, dotted(copy / file, copy)} <= set(circle)


@pytest.mark.parametrize("name", ROOMS)
def test_every_permission_is_used(name):
    assert rooms_used(SOURCE / name) == ROOMS[name]
    libraries = {target.split(".")[0] for path in modules(SOURCE / name) for target in imported(path)}
    assert {library for library, known in LIBRARIES.items() if name in known} <= libraries


def test_the_small_modules_import_no_room():
    assert not violations(lambda here, name: here in SMALL and room_of(name) in ROOMS)


@pytest.mark.parametrize("library", LIBRARIES)
def test_heavy_libraries_are_known_where_they_belong(library):
    assert not violations(
        lambda here, name: name.split(".")[0] == library and here in ROOMS and here not in LIBRARIES[library]
    )


def test_light_rooms_import_neither_torch_nor_transformers():
    """Importing every module of theirs, in a fresh process, loads neither."""
    names = [name for path in modules() if room(path) in LIGHT and (name := dotted(path)) not in PLUGINS]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'transformers'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*/**/__init__.py")), ids=lambda path: dotted(path))
def test_every_room_says_what_it_is_for_and_which_rooms_it_imports(path):
    """A folder in a room also says what it imports of that room, as `room.module`."""
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(said.split()) >= 10
    assert "import" in said.lower()
    quoted = set(re.findall(r"`([\w.]+)`", said))
    named = {word for word in quoted if word.split(".")[0] in ROOMS}
    assert named == rooms_used(path.parent) | parts_used(path.parent)


@pytest.mark.parametrize("name", ROOMS)
def test_the_architecture_says_the_same(name):
    page = (ROOT / "docs" / "design" / "architecture.md").read_text()
    (row,) = re.findall(rf"^\| \*?`{name}/`\*? \|.*\| ?(.*) \|$", page, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == ROOMS[name]


def test_every_exception_is_still_needed():
    for file, name in EXCEPTIONS:
        assert name in imported(SOURCE / file), f"{file} no longer imports {name}"
