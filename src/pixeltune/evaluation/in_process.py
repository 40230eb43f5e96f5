"""A model in this process that answers, the stock way or wearing an artwork."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

from PIL import Image

from pixeltune.data.images import attached
from pixeltune.data.messages import Message
from pixeltune.data.placement import place, place_image
from pixeltune.errors import UserError
from pixeltune.evaluation.backends import Reply, Tools, image_parts
from pixeltune.evaluation.ends import end_ids, until_end
from pixeltune.evaluation.soft_prompt import generate as generate_behind
from pixeltune.evaluation.soft_prompt import is_soft_prompt


class InProcess:
    """A model in this process: text only, looking at a PNG, or wearing a live adapter.

    Args:
        model: a stock model, or a ``PeftModel``. With an artwork adapter its live picture is used; LoRA and
            soft prompts generate as PEFT makes them.
        processor: the model's processor.
        picture: PIL picture that goes with every request, through the stock processor as an engine would;
            not for an artwork adapter.
        chunk: rows in one batch.

    Raises:
        ValueError: a picture for a model that has a canvas or a soft prompt of its own.
    """

    workers = 1
    sampling: Mapping[str, Any] = {"do_sample": False}
    """How `complete` draws, as keywords of ``generate``."""
    ticked: Callable[[int, int, int], object] | None = None
    """Called at every token of `complete` with how many each row has, how many at most, and the number of rows."""

    def __init__(self, model: Any, processor: Any, picture: Any = None, chunk: int = 100):
        self.model, self.processor, self.picture, self.chunk = model, processor, picture, chunk
        self.block = getattr(model, "art_block", None) if hasattr(model, "peft_config") else None
        self.soft = is_soft_prompt(model)
        if self.soft and picture is not None:
            raise UserError("a soft prompt goes with text alone here: give no picture")
        if self.block and picture is not None:
            raise UserError("a model with an artwork adapter looks at its own canvas: give no picture")

    def complete(
        self, conversations: list[list[Message]], tools: list[Tools], max_new_tokens: int
    ) -> list[Reply]:
        import torch

        begin = time.perf_counter()
        # Left padding puts every completion right behind its prompt; generate insists on it.
        batch = self._batch(*self._prompts(conversations, tools), "left")
        was_training = self.model.training
        self.model.eval()
        tokenizer = self.processor.tokenizer
        ends = end_ids(self.model, tokenizer)
        given = {"max_new_tokens": max_new_tokens, **self.sampling, "eos_token_id": ends or None}
        if tokenizer.pad_token_id is not None:
            given["pad_token_id"] = tokenizer.pad_token_id
        if not self.soft and not _many() and not given.get("do_sample"):
            from pixeltune.evaluation.greedy import greedy

            given["custom_generate"] = greedy
        if self.ticked:
            given["stopping_criteria"] = [_never(self.ticked, max_new_tokens, len(conversations))]
        with torch.no_grad():
            generate = partial(generate_behind, self.model) if self.soft else self.model.generate
            out = generate(**batch.to(self.model.device), **given)
        self.model.train(was_training)
        said = [until_end(ids, ends) for ids in out[:, batch["input_ids"].shape[1] :].tolist()]
        texts = tokenizer.batch_decode([ids for ids, _ in said], skip_special_tokens=False)
        vectors = self.model.active_peft_config.num_virtual_tokens if self.soft else 0
        seconds = time.perf_counter() - begin
        prompts = batch["attention_mask"].sum(1).tolist()
        return [
            Reply(text, prompt + vectors, generated, seconds)
            for text, (_, generated), prompt in zip(texts, said, prompts, strict=True)
        ]

    def choose(
        self, conversations: list[list[Message]], tools: list[Tools], options: list[list[str]]
    ) -> list[Reply]:
        prompts = zip(*self._prompts(conversations, tools), options, strict=True)
        return [self._choose(text, pictures, offered) for text, pictures, offered in prompts]

    def losses(
        self, conversations: list[list[Message]], completions: list[list[Message]], tools: list[Tools]
    ) -> list[tuple[float, int]]:
        """Negative log-probability in nats, and tokens, of what the template makes of each completion.

        Raises:
            UserError: the template writes a prompt otherwise once it is answered.
        """
        texts, pictures = self._prompts(conversations, tools)
        answered = [talk + said for talk, said in zip(conversations, completions, strict=True)]
        wholes, _ = self._prompts(answered, tools, answered=True)
        out = []
        for text, whole, own in zip(texts, wholes, pictures, strict=True):
            if not whole.startswith(text):
                raise UserError("the chat template writes a prompt otherwise once it is answered")
            (found,) = self._log_probs(text, own, [whole.removeprefix(text)])
            out.append((-found[0], found[1]))
        return out

    def prompt_lengths(self, conversations: list[list[Message]], tools: list[Tools]) -> list[int]:
        """Tokens of each prompt, without the artwork's. Needs no model."""
        texts, pictures = self._texts(conversations, tools), [attached(talk) for talk in conversations]
        if any(pictures):
            rows = zip(texts, pictures, strict=True)
            return [self._batch([text], [own], "right")["input_ids"].shape[1] for text, own in rows]
        # Not verbose: that some are longer than the model's context is said by us.
        made = self.processor.tokenizer(texts, add_special_tokens=False, verbose=False)
        return [len(ids) for ids in made["input_ids"]]

    def _prompts(
        self, conversations: list[list[Message]], tools: list[Tools], answered: bool = False
    ) -> tuple[list[str], list[list[Any]]]:
        """Each conversation as text, and the pictures that go with it, the artwork first.

        Raises:
            ValueError: pictures for a soft prompt.
        """
        pictures, artwork = [attached(messages) for messages in conversations], self.picture
        if self.soft and any(pictures):
            raise UserError("a soft prompt goes with text alone here, and the rows have pictures")
        if self.block and any(pictures):
            # A processor expands placeholders that are already expanded once more, so the artwork too goes
            # through it; the adapter shows the model the live one in its place.
            artwork = Image.fromarray(self.model.get_artwork_image())
        if artwork is not None:
            conversations = [image_parts(place_image(messages, "")) for messages in conversations]
            pictures = [[artwork, *own] for own in pictures]
        elif self.block:
            conversations = [place(messages, self.block) for messages in conversations]
        return self._texts(conversations, tools, answered), pictures

    def _texts(
        self, conversations: list[list[Message]], tools: list[Tools], answered: bool = False
    ) -> list[str]:
        return [
            self.processor.apply_chat_template(
                messages, tools=tool, tokenize=False, add_generation_prompt=not answered
            )
            for messages, tool in zip(conversations, tools, strict=True)
        ]

    def _batch(self, texts: list[str], pictures: list[list[Any]], side: str) -> Any:
        given = {"padding": True, "padding_side": side, "return_tensors": "pt"}
        if not any(pictures):  # a processor would miss the picture of the artwork's placeholders
            return self.processor.tokenizer(texts, **given)
        # Not one empty list among others: processors take a flat list for those.
        images = pictures if all(pictures) else [picture for row in pictures for picture in row]
        return self.processor(text=texts, images=images, **given)

    def _choose(self, prompt: str, pictures: list[Any], options: list[str]) -> Reply:
        begin = time.perf_counter()
        found = self._log_probs(prompt, pictures, options)
        best = max(range(len(options)), key=lambda i: found[i][0] / found[i][1])
        first = int(self._batch([prompt], [pictures], "right")["attention_mask"].sum())
        return Reply(options[best], first, found[best][1], time.perf_counter() - begin)

    def log_probs(
        self, conversations: list[list[Message]], tools: list[Tools], texts: list[str]
    ) -> list[tuple[list[int], list[float]]]:
        """Token ids of a text behind each prompt, special tokens kept, and their log-probabilities in nats."""
        asked, pictures = self._prompts(conversations, tools)
        rows = zip(asked, pictures, texts, strict=True)
        return [self._token_log_probs(prompt, own, [text])[0] for prompt, own, text in rows]

    def batch(self, conversations: list[list[Message]], tools: list[Tools]) -> Any:
        """The prompts as tensors on the model's device, padded on the left, as its ``generate`` takes them."""
        return self._batch(*self._prompts(conversations, tools), "left").to(self.model.device)

    def _log_probs(self, prompt: str, pictures: list[Any], texts: list[str]) -> list[tuple[float, int]]:
        """Log-probability in nats, and tokens, of each text behind a prompt."""
        found = self._token_log_probs(prompt, pictures, texts)
        return [(math.fsum(values), len(values)) for _, values in found]

    def _token_log_probs(
        self, prompt: str, pictures: list[Any], texts: list[str]
    ) -> list[tuple[list[int], list[float]]]:
        """Ids of each text's tokens behind a prompt, and their log-probabilities in nats."""
        import torch

        batch = self._batch([prompt + text for text in texts], [pictures] * len(texts), "right")
        first = int(self._batch([prompt], [pictures], "right")["attention_mask"].sum())
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            logits = self.model(**batch.to(self.model.device)).logits
        self.model.train(was_training)
        # From the right: a soft prompt makes the logits longer than the ids, at the front.
        ids, said = batch["input_ids"][:, first:], batch["attention_mask"][:, first:].bool()
        chosen = logits[:, -ids.shape[1] - 1 : -1].float().log_softmax(-1).gather(2, ids[:, :, None])[:, :, 0]
        rows = zip(ids, chosen, said, strict=True)
        return [(row[there].tolist(), values[there].tolist()) for row, values, there in rows]


