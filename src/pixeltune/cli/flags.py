"""The flags of TRL's configs, read from their source.

Importing a config takes TRL, transformers and torch, ten seconds and more; a mistyped flag and a page of help
should not. The names and help texts stand in the classes as literals.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

CONFIGS = {
    "sft": "trl/trainer/sft_config.py",
    "dpo": "trl/trainer/dpo_config.py",
    "kto": "trl/trainer/kto_config.py",
    "grpo": "trl/trainer/grpo_config.py",
    "rloo": "trl/trainer/rloo_config.py",
    "distill": "trl/experimental/sdft/sdft_config.py",
}
"""Where a verb's config is defined; all derive from the two of `BASES`."""

BASES = ("trl/trainer/base_config.py", "transformers/training_args.py")


@cache
def trl_flags(verb: str) -> dict[str, str]:
    """Names of the fields of a training verb's TRL config, each with its help text, those of the bases last.

    Raises:
        ModuleNotFoundError: TRL or transformers is not installed.
    """
    flags: dict[str, str] = {}
    for file in (CONFIGS[verb], *BASES):
        for name, text in _fields(_source(file)).items():
            flags.setdefault(name, text)
    return flags


def _source(file: str) -> Path:
    package, _, rest = file.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return Path(spec.submodule_search_locations[0]) / rest


def _fields(path: Path) -> dict[str, str]:
    """Annotated names in the bodies of a file's classes, with the "help" of their metadata."""
    classes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    return {
        node.target.id: _help(node.value)
        for one in classes
        for node in one.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _help(value: ast.expr | None) -> str:
    for node in ast.walk(value) if value is not None else ():
        if isinstance(node, ast.Dict):
            for key, text in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "help" and isinstance(text, ast.Constant):
                    return " ".join(str(text.value).split())
    return ""
