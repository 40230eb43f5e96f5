"""The way in: ``pixeltune VERB ...``. A verb is a file of this folder and a thin layer over a function.

Every verb imports what it needs only when it runs, so that ``show`` and ``--help`` answer at once.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from pixeltune.cli.extras import advice, missing_module
from pixeltune.cli.parser import Parser, UsageError, with_underscores
from pixeltune.errors import UserError, escaped, suggestion
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.version import __version__

VERBS = {
    "paint": [*OBJECTIVE_FACTS, "studio", "demo"],
    "look": ["eval", "check", "sample", "show", "gallery"],
    "use": ["serve", "mix", "export", "push", "pull"],
}
"""Verbs by what people come for. A training verb is in `train`, every other one in a file of its own name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status.

    What the user can mend is one line on stderr: a command that cannot be read has status 2, what is refused
    (`UserError`, a path that is not there, a package that is not installed) status 1. Everything else is a bug,
    here or in a library, and keeps its traceback.
    """
    try:
        try:
            return _answer(argv)
        finally:
            print(end="", flush=True)  # here, and not at the end of Python, where nothing can be caught
    except BrokenPipeError:  # as in `| head`, which has read what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # what a shell says of a program that SIGPIPE ended


def _answer(argv: Sequence[str] | None) -> int:
    argv = with_underscores(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"pixeltune {__version__}")
        return 0
    if argv[:1] == ["help"] and len(argv) > 1:
        argv = [argv[1], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if argv else 2
    verb, rest = argv[0], argv[1:]
    known = [verb for verbs in VERBS.values() for verb in verbs]
    if verb not in known:
        near = suggestion(verb, [*known, "--help", "--version"])
        print(f"pixeltune: there is no verb {verb!r}{near}. Verbs: {', '.join(known)}", file=sys.stderr)
        return 2
    try:
        return run(verb, rest)
    except UsageError as error:
        return _say(verb, error, 2)
    except UserError as error:
        return _say(verb, error)
    except OSError as error:
        if error.filename is None or str(error.filename) not in " ".join(rest):
            raise
        return _say(verb, f"{error.filename}: {error.strerror}")
    except (ImportError, RuntimeError) as error:  # the latter are TRL's, around what it could not import
        module = missing_module(error)
        command = module and advice(module, verb)
        if not command:
            raise
        return _say(verb, f"this needs {module}, which is not installed. Run: {command}")
    except KeyboardInterrupt:
        print(f"pixeltune {verb}: interrupted", file=sys.stderr)
        return 130


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within this pixeltune's own warnings are a line each, without the place in its source."""
    usual = warnings.formatwarning

    def plain(message, category, *place, **line) -> str:
        if category.__module__.startswith("pixeltune."):
            return f"pixeltune: {_one_line(message)}\n"
        return usual(message, category, *place, **line)

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = usual


@plain_warnings()
def run(verb: str, argv: list[str]) -> int:
    """Parse a verb's options and do it."""
    if verb in OBJECTIVE_FACTS:
        return import_module("pixeltune.cli.train").run(verb, argv)
    module = import_module(f"pixeltune.cli.{verb}")
    parser = Parser(f"pixeltune {verb}", module.HELP)
    module.add_arguments(parser)
    return module.run(parser.parse_args(argv))


def overview() -> str:
    """What ``pixeltune --help`` says: all verbs with a line each."""
    lines = ["usage: pixeltune VERB [options]"]
    for group, verbs in VERBS.items():
        lines += ["", f"{group}:"]
        for verb in verbs:
            facts = OBJECTIVE_FACTS.get(verb)
            lines.append(f"  {verb:8} {facts.help if facts else import_module(f'pixeltune.cli.{verb}').HELP}")
    lines += [
        "",
        "`pixeltune VERB --help` lists a verb's options, `pixeltune --version` tells which this is.",
    ]
    return "\n".join(lines)


def _say(verb: str, what: object, status: int = 1) -> int:
    print(f"pixeltune {verb}: {_one_line(what)}", file=sys.stderr)
    return status


def _one_line(what: object) -> str:
    return escaped(" ".join(str(what).split()))


if __name__ == "__main__":
    sys.exit(main())
