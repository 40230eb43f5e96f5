"""Proof that a PNG does what the trained pixels did: in the stock processor, and in a running engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placement import other_placement, place_image
from pixeltune.data.tools import tools_of
from pixeltune.engines.engine import Engine
from pixeltune.engines.replies import NoLogProbs, RequestRefused
from pixeltune.errors import UserError, escaped
from pixeltune.errors.checking import check_arguments
from pixeltune.evaluation import robustness
from pixeltune.evaluation.agreement import Comparison, compare, greedy
from pixeltune.evaluation.bars import bars, titled
from pixeltune.evaluation.bases import other_base, other_tokens, weights_as_painted
from pixeltune.evaluation.defaults import PROMPTS, ROWS, TOLERANCE
from pixeltune.evaluation.robustness import Robustness
from pixeltune.model.compat.bars import without_bars
from pixeltune.model.finding import public_name
from pixeltune.model.loading import load_model, load_processor, template_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import calls, sums

MAX_TOKENS = 48  # of an answer that is compared


def differences(artwork: Artwork, preprocessor: Preprocessor) -> list[str]:
    """What stands between this artwork and this model's processor; empty if nothing does.

    The size must be one that the processor leaves alone, its constants those that the artwork was trained
    with, the chat template and the number of image tokens the same, and the trained tensor equal to the PNG's
    bit for bit.
    """
    found, height, width = [], *artwork.pixels.shape[:2]
    try:
        preprocessor.check_size(height, width)
    except ValueError as error:
        return [str(error)]
    provenance, now = artwork.provenance, preprocessor.constants()
    for name in sorted(now.keys() | provenance.processor.keys()):
        was, is_ = provenance.processor.get(name), now.get(name)
        if was != is_:
            found.append(f"processor {name}: the artwork was trained with {was}, this model has {is_}")
    if provenance.template_sha256 not in (None, template_sha256(preprocessor.processor)):
        found.append("the chat template is not the one the artwork was trained with")
    if other := other_placement(provenance.placement):
        found.append(other)
    found += other_tokens(artwork, preprocessor)
    parity = preprocessor.parity(artwork.pixels)
    if not parity.equal:
        found.append(f"the stock processor's pixel_values differ from the trained ones by {parity.max_abs:g}")
    return found


def meet(url: str, model: str | None) -> tuple[Engine, bool]:
    """An engine, asked for as much as it can give, and whether that includes log-probs.

    vLLM's extra fields are left out for an engine that refuses them.

    Raises:
        EngineError: nobody answers at ``url``, or not as an OpenAI-compatible engine does.
    """
    hello = [{"role": "user", "content": "hello"}]
    for extras, logprobs in ((True, True), (True, False), (False, True)):
        engine = Engine(url, model=model, extras=extras)
        try:
            engine.complete(hello, max_tokens=1, logprobs=logprobs)
        except (RequestRefused, NoLogProbs):
            continue
        return engine, logprobs
    return Engine(url, model=model, extras=False), False


def ask_engine(
    artwork: Artwork, model: Any, processor: Any, engine: Engine, logprobs: bool, prompts: int
) -> list[Comparison]:
    """A running engine's greedy answers beside those of the model here.

    Args:
        logprobs: ask for them.
        prompts: how many held-out prompts of ``calls`` and ``sums`` to send, each with the artwork.

    Raises:
        EngineError: the engine refuses or is gone.
    """
    rows, found = calls.rows("test", -(-prompts // 2)) + sums.rows("test", prompts // 2), []
    for row in rows:
        tools = tools_of(row)
        messages = place_image(row["prompt"], artwork.data_url())
        asked = partial(engine.complete, messages, tools, max_tokens=MAX_TOKENS, logprobs=logprobs)
        given = (model, processor, artwork.image, messages, tools)
        reference = greedy(*given, MAX_TOKENS)
        comparison = compare(asked(), reference, *given)
        if tools and comparison.prompt == "other number" and engine.tool_choice == "none":
            # An engine may leave tools out of the prompt where none may be called (SGLang does).
            engine.tool_choice = None
            comparison = compare(asked(), reference, *given)
        found.append(comparison)
    return found


def told(found: list[Comparison], tolerance: float) -> tuple[list[str], bool]:
    """What the answers of an engine prove, what they cannot, and whether anything differs.

    A greedy answer may differ where two tokens tie: where the model here finds the engine's token less likely
    than its own by no more than twice the tolerance.

    Args:
        found: from `ask_engine`.
        tolerance: largest log-prob gap in nats that passes.
    """
    lines, bad, n = [], False, len(found)
    prompts = [comparison.prompt for comparison in found]
    if others := sum(prompt in ("other ids", "other number") for prompt in prompts):
        bad = True
        lines.append(
            f"prompt      OTHER tokens in {others} of {n}: another chat template, tools left out, "
            "or the picture was resized or put elsewhere"
        )
    elif None in prompts:
        lines.append("prompt      this engine does not say what it saw")
    elif "same number" in prompts:
        lines.append(f"prompt      as many tokens as here in {n} of {n}; which ones this engine does not say")
    else:
        lines.append(f"prompt      the same token ids in {n} of {n}")
    same = sum(comparison.same for comparison in found)
    by = ", ".join(sorted({comparison.by for comparison in found}))
    lines.append(f"greedy      {same} of {n} answers are the same, by {by}")
    for comparison in found:
        tie = comparison.margin is not None and comparison.margin <= 2 * tolerance
        bad |= not comparison.same and not tie
        if not comparison.same and comparison.margin is not None:
            lines.append(
                f"            one differs first at a token that is {comparison.margin:.2e} less likely here"
                f" than the best{', a tie' if tie else ''}"
            )
    gaps = [gap for comparison in found for gap in comparison.gaps]
    if gaps:
        above = max(gaps) > tolerance
        lines.append(
            f"engine      largest log-prob gap {max(gaps):.2e} over {len(gaps)} tokens, "
            f"{'ABOVE' if above else 'within'} {tolerance:g}"
        )
        bad |= above
    else:
        lines.append("engine      gives no log-probs: a picture seen slightly otherwise would stay unseen")
    return lines, bad


@dataclass(frozen=True)
class Check:
    """What was proved of an artwork, a line a fact. Printed, it is those lines."""

    lines: tuple[str, ...]
    passed: bool
    robustness: Robustness | None = None

    def __repr__(self) -> str:
        facts = "; ".join(" ".join(line.split()) for line in self.lines)
        return (
            f"Check(passed={self.passed}: {facts}{', and scores when distorted' if self.robustness else ''})"
        )

    def __str__(self) -> str:
        return "\n".join([*self.lines, *([str(self.robustness)] if self.robustness else [])])


def check(
    artwork: str | Path | Artwork,
    *,
    model: str,
    revision: str | None = None,
    engine: str | None = None,
    engine_model: str | None = None,
    prompts: int = PROMPTS,
    tolerance: float = TOLERANCE,
    robust: bool = False,
    task: str | Task | None = None,
    data: str | Path | None = None,
    rows: int = ROWS,
    quiet: bool = False,
) -> Check:
    """Prove that a PNG gives the model exactly the trained pixels; compare an engine, score it distorted.

    The model is loaded in the precision that was painted in, and its weights are hashed.

    Args:
        artwork: a PNG, a run's folder, or one that was read.
        model: "tiny" or "smol" (bundled), a hub name or a folder.
        revision: commit or tag of the model on the hub.
        engine: URL of a running OpenAI-compatible engine to compare with the model here.
        engine_model: the model's name there, None for the only one.
        prompts: how many to compare it on.
        tolerance: largest log-prob gap in nats that passes.
        robust: also score the artwork after JPEG, resizing, ...
        task: ... on this task; None: the one it was painted on.
        data: ... with a benchmark's files from this folder (None: the hub), or without a task on your own rows'
            file, against their completions.
        rows: ... on so many held-out rows.
        quiet: no progress bar.

    Raises:
        UserError: the PNG, the model or the task cannot be used.
        EngineError: the engine is not there, or refuses.
    """
    check_arguments(check, locals())
    if min(prompts, rows) < 1:
        raise UserError(f"{'prompts' if prompts < 1 else 'rows'} must be at least 1")
    artwork = artwork if isinstance(artwork, Artwork) else Artwork.load(artwork)
    height, width = artwork.pixels.shape[:2]
    lines = [f"pixels      {width} x {height}, SHA-256 {artwork.sha256[:16]}..., as recorded"]
    asked = meet(engine, engine_model) if engine else None  # one that is not there is reported at once
    given = robustness.task_and_rows(artwork, task, data, rows) if robust else None
    processor = load_processor(model, revision)
    preprocessor, made = Preprocessor(processor), artwork.provenance
    with _loading(model, quiet):
        loaded = None if asked is None and given is None else load_model(model, revision)
        weights = weights_as_painted(made, model, revision, loaded)
    if problems := [*other_base(made, model, weights), *differences(artwork, preprocessor)]:
        differs = (f"DIFFERS     {escaped(problem)}" for problem in problems)
        return Check((*lines, *differs), passed=False)
    tokens = preprocessor.tokens(height, width)
    lines += [
        f"model       {public_name(model)}, {_weighed(weights)}",
        f"size        left alone by {type(processor).__name__}, {tokens} image tokens",
        "processor   constants and chat template as in training",
        "parity      pixel_values of the PNG equal the trained ones bit for bit",
    ]
    if asked is None and given is None:
        return Check(tuple(lines), passed=True)
    scored, passed = None, True
    if given is not None:
        scored = robustness.measure_artwork(artwork, *given, loaded, processor, quiet)
    if asked is not None:
        found = ask_engine(artwork, loaded, processor, *asked, prompts)
        more, bad = told(found, tolerance)
        lines, passed = [*lines, *more], not bad
    return Check(tuple(lines), passed, scored)


@contextmanager
def _loading(model: str, quiet: bool) -> Iterator[None]:
    """A bar of ours while a model is loaded, in place of the libraries'."""
    with without_bars(downloads=quiet), bars(quiet) as bar:
        bar.add_task(titled(f"{model}, loading"), total=None)
        yield


def _weighed(weights: str | None) -> str:
    return (
        "whose weights were not compared"
        if weights is None
        else f"weights SHA-256 {weights[:16]}..., as recorded"
    )
