"""``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` and ``distill``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pixeltune.errors import UserError, suggestion

if TYPE_CHECKING:
    from trl import TrlParser

HELP = {
    "sft": "paint an artwork by supervised fine-tuning (TRL's SFTConfig flags plus the artwork's)",
    "dpo": "... from pairs of a chosen and a rejected completion (DPOConfig)",
    "kto": "... from completions labelled good or bad (KTOConfig)",
    "grpo": "... from rewards of the model's own completions (GRPOConfig)",
    "rloo": "... the same with TRL's REINFORCE leave-one-out (RLOOConfig)",
    "distill": "... that does what a prompt in words does (SDFTConfig)",
}

MOST_USED = (
    *("learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "gradient_checkpointing", "max_completion_length", "num_generations"),
    *("seed", "output_dir", "save_steps", "logging_steps", "report_to", "resume_from_checkpoint"),
)
"""Of TRL's settings those that the first screen of help shows; the others are behind ``--help all``."""

MAX_CONFIG_BYTES = 1 << 20


def run(verb: str, argv: list[str]) -> int:
    """Paint, or show a row with ``--preview``; returns the exit status, 130 where it was interrupted."""
    given = settings(verb, argv)
    if given.pop("preview", False):
        from pixeltune.training.preview import preview

        print(preview(verb, **given))
        return 0
    from pixeltune.training.paint import paint

    painting = paint(verb, **given)
    speaks = painting.config.process_index == 0
    if not painting.finished:
        if speaks:
            again = f"--resume_from_checkpoint true --output_dir {painting.output_dir}"
            print(f"Interrupted. Go on with: {again}")
        return 130
    tokens = painting.artwork.provenance.training.get("prompt_tokens")
    if tokens and speaks:
        line = "prompt tokens per request: {words} in words, {artwork} with the artwork, {saved} saved"
        print(line.format(**tokens))
    return 0


def settings(verb: str, argv: Sequence[str]) -> dict[str, Any]:
    """What flags say, and the YAML file after ``--config``, by name; flags win. What is not said is left out.

    Raises:
        UserError: a flag or a key that is not known, or a file that is no YAML mapping.
        SystemExit: help was printed, or a flag's value is none (argparse).
    """
    from pixeltune.training.arguments import defaults

    parser = _parser(verb)
    argv, path = _without_config(list(argv))
    if "--help" in argv or "-h" in argv:
        parser.set_defaults(**defaults(verb))
        everything = "all" in argv
        print((parser if everything else _first_screen(parser, verb)).format_help(), end="")
        if not everything:
            print(f"\nAll of TRL's settings: pixeltune {verb} --help all. YAML with the same names: --config")
        raise SystemExit(0)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    known = {action.dest for action in parser._actions} - {"help"}
    if path is not None:
        parser.set_defaults_with_config(**_read_config(path, known, verb))
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        what = f"there is no {unknown[0]}" if unknown[0].startswith("-") else f"{unknown[0]!r} has no flag"
        raise UserError(f"{what}{suggestion(unknown[0], flags)}. Options: pixeltune {verb} --help")
    return vars(given)


def _parser(verb: str) -> TrlParser:
    from trl import TrlParser

    from pixeltune.training.arguments import PaintArguments, find_objective

    class Parser(TrlParser):
        """One line in place of a usage of hundreds."""

        def error(self, message: str) -> NoReturn:
            print(f"{self.prog}: {message}. Options: {self.prog} --help", file=sys.stderr)
            sys.exit(2)

    parser = Parser(
        (PaintArguments, find_objective(verb).config),
        prog=f"pixeltune {verb}",
        description=HELP[verb].lstrip(". "),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--preview", action="store_true", help="Print one row as it would be trained on, and end."
    )
    return parser


def _first_screen(parser: TrlParser, verb: str) -> argparse.ArgumentParser:
    """The artwork's and the rows' settings, and of TRL's the most used, without those of other objectives."""
    from pixeltune.training.arguments import PaintArguments

    shown = {one.name for one in fields(PaintArguments)} | {*MOST_USED, "preview"}
    short = argparse.ArgumentParser(
        parser.prog, usage=f"{parser.prog} [options]", description=parser.description, add_help=False
    )
    short.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    for action in parser._actions:
        if action.dest in shown and action.const is not False:
            short._add_action(action)
    return short


def _without_config(argv: list[str]) -> tuple[list[str], Path | None]:
    """
    Raises:
        UserError: there is no file after ``--config``.
    """
    argv = [
        part for word in argv for part in (word.split("=", 1) if word.startswith("--config=") else [word])
    ]
    if "--config" not in argv:
        return argv, None
    place = argv.index("--config")
    if argv.count("--config") > 1 or place + 1 == len(argv):
        raise UserError("--config is followed by the name of one YAML file")
    return argv[:place] + argv[place + 2 :], Path(argv[place + 1])


def _read_config(path: Path, known: set[str], verb: str) -> dict[str, Any]:
    """
    Raises:
        UserError: there is no such file, it is no YAML mapping, or a key is not known.
    """
    import yaml

    if not path.is_file():
        raise UserError(f"there is no file {path} to read settings from (--config)")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UserError(f"{path} is larger than 1 MiB and no file of settings")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold names and values, such as 'task: sums'")
    for name in config:
        if name not in known:
            raise UserError(
                f"{path}: there is no setting {name!r} of pixeltune {verb}{suggestion(str(name), known)}"
            )
    return config
