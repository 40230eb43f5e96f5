"""Help of a training verb: a first screen of what most people need, and all there is. Imports no torch."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from pixeltune.cli.flags import Setting, ours, settings_of, theirs
from pixeltune.training.defaults import OBJECTIVE_FACTS

PREVIEW = Setting("preview", bool, "Print one row as it would be trained on, and end.")

PLAINLY = {
    "max_steps": "Steps of the optimiser.",
    "output_dir": "Folder to write to.",
    "resume_from_checkpoint": "true: go on from the newest checkpoint of output_dir; or a checkpoint's folder.",
}
"""What the first screen says where TRL's first sentence does not say what the setting is."""

SCREEN = {
    "what and for whom": (
        "model",
        "task",
        "data",
        "columns",
        "reward",
        "instruction",
        "teacher",
        "output_dir",
        "preview",
        "overwrite",
    ),
    "how long and how fast": (
        *("max_steps", "num_train_epochs", "per_device_train_batch_size", "learning_rate", "seed"),
        *("num_generations", "max_completion_length", "rollouts"),
        "resume_from_checkpoint",
    ),
    "how good": ("held_out_rows", "score", "score_steps", "snapshot_steps", "report_to"),
    "the picture": ("image_tokens", "start", "bound", "mask", "style", "licence", "robust"),
    "memory": ("dtype", "load_in_8bit", "load_in_4bit", "device_map", "gradient_checkpointing"),
}
"""The first screen: what most people need, by what it is about. What a verb does not take is left out."""

ALSO = ("gradient_accumulation_steps", "save_steps", "logging_steps")
"""Of TRL's settings those that are named below the first screen, as all of ours are."""


def first_screen(verb: str) -> str:
    """The artwork's and the rows' settings, and of TRL's the most used."""
    settings = {PREVIEW.name: PREVIEW, **settings_of(verb)}
    out, shown = _head(verb), set()
    for title, names in SCREEN.items():
        out += ["", f"{title}:"]
        for name in names:
            if name in settings and verb in settings[name].verbs:
                out.append(_entry(settings[name], PLAINLY.get(name)))
                shown.add(name)
    rest = [name for name, one in ours().items() if verb in one.verbs and name not in shown]
    more = ", ".join(f"--{name}" for name in (*rest, *ALSO))
    out += ["", textwrap.fill(f"more: {more}", width=110, subsequent_indent="  ")]
    out += [
        "",
        f"All settings, TRL's too: pixeltune {verb} --help all. The same names stand in YAML: --config FILE",
    ]
    return "\n".join(out)


def everything(verb: str) -> str:
    """All settings, with the whole of TRL's own texts."""
    mine = [PREVIEW, *(one for one in ours().values() if verb in one.verbs)]
    out = [*_head(verb), "", "the artwork, and its rows:", *map(_entry, mine)]
    out += ["", "training, as TRL's config has it:"]
    out += [_entry(one, one.help) for one in theirs(verb).values()]
    return "\n".join(out)


def _head(verb: str) -> list[str]:
    return [f"usage: pixeltune {verb} [options]", "", OBJECTIVE_FACTS[verb].help]


def _entry(setting: Setting, text: str | None = None) -> str:
    """A setting with its text, by default all of ours and the first sentence of TRL's, and its default."""
    if text is None:
        text = setting.help if setting.name in ours() else _sentence(setting.help)
    text = text if text.endswith((".", "!", "?")) or not text else f"{text}."
    usual = setting.default
    known = "" if usual in (None, "", []) else f" (default: {_said(usual)})"
    return textwrap.fill(
        f"{text}{known}",
        width=110,
        initial_indent=f"  --{setting.name:29} ",
        subsequent_indent=" " * 34,
        break_long_words=False,
    ) or f"  --{setting.name}"  # fmt: skip


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(text: str) -> str:
    """The first sentence of a help text, whole."""
    return re.split(r"(?<!\be\.g)(?<!\bi\.e)(?<=\.)\s+(?=[A-Z`'\"])", text, maxsplit=1)[0]
