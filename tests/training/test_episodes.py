"""Episodes with tools: RLOO's, which GRPO plays, and those that engines write turn by turn."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from trl import GRPOTrainer, RLOOTrainer

from pixeltune.cli.train import settings
from pixeltune.engines.replies import EngineError
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.synthetic import calls
from pixeltune.training.paint import Painting, paint
from pixeltune.training.rollouts import EngineRollouts
from test_rollouts import Oracle

SHOP = (
    "--task shop --train_rows 40 --per_device_train_batch_size 8 --learning_rate 0.06 --num_generations 4 "
    "--max_completion_length 96 --score_steps 0 --snapshot_steps 0 --save_strategy no --report_to none "
    "--logging_steps 1 --max_steps 2 --reward test_episodes:varied"
)


def varied(completions, environments, **_):
    """Something to learn whatever the model says."""
    assert {type(one).__name__ for one in environments} == {"Shop"}
    return [float(len(str(turns)) % 7) for turns in completions]


def play(verb: str, folder, flags: str = "") -> Painting:
    beta = "--beta 0" if verb == "rloo" else ""
    return paint(verb, quiet=True, **settings(verb, f"{SHOP} {beta} --output_dir {folder} {flags}".split()))


def test_rloo_plays_episodes_with_the_gradient_of_rloo(bundled, tmp_path, monkeypatch):
    """By TRL's own RLOO loss, for every token, with advantages worked out here; pixels move, weights do not."""
    rewards, batches, seen = [], [], []
    reward, score, loss = (
        getattr(GRPOTrainer, name)
        for name in ("_calculate_rewards", "_generate_and_score_completions", "_compute_loss")
    )

    def keep_rewards(self, *given):
        rewards.append(reward(self, *given))
        return rewards[-1]

    def keep_batch(self, inputs):
        batches.append(score(self, inputs))
        return batches[-1]

    def compare(self, model, inputs):
        mask = inputs["completion_mask"] * inputs["tool_mask"]
        check_advantages(rewards[-1][:, 0], batches[-1]["advantages"])
        alone = inputs["advantages"] * 4 / 3  # of the same batch in another order
        rloo = gradient(self, RLOOTrainer, {**inputs, "completion_mask": mask, "advantages": alone})
        seen.append((mask, rloo, gradient(self, GRPOTrainer, inputs) * 4 / 3))
        return loss(self, model, inputs)

    def gradient(trainer, kind, inputs):
        logps = torch.full(inputs["completion_ids"].shape, -0.5, requires_grad=True)
        compute = loss if kind is GRPOTrainer else kind._compute_loss
        with monkeypatch.context() as patch:
            stand_in = lambda *given, **more: (logps, torch.zeros_like(logps), None)  # noqa: E731
            patch.setattr(trainer, "_get_per_token_logps_and_entropies", stand_in, raising=False)
            old = {"old_logps": (logps.detach() * inputs["completion_mask"]).sum(1)}
            return torch.autograd.grad(compute(trainer, trainer.model, inputs | old), logps)[0]

    def check_advantages(values, advantages):
        groups = values.view(-1, 4)
        others = (groups.sum(1, keepdim=True) - groups) / 3
        torch.testing.assert_close(advantages * 4 / 3, (groups - others).flatten())

    monkeypatch.setattr(GRPOTrainer, "_calculate_rewards", keep_rewards)
    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", keep_batch)
    monkeypatch.setattr(GRPOTrainer, "_compute_loss", compare)
    painting = play("rloo", tmp_path)
    assert painting.finished
    assert len(seen) == 2
    for mask, rloo, ours in seen:
        torch.testing.assert_close(ours, rloo)
        assert not ours[mask == 0].any()
    assert any(ours.any() for *_, ours in seen)
    assert any((one["completion_mask"] * (1 - one["tool_mask"])).any() for one in batches)
    artwork = painting.artwork
    assert artwork.provenance.objective == "rloo"
    assert weights_sha256(load_model("tiny")) == artwork.provenance.base_sha256
    assert (artwork.pixels != 128).any()


class Shopkeeper(Oracle):
    """Asks for a price, and says it; every second time one too high."""

    reads_otherwise = False
    """Whether its template writes later turns in other tokens."""

    def says(self, body: dict, index: int) -> str:
        last = body["messages"][-1]
        if last["role"] == "tool":
            number = next(iter(json.loads(last["content"]).values())) if last["content"][0] == "{" else 0
            return f"Answer: {number + len(self.seen) % 2}"
        item = ["milk", "bread"][index % 2]
        return calls.render({"name": "get_price", "arguments": {"item": item}})

    def respond(self, body: dict) -> dict:
        answer = super().respond(body)
        if self.reads_otherwise and body["messages"][-1]["role"] == "tool":
            answer["prompt_token_ids"] = answer["prompt_token_ids"][:-1]
        return answer


@pytest.fixture
def shopkeeper(bundled):
    with ExitStack() as stack:
        server = stack.enter_context(Shopkeeper(load_processor("tiny")))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        yield server


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_engines_write_every_turn(verb, shopkeeper, tmp_path):
    """A later turn is asked with all that was said, in the very tokens that are trained on, under the live picture."""
    painting = play(verb, tmp_path, f"--rollouts {shopkeeper.url}")
    assert painting.finished
    logs = [entry for entry in painting.history if "loss" in entry]
    assert [entry["sampling/turns_written_here"] for entry in logs] == [0.0, 0.0]
    assert [entry["tools/call_frequency"] for entry in logs] == [1.0, 1.0]
    asked = [body for body, _ in shopkeeper.seen]
    later = [body for body in asked if body["messages"][-1]["role"] == "tool"]
    assert (len(asked) - len(later), len(later)) == (2 * 2, 2 * 8)
    for body in later:
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["user", "assistant", "tool"]
        assert body["messages"][1]["content"].startswith("<tool_call>")
        assert body["n"] == 1
        tools = [tool["function"]["name"] for tool in body["tools"]]
        assert sorted(tools) == ["add_to_list", "calculate", "get_price"]
        assert body["max_tokens"] < 96  # what is left of the whole answer
    pictures = shopkeeper.pictures()
    assert all((one == 128).all() for one in pictures[: len(asked) // 2])
    assert all((one == pictures[-1]).all() and (one != 128).any() for one in pictures[len(asked) // 2 :])
    assert (painting.artwork.pixels != np.asarray(128)).any()


def test_a_turn_that_an_engine_reads_otherwise_is_written_here(shopkeeper, tmp_path):
    shopkeeper.reads_otherwise = True
    painting = play("grpo", tmp_path, f"--rollouts {shopkeeper.url} --max_steps 1")
    (entry,) = [entry for entry in painting.history if "loss" in entry]
    assert entry["sampling/turns_written_here"] == 1.0
    assert np.isfinite(entry["sampling/sampling_logp_difference/max"])
    assert entry["completions/mean_terminated_length"] > 0


def test_engines_are_shown_no_pictures_of_tools():
    rollouts = EngineRollouts(SimpleNamespace(), [], {})
    rollouts.hear((1, 2), [{"role": "tool", "content": "3"}])
    assert rollouts.results == {(1, 2): [{"role": "tool", "content": "3"}]}
    with pytest.raises(EngineError, match="a tool returned a picture"):
        rollouts.hear((1,), [{"role": "tool", "content": [{"type": "image"}]}])
    with pytest.raises(EngineError, match="an environment's reset adds to"):
        rollouts._conversation((5, 1, 2))
    rollouts.sync_weights()
    assert not rollouts.results
