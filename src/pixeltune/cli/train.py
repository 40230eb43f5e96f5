"""``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` and ``distill``."""

from __future__ import annotations

from pixeltune.cli.given import settings
from pixeltune.cli.help import everything, first_screen
from pixeltune.cli.refusals import check


def run(verb: str, argv: list[str]) -> int:
    """Paint, or show a row with ``--preview``; returns the exit status, 130 where it was interrupted."""
    if "--help" in argv or "-h" in argv:
        print(everything(verb) if "all" in argv else first_screen(verb))
        return 0
    given = settings(verb, argv)
    shows = given.pop("preview", False)
    check(verb, given, writes=not shows)
    if shows:
        from pixeltune.training.preview import preview

        print(preview(verb, **given))
        return 0
    from pixeltune.training.paint import paint

    painting = paint(verb, **given)
    speaks = painting.config.process_index == 0
    if not painting.finished:
        if speaks:
            again = f"--resume_from_checkpoint true --output_dir {painting.output_dir}"
            print(f"Interrupted. Go on with the same flags and: {again}")
        return 130
    tokens = painting.artwork.provenance.training.get("prompt_tokens")
    if tokens and speaks:
        line = "prompt tokens per request: {words} in words, {artwork} with the artwork, {saved} saved"
        print(line.format(**tokens))
    return 0
