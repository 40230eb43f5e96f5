"""Every objective beside SFT: TRL's trainers, unmodified, paint; and what cannot work is refused."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from PIL import Image

from pixeltune.cli.train import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.lookup import find_object
from pixeltune.tasks.synthetic import calls
from pixeltune.training.objectives import OBJECTIVES, contrast, rendered
from pixeltune.training.paint import Painting, paint

SHORT = "--task calls --save_strategy no --snapshot_steps 0 --score_steps 0 --report_to none "
OFFLINE = "--max_steps 16 --train_rows 160 --per_device_train_batch_size 8 --learning_rate 0.06"
ONLINE = "--max_steps 8 --train_rows 300 --per_device_train_batch_size 32 --max_completion_length 48 "
ONLINE += "--learning_rate 0.06"
RUNS = {
    "dpo": OFFLINE,
    "kto": OFFLINE,
    "grpo": ONLINE,
    "rloo": ONLINE,
    "distill": f"{OFFLINE} --max_completion_length 48 --instruction best",
}


def train(verb: str, flags: str, folder) -> Painting:
    return paint(verb, quiet=True, **settings(verb, [*flags.split(), "--output_dir", str(folder)]))


@pytest.mark.parametrize("verb", RUNS)
def test_an_objective_lifts_the_held_out_score_with_one_model_in_memory(bundled, verb, tmp_path, monkeypatch):
    """Pixels moved, base weights did not, and the PNG's score is far outside what the start picture gets.

    DPO and KTO always, RLOO by default, and GRPO here need a reference policy, distillation a teacher: it
    must not be a second model.
    """
    names = [parent.__module__ for parent in OBJECTIVES[verb].trainer.__mro__]
    module = importlib.import_module(next(name for name in names if name.startswith("trl.")))
    monkeypatch.setattr(module, "create_model_from_path", lambda *_, **__: pytest.fail("a second model"))
    flags = SHORT + RUNS[verb] + (" --beta 0.01" if verb == "grpo" else "")
    painting = train(verb, flags, tmp_path)
    assert painting.finished
    artwork = painting.artwork
    assert artwork.provenance.objective == verb
    model, processor = load_model("tiny"), load_processor("tiny")
    assert weights_sha256(model) == artwork.provenance.base_sha256
    start = Canvas(start_picture("grey", *artwork.size)).to_uint8()
    assert np.abs(artwork.pixels.astype(int) - start).mean() > 1
    rows = calls.rows("test", 60, seed=5)
    before = score_rows(calls.TASK, rows, InProcess(model, processor, Image.fromarray(start)))
    after = score_rows(calls.TASK, rows, InProcess(model, processor, artwork.image))
    assert after.ci95[0] > before.ci95[1]


@pytest.mark.parametrize(
    ("verb", "flags", "message"),
    [
        ("grpo", "--data {rows}", "rows of your own have no reward: name one with --reward"),
        ("grpo", "--task turns", "the task turns has no reward"),
        ("grpo", "--task calls --use_vllm true --vllm_mode server", "pushes weights"),
        ("rloo", "--task calls --reward nowhere:nothing", "no reward 'nowhere:nothing'"),
        ("rloo", "--task calls --reward pixeltune.tasks.synthetic.calls:NAME", "not a function or class"),
        ("rloo", "--task shop", "rloo plays episodes with tools without a KL term: give --beta 0"),
        ("grpo", "--task shop --refill_rounds 1", "--refill_rounds exchanges questions, not episodes"),
        ("sft", "--task calls --reward pixeltune.tasks.synthetic.calls:reward", "sft does not use --reward"),
        ("sft", "--task calls --instruction best", "sft does not use --instruction"),
        ("distill", "--task calls", "distill what"),
        ("distill", "--task calls --instruction none.txt", "no instruction file none.txt"),
        ("dpo", "--task turns", "several turns"),
        ("dpo", "--data {rows}", "line 1: chosen must be"),
        ("kto", "--data {rows}", "line 1: label must be there; columns found: completion, prompt"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_loads(verb, flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    rows = tmp_path / "rows.jsonl"
    free = "A text that nobody could be asked to say word for word, and that holds nothing to compare."
    rows.write_text(json.dumps({"prompt": "Call Emma.", "completion": free}) + "\n")
    with pytest.raises(ValueError, match=message):
        train(verb, flags.format(rows=rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def same_for_all(completions, **_):
    """A reward that teaches nothing."""
    return [0.5] * len(completions)


def test_a_training_that_trains_nothing_is_stopped(bundled, tmp_path):
    one = "--num_generations 2 --per_device_train_batch_size 2 --max_completion_length 4 --max_steps 20"
    with pytest.raises(RuntimeError, match=r"every completion was rewarded alike \(0.5\)"):
        train("grpo", SHORT + one + " --train_rows 40 --reward test_objectives:same_for_all", tmp_path / "a")
    few = "--per_device_train_batch_size 2 --train_rows 40 --max_steps 20"
    with pytest.raises(RuntimeError, match="learning_rate is too small"):
        train("sft", SHORT + few + " --learning_rate 1e-7", tmp_path / "b")
    assert not list(tmp_path.rglob("*.png"))


ROWS = [{"prompt": [{"role": "user", "content": str(n)}], "completion": [], "call": "x"} for n in range(3)]


def test_what_the_model_said_wrongly_becomes_what_it_should_not_say():
    pairs = contrast(ROWS, ["a", "b", "c"], [0.0, 1.0, 0.5], OBJECTIVES["dpo"], seed=0)
    assert [(p["prompt"][0]["content"], p["chosen"], p["rejected"][0]["content"]) for p in pairs] == [
        ("0", [], "a"),
        ("2", [], "c"),
    ]
    labelled = contrast(ROWS, ["a", "b", "c"], [0.0, 1.0, 0.5], OBJECTIVES["kto"], seed=0)
    assert sorted((r["prompt"][0]["content"], r["label"]) for r in labelled) == [
        ("0", False),
        ("0", True),
        ("2", False),
        ("2", True),
    ]
    with pytest.raises(ValueError, match="answers every row rightly"):
        contrast(ROWS, ["a"] * 3, [1.0] * 3, OBJECTIVES["dpo"], seed=0)


def test_prompts_with_tools_are_rendered_as_the_template_does(bundled):
    processor = load_processor("tiny")
    (row,) = calls.rows("train", 1)
    tools = json.loads(row["tools"])
    text = processor.apply_chat_template(
        row["prompt"], tools=tools, tokenize=False, add_generation_prompt=True
    )
    assert rendered([row], processor) == [{"prompt": text, "call": row["call"]}]
    assert rendered(ROWS, processor) == [{"prompt": r["prompt"], "call": "x"} for r in ROWS]


def test_a_reward_by_its_dotted_path():
    assert find_object("pixeltune.tasks.synthetic.calls:reward", "reward") is calls.reward
