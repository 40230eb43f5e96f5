"""``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` and ``distill``."""

from __future__ import annotations

import argparse
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pixeltune.cli.flags import trl_flags
from pixeltune.cli.parser import Parser, refuse
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

PLAINLY = {
    "max_steps": "Steps of the optimiser.",
    "output_dir": "Folder to write to.",
    "resume_from_checkpoint": "true: go on from the newest checkpoint of output_dir; or a checkpoint's folder.",
}
"""What the first screen of help says where TRL's first sentence does not say what the setting is."""

SCREEN = {
    "what and for whom": (
        "model",
        "task",
        "data",
        "reward",
        "instruction",
        "output_dir",
        "preview",
        "overwrite",
    ),
    "how long and how fast": (
        *("max_steps", "num_train_epochs", "per_device_train_batch_size", "learning_rate", "seed"),
        *("num_generations", "max_completion_length", "rollouts"),
        "resume_from_checkpoint",
    ),
    "how good": ("held_out_rows", "score", "score_steps", "snapshot_steps", "report_to"),
    "the picture": ("image_tokens", "start", "bound", "mask", "style", "licence", "robust"),
    "memory": ("dtype", "load_in_8bit", "load_in_4bit", "device_map", "gradient_checkpointing"),
}
"""The first screen of help: what most people need, by what it is about."""

MAX_CONFIG_BYTES = 1 << 20

SMALL = 64 << 20
"""Bytes of rows that are read twice: once before the imports, so that what is wrong is said at once."""


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
    argv, path = _without_config(list(argv))
    if "--help" in argv or "-h" in argv:
        if "all" not in argv:
            print(_first_screen(verb))
            raise SystemExit(0)
        from pixeltune.training.arguments import defaults

        parser = _parser(verb)
        parser.set_defaults(**defaults(verb))
        print(parser.format_help(), end="")
        raise SystemExit(0)
    _check_flags(argv, verb)
    if path is None:  # else the task, or the rows, may stand in the file
        _check_files(argv, verb)
    parser = _parser(verb)
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

    from pixeltune.training.arguments import find_objective
    from pixeltune.training.settings import PaintArguments

    class Ours(TrlParser):
        """One line in place of a usage of hundreds."""

        def error(self, message: str) -> NoReturn:
            refuse(self, message)

    parser = Ours(
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


def _check_flags(argv: Sequence[str], verb: str) -> None:
    """Refuse a flag that nobody knows before TRL and torch are imported for the others.

    Raises:
        UserError: saying which flag may be meant.
    """
    known = {f"--{name}" for name in (*trl_flags(verb), *_ours(), "preview", "help", "config")}
    for word in argv:
        name = word.partition("=")[0]
        # argparse also takes "--no_x" for what is true by default.
        if word.startswith("--") and name not in known and name.replace("--no_", "--") not in known:
            raise UserError(f"there is no {name}{suggestion(name, known)}. Options: pixeltune {verb} --help")


def _check_files(argv: Sequence[str], verb: str) -> None:
    """Refuse tasks, rows, pictures and models that cannot be used before TRL and torch are imported.

    Raises:
        UserError: as training would, seconds later.
    """
    from pixeltune.data import rows
    from pixeltune.model.finding import find_model
    from pixeltune.picture.files import STARTS, read_picture
    from pixeltune.tasks.base import find_task
    from pixeltune.training.defaults import COLUMNS
    from pixeltune.training.settings import NO_ROWS

    parser = Parser(f"pixeltune {verb}", HELP[verb])
    for name in ("task", "data", "start", "backdrop", "model", "revision"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--also", nargs="+")
    parser.set_defaults(backdrop="#808080", model="tiny", also=[])
    given = parser.parse_known_args(argv)[0]
    if given.task is None and given.data is None:
        raise UserError(NO_ROWS)
    if given.task is not None:
        find_task(given.task)
    elif given.data is not None and (
        not Path(given.data).is_file() or Path(given.data).stat().st_size < SMALL
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are said when the rows are read to be trained on
            rows.read(given.data, COLUMNS[verb])
    if given.start is not None and given.start not in STARTS:
        read_picture(given.start, "start", given.backdrop)
    find_model(given.model, given.revision)
    for name in given.also:
        find_model(name)


def _ours() -> dict[str, Field]:
    """The artwork's and the rows' settings by name."""
    from pixeltune.training.settings import PaintArguments

    return {one.name: one for one in fields(PaintArguments)}


def _first_screen(verb: str) -> str:
    """Help on the artwork's and the rows' settings, and of TRL's the most used. Imports no torch."""
    from pixeltune.training.defaults import DEFAULTS

    texts = {name: (one.metadata.get("help", ""), one.default) for name, one in _ours().items()}
    usual: dict[str, Any] = DEFAULTS[verb] | {"output_dir": f"runs/{verb}", "seed": 42}
    theirs = trl_flags(verb)
    texts |= {n: (PLAINLY.get(n, theirs[n]), usual.get(n)) for n in MOST_USED if n in theirs}
    texts |= {"preview": ("Print one row as it would be trained on, and end.", None)}
    out = [f"usage: pixeltune {verb} [options]", "", HELP[verb].lstrip(". ")]
    for title, names in SCREEN.items():
        out += ["", f"{title}:"]
        for name in names:
            if name not in texts:
                continue  # of another objective
            text, default = texts.pop(name)
            known = "" if default in (None, MISSING, "", False) else f" (default: {default})"
            out.append(
                textwrap.fill(
                    f"{_sentence(text)}{known}",
                    width=110,
                    initial_indent=f"  --{name:29} ",
                    subsequent_indent=" " * 34,
                )
            )
    more = ", ".join(f"--{name}" for name in texts)
    out += ["", textwrap.fill(f"more: {more}", width=110, subsequent_indent="  ")]
    out += [
        "",
        f"All settings, TRL's too: pixeltune {verb} --help all. The same names stand in YAML: --config FILE",
    ]
    return "\n".join(out)


def _sentence(text: str) -> str:
    """The first sentence of a help text."""
    first = text.split(". ")[0].rstrip(".")
    return first if len(first) < 200 else f"{first[:197]}..."


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
