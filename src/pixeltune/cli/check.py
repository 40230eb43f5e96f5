"""``pixeltune check``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from pixeltune.errors import UserError

HELP = "prove that the PNG gives the model exactly the trained pixels; compare an engine"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation.defaults import PROMPTS, ROWS, TOLERANCE

    parser.add_argument("artwork", nargs="?", help="a PNG, or the folder of a run")
    parser.add_argument("--model", required=True, help='"tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--engine", help="URL of a running OpenAI-compatible engine, such as http://host/v1")
    parser.add_argument("--engine_model", help="the model's name there (none: the only one it serves)")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="prompts to compare an engine on")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="largest log-prob gap, nats")
    parser.add_argument(
        "--robust", action="store_true", help="also score the artwork after JPEG, resizing, ..."
    )
    parser.add_argument("--task", help="... on this task (none: the one it was painted on)")
    parser.add_argument(
        "--data",
        help="... with a benchmark's files from this folder (none: the hub), or on your own rows' file",
    )
    parser.add_argument("--rows", type=int, help=f"... on so many rows (none: {ROWS})")
    parser.add_argument("--output", help="... and write the scores to this JSON file")
    parser.add_argument(
        "--channel",
        action="store_true",
        help="without an artwork: what the model's vision tower spans, and so whether it can be painted for",
    )


def run(arguments: Namespace) -> int:
    from pixeltune.model.finding import find_model

    if arguments.channel:
        find_model(arguments.model, arguments.revision)  # before the imports
        return _channel(arguments)
    if arguments.artwork is None:
        raise UserError("check which artwork? Give a PNG, or --channel for the model alone")
    robust = (arguments.task, arguments.data, arguments.rows, arguments.output)
    if not arguments.robust and any(option is not None for option in robust):
        raise UserError("--task, --data, --rows and --output go with --robust")
    find_model(arguments.model, arguments.revision)
    from pixeltune.evaluation.check import check
    from pixeltune.evaluation.defaults import ROWS

    found = check(
        arguments.artwork,
        model=arguments.model,
        revision=arguments.revision,
        engine=arguments.engine,
        engine_model=arguments.engine_model,
        prompts=arguments.prompts,
        tolerance=arguments.tolerance,
        robust=arguments.robust,
        task=arguments.task,
        data=arguments.data,
        rows=ROWS if arguments.rows is None else arguments.rows,
    )
    print(found)
    if arguments.output and found.robustness:
        from pixeltune.writing import write_atomically

        scores = json.dumps(found.robustness.as_dict(), indent=2) + "\n"
        print(write_atomically(Path(arguments.output), scores))
    return int(not found.passed)


def _channel(arguments: Namespace) -> int:
    from pixeltune.model.channel import channel
    from pixeltune.model.loading import load_model, load_processor

    model = load_model(arguments.model, arguments.revision)
    print(channel(model, load_processor(arguments.model, arguments.revision)))
    return 0
