"""Proof that a PNG does what the trained pixels did: in the stock processor, and in a running engine."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

import torch

from pixeltune import robustness
from pixeltune.artwork import Artwork
from pixeltune.base import load_model, load_processor, template_sha256
from pixeltune.placement import PLACEMENT, place_image
from pixeltune.sight import Sight
from pixeltune.tasks import calls, sums


def differences(artwork: Artwork, sight: Sight) -> list[str]:
    """What stands between this artwork and this model's processor; empty if nothing does.

    The size must be one that the processor leaves alone, its constants those that the artwork was trained
    with, the chat template the same, and the trained tensor equal to the PNG's bit for bit.
    """
    found, height, width = [], *artwork.pixels.shape[:2]
    try:
        sight.check_size(height, width)
    except ValueError as error:
        return [str(error)]
    provenance, now = artwork.provenance, sight.constants()
    for name in sorted(now.keys() | provenance.processor.keys()):
        was, is_ = provenance.processor.get(name), now.get(name)
        if was != is_:
            found.append(f"processor {name}: the artwork was trained with {was}, this model has {is_}")
    if provenance.template_sha256 not in (None, template_sha256(sight.processor)):
        found.append("the chat template is not the one the artwork was trained with")
    if provenance.placement != PLACEMENT:
        found.append(f"placement {provenance.placement!r}: this version only knows {PLACEMENT!r}")
    parity = sight.parity(artwork.pixels)
    if not parity.equal:
        found.append(f"the stock processor's pixel_values differ from the trained ones by {parity.max_abs:g}")
    return found


def log_probs(
    model: Any, processor: Any, picture: Any, messages: list[dict], tools: list[dict] | None, said: list[int]
) -> tuple[list[int], list[float]]:
    """Prompt token ids, and the model's own log-probability of each token of ``said`` after that prompt.

    Args:
        model: the stock model.
        processor: its processor.
        picture: PIL picture placed in ``messages``, or None.
        messages: a conversation with an ``image_url`` part where the picture stands.
        tools: OpenAI tools, or None.
        said: token ids of the completion.
    """
    text = processor.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[text], images=[picture] if picture is not None else None, return_tensors="pt").to(
        model.device
    )
    prompt = batch["input_ids"][0].tolist()
    more = torch.tensor([said], device=model.device)
    batch["input_ids"] = torch.cat([batch["input_ids"], more], 1)
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    if "mm_token_type_ids" in batch:
        batch["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(more)], 1)
    with torch.no_grad():
        logits = model(**batch).logits[0, len(prompt) - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(1, more[0][:, None])[:, 0]
    return prompt, chosen.tolist()


def engine_gap(artwork: Artwork, model: Any, processor: Any, engine: Any, prompts: int) -> tuple[float, int]:
    """Largest log-prob gap between a running engine and the model here, over its own greedy completions.

    Args:
        prompts: how many held-out prompts of ``calls`` and ``sums`` to send, each with the artwork.

    Returns:
        The gap in nats, and the number of tokens compared.

    Raises:
        ValueError: the engine saw other prompt tokens than the model here.
    """
    rows = calls.rows("test", -(-prompts // 2)) + sums.rows("test", prompts // 2)
    gap, count = 0.0, 0

    for row in rows:
        tools = json.loads(row["tools"]) if "tools" in row else None
        messages = place_image(row["prompt"], artwork.data_url())
        answer = engine.complete(messages, tools, max_tokens=48, logprobs=True)
        if answer.token_ids is None:
            raise ValueError("the engine returns no token ids, so nothing can be compared: use vLLM")
        prompt, here = log_probs(model, processor, artwork.image, messages, tools, answer.token_ids)
        if answer.prompt_token_ids is not None and answer.prompt_token_ids != prompt:
            raise ValueError(
                f"the engine saw {len(answer.prompt_token_ids)} prompt tokens, the model here {len(prompt)}: "
                "another chat template, or the picture was resized or put elsewhere"
            )
        gaps = [abs(a - b) for a, b in zip(answer.logprobs, here, strict=True)]
        gap, count = max([gap, *gaps]), count + len(gaps)
    return gap, count


def check(arguments: Namespace) -> int:
    """``pixeltune check``: one line per fact, status 1 if anything differs."""
    artwork = Artwork.load(arguments.artwork)
    height, width = artwork.pixels.shape[:2]
    print(f"pixels      {width} x {height}, SHA-256 {artwork.sha256[:16]}..., as recorded")
    engine = None
    if arguments.engine:  # an engine that is not there is reported before anything is loaded
        from pixeltune.engine import Engine

        engine = Engine(arguments.engine, model=arguments.engine_model)
    task, rows = robustness.plan(artwork, arguments) if arguments.robust else (None, [])
    processor = load_processor(arguments.model, arguments.revision)
    sight = Sight(processor)
    problems = differences(artwork, sight)
    for problem in problems:
        print(f"DIFFERS     {problem}")
    if problems:
        return 1
    print(f"size        left alone by {type(processor).__name__}, {sight.tokens(height, width)} image tokens")
    print("processor   constants and chat template as in training")
    print("parity      pixel_values of the PNG equal the trained ones bit for bit")
    if engine is None and task is None:
        return 0
    model = load_model(arguments.model, arguments.revision)
    if task is not None:
        robustness.report(artwork, task, rows, model, processor, arguments.output)
    if engine is None:
        return 0
    gap, count = engine_gap(artwork, model, processor, engine, arguments.prompts)
    verdict = f"{'within' if gap <= arguments.tolerance else 'ABOVE'} {arguments.tolerance:g}"
    print(f"engine      largest log-prob gap {gap:.2e} over {count} tokens, {verdict}")
    return int(gap > arguments.tolerance)
