"""``pixeltune pull``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "an artwork from the Hugging Face hub, verified"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("repository", help="owner/name")
    add(
        "--output",
        metavar="PNG|FOLDER",
        help="a PNG for the picture alone, else a folder to make (none: the repository's name)",
    )
    add("--revision", help="branch, tag or commit (none: main)")


def run(arguments: Namespace) -> int:
    from pixeltune.artwork.pull import pull
    from pixeltune.cli.output import check_output

    output = arguments.output or arguments.repository.rpartition("/")[2]
    if output.lower().endswith(".png"):
        check_output(output)
    print(pull(arguments.repository, output, revision=arguments.revision))
    return 0
