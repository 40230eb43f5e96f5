"""The keys of a saved artwork: the same whatever the adapter was called, and checked before they are loaded.

In the model a canvas lies at `....art_canvas.NAME.paint.pixels`, in a checkpoint at
`....art_canvas.paint.pixels`. PEFT's own rule takes a name away only where it stands next to last.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from pixeltune.adapter.layer import ArtLayer
from pixeltune.errors import UserError

# A canvas's own part of a saved key.
_PART = re.compile(r"\.art_canvas\.(paint\.[^.]+|start|mask)$")


def saved_key(key: str, adapter_name: str) -> str:
    """A key of the model without the adapter's name; keys that are no canvas's stay as they are."""
    before, mark, part = key.partition(".art_canvas.")
    return before + mark + part.removeprefix(f"{adapter_name}.")


def canvas_state(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """All of one canvas by the model's keys: from `state`, which a trainer may have gathered, else the model.

    PEFT has taken everything out of `state` that looks like another adapter's, which is all of this one where
    the other is called like a part of the model ("visual", "paint").
    """
    return {key: state.get(key, value) for key, value in _own(model, adapter_name).items()}


def loaded_state(model: nn.Module, adapter_name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's state by the model's keys. Where the tower lies in the base does not matter.

    Raises:
        ValueError: the canvas of the adapter is missing in the checkpoint, or it is of another size, another
            parametrisation, or with a mask where the config has none.
    """
    own = _own(model, adapter_name)
    keys = {key.rpartition(f".art_canvas.{adapter_name}.")[2]: key for key in own}
    found = {match[1]: key for key in state if (match := _PART.search(key))}
    remedy = "Save the adapter again from the model that was painted, or paint it anew"
    if missing := sorted(keys.keys() - found.keys()):
        has = f"it holds {', '.join(sorted(found))}" if found else "it holds no artwork at all"
        raise UserError(f"the checkpoint has no {', '.join(missing)} of an artwork, {has}. {remedy}")
    if more := sorted(found.keys() - keys.keys()):
        raise UserError(
            f"the checkpoint holds {', '.join(more)}, for which the settings (adapter_config.json) have no "
            f"place. {remedy}"
        )
    for part, key in keys.items():
        given, wanted = tuple(state[found[part]].shape), tuple(own[key].shape)
        if given != wanted:
            raise UserError(
                f"the checkpoint's {part} is of shape {given}, its settings (adapter_config.json) say "
                f"{wanted}. {remedy}"
            )
    others = {key: value for key, value in state.items() if key not in found.values()}
    return others | {key: state[found[part]] for part, key in keys.items()}


def canvas_parts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint's state what belongs to its one canvas, by the canvas's own names."""
    return {match[1]: value for key, value in state.items() if (match := _PART.search(key))}


def _own(model: nn.Module, adapter_name: str) -> dict[str, Tensor]:
    """The state of one canvas by the model's keys."""
    return {
        f"{name}.art_canvas.{adapter_name}.{part}": value
        for name, layer in model.named_modules()
        if isinstance(layer, ArtLayer)
        for part, value in layer.art_canvas[adapter_name].state_dict().items()
    }
