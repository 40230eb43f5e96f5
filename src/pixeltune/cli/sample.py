"""``pixeltune sample``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pixeltune.cli.answering import add_answerer, add_own_rows, settled

HELP = "training rows from a model's own answers: right ones, likely ones, pairs, labels"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation import defaults
    from pixeltune.evaluation.picking import KEEPS

    parser.add_argument("--task", help="whose training rows are asked, or package.module:TASK")
    parser.add_argument(
        "--data", help="folder of a benchmark's files (none: the hub), or your own rows, as eval takes them"
    )
    add_own_rows(parser)
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
    add_answerer(parser, "answers")


def run(arguments: Namespace) -> int:
    told = settled(vars(arguments))
    from pixeltune.evaluation.sampled import provenance_path
    from pixeltune.evaluation.sampling import sample

    made = sample(**told)
    print(made)
    print(made.path)
    print(provenance_path(made.path))
    return int(made.counts["failed"] > 0)
