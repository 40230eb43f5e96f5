"""``pixeltune mix``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "a weaker or stronger artwork, the sum of several, or their average, if it is no worse"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation.defaults import MIX_ROWS
    from pixeltune.tasks.own import SCORES

    parser.add_argument("artwork", nargs="+", help="one for --strength, several for their --sum or average")
    parser.add_argument("--output", required=True, help="PNG to write")
    parser.add_argument(
        "--strength", type=float, help="0 is the start picture, 1 the artwork, 2 twice the change"
    )
    parser.add_argument(
        "--sum",
        action="store_true",
        help="add up the changes of artworks with one start, each in token cells of its own",
    )
    parser.add_argument("--start", help="--strength, --sum: the start picture's file, if it was one of yours")
    parser.add_argument("--task", help="averages are kept if no worse on it (none: the artwork's own)")
    parser.add_argument(
        "--data", help="or on your own rows' file; with a benchmark a folder of its files (none: the hub)"
    )
    parser.add_argument("--score", choices=SCORES, help="of your own rows (none: chosen where it is plain)")
    parser.add_argument("--reward", help="package.module:function that scores your own rows instead")
    parser.add_argument("--rows", type=int, default=MIX_ROWS, help="held-out rows to score on")
    parser.add_argument("--model", default="tiny", help='"tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")


def run(arguments: Namespace) -> int:
    from pixeltune.cli.output import check_output
    from pixeltune.model.finding import find_model

    check_output(arguments.output, [*arguments.artwork, *([arguments.start] if arguments.start else [])])
    if len(arguments.artwork) > 1 and not arguments.sum:
        find_model(arguments.model, arguments.revision)  # before the imports
    from pixeltune.evaluation.mixing import mix

    made = mix(
        arguments.artwork,
        strength=arguments.strength,
        sum=arguments.sum,
        start=arguments.start,
        task=arguments.task,
        data=arguments.data,
        score=arguments.score,
        reward=arguments.reward,
        rows=arguments.rows,
        model=arguments.model,
        revision=arguments.revision,
    )
    for path, score in zip(arguments.artwork, made.members, strict=False):
        print(f"{score:.3f}  {path}")
    if made.score is not None:
        print(f"{made.score:.3f}  the average of {len(made.artwork.provenance.training['average_of'])}")
    made.artwork.save(arguments.output)
    print(arguments.output)
    return 0
