"""The verbs: those that train, and ``eval``, ``check``, ``show``, ``serve``, ``mix``, ``gallery``, ``demo``.

Every verb imports what it needs only when it runs, so that ``show`` and ``--help`` answer at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from pixeltune import __version__
from pixeltune.errors import UserError

VERBS = {
    "sft": "paint an artwork by supervised fine-tuning (TRL's SFTConfig flags plus the artwork's)",
    "dpo": "... from pairs of a chosen and a rejected completion (DPOConfig)",
    "kto": "... from completions labelled good or bad (KTOConfig)",
    "grpo": "... from rewards of the model's own completions (GRPOConfig)",
    "rloo": "... the same with TRL's REINFORCE leave-one-out (RLOOConfig)",
    "distill": "... that does what a prompt in words does (SDFTConfig)",
    "eval": "score a model, or an engine, with and without an artwork",
    "check": "prove that the PNG gives the model exactly the trained pixels; compare an engine",
    "show": "print what an artwork is",
    "serve": "a gateway in front of an engine: every PNG of a folder is a model name",
    "mix": "a weaker or stronger artwork, or the average of several, if it is no worse",
    "gallery": "static pages of runs: pictures, curves, tables, to be opened in a browser",
    "demo": "paint two artworks for the bundled model and show that they work",
}

TRAINING = ("sft", "dpo", "kto", "grpo", "rloo", "distill")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. Expected errors are one line on stderr and status 1."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"pixeltune {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help") or argv[0] not in VERBS:
        print("usage: pixeltune VERB [options]\n")
        print("\n".join(f"  {verb:7} {text}" for verb, text in VERBS.items()))
        print("\n`pixeltune VERB --help` lists a verb's options.")
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    verb, rest = argv[0], argv[1:]
    # PEFT imports it where it is installed, and on CPUs it asks for a faster 4-bit kernel, needed or not.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        if verb in TRAINING:
            from pixeltune.training.paint import run

            return run(verb, rest)
        if verb == "serve":
            from pixeltune.serve.server import run

            return run(rest)
        verbs = {
            "eval": _eval,
            "check": _check,
            "show": _show,
            "mix": _mix,
            "gallery": _gallery,
            "demo": _demo,
        }
        return verbs[verb](rest)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"pixeltune {verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pixeltune {verb}: interrupted", file=sys.stderr)
        return 130
    except ImportError as error:
        extra = {"eval": "eval", "check": "train,eval", "serve": "serve"}.get(verb, "train")
        if verb == "gallery":  # only its maps need the model
            extra = "train,gallery" if any(word.startswith("--maps") for word in rest) else "gallery"
        print(f"pixeltune {verb}: {error}. Run: pip install 'pixeltune[{extra}]'", file=sys.stderr)
        return 1


def _parser(verb: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"pixeltune {verb}", description=VERBS[verb])


def _show(argv: list[str]) -> int:
    parser = _parser("show")
    parser.add_argument("artwork", help="a PNG")
    arguments = parser.parse_args(argv)
    from pixeltune.artwork.artwork import Artwork

    for name, value in Artwork.load(arguments.artwork).describe():
        print(f"{name:14}  {value}")
    return 0


def _check(argv: list[str]) -> int:
    parser = _parser("check")
    parser.add_argument("artwork", help="a PNG")
    parser.add_argument("--model", required=True, help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--engine", help="URL of a running OpenAI-compatible engine, such as http://host/v1")
    parser.add_argument("--engine-model", help="the model's name there (default: the only one it serves)")
    parser.add_argument("--prompts", type=int, default=8, help="prompts to compare an engine on (default 8)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest log-prob gap (default 1e-3)")
    parser.add_argument(
        "--robust", action="store_true", help="also score the artwork after JPEG, resizing, ..."
    )
    parser.add_argument("--task", help="... on this task (default: the one it was painted on)")
    parser.add_argument("--data", help="... with a benchmark's files from this folder (none: the hub)")
    parser.add_argument("--rows", type=int, help="... on so many held-out rows (default 200)")
    parser.add_argument("--output", help="... and write the scores to this JSON file")
    arguments = parser.parse_args(argv)
    if arguments.prompts < 1:
        raise UserError("--prompts must be at least 1")
    wanted = (arguments.task, arguments.data, arguments.rows, arguments.output)
    if not arguments.robust and any(option is not None for option in wanted):
        raise UserError("--task, --data, --rows and --output go with --robust")
    arguments.rows = 200 if arguments.rows is None else arguments.rows
    if arguments.rows < 1:
        raise UserError("--rows must be at least 1")
    from pixeltune.evaluation.check import check

    return check(arguments)


def _eval(argv: list[str]) -> int:
    parser = _parser("eval")
    from pixeltune.evaluation.candidates import SPECS
    from pixeltune.tasks.base import NAMES, is_benchmark

    tasks = f"one or several of {', '.join(NAMES)}; a category stands behind a colon: bfcl:parallel"
    parser.add_argument("--task", nargs="+", required=True, help=f"{tasks}; with --reward, any name")
    parser.add_argument("--data", help="folder of a benchmark's files (none: the hub); with --reward: JSONL")
    parser.add_argument("--reward", help="package.module:function that scores rows of your own")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="of an answer to them (default 512)")
    parser.add_argument("--artwork", help="a PNG that goes with every request; none: text only")
    parser.add_argument("--compare", nargs="+", metavar="SYSTEM", help=f"or several systems: {SPECS}")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows (default 200; 0: all there are)")
    parser.add_argument("--model", default="tiny", help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--dtype", help="of its weights: auto, float32, bfloat16, float16 (default auto)")
    parser.add_argument("--bits", type=int, choices=(4, 8), help="quantise it while loading (bitsandbytes)")
    parser.add_argument("--device-map", help="share it out among this machine's devices, for example: auto")
    parser.add_argument("--batch-size", type=int, default=100, help="rows at a time in process (default 100)")
    parser.add_argument("--engine", help="URL of an OpenAI-compatible engine; none: in this process")
    parser.add_argument("--engine-model", help="the model's name there (default: the only one it serves)")
    parser.add_argument("--api-key", help="for the engine; none is sent otherwise")
    parser.add_argument("--tool-choice", default="none", help='with tools (default "none": raw text)')
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a time (default 16)")
    parser.add_argument("--output", default="runs/eval", help="folder for the report (default runs/eval)")
    arguments = parser.parse_args(argv)
    if min(arguments.concurrency, arguments.batch_size, arguments.max_new_tokens) < 1 or arguments.rows < 0:
        raise UserError("--concurrency, --batch-size, --max-new-tokens must be at least 1, --rows at least 0")
    if arguments.engine and (arguments.dtype or arguments.bits or arguments.device_map):
        raise UserError(
            "--dtype, --bits and --device-map are of a model in this process: start the engine as you want it"
        )
    if arguments.artwork and arguments.compare:
        raise UserError("name the artwork among the systems of --compare, not with --artwork as well")
    if arguments.reward and len(arguments.task) > 1:
        raise UserError("--reward scores one file: give one --task")
    if arguments.data and not arguments.reward and not any(map(is_benchmark, arguments.task)):
        raise UserError("--data is a folder of a benchmark's files; rows of your own need --reward as well")
    from pixeltune.evaluation.evaluate import run

    return run(arguments)


def _mix(argv: list[str]) -> int:
    parser = _parser("mix")
    parser.add_argument("artwork", nargs="+", help="one for --strength, several for their average")
    parser.add_argument("--output", required=True, help="PNG to write")
    parser.add_argument(
        "--strength", type=float, help="0 is the start picture, 1 the artwork, 2 twice the change"
    )
    parser.add_argument("--start", help="--strength: the start picture's file, if it was one of yours")
    parser.add_argument(
        "--task", help="averages are kept if they are no worse on it (default: the artwork's)"
    )
    parser.add_argument("--data", help="folder of a benchmark's files (none: the hub)")
    parser.add_argument("--rows", type=int, default=100, help="held-out rows to score on (default 100)")
    parser.add_argument("--model", default="tiny", help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    arguments = parser.parse_args(argv)
    if arguments.rows < 1:
        raise UserError("--rows must be at least 1")
    from pixeltune.evaluation.mixing import mix

    return mix(arguments)


def _gallery(argv: list[str]) -> int:
    parser = _parser("gallery")
    parser.add_argument("run", nargs="+", metavar="RUN", help="the output_dir of a training verb")
    parser.add_argument("--out", required=True, help="folder to write; a gallery that is there is replaced")
    parser.add_argument(
        "--eval",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="of pixeltune eval, for the index; those inside of a run are found",
    )
    parser.add_argument(
        "--maps",
        type=int,
        default=0,
        metavar="ROWS",
        help="find out which squares matter, on so many rows of the run's task: loads the model (such as 8)",
    )
    parser.add_argument("--model", help="for --maps, where the artwork's own name does not lead to it")
    parser.add_argument("--revision", help="commit or tag of that model on the hub")
    parser.add_argument("--data", help="for --maps: folder of a benchmark's files (none: the hub)")
    arguments = parser.parse_args(argv)
    if arguments.maps < 0:
        raise UserError("--maps is a number of rows, 1 or more")
    from pixeltune.gallery.site import run

    return run(arguments)


def _demo(argv: list[str]) -> int:
    parser = _parser("demo")
    parser.add_argument("--output", default="runs/demo", help="folder to write to (default runs/demo)")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows per task (default 200)")
    parser.add_argument("--steps", type=int, help="optimiser steps per artwork (default: the demo's own)")
    parser.add_argument("--seed", type=int, default=42, help="of the training rows' order (default 42)")
    arguments = parser.parse_args(argv)
    from pixeltune.cli.demo import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
