"""Painting from rows behind contexts: in the loss, in their place, for every verb, and a run is resumed with them."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from transformers import TrainerCallback

from pixeltune.artwork.png import encode_png
from pixeltune.data.contexts import CONTEXTS, read_contexts
from pixeltune.data.placement import place
from pixeltune.data.requests import place_in_request
from pixeltune.errors import UserError
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import mean_loss
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.picture.files import data_url
from pixeltune.tasks.base import find_rows
from pixeltune.tasks.synthetic import calls, sums
from pixeltune.training import histories
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import Painting, paint
from pixeltune.training.preparation import prepare
from pixeltune.training.preview import preview
from pixeltune.training.shares import of_tasks
from pixeltune.training.trainers import connect_engines

EXCHANGE = [
    {"role": "user", "content": "What is 3 + 4?"},
    {"role": "assistant", "content": "Good question!\nI think it is 3.\nAnything else?"},
]
TOLD = {"role": "system", "content": "You are a clerk."}
BARE = {"save_strategy": "no", "snapshot_steps": 0, "score_steps": 0, "held_out_rows": 0, "report_to": "none"}
FEW = BARE | {"train_rows": 4, "per_device_train_batch_size": 4, "learning_rate": 0.06, "logging_steps": 1}


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")


@pytest.fixture
def talk(tmp_path):
    """A file with one context: a system message and an exchange."""
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps({"messages": [TOLD, *EXCHANGE], "kind": "chat"}) + "\n")
    return path


def start():
    return Image.fromarray(Canvas(start_picture("grey", 256, 256)).to_uint8())


def built(verb, talk, out, **settings):
    """A painting that is ready to train, with every row behind the context."""
    given = FEW | {"contexts": talk, "context_share": 1.0, "output_dir": out} | settings
    painting = Painting(verb, *read_settings(verb, given), quiet=True)
    painting.prepare()
    painting.build()
    return painting


def test_the_loss_is_that_of_the_rows_behind_their_context(processor, talk, tmp_path):
    model = load_model("tiny")
    before = weights_sha256(model)
    backend = InProcess(model, processor, start())
    rows = sums.rows("train", 4, 42)
    by_hand = [{**row, "prompt": [TOLD, *EXCHANGE, *row["prompt"]]} for row in rows]
    expected, plain = mean_loss(backend, by_hand), mean_loss(backend, rows)
    assert abs(expected - plain) > 0.05
    given = FEW | {"task": "sums", "max_steps": 1}
    found = paint("sft", quiet=True, contexts=talk, context_share=1, output_dir=tmp_path / "in", **given)
    assert found.history[0]["loss"] == pytest.approx(expected, rel=1e-3)
    assert (found.artwork.pixels != found.first).any()
    assert found.artwork.provenance.base_sha256 == before
    assert found.artwork.provenance.training["contexts"] == {"source": "talks.jsonl", "share": 1}
    alone = paint("sft", quiet=True, output_dir=tmp_path / "alone", **given)
    assert alone.history[0]["loss"] == pytest.approx(plain, rel=1e-3)
    assert "contexts" not in alone.artwork.provenance.training


@pytest.mark.parametrize("task", [sums, calls], ids=["sums", "calls, with tools"])
def test_training_evaluation_and_gateway_give_the_model_the_same_tokens(processor, talk, tmp_path, task):
    """Those of the stock processor, whose image part stands in the context's first user turn."""
    painting = built("sft", talk, tmp_path / "run", task=task.TASK.name)
    (row, *_), model = painting.ready.train_rows, painting.model
    tools = json.loads(row["tools"]) if row.get("tools") else None
    asked = row["prompt"][-1]["content"]
    picture = {
        "role": "user",
        "content": [{"type": "image", "image": start()}, {"type": "text", "text": "What is 3 + 4?"}],
    }
    conversation = [TOLD, picture, EXCHANGE[1], {"role": "user", "content": asked}]
    stock = processor.apply_chat_template(
        conversation, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    stock = list(stock[0] if isinstance(stock[0], list) else stock)
    trained = list(next(iter(painting.trainer.train_dataset))["input_ids"])
    said = processor.tokenizer(row["completion"][0]["content"])["input_ids"]
    assert trained[: len(stock)] == stock
    assert trained[len(stock) :][: len(said)] == said
    live = InProcess(model, processor)
    texts, pictures = live._prompts([row["prompt"]], [tools])
    assert live._batch(texts, pictures, "left")["input_ids"].tolist() == [stock]
    png = InProcess(load_model("tiny"), processor, start())
    texts, pictures = png._prompts([row["prompt"]], [tools])
    assert png._batch(texts, pictures, "left")["input_ids"].tolist() == [stock]
    url = data_url(encode_png(model.get_artwork_image(), {}))
    sent = place_in_request({"messages": row["prompt"]}, "chat/completions", url)["messages"]
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is 3 + 4?"}]
    assert sent == [TOLD, {"role": "user", "content": parts}, *row["prompt"][2:]]


@pytest.mark.parametrize(
    ("verb", "task", "column"),
    [
        ("dpo", "calls", "prompt"),
        ("kto", "calls", "prompt"),
        ("grpo", "sums", "prompt"),
        ("grpo", "calls", "prompt"),  # rendered, because its rows have tools
        ("grpo", "shop", "prompt"),  # an environment's episodes
        ("rloo", "sums", "prompt"),
        ("distill", "sums", "prompt"),
    ],
)
def test_every_verb_puts_its_rows_behind_them(processor, talk, tmp_path, verb, task, column):
    more = {"instruction": "best"} if verb == "distill" else {}
    more |= {"num_generations": 4} if verb in ("grpo", "rloo") else {}
    painting = built(verb, talk, tmp_path / "run", task=task, train_rows=8, **more)
    for row in painting.trainer.train_dataset:
        if isinstance(row[column], list):
            roles = [turn["role"] for turn in row[column][:4]]
            assert roles == ["system", "user", "assistant", "user"]
            text = processor.apply_chat_template(row[column], tokenize=False)
        elif column in row:
            text = row[column]
        first = text.index(painting.block)
        assert text[first:].startswith(painting.block + "What is 3 + 4?")
        assert text.count(painting.block) == 1
        assert text.index("You are a clerk.") < first < text.index("I think it is 3.")
    if verb == "distill":  # the teacher keeps its word, which it would not behind the exchange
        for row in painting.trainer.train_dataset:
            assert "clerk" not in row["privileged_context"]
            assert "I think it is 3." not in row["privileged_context"]
        assert painting.tokens["artwork"] < painting.tokens["words"] + 70  # of the rows alone


SEEN = []


def short(completions, prompts, **columns):
    """A reward of whatever is asked, which keeps that."""
    SEEN.extend(prompts)
    return [-float(len(one[0]["content"])) for one in completions]


@pytest.mark.parametrize("verb", ["grpo", "rloo", "distill"])
def test_what_is_written_in_training_is_written_behind_them(processor, talk, tmp_path, verb):
    """A step is taken, pixels move, and a reward sees the whole conversation."""
    # A high temperature, as behind such an exchange all answers are alike.
    rewarded = {"num_generations": 4, "reward": f"{__name__}:short", "temperature": 3.0}
    more = {"instruction": "best"} if verb == "distill" else rewarded
    more |= {"max_completion_length": 24, "max_steps": 1, "task": "sums"}
    SEEN.clear()
    painting = paint(
        verb, quiet=True, contexts=talk, context_share=1, output_dir=tmp_path / "run", **FEW | more
    )
    assert painting.finished
    assert (painting.artwork.pixels != painting.first).any()
    asked = [turn["content"] for turn in (TOLD, *EXCHANGE)]
    for prompt in SEEN:
        assert [turn["content"].removeprefix(painting.block) for turn in prompt[:3]] == asked
    assert bool(SEEN) == (verb != "distill")


def test_engines_are_sent_the_whole_conversation(processor, talk, tmp_path):
    painting = built("grpo", talk, tmp_path / "run", task="sums", num_generations=4)
    placed = list(painting.trainer.train_dataset)
    connect_engines(painting.trainer, painting.ready, [object()], placed)
    sent = painting.trainer.vllm_generation.conversations
    assert len(sent) == 4
    for (ids, asked), row in zip(sent.items(), sums.rows("train", 4, 42), strict=True):
        assert asked.messages == [TOLD, *EXCHANGE, *row["prompt"]]
        text = processor.apply_chat_template(
            place(asked.messages, painting.block), tokenize=False, add_generation_prompt=True
        )
        assert list(ids) == processor.tokenizer(text)["input_ids"]
        assert asked.tokens == len(ids)


def test_the_row_of_a_preview_stands_behind_its_context(talk):
    shown = str(preview("sft", task="sums", contexts=talk, context_share=1, **FEW))
    assert shown.index("You are a clerk.") < shown.index("What is 3 + 4?") < shown.index("Anything else?")
    assert "4 of 4 rows stand behind one of 1 contexts of" in shown
    shown = str(preview("sft", task="sums", contexts="own", **FEW))
    assert "50% of the rows will stand behind histories, which the model makes when the run begins" in shown


@pytest.fixture
def few_histories(monkeypatch):
    monkeypatch.setattr(histories, "COUNT", 8)


OWN = {"task": "calls", "contexts": "own", "train_rows": 24, "per_device_train_batch_size": 4}
OWN |= {"held_out_rows": 0, "score_steps": 0, "snapshot_steps": 0, "report_to": "none", "learning_rate": 0.06}


def test_histories_are_the_models_own_answers_kept_and_a_run_is_resumed_with_them(
    processor, few_histories, tmp_path, monkeypatch
):
    whole = paint("sft", quiet=True, max_steps=4, save_steps=2, output_dir=tmp_path / "whole", **OWN)
    kept = read_contexts(tmp_path / "whole" / CONTEXTS)
    assert [(one.messages, one.kind) for one in kept] == [
        (one.messages, one.kind) for one in whole.ready.contexts
    ]
    backs = {f"{whose} task, {count} back" for whose in ("the same", "another") for count in (1, 2)}
    assert {one.kind for one in kept} == backs
    for one in kept:
        assert len(one.messages) == 2 * int(one.kind.split()[-2])
    # Greedy answers of the base that sees the start picture; by hand for one of another task, which has no tools.
    (one, *_) = [one for one in kept if one.kind == "another task, 1 back"]
    base = InProcess(load_model("tiny"), processor, start())
    (reply,) = base.complete([one.messages[:1]], [None], histories.LONGEST)
    assert reply.text == one.messages[1]["content"]
    assert one.messages[0]["content"] in [row["prompt"][0]["content"] for row in sums.rows("train", 8, 42)]
    behind = [row for row in whole.ready.train_rows if row.kind]
    assert 4 < len(behind) < 20
    # Killed after two steps: the rest is the same, without asking the model once more.
    args = {**OWN, "max_steps": 4, "save_steps": 2, "output_dir": tmp_path / "half"}
    half = Painting("sft", *read_settings("sft", args), quiet=True)
    half.prepare()
    half.build()
    half.trainer.add_callback(Stop())
    half.train()
    assert half.step == 2
    monkeypatch.setattr(histories, "histories", None)  # calling it would fail
    resumed = paint("sft", quiet=True, resume_from_checkpoint=True, **args)
    assert resumed.finished
    assert (resumed.artwork.pixels == whole.artwork.pixels).all()
    with pytest.raises(UserError, match=r"--context_share was 0.5 and is now 0.6"):
        paint("sft", quiet=True, resume_from_checkpoint=True, **args | {"context_share": 0.6, "max_steps": 6})
    path = tmp_path / "half" / CONTEXTS
    text = path.read_text()
    path.write_text(text.replace("another task", "other task"))
    with pytest.raises(UserError, match=r"--contexts was own \(sha256 \w+\) and is now own \(sha256"):
        paint("sft", quiet=True, resume_from_checkpoint=True, **args | {"max_steps": 6})
    path.unlink()
    with pytest.raises(UserError, match=r"contexts.jsonl is gone, the histories .* or begin anew"):
        paint("sft", quiet=True, resume_from_checkpoint=True, **args | {"max_steps": 6})


class Stop(TrainerCallback):
    """Ends a training at its second step, as a signal would."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 2


def test_answers_that_cannot_stand_in_a_conversation_are_left_out(processor, few_histories, monkeypatch):
    said = iter(["", "<|image_pad|>", "one<|im_end|>two", *["Fine."] * 9])

    class Backend:
        chunk = 100

        def complete(self, conversations, tools, most):
            return [type("Reply", (), {"text": next(said)}) for _ in conversations]

    monkeypatch.setattr(histories, "InProcess", lambda *given: Backend())
    given = read_settings("sft", FEW | {"task": "sums", "contexts": "own", "output_dir": "never"})
    ready = prepare("sft", *given, writes=False)
    art = given[0].artwork(42)
    art.height, art.width = 256, 256
    made = histories.with_histories(ready, *given, art, processor, None, True)
    assert len(made.contexts) == 5
    assert made.notes[-2] == "3 of 8 histories are left out: an answer was empty or held a special token"
    said = iter([""] * 12)
    with pytest.raises(UserError, match=r"says nothing with the start picture .* --contexts a file"):
        histories.with_histories(ready, *given, art, processor, None, True)


@pytest.mark.parametrize(
    ("tasks", "other"), [(["sums"], {"calls"}), (["calls", "sums:0.5"], set()), ([], {"sums", "calls"})]
)
def test_the_other_tasks_of_histories_are_others(tasks, other, few_histories, monkeypatch):
    asked = set()

    class Backend:
        chunk = 100

        def complete(self, conversations, tools, most):
            return [type("Reply", (), {"text": "Fine."}) for _ in conversations]

    def rows(name, *given):
        asked.add(name)
        return find_rows(name, *given)

    monkeypatch.setattr(histories, "find_rows", rows)
    names = [share.name for share in of_tasks(tasks)] if tasks else []
    histories.histories(find_rows("turns", "train", 4, 0), names, 0, Backend())
    assert asked == other


def test_hashes_of_rows_trained_on_are_those_of_the_rows_alone(talk, tmp_path):
    rows = [{"prompt": f"{i} + 1?", "completion": f"{i + 1}"} for i in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = []
    for name, more in (("in", {"contexts": talk, "context_share": 1}), ("alone", {})):
        given = FEW | {"data": tmp_path / "rows.jsonl", "max_steps": 1, "held_out_rows": 2} | more
        paint("sft", quiet=True, output_dir=tmp_path / name, **given)
        kept.append((tmp_path / name / "trained_rows.txt").read_text())
    assert kept[0] == kept[1]
    assert len(kept[0].split()) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<|image_pad|>", "talks.jsonl, line 1: prompt holds '<|image_pad|>'"),
        ("<|im_end|>", "talks.jsonl, line 1: prompt holds '<|im_end|>'"),
    ],
)
def test_special_tokens_in_a_context_are_refused_with_its_line(talk, tmp_path, text, message):
    talk.write_text(json.dumps({"messages": [EXCHANGE[0], {"role": "assistant", "content": text}]}) + "\n")
    given = FEW | {"task": "sums", "contexts": talk, "output_dir": tmp_path / "run"}
    painting = Painting("sft", *read_settings("sft", given), quiet=True)
    with pytest.raises(UserError) as caught:
        painting.prepare()
    assert message in str(caught.value)


def test_what_cannot_have_contexts_is_refused_before_the_model_loads(talk, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    row = {"prompt": "What?", "completion": "That.", "images": ["a.png"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    greeted = [{"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "What?"}]
    (tmp_path / "greeted.jsonl").write_text(json.dumps({"prompt": greeted, "completion": "That."}) + "\n")
    for settings, message in (
        ({"data": tmp_path / "rows.jsonl", "contexts": talk}, "--contexts is for rows of text"),
        ({"task": "sums", "context_share": 0.2}, "--context_share is of --contexts"),
        ({"task": "sums", "contexts": talk, "context_share": 0.0}, "above 0 up to 1, not 0.0"),
        ({"task": "sums", "contexts": talk, "context_share": 1.1}, "above 0 up to 1, not 1.1"),
        (
            {"data": tmp_path / "greeted.jsonl", "contexts": "own"},
            "line 1: its prompt begins with what assistant",
        ),
        ({"task": "sums", "contexts": "nowhere.jsonl"}, "there is no file of contexts nowhere.jsonl"),
    ):
        with pytest.raises(UserError, match=message):
            prepare("sft", *read_settings("sft", FEW | settings | {"output_dir": "never"}), writes=False)