def _many() -> bool:
    """Whether there are several processes: those that share a model's weights must make equally many passes."""
    import torch.distributed

    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _never(ticked: Callable[[int, int, int], object], limit: int, rows: int) -> Callable[..., Any]:
    """A criterion that stops nothing: transformers asks it at every token, as no other hook of `generate` is."""
    import torch

    tokens = count(1)

    def criterion(ids: Any, scores: Any, **_: Any) -> Any:
        ticked(next(tokens), limit, rows)
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    return criterion


@contextmanager
def wearing(model: Any, processor: Any, picture: Any, chunk: int = 100) -> Iterator[InProcess]:
    """`InProcess` with a picture, whose tokens are computed once for all rows: the model wears it meanwhile.

    It computes what `InProcess(model, processor, picture)` does, the stock way, and is that where the model
    or the picture's size is not one to paint for.

    Args:
        model: a stock model, left as it was found but for ``requires_grad``.
        processor: the model's.
        picture: PIL picture, RGB.
        chunk: rows in one batch.
    """
    if not _paintable(model, processor, picture):
        yield InProcess(model, processor, picture, chunk)
        return
    import numpy as np
    from peft import get_peft_model

    from pixeltune.adapter import ArtConfig, use_processor
    from pixeltune.adapter.guard import art_layer

    use_processor(model, processor)
    worn = get_peft_model(model, ArtConfig(height=picture.height, width=picture.width)).eval()
    try:
        art_layer(worn).canvas().set_picture(np.asarray(picture))
        yield InProcess(worn, processor, chunk=chunk)
    finally:
        worn.unload()


def _paintable(model: Any, processor: Any, picture: Any) -> bool:
    """Whether model, processor and size are ones to paint for."""
    from pixeltune.model.families import vision_tower
    from pixeltune.model.preprocessing import Preprocessor

    try:
        vision_tower(model)
        preprocessor = Preprocessor(processor)
    except UserError:
        return False  # a family that is not supported can still be shown a picture, as any engine would
    return preprocessor.is_identity(picture.height, picture.width)
