"""Where a model is, by its name: in a folder, in the hub's cache, or on the hub. Needs no torch.

Libraries ask the hub again and again, for minutes where there is no network, and then name several causes at
once. Here it is asked once, and what happened is said.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from pixeltune.asking import SECONDS, within_seconds
from pixeltune.errors import UserError, suggestion

TINY = Path(__file__).parents[1] / "bundled" / "tiny" / "weights"
SMOL = Path(__file__).parents[1] / "bundled" / "smol" / "model"  # where `make smol` puts it
BUNDLED = {"tiny": TINY, "smol": SMOL}
"""Names of models that come with pixeltune, and their folders."""
ORIGINS = {
    "smol": "language of HuggingFaceTB/SmolLM2-135M-Instruct (Apache-2.0), vision tower of pixeltune (Apache-2.0)"
}
"""Whose work a bundled model is, where it is not ours alone."""
FILES = ("config.json", "processor_config.json", "preprocessor_config.json")
"""One of which a model, or a processor that is kept apart, has."""

# owner/model, or the name alone of the hub's first models.
_HUB_NAME = re.compile(r"(?![.-])[\w.-]{1,96}(?<![.-])(/(?![.-])[\w.-]{1,96}(?<![.-]))?", re.ASCII)


def find_model(name: str, revision: str | None = None) -> dict[str, Any]:
    """Look whether there is such a model; takes seconds at most, and loads nothing.

    Args:
        name: one of `BUNDLED`, a folder, or a name on the hub.
        revision: commit or tag on the hub.

    Returns:
        What its files are to be loaded with: nothing, or that the hub is left alone (`local_files_only`).

    Raises:
        UserError: there is none; the message says where it was looked for.
    """
    path = Path(name)
    if name in BUNDLED:
        if not (BUNDLED[name] / FILES[0]).is_file():
            raise UserError(f"{name} is not put together yet: run make {name} in a checkout of pixeltune")
        return {}
    if path.is_dir():
        if not any((path / file).is_file() for file in FILES):
            adapter = (path / "adapter_config.json").is_file()
            what = (
                "it is an adapter's: give its base model" if adapter else "give a folder with a whole model"
            )
            raise UserError(f"cannot load {name!r}: the folder has no config.json, {what}")
        return {}
    if path.is_file():
        raise UserError(f"cannot load {name!r}: it is a file, and a model is a folder or a name on the hub")
    near = _near(path)
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"cannot load {name!r}: there is no such folder{near}, and a name on the hub is owner/model"
        )
    problem = _on_hub(name, revision)
    if problem is None:
        return {}
    if _cached(name, revision):
        return {"local_files_only": True}
    raise UserError(f"cannot load {name!r}: there is no such folder{near}; {problem}")


def place(name: str) -> str:
    """Where to load it from: the folder of a bundled model, else the name itself."""
    return str(BUNDLED.get(name, name))


def public_name(model: str) -> str:
    """A model's name as strangers may know it: of a folder only its last part."""
    for name, folder in BUNDLED.items():
        if model == str(folder):
            return name
    return Path(model).name if Path(model).is_dir() else model


def _near(path: Path) -> str:
    """Which folder beside it may be meant."""
    try:
        beside = [one.name for one in path.parent.iterdir() if one.is_dir()]
    except OSError:
        beside = []
    known = [str(path.parent / one) for one in beside]
    return suggestion(str(path), [*known, *BUNDLED])


def _cached(name: str, revision: str | None) -> bool:
    """Whether the hub's cache holds it, or a part of it."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in FILES)


@lru_cache(maxsize=64)
def _on_hub(name: str, revision: str | None) -> str | None:
    """None where the hub has it, else why not, with the remedy."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cache = f"it is not in the cache ({constants.HF_HUB_CACHE})"
    if constants.HF_HUB_OFFLINE:
        return f"the hub is not asked (HF_HUB_OFFLINE is set), and {cache}: unset that, or give a folder"
    address = hf_hub_url(name, FILES[0], revision=revision)
    try:
        within_seconds(lambda: get_hf_file_metadata(address, timeout=SECONDS), SECONDS)
        return None
    except Exception as caught:
        error = caught
    match error:
        case EntryNotFoundError():  # a processor alone has no config.json
            return None
        case GatedRepoError():
            return (
                f"the hub gives it to those who accept its terms: do so on {constants.ENDPOINT}/{name}, then "
                "log in with hf auth login"
            )
        case RepositoryNotFoundError():
            return (
                f"the hub ({constants.ENDPOINT}) has no model of that name, or it is private: check the name, "
                "or log in with hf auth login"
            )
        case RevisionNotFoundError():
            return f"the hub has the model, but no revision {revision!r} of it: check --revision"
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        why = f"answers {error.response.status_code}"
    else:
        why = f"cannot be reached ({' '.join(str(error).split())[:120] or type(error).__name__})"
    return f"the hub ({constants.ENDPOINT}) {why}, and {cache}: try again with a network, or give a folder"
