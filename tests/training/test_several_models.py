"""What happens around the steps of a run for several models: each thing once, for all of them."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

from pixeltune.training import callbacks
from pixeltune.training.joint import Part
from pixeltune.training.settings import PaintArguments
from pixeltune.training.trainers import add_callbacks


class Trainer:
    """Keeps what is added to it."""

    def __init__(self, name, folder):
        self.model, self.log, self.added = name, None, []
        self.args = SimpleNamespace(output_dir=folder, max_tool_calling_iterations=4)

    def add_callback(self, one):
        self.added.append(one)

    def remove_callback(self, kind):
        pass


def test_every_kind_of_callback_is_added_once(tmp_path, monkeypatch):
    """transformers warns of a second one of a class."""
    monkeypatch.setattr("pixeltune.training.trainers.InProcess", lambda model, _: model)
    trainers = {name: Trainer(name, tmp_path) for name in ("one", "two")}
    ready = SimpleNamespace(
        parts=[Part("sums", 1, [], [{}])], held_out=[{}], own=False, style=None, objective="grpo"
    )
    arguments, ledger = PaintArguments(task="sums", turn_budget_steps=5), SimpleNamespace(part=nullcontext)
    add_callbacks(trainers, ready, arguments, None, None, ledger, quiet=False)
    added = trainers["one"].added
    assert len({type(one) for one in added}) == len(added)
    (score,) = (one for one in added if isinstance(one, callbacks.HeldOutScore))
    assert score.backends == {"": "one", "/two": "two"}
    (budget,) = (one for one in added if isinstance(one, callbacks.TurnBudget))
    budget.on_step_begin(None, SimpleNamespace(global_step=5), None)
    assert [one.max_tool_calling_iterations for one in trainers.values()] == [4, 4]


def test_each_model_has_a_score_and_samples_of_its_own(tmp_path, monkeypatch):
    def score_rows(task, rows, backend):
        said = {"id": 0, "prompt": "?", "completions": [backend], "score": 1.0}
        return SimpleNamespace(records=[said], backend=backend)

    monkeypatch.setattr(callbacks, "score_rows", score_rows)
    monkeypatch.setattr(callbacks, "add_ratios", lambda *_: False)
    monkeypatch.setattr(callbacks, "result", lambda records: records[0]["completions"][0])
    monkeypatch.setattr(callbacks, "logged", lambda score: {"held_out_score": score})
    entries, folder = [], tmp_path / "samples"
    score = callbacks.HeldOutScore(
        [Part("sums", 1, [], [{}])], {"": "one", "/two": "two"}, 1, entries.append, folder
    )
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    score.on_train_begin(None, state, SimpleNamespace(should_log=False))
    assert entries == [{"held_out_score": "one"}, {"held_out_score/two": "two"}]
    for file, name in (("step-000000.json", "one"), ("two/step-000000.json", "two")):
        assert json.loads((folder / file).read_text())[0]["completions"] == [name]
