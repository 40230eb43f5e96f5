"""``pixeltune eval``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "score a model, or an engine, with and without an artwork"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation.candidates import SPECS
    from pixeltune.tasks.base import names

    tasks = f"one or several of {', '.join(names())}; a category stands behind a colon: bfcl:parallel"
    parser.add_argument("--task", nargs="+", required=True, help=f"{tasks}; with --reward, any name")
    parser.add_argument("--data", help="folder of a benchmark's files (none: the hub); with --reward: JSONL")
    parser.add_argument("--reward", help="package.module:function that scores rows of your own")
    parser.add_argument("--max_new_tokens", type=int, default=512, help="of an answer to them (default 512)")
    parser.add_argument("--artwork", help="a PNG that goes with every request; none: text only")
    parser.add_argument("--compare", nargs="+", metavar="SYSTEM", help=f"or several systems: {SPECS}")
    parser.add_argument("--rows", type=int, default=200, help="held-out rows (default 200; 0: all there are)")
    parser.add_argument("--model", default="tiny", help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--dtype", help="of its weights: auto, float32, bfloat16, float16 (default auto)")
    parser.add_argument("--bits", type=int, choices=(4, 8), help="quantise it while loading (bitsandbytes)")
    parser.add_argument("--device_map", help="share it out among this machine's devices, for example: auto")
    parser.add_argument("--batch_size", type=int, default=100, help="rows at a time in process (default 100)")
    parser.add_argument("--engine", help="URL of an OpenAI-compatible engine; none: in this process")
    parser.add_argument("--engine_model", help="the model's name there (default: the only one it serves)")
    parser.add_argument("--api_key", help="for the engine; none is sent otherwise")
    parser.add_argument("--tool_choice", default="none", help='with tools (default "none": raw text)')
    parser.add_argument("--concurrency", type=int, default=16, help="requests at a time (default 16)")
    parser.add_argument("--output", default="runs/eval", help="folder for the report (default runs/eval)")


def run(arguments: Namespace) -> int:
    if min(arguments.concurrency, arguments.batch_size, arguments.max_new_tokens) < 1 or arguments.rows < 0:
        raise UserError("--concurrency, --batch_size, --max_new_tokens must be at least 1, --rows at least 0")
    if arguments.engine and (arguments.dtype or arguments.bits or arguments.device_map):
        raise UserError(
            "--dtype, --bits and --device_map are of a model in this process: start the engine as you want it"
        )
    if arguments.artwork and arguments.compare:
        raise UserError("name the artwork among the systems of --compare, not with --artwork as well")
    if arguments.reward and len(arguments.task) > 1:
        raise UserError("--reward scores one file: give one --task")
    from pixeltune.tasks.base import is_benchmark

    if arguments.data and not arguments.reward and not any(map(is_benchmark, arguments.task)):
        raise UserError("--data is a folder of a benchmark's files; rows of your own need --reward as well")
    from pixeltune.evaluation import evaluate

    return evaluate.run(arguments)
