"""A picture that a model wears, against the same picture shown to the stock model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pixeltune.data.images import attach
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.model.loading import weights_sha256
from pixeltune.tasks.synthetic import calls, sums, tiles

PICTURE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8))


def asked(task, n: int) -> tuple[list, list]:

    rows = task.rows("test", n, seed=3)
    tools = [json.loads(row["tools"]) if row.get("tools") else None for row in rows]
    return [row["prompt"] for row in rows], tools


def counted(module, work) -> int:
    """How often a module runs, and on how many pictures' patches, while `work` is done."""
    patches = []
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: patches.append(len(args[0])), with_kwargs=True
    )
    work()
    hook.remove()
    return sum(patches)


@pytest.mark.parametrize("task", [calls.TASK, sums.TASK])
def test_it_says_what_the_stock_way_says_and_leaves_the_model_as_it_was(task, model, processor, recwarn):
    talks, tools = asked(task, 12)
    before = weights_sha256(model)
    stock = InProcess(model, processor, PICTURE)
    for _ in range(2):  # once more, on the same model
        with wearing(model, processor, PICTURE) as worn:
            got = worn.complete(talks, tools, 48)
        wanted = stock.complete(talks, tools, 48)
        assert [reply.text for reply in got] == [reply.text for reply in wanted]
        assert [reply.prompt_tokens for reply in got] == [reply.prompt_tokens for reply in wanted]
    assert weights_sha256(model) == before
    assert not [w for w in recwarn if "PEFT" in str(w.message)]
    assert any(
        reply.text != other.text
        for reply, other in zip(got, _plain(model, processor, talks, tools), strict=True)
    )


def _plain(model, processor, talks, tools):
    return InProcess(model, processor).complete(talks, tools, 48)


def test_options_are_scored_alike(model, processor):
    talks, tools = asked(calls, 4)
    options = [["I cannot.", "Sure, with pleasure.", "No."]] * 4
    with wearing(model, processor, PICTURE) as worn:
        got = worn.choose(talks, tools, options)
    assert [reply.text for reply in got] == [
        r.text for r in InProcess(model, processor, PICTURE).choose(talks, tools, options)
    ]


def test_the_picture_is_computed_once_for_all_batches(model, processor):
    """By the tower and by the language model; the stock way computes it for every row."""
    talks, tools = asked(sums, 8)
    tower, text = model.model.visual, model.model.language_model
    batches = [(talks[:4], tools[:4]), (talks[4:], tools[4:])]

    def ask(backend) -> None:
        for batch in batches:
            backend.complete(*batch, 2)

    stock = InProcess(model, processor, PICTURE)
    assert counted(tower, lambda: ask(stock)) == 8 * 256  # patches of 16 x 16
    with wearing(model, processor, PICTURE) as worn:
        inner = worn.model.base_model._layer().base_layer
        assert counted(inner, lambda: ask(worn)) == 256
        layer = text.layers[0]
        seen = []
        hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2].numel()))
        ask(worn)
        hook.remove()
    assert sum(seen) < 8 * 64  # not even one row's picture each


def test_pictures_that_would_be_resized_are_shown_the_stock_way(model, processor):
    picture = PICTURE.resize((300, 200))
    talks, tools = asked(sums, 2)
    with wearing(model, processor, picture) as worn:
        assert worn.picture is picture
        got = [reply.text for reply in worn.complete(talks, tools, 8)]
    assert got == [reply.text for reply in InProcess(model, processor, picture).complete(talks, tools, 8)]


def test_rows_with_pictures_of_their_own(model, processor):

    rows = tiles.rows("test", 4, seed=1)

    talks = [attach(row["prompt"], row["images"]) for row in rows]
    with wearing(model, processor, PICTURE) as worn:
        got = worn.complete(talks, [None] * 4, 12)
    wanted = InProcess(model, processor, PICTURE).complete(talks, [None] * 4, 12)
    assert [reply.text for reply in got] == [reply.text for reply in wanted]
