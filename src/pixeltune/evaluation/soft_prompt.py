"""Generating behind PEFT's soft prompts on models of the Qwen-VL family, for fair comparisons with them.

PEFT drops the position ids that `generate` has prepared. Qwen's backbone then makes them from the attention
mask, for all tokens of the sequence also where it is given only the newest, which fails on a padded batch
(PEFT 0.21, transformers 5.19; huggingface/transformers#42508 mended an earlier form of it).
`tests/benchmarks/test_accuracy.py` notices when that is no longer so.
"""

from __future__ import annotations

from typing import Any


def is_soft_prompt(model: Any) -> bool:
    """Whether a model wears one of PEFT's methods that put trained vectors in front of the text."""
    config = getattr(model, "active_peft_config", None)
    return config is not None and config.is_prompt_learning


def generate(model: Any, input_ids: Any, attention_mask: Any, **kwargs: Any) -> Any:
    """`generate` behind a soft prompt: the vectors go to the model's own `generate` as embeddings.

    Args:
        model: a ``PeftModel`` with prompt tuning.
        input_ids: `(rows, tokens)` int64, padded on the left; text without pictures.
        attention_mask: of the same shape.
        kwargs: of `generate`.

    Returns:
        Ids of prompts and completions, `(rows, tokens + new)`, as `generate` gives them without vectors.
    """
    import torch

    base, texts = model.get_base_model(), model.word_embeddings(input_ids)
    vectors = model.get_prompt(batch_size=len(input_ids)).to(texts.dtype)
    kwargs.pop("mm_token_type_ids", None)  # of the texts alone; there are no pictures
    mask = torch.cat([attention_mask.new_ones(vectors.shape[:2]), attention_mask], 1)
    before = getattr(base.model, "rope_deltas", None)
    try:
        said = base.generate(inputs_embeds=torch.cat([vectors, texts], 1), attention_mask=mask, **kwargs)
    finally:
        if hasattr(base.model, "rope_deltas"):
            base.model.rope_deltas = before  # generate leaves one for its own batch
    return torch.cat([input_ids, said], 1)
