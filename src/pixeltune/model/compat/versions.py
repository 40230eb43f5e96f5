"""Which versions of the heavy libraries pixeltune works with, by its own metadata, said before they fail in depth."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from pixeltune.errors import UserError

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")
"""Those whose insides are touched, or whose changes reach us first."""


@cache
def check_versions() -> None:
    """Refuse versions outside of what `pyproject.toml` asks for; call it before what they would break.

    What is not installed is passed over: importing it says so. So is everything where pixeltune is run from its
    sources without being installed, for then nothing says what it needs.

    Raises:
        UserError: naming the library, its version and the command that mends it.
    """
    try:
        lines = requires("pixeltune") or []
    except PackageNotFoundError:
        return
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if "transformers" not in found:
        return
    from packaging.requirements import Requirement  # which transformers brings

    for one in (Requirement(line) for line in lines if line.startswith(tuple(found))):
        if one.name in found and not one.specifier.contains(found[one.name], prereleases=True):
            needed = one.name + ",".join(sorted(map(str, one.specifier), reverse=True))  # the lowest first
            raise UserError(
                f"{one.name} {found[one.name]} is installed, but pixeltune needs {needed}: pip install '{needed}'"
            )
