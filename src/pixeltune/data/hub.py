"""Rows of a data set on the Hugging Face hub, named as ``owner/name:config:split``.

The hub is asked once whether it is there: libraries ask again and again, for minutes where there is no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from pixeltune.asking import SECONDS, within_seconds
from pixeltune.data.lines import MAX_BYTES
from pixeltune.data.tables import one_line
from pixeltune.errors import UserError

SPLIT = "train"
"""Where none is named."""
FORMS = ("parquet", "json", "csv", "arrow", "text")
"""Of files: builders of `datasets` that read rows of text."""
FORM = "owner/name:config:split"

_NAME = re.compile(
    r"((?![.-])[\w.-]{1,96}(?<![.-])/(?![.-])[\w.-]{1,96}(?<![.-]))(?::([^:/\[\]\s]*))?(?::([\w.-]+(?:\[[\d:%-]+\])?))?",
    re.ASCII,
)


class HubName(NamedTuple):
    """What a name stands for."""

    repository: str
    config: str | None
    """None: the only one, or the one that the data set says."""
    split: str
    """Perhaps a part of it, as `datasets` writes that: ``train[:1000]``."""


def parse_name(data: str) -> HubName | None:
    """The parts of a name on the hub, ``owner/name``, ``owner/name:config`` or ``owner/name:config:split``.

    An empty config is none: ``owner/name::test``. None where it cannot be such a name.
    """
    found = _NAME.fullmatch(data)
    return HubName(found[1], found[2] or None, found[3] or SPLIT) if found else None


@lru_cache(maxsize=4)
def load(data: str) -> Any:
    """A split as a `datasets.Dataset`, from the hub or, where that cannot be reached, from the cache of `datasets`.

    Nothing of the data set is run: `datasets` knows no loading scripts any more.

    Raises:
        UserError: there is none, it is too large, or its files are of another form; the message says where it was
            looked for.
    """
    name = parse_name(data)
    assert name is not None
    sizes, problem = _ask(name.repository)
    if problem is not None:
        return _cached(name, data, problem)
    with one_line(data, "try again, or give a file"):
        from datasets import load_dataset_builder

        with _named(data):
            builder = load_dataset_builder(name.repository, name.config)
        form = type(builder).__module__.rpartition(".")[2]
        if form not in FORMS:
            raise UserError(
                f"{data}: its files are of the form {form}, and rows are read from {', '.join(FORMS)}"
            )
        files = [str(file) for some in (builder.config.data_files or {}).values() for file in some]
        size = sum(sizes.get(file.partition("@")[2].partition("/")[2], 0) for file in files)
        if size > MAX_BYTES:
            raise UserError(
                f"{data} is {size / (1 << 30):.0f} GiB, and rows are read whole, up to 2 GiB: keep a part of it, "
                'datasets.load_dataset(..., streaming=True).take(10_000).to_parquet("rows.parquet"), and name that'
            )
        builder.download_and_prepare()
        with _named(data):
            return builder.as_dataset(split=name.split)


@contextmanager
def _named(data: str) -> Iterator[None]:
    """What `datasets` says of a config or a split that is not there: which there are."""
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"{data}: {' '.join(str(error).split())[:300].rstrip('.')}: name one, {FORM}"
        ) from error


def _cached(name: HubName, data: str, problem: str) -> Any:
    """
    Raises:
        UserError: it is not in the cache either.
    """
    from datasets.packaged_modules.cache.cache import Cache

    try:
        with one_line(data):
            builder = Cache(
                dataset_name=name.repository.rpartition("/")[2],
                repo_id=name.repository,
                config_name=name.config,
                version="auto",
                hash="auto",
            )
            return builder.as_dataset(split=name.split)
    except UserError as error:
        why = str(error.__cause__) if isinstance(error.__cause__, ValueError) else ""
        found = f" ({' '.join(why.split())[:200]})" if "Couldn't find cache" not in why and why else ""
        raise UserError(f"there is no file or folder {data}; as a data set {problem}{found}") from error


def _ask(name: str) -> tuple[dict[str, int], str | None]:
    """The sizes of its files by their names, and why the hub does not give it, with the remedy; None: it does."""
    from datasets import config
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    cache = f"it is not in the cache ({config.HF_DATASETS_CACHE})"
    if constants.HF_HUB_OFFLINE:
        return {}, f"the hub is not asked (HF_HUB_OFFLINE is set), and {cache}: unset that, or give a file"
    answer: Any
    try:
        answer = within_seconds(
            lambda: HfApi().dataset_info(name, files_metadata=True, timeout=SECONDS), SECONDS
        )
    except Exception as error:
        answer = error
    match answer:
        case GatedRepoError():
            return {}, (
                f"the hub gives it to those who accept its terms: do so on {constants.ENDPOINT}/datasets/{name}, "
                "then log in with hf auth login"
            )
        case RepositoryNotFoundError():
            return {}, (
                f"the hub ({constants.ENDPOINT}) has none of that name, or it is private: check the name, or log in "
                "with hf auth login"
            )
        case HfHubHTTPError() if answer.response is not None:
            why = f"answers {answer.response.status_code}"
        case Exception():
            why = f"cannot be reached ({' '.join(str(answer).split())[:120] or type(answer).__name__})"
        case _:
            return {one.rfilename: one.size or 0 for one in answer.siblings or []}, None
    return {}, f"the hub ({constants.ENDPOINT}) {why}, and {cache}: try again with a network, or give a file"
