"""What of a training verb's settings can be refused before torch and TRL are imported.

Nothing is judged here: the functions are those that judge again when the run is prepared, or parts of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

from pixeltune.cli.flags import theirs
from pixeltune.model.finding import find_model
from pixeltune.model.processor_file import read_sizes
from pixeltune.model.sizes import Sizes
from pixeltune.picture.cells import choose_cells
from pixeltune.picture.files import check_mask, read_mask, read_start
from pixeltune.picture.settings import DEFAULT_TOKENS
from pixeltune.tasks.base import find_task
from pixeltune.training import own_rows, preparation
from pixeltune.training.defaults import check_theirs
from pixeltune.training.settings import PaintArguments


def check(verb: str, given: Mapping[str, Any], writes: bool = True) -> None:
    """Refuse settings that cannot be used, within a second or two.

    Args:
        verb: of the command line.
        given: settings by name, of the right types.
        writes: whether the run is to write into its folder.

    Raises:
        UserError: as training would, after the imports or when the model is loaded.
    """
    names = {one.name for one in fields(PaintArguments)}
    arguments = PaintArguments(**{name: said for name, said in given.items() if name in names})
    usual = {name: one.default for name, one in theirs(verb).items()}
    settings = usual | {name: said for name, said in given.items() if name not in names}
    check_theirs(verb, settings)
    # How many processes there are is not known yet.
    config: Any = SimpleNamespace(**settings, world_size=1)
    find_model(arguments.model, arguments.revision)
    for name in arguments.also:
        find_model(name)
    _quietly(preparation.check, verb, arguments, config, writes)
    sizes = read_sizes(arguments.model, arguments.revision)
    if sizes is not None:
        _check_picture(arguments, sizes)
    if arguments.task:
        tasks = {
            share.name: find_task(share.name) for share in arguments.shares
        }  # whose rows may have to be downloaded
    elif own_rows.is_large(arguments):
        return
    else:
        found = _quietly(own_rows.read_each, verb, arguments, config)
        tasks = {name: one.task for name, one in found.items()}
    _quietly(preparation.look_up, verb, tasks, arguments, config)


def _check_picture(arguments: PaintArguments, sizes: Sizes) -> None:
    """
    Raises:
        UserError: the size is none for this model, or the start, the mask or the cells do not fit it.
    """
    if arguments.height is not None and arguments.width is not None:
        size = arguments.height, arguments.width
        sizes.check(*size)
    else:
        count = DEFAULT_TOKENS if arguments.image_tokens is None else arguments.image_tokens
        sizes.check_count(count)
        size = sizes.nearest(count)
    if arguments.start not in ("grey", "noise"):
        read_start(arguments.start, *size, arguments.backdrop, arguments.fit)
    if arguments.mask is not None:
        check_mask(read_mask(arguments.mask, *size, arguments.fit))
    if arguments.cells is not None and sizes.unit:
        tokens = (size[0] // sizes.unit) * (size[1] // sizes.unit) * sizes.each
        choose_cells(arguments.cells, tokens, *size)


def _quietly(read: Any, *arguments: Any) -> Any:
    """Call without warnings: they are said when the rows are read to be trained on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(*arguments)
