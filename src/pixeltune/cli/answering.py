"""What ``eval`` and ``sample`` are asked alike: rows of one's own, and who answers."""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser
from typing import Any

from pixeltune.errors import UserError


def add_own_rows(parser: ArgumentParser) -> None:
    """Flags of rows of the user's own."""
    from pixeltune.tasks.own import MAX_NEW_TOKENS, SCORES

    parser.add_argument(
        "--columns", nargs="+", default=(), help="of them that have other names: prompt=question"
    )
    parser.add_argument("--score", choices=SCORES, help="of your own rows (none: chosen where it is plain)")
    parser.add_argument("--reward", help="package.module:function that scores your own rows instead")
    parser.add_argument(
        "--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="of an answer to your own rows"
    )


def add_answerer(parser: ArgumentParser, batch: str) -> None:
    """Flags of the model in this process, or of an engine.

    Args:
        parser: of a verb.
        batch: what of there are so many at a time in process.
    """
    from pixeltune.evaluation import defaults
    from pixeltune.model.precision import DTYPES

    parser.add_argument("--model", default="tiny", help='"tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--dtype", help=f"of its weights: {', '.join(DTYPES)}")
    parser.add_argument(
        "--load_in_8bit", action="store_true", help="quantise it while loading (bitsandbytes)"
    )
    parser.add_argument("--load_in_4bit", action="store_true", help="... to 4 bits, nf4")
    parser.add_argument("--device_map", help="share it out among this machine's devices, for example: auto")
    parser.add_argument(
        "--batch_size", type=int, default=defaults.BATCH_SIZE, help=f"{batch} at a time in process"
    )
    parser.add_argument("--engine", help="URL of an OpenAI-compatible engine; none: in this process")
    parser.add_argument("--engine_model", help="the model's name there (none: the only one it serves)")
    parser.add_argument("--api_key", help="for the engine; none is sent otherwise")
    parser.add_argument("--tool_choice", default=defaults.TOOL_CHOICE, help="with tools; none: raw text")
    parser.add_argument("--concurrency", type=int, default=defaults.CONCURRENCY, help="requests at a time")


def settled(told: dict[str, Any]) -> dict[str, Any]:
    """What was told on the command line as Python takes it, after a look for the model.

    Raises:
        ModuleNotFoundError: torch is not installed, and a model is to answer in this process.
        UserError: there is no such model, or settings contradict each other.
    """
    from pixeltune.model.finding import find_model
    from pixeltune.model.precision import bits_of

    told = dict(told)
    bits = bits_of(told.pop("load_in_8bit"), told.pop("load_in_4bit"))
    if told["rows"] < 0:
        raise UserError("--rows must be at least 1, or 0 for all there are")
    if not told["engine"]:
        if importlib.util.find_spec("torch") is None:
            # Before the rows, which need what the extra "eval" brings: "train" brings that as well.
            raise ModuleNotFoundError("a model in this process needs torch", name="torch")
        find_model(told["model"], told["revision"])
    return told | {"bits": bits, "rows": told["rows"] or None}
