"""What the Hugging Face hub refuses, in one line with the remedy."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pixeltune.errors import UserError

MAX_WORDS = 200  # characters of what the hub itself says


class HubError(UserError):
    """The hub does not give or take something; the message names the remedy."""


class Unreachable(HubError):
    """The hub does not answer, or is not asked: what is in the cache may do."""


class StaleWarning(UserWarning):
    """The hub cannot be reached, and what is used was downloaded some time ago."""


@contextmanager
def explained(doing: str, revision: str | None = None) -> Iterator[None]:
    """Within this the errors of huggingface_hub, and of the HTTP library below it, are raised as HubError.

    Args:
        doing: how the message begins, such as "you/calls: cannot push".
        revision: that was asked for.
    """
    from huggingface_hub.errors import EntryNotFoundError, HTTPError  # the latter of its HTTP library

    try:
        yield
    except UserError:
        raise
    except (EntryNotFoundError, HTTPError, OSError, ValueError, RuntimeError) as error:
        raise _explanation(doing, error, revision) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Within this huggingface_hub draws no bars and tells of no tries: artworks are small, and the end is said."""
    from huggingface_hub import constants, utils

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    bars = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not utils.are_progress_bars_disabled()
    if bars:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()


def _explanation(doing: str, error: BaseException, revision: str | None) -> HubError:
    """
    Args:
        doing: how it begins.
        error: of huggingface_hub, or of what it is made with.
        revision: that was asked for.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        BadRequestError,
        DisabledRepoError,
        EntryNotFoundError,
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # These two stand for an error of the network or of the hub, which is their cause.
    while type(error) in (LocalEntryNotFoundError, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    hub, settings = f"the hub ({constants.ENDPOINT})", f"{constants.ENDPOINT}/settings/tokens"
    match error:
        case OfflineModeIsEnabled():
            return Unreachable(f"{doing}: the hub is not asked (HF_HUB_OFFLINE is set): unset that")
        case LocalTokenNotFoundError():
            why = f"there is no token: make one at {settings}, then hf auth login, or set HF_TOKEN"
        case GatedRepoError():
            why = "the hub gives it to those who accept its terms: do so on its page, then hf auth login"
        case RepositoryNotFoundError():
            why = f"{hub} has no such repository, or it is private: check the name, or hf auth login"
        case RevisionNotFoundError():
            why = f"it has no revision {revision!r}: check the name of the branch, tag or commit"
        case EntryNotFoundError():
            why = f"there is no such file ({_words(error)}): check the name"
        case DisabledRepoError():
            why = "the hub has disabled it: ask its owner"
        case HFValidationError():
            why = f"that is no name on the hub ({_words(error)}): give owner/name"
        case BadRequestError():
            why = f"{hub} refuses it ({_words(error.server_message or error)}): mend that"
        case HfHubHTTPError():
            return _refusal(doing, error, hub, settings)
        case json.JSONDecodeError() | FileMetadataError():
            why = (
                f"what answers at {constants.ENDPOINT} is no hub: check HF_ENDPOINT, and the network's proxy"
            )
        case OSError() if error.filename is not None:
            why = f"{error.filename}: {error.strerror}; HF_HUB_CACHE names another folder"
        case HTTPError() | OSError():
            return Unreachable(
                f"{doing}: {hub} cannot be reached ({_words(error)}): try again with a network"
            )
        case _:
            why = f"{_words(error)}: try again"
    return HubError(f"{doing}: {why}")


def _refusal(doing: str, error, hub: str, settings: str) -> HubError:
    """Of an answer that has no class of its own, by its HTTP status."""
    status = error.response.status_code
    if status >= 500:
        return Unreachable(f"{doing}: {hub} answers {status}: try again later")
    answer = _words(error.server_message or error)
    known = {
        401: f"the hub does not accept the token: make another at {settings}, then hf auth login, or set HF_TOKEN",
        403: f"the token may not do that ({answer}): give it access to this repository at {settings}",
        404: f"{hub} has nothing of that name: check it",
        409: "somebody changed it meanwhile: try again",
        412: "somebody changed it meanwhile: try again",
        429: "the hub was asked too often: try again in some minutes",
    }
    return HubError(f"{doing}: {known.get(status, f'{hub} answers {status} ({answer}): try again later')}")


def _words(error: object) -> str:
    """What a library or the hub says, in one short line."""
    return " ".join(str(error).split())[:MAX_WORDS] or type(error).__name__
