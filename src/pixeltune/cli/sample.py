"""``pixeltune sample``."""

from __future__ import annotations

import importlib.util
from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "training rows from a model's own answers: right ones, likely ones, pairs, labels"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation import defaults
    from pixeltune.evaluation.picking import KEEPS
    from pixeltune.model.precision import DTYPES
    from pixeltune.tasks.own import MAX_NEW_TOKENS, SCORES

    parser.add_argument("--task", help="whose training rows are asked, or package.module:TASK")
    parser.add_argument(
        "--data", help="folder of a benchmark's files (none: the hub), or your own rows, as eval takes them"
    )
    parser.add_argument(
        "--columns", nargs="+", default=(), help="of them that have other names: prompt=question"
    )
    parser.add_argument("--score", choices=SCORES, help="of your own rows (none: chosen where it is plain)")
    parser.add_argument("--reward", help="package.module:function that scores your own rows instead")
    parser.add_argument(
        "--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="of an answer to your own rows"
    )
    parser.add_argument("--output", required=True, help="JSONL file to write")
    parser.add_argument(
        "--keep",
        choices=KEEPS,
        default="right",
        help="right: one right answer a prompt (sft); pairs: it over a wrong one (dpo); labels: both, apart (kto); "
        "likeliest: of a prompt's completions the one with the least loss per token (sft)",
    )
    parser.add_argument("--artwork", help="a PNG or a run's folder, with every request")
    parser.add_argument(
        "--instruction", help="words in front instead: a text file, a JSON file with messages, or best"
    )
    parser.add_argument(
        "--samples",
        type=int,
        help=f"answers to each prompt (none: {defaults.SAMPLES}, 0 with --keep likeliest --data)",
    )
    parser.add_argument("--temperature", type=float, default=defaults.TEMPERATURE, help="that is sampled at")
    parser.add_argument("--rows", type=int, default=defaults.ROWS, help="prompts (0: all there are)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, in this process")
    parser.add_argument("--model", default="tiny", help='"tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--dtype", help=f"of its weights: {', '.join(DTYPES)}")
    parser.add_argument(
        "--load_in_8bit", action="store_true", help="quantise it while loading (bitsandbytes)"
    )
    parser.add_argument("--load_in_4bit", action="store_true", help="... to 4 bits, nf4")
    parser.add_argument("--device_map", help="share it out among this machine's devices, for example: auto")
    parser.add_argument(
        "--batch_size", type=int, default=defaults.BATCH_SIZE, help="answers at a time in process"
    )
    parser.add_argument("--engine", help="URL of an OpenAI-compatible engine; none: in this process")
    parser.add_argument("--engine_model", help="the model's name there (none: the only one it serves)")
    parser.add_argument("--api_key", help="for the engine; none is sent otherwise")
    parser.add_argument("--tool_choice", default=defaults.TOOL_CHOICE, help="with tools; none: raw text")
    parser.add_argument("--concurrency", type=int, default=defaults.CONCURRENCY, help="requests at a time")


def run(arguments: Namespace) -> int:
    from pixeltune.model.finding import find_model
    from pixeltune.model.precision import bits_of

    told = vars(arguments).copy()
    bits = bits_of(told.pop("load_in_8bit"), told.pop("load_in_4bit"))
    if told["rows"] < 0:
        raise UserError("--rows must be at least 1, or 0 for all there are")
    if not told["engine"]:
        if importlib.util.find_spec("torch") is None:
            raise ModuleNotFoundError("a model in this process needs torch", name="torch")
        find_model(told["model"], told["revision"])
    from pixeltune.evaluation.sampled import provenance_path
    from pixeltune.evaluation.sampling import sample

    told["rows"] = told["rows"] or None
    made = sample(bits=bits, **told)
    print(made)
    print(made.path)
    print(provenance_path(made.path))
    return int(made.counts["failed"] > 0)
