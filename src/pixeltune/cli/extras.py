"""Which extra brings a package that is missing, by the metadata that pixeltune is installed with."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTIONS = {"PIL": "pillow", "skimage": "scikit-image", "yaml": "pyyaml"}
"""Of modules that are called otherwise than what pip installs, beyond dashes and underscores."""

FOR_DEVELOPERS = ("dev", "docs")
"""Extras that bring much that users do not need."""


def missing_module(error: BaseException | None) -> str | None:
    """The package that could not be imported, which libraries hide behind errors of their own; None: none."""
    while error is not None and not (isinstance(error, ModuleNotFoundError) and error.name):
        error = error.__cause__
    return None if error is None else (error.name or "").partition(".")[0]


def advice(module: str, verb: str = "") -> str | None:
    """The command that brings a missing module; None where pixeltune asks for no such package.

    Args:
        module: as it is imported.
        verb: of the command line; of several extras the one of its name is advised, else "train".
    """
    package = _normal(DISTRIBUTIONS.get(module, module))
    try:
        lines = requires("pixeltune") or []
    except PackageNotFoundError:  # run from its sources: nobody knows what belongs to them
        lines = []
    extras: list[str] = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name is None or _normal(name[0]) != package:
            continue
        extra = re.search(r"extra == ['\"]([\w.-]+)['\"]", marker)
        if extra is None:
            return "pip install --force-reinstall pixeltune"  # its own packages come with it
        extras.append(extra[1])
    if not extras:
        return None
    if wanted := [extra for extra in extras if extra not in FOR_DEVELOPERS]:
        chosen = min(wanted, key=lambda extra: (extra != verb, extra != "train", extra))
        return f"pip install 'pixeltune[{chosen}]'"
    return f"pip install {package}"


def _normal(name: str) -> str:
    """As pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
