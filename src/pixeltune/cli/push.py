"""``pixeltune push``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "put an artwork on the Hugging Face hub, with its card and its run's adapter"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("artwork", help="PNG, or folder of a run or checkpoint: then the adapter goes along")
    add("repository", help="owner/name, or a name alone of your own; made where there is none")
    add("--private", action="store_true", help="a repository that is made is for you and yours alone")
    add("--revision", metavar="BRANCH", help="made where there is none (none: main)")
    add("--commit_message", metavar="TEXT", help="(none: with the beginning of the picture's hash)")


def run(arguments: Namespace) -> int:
    from pixeltune.artwork.adapter_files import holds_adapter
    from pixeltune.artwork.artwork import Artwork

    artwork, folder = Artwork.load(arguments.artwork), Path(arguments.artwork)
    adapter = folder if folder.is_dir() and holds_adapter(folder) else None
    if adapter is not None:
        _check_same(artwork, adapter)
    print(
        artwork.push_to_hub(
            arguments.repository,
            adapter=adapter,
            commit_message=arguments.commit_message,
            private=arguments.private or None,
            revision=arguments.revision,
        )
    )
    return 0


def _check_same(artwork, folder: Path) -> None:
    """
    Raises:
        UserError: the adapter of a folder is another picture than its PNG.
    """
    from pixeltune.errors import UserError
    from pixeltune.training.export import export

    if export(folder).sha256 != artwork.sha256:
        raise UserError(
            f"{folder} holds a PNG and an adapter that show different pictures: push the PNG alone, or make it "
            f"anew (pixeltune export {folder} --output PNG)"
        )
