"""The rows of a painting as TRL's trainers take them, with the artwork in its place."""

from __future__ import annotations

from typing import Any

from PIL import Image
from tqdm import tqdm
from transformers import TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.data.contexts import alone, as_rows
from pixeltune.data.images import check_pictures, place_pictures
from pixeltune.data.instruction import tell
from pixeltune.data.marks import check_marks, turn_marks
from pixeltune.data.messages import Message
from pixeltune.data.origin import origin
from pixeltune.data.placeholders import check_rows, placeholder_tokens
from pixeltune.data.placement import place_row
from pixeltune.data.rendering import check_rendered
from pixeltune.data.tool_errors import failed_turns
from pixeltune.data.tools import tools_of
from pixeltune.data.turns import each_turn
from pixeltune.errors import UserError
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.training import key_tokens
from pixeltune.training.distillation import prompt_tokens, teacher_rows
from pixeltune.training.lengths import check_cut, check_lengths
from pixeltune.training.masks import answer_masks, has_turns
from pixeltune.training.objectives import OBJECTIVES, contrast, rendered
from pixeltune.training.preparation import Preparation


def check(
    ready: Preparation, processor: Any, block: str, config: TrainingArguments, limit: int | None
) -> None:
    """Look at what the model's own processor and chat template make of the rows, before the model loads.

    Args:
        ready: with the rows.
        processor: of the model.
        block: the artwork's placeholder text.
        config: TRL's, whose lengths of rows and answers count.
        limit: tokens of the model's context, None where it is not known.

    Raises:
        UserError: a row quotes a picture token or a mark of turns, or has a picture that the processor cannot
            take, or does not fit into the context, or the template leaves out what it says, or its answer; or
            `max_length` leaves nothing of any answer.
    """
    rows, preprocessor = [*ready.train_rows, *ready.held_out], Preprocessor(processor)
    contexts = as_rows(ready.contexts)  # before rows behind them, which would be named instead
    check_rows([*contexts, *rows], placeholder_tokens(processor, block))
    check_marks([*contexts, *rows], turn_marks(processor))
    check_rendered(contexts, processor)
    pictures = check_pictures(rows, preprocessor.check_picture)
    objective = OBJECTIVES[ready.objective]
    texts = check_rendered(rows, processor, objective.columns[1:])
    if objective.signal == "contrast":
        check_turns(ready.train_rows, processor.tokenizer, config)
    if ready.key_tokens is not None:
        key_tokens.check(ready.train_rows, processor.tokenizer)
    if limit is None:
        return
    generates = objective.signal in ("rewards", "teacher")
    lengths = {
        "pictures": [sum(preprocessor.tokens_of_any(*size) for size in sizes) for sizes in pictures],
        "tokenizer": processor.tokenizer,
        "answer": config.max_completion_length if generates else 0,
        "limit": limit,
    }
    artwork = len(processor.tokenizer(block, add_special_tokens=False)["input_ids"])
    cut = getattr(config, "max_length", None)
    if cut is not None:
        asked = [_asked(row["prompt"], row, processor) for row in ready.train_rows]
        check_cut(ready.train_rows, asked, lengths["pictures"], processor.tokenizer, artwork=artwork, cut=cut)
    check_lengths(rows, texts, artwork=artwork, cut=cut, **lengths)
    if ready.instruction:
        told = [[_asked(tell(alone(row)["prompt"], ready.instruction), row, processor)] for row in rows]
        check_lengths(rows, told, artwork=0, what="the teacher's prompt has ", **lengths)


def check_turns(rows: list[dict], tokenizer: Any, config: TrainingArguments) -> None:
    """Refuse answers of several turns of which TRL would count what tools and users say, too.

    Args:
        rows: of dpo or kto; a task's have no answers yet, and single ones later.
        tokenizer: of the model.
        config: TRL's.

    Raises:
        UserError: naming the row.
    """
    pictures = any(row.get("images") for row in rows)
    for number, row in enumerate(rows):
        if not has_turns(row):
            continue
        where = f"{origin(row, number)}: an answer has several turns"
        if pictures:
            raise UserError(
                f"{where}, and rows have images, so TRL would count what tools say, too: put all but its last "
                "turn into the prompt, or leave images out"
            )
        if getattr(config, "precompute_ref_log_probs", False):
            raise UserError(
                f"{where}, of which --precompute_ref_log_probs would count what tools say: leave it out"
            )
        try:
            answer_masks(row, tokenizer)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def _asked(messages: list[Message], row: dict, processor: Any) -> str:
    return processor.apply_chat_template(
        messages, tools=tools_of(row), tokenize=False, add_generation_prompt=True
    )


def place_rows(
    ready: Preparation,
    art: ArtConfig,
    block: str,
    processor: Any,
    model: Any = None,
    quiet: bool = False,
    reader: Any = None,
) -> tuple[list[dict], dict[str, float] | None]:
    """The rows as the trainer takes them, with the artwork in its place.

    Where rows have pictures of their own, these go through TRL's column ``images`` and the processor, and so
    does a stand-in for the artwork in front of them; else the artwork is text to TRL.

    Args:
        ready: with the rows.
        art: with its size.
        block: the artwork's placeholder text.
        processor: of the model.
        model: whose own answers are what dpo and kto learn to avoid; None leaves a task's rows without them.
        quiet: no progress bar.
        reader: processor of a teacher that is another model; None: the model's own.

    Returns:
        The rows; where a teacher's words are replaced, prompt tokens per request with and without them.
    """
    signal, rows = OBJECTIVES[ready.objective].signal, ready.train_rows
    if signal == "teacher":
        placed = teacher_rows(rows, ready.instruction, block, processor, reader)
        if not ready.instruction:
            return placed, None
        plain = teacher_rows([alone(row) for row in rows], ready.instruction, block, processor, reader)
        return placed, prompt_tokens(plain, processor.tokenizer)
    if signal == "contrast" and not ready.own and model is not None:
        rows = contrasted(ready, art, processor, model, quiet)
    if signal == "completions":
        rows = each_turn(rows, failed_turns) if ready.skip_errors else each_turn(rows)
    if ready.pictures:
        placed = place_pictures(rows, Image.fromarray(art.canvas().to_uint8()))
    else:
        placed = [place_row(row, block) for row in rows]
    if signal == "rewards":
        placed = rendered(placed, processor, environment="environment_factory" in ready.rewards)
    return placed, None


def contrasted(ready: Preparation, art: ArtConfig, processor: Any, model: Any, quiet: bool) -> list[dict]:
    """A task's rows with what the model says by itself, seeing the start picture, where that is wrong."""
    rows, backend = ready.train_rows, InProcess(model, processor, Image.fromarray(art.canvas().to_uint8()))
    with tqdm(total=len(rows), desc="own answers", disable=quiet) as bar:
        habits = score_rows(ready.task, rows, backend, progress=lambda done, _: bar.update(done - bar.n))
    said, scores = zip(*[(r["completions"][0], r["score"]) for r in habits.records], strict=True)
    return contrast(rows, said, scores, OBJECTIVES[ready.objective], art.seed)
