"""The one style of parser that all verbs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NoReturn

from pixeltune.errors import UserError, suggestion


class UsageError(UserError):
    """A command that cannot be read: a flag that there is not, or a value that is missing or of another type.

    Whatever the verb, the exit status is 2; of what is read and then refused it is 1.
    """


class Parser(argparse.ArgumentParser):
    """An argparse parser that shows defaults, takes no abbreviations, and guesses what a typo meant."""

    def __init__(self, prog: str, description: str):
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(prog, description=description, formatter_class=formatter, allow_abbrev=False)

    def parse_args(self, args: Sequence[str] | None = None, namespace=None):
        """
        Raises:
            UsageError: the words cannot be read.
        """
        known = [flag for action in self._actions for flag in action.option_strings]
        words = takewhile(lambda word: word != "--", sys.argv[1:] if args is None else args)
        # Typos before what is missing: the one may be the other.
        unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
        if not unknown:
            given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            if unknown[0].startswith("-"):
                self.error(f"there is no {unknown[0]}{suggestion(unknown[0], known)}")
            self.error(f"{unknown[0]!r} has no flag{flag_for(unknown[0], known)}")
        return given

    def error(self, message: str) -> NoReturn:
        """One line: argparse's usage of dozens of flags hides what is wrong."""
        raise UsageError(f"{message}. Options: {self.prog} --help")


def flag_for(word: str, flags: Iterable[str]) -> str:
    """As `suggestion`, of the flag that may be meant by a word without dashes."""
    near = suggestion(word, [flag.lstrip("-") for flag in flags])
    return near.replace("did you mean ", "did you mean --")


def with_underscores(argv: Sequence[str]) -> list[str]:
    """``--batch-size 4`` as ``--batch_size 4``: flags have underscores, as TRL's, but need not.

    Behind ``--`` there are no flags.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    return [
        name.replace("-", "_").replace("__", "--", 1) + equals + value if word.startswith("--") else word
        for word in argv[:end]
        for name, equals, value in [word.partition("=")]
    ] + list(argv[end:])
