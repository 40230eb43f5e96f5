"""What the package index shows: the README, without what leads nowhere there."""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

CODE = re.compile(r"(^```.*?^```$)", re.M | re.S)
PARAGRAPH = re.compile(r"(?<=\n)\n")
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?://)")
LINK = re.compile(r"\[([^\[\]]+)\]\((?!https?://)[^)\s]+\)")


class CustomMetadataHook(MetadataHookInterface):
    """`readme` of the metadata; hatchling finds this class by itself."""

    def update(self, metadata: dict) -> None:
        text = index_page(Path(self.root, "README.md").read_text("utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def index_page(readme: str) -> str:
    """A README for a page that has no files beside it: links to files become their words, and paragraphs and
    tables with pictures from files are left out. Blocks of code stay as they are."""
    return "".join(part if part.startswith("```") else _words(part) for part in CODE.split(readme))


def _words(text: str) -> str:
    kept = (paragraph for paragraph in PARAGRAPH.split(text) if not PICTURE.search(paragraph))
    return LINK.sub(r"\1", "\n".join(kept))
