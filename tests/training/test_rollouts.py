"""Rollouts on engines: the picture of this step, shared load, failures, and a real vLLM server."""

from __future__ import annotations

import base64
import io
import threading
from contextlib import ExitStack
from itertools import count, pairwise

import numpy as np
import pytest
from PIL import Image

from pixeltune.cli.train import settings
from pixeltune.engines.replies import EngineError
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls
from pixeltune.training import paint as training
from pixeltune.training.paint import Painting, paint
from test_engine import Canned, choice

GRPO = (
    "--task calls --report_to none --score_steps 0 --snapshot_steps 1 --train_rows 40 --max_steps 4 "
    "--num_generations 4 --per_device_train_batch_size 8 --max_completion_length 8 --learning_rate 0.06 "
    "--save_strategy no --logging_steps 1"
)


class Oracle(Canned):
    """An engine that tokenizes prompts as the bundled model does, and answers now rightly, now wrongly."""

    def __init__(self, processor, fails_after: int | None = None, hangs_up: bool = False) -> None:
        super().__init__()
        self.processor, self.fails_after, self.hangs_up = processor, fails_after, hangs_up
        self.answer, self.kept = self.respond, {}
        self.whole: list[bool] = []  # whether the bytes of a picture came
        self.numbers, self.turn = count(1), threading.Lock()

    def respond(self, body: dict) -> dict:
        with self.turn:  # requests come side by side
            if self.fails_after is not None and next(self.numbers) > self.fails_after:
                if self.hangs_up:
                    raise ConnectionAbortedError("without an answer")
                return {"status": 503, "error": {"message": "overloaded"}}
        for part in image_urls(body):
            self.whole.append(part["image_url"] is not None)
            if "uuid" in part:  # as vLLM keeps pictures
                part["image_url"] = self.kept.setdefault(part["uuid"], part["image_url"])
        messages = image_parts(body["messages"])
        text = self.processor.apply_chat_template(
            messages, tools=body.get("tools"), tokenize=False, add_generation_prompt=True
        )
        prompt = self.processor(text=[text], images=[pictures(body)])["input_ids"][0]
        tokenizer = self.processor.tokenizer
        choices = []
        for index in range(body.get("n", 1)):
            ids = tokenizer(self.says(body, index) + "<|im_end|>")["input_ids"]
            content = [{"token": "", "logprob": -1.0, "bytes": None, "top_logprobs": []} for _ in ids]
            choices.append(choice("", token_ids=ids, logprobs={"content": content}) | {"index": index})
        return {"choices": choices, "prompt_token_ids": list(prompt)}

    def says(self, body: dict, index: int) -> str:
        return ["No.", "Yes."][index % 2]

    def pictures(self) -> list[np.ndarray]:
        return [np.asarray(pictures(body)[0]) for body, _ in self.seen]


def pictures(body: dict) -> list[Image.Image]:
    """Those of a request, in order."""
    urls = [part["image_url"]["url"] for part in image_urls(body)]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def image_urls(body: dict) -> list[dict]:
    """The parts of a request that hold them."""
    parts = [part for m in body["messages"] if isinstance(m["content"], list) for part in m["content"]]
    return [part for part in parts if part["type"] == "image_url"]


def says_yes(completions, **_) -> list[float]:
    return [float("Yes" in text) for text in completions]


@pytest.fixture
def oracles(bundled):
    """Makes engines that run until the test ends."""
    with ExitStack() as stack:

        def start(**settings) -> Oracle:
            server = stack.enter_context(Oracle(load_processor("tiny"), **settings))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


def run(verb: str, folder, *engines: str, flags: str = "") -> Painting:
    words = f"{GRPO} --reward test_rollouts:says_yes --output_dir {folder} {flags}".split()
    if engines:
        words += ["--rollouts", *engines]
    return paint(verb, quiet=True, **settings(verb, words))


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_every_request_carries_the_picture_of_its_step(verb, oracles, tmp_path):
    """The classic silent bug is rollouts on the first picture. Two engines share the questions."""
    one, two = oracles(), oracles()
    painting = run(verb, tmp_path, one.url, two.url)
    assert painting.finished
    artwork = painting.artwork
    assert len(one.seen) == len(two.seen) == 4  # 4 steps of 2 questions
    steps = [np.asarray(Image.open(tmp_path / f"snapshots/step-{step:06d}.png")) for step in range(5)]
    for server in (one, two):
        for sent, live in zip(server.pictures(), steps, strict=False):
            assert (sent == live).all()
    assert all((a != b).any() for a, b in pairwise(steps))
    assert (artwork.pixels == steps[-1]).all()
    body = one.seen[0][0]
    assert (body["n"], body["temperature"], body["top_p"], body["top_k"]) == (4, 1.0, 1.0, -1)


def test_where_pictures_are_kept_by_name_that_of_a_step_travels_once(oracles, tmp_path):
    """Shown before the questions, which come at the same time; each still looks at the picture of its step."""
    engine = oracles()
    engine.models = b'{"data": [{"id": "one", "object": "model", "owned_by": "vllm"}]}'
    assert run("grpo", tmp_path, engine.url).finished
    assert engine.whole == [True, False, False] * 4
    assert ["n" in body for body, _ in engine.seen] == [False, True, True] * 4
    for number, sent in enumerate(engine.pictures()):
        live = Image.open(tmp_path / f"snapshots/step-{number // 3:06d}.png")
        assert (sent == np.asarray(live)).all()


def test_an_engine_that_fails_is_stepped_over(oracles, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "RETRIES", 1)
    well, dying = oracles(), oracles(fails_after=2)
    assert run("grpo", tmp_path, dying.url, well.url).finished
    assert len(well.seen) == 6  # its own four, and the two that the other one refused


@pytest.mark.parametrize(("hangs_up", "message"), [(False, "overloaded"), (True, "nobody answers there")])
def test_without_an_engine_that_answers_a_checkpoint_resumes(
    hangs_up, message, oracles, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "RETRIES", 1)
    last = oracles(fails_after=5, hangs_up=hangs_up)  # the sixth request is the second of the third step
    with pytest.raises(EngineError, match=rf"{message}.*Step 2 is saved.*--resume_from_checkpoint true"):
        run("grpo", tmp_path, last.url)
    assert len(last.seen) == 5 + 1 + 1  # with one retry
    assert not (tmp_path / "artwork.png").exists()
    painting = run("grpo", tmp_path, oracles().url, flags="--resume_from_checkpoint true")
    assert painting.finished
    assert painting.artwork.provenance.steps == 4


def test_what_an_engine_cannot_serve_is_refused(oracles, tmp_path):
    server = oracles()
    with pytest.raises(ValueError, match=r"temperature=0\.7: an engine reports log-probs before"):
        run("grpo", tmp_path, server.url, flags="--temperature 0.7")
    with pytest.raises(ValueError, match="sft does not use --rollouts; grpo and rloo do"):
        paint("sft", task="calls", rollouts=[server.url])
    with pytest.raises(EngineError, match="nobody answers there"):
        run("grpo", tmp_path, "http://127.0.0.1:9")
    honest = server.answer
    server.answer = lambda body: honest(body) | {"prompt_token_ids": [1, 2, 3]}
    with pytest.raises(EngineError, match=r"3 tokens of a prompt that has .*its own chat template"):
        run("grpo", tmp_path, server.url)
    server.answer = lambda body: {"choices": honest(body)["choices"][:1], "prompt_token_ids": []}
    with pytest.raises(EngineError, match="returned 1 answers where 4 were asked for"):
        run("grpo", tmp_path, server.url)
    assert not list(tmp_path.rglob("artwork.png"))


@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_colocated_vllm_sees_the_live_picture(verb, bundled, tmp_path, monkeypatch):
    """A stand-in with the two methods TRL calls; it was not run with vLLM itself, which needs a GPU."""
    from trl.trainer import grpo_trainer, rloo_trainer

    seen, synchronised = [], []

    class Stub:
        def __init__(self, **_): ...

        def sync_weights(self) -> None:
            synchronised.append(True)

        def generate(self, prompts, images, num_generations, profiler=None) -> tuple:
            seen.append([np.asarray(image) for (image,) in images])
            ids = [load_processor("tiny").tokenizer(text)["input_ids"] for text in ("No.", "Yes.")]
            said = [ids[number % 2] for number in range(len(prompts))]
            return prompts, said, [[[-1.0]] * len(one) for one in said], None

    for module in (grpo_trainer, rloo_trainer):
        monkeypatch.setattr(module, "VLLMGeneration", Stub)
        monkeypatch.setattr(module, "is_vllm_available", lambda: True, raising=False)
    run(verb, tmp_path, flags="--use_vllm true --vllm_mode colocate")
    assert not synchronised
    assert len(seen) == 4
    for step, pictures in enumerate(seen):
        live = np.asarray(Image.open(tmp_path / f"snapshots/step-{step:06d}.png"))
        assert len(pictures) == 8
        assert all((one == live).all() for one in pictures)
    with pytest.raises(ValueError, match="pushes weights"):
        run(verb, tmp_path, flags="--use_vllm true --vllm_mode server")


REAL = (
    "--task calls --report_to none --score_steps 0 --snapshot_steps 0 --train_rows 300 --save_strategy no "
    "--per_device_train_batch_size 32 --max_completion_length 48 --learning_rate 0.06 --logging_steps 1"
)


def gaps(trainer_log: list[dict]) -> list[float]:
    return [entry["sampling/sampling_logp_difference/max"] for entry in trainer_log]


def test_grpo_on_a_real_vllm_server_lifts_the_held_out_score(vllm_url, tmp_path, monkeypatch):
    """The engine never restarts; each step its log-probs are those of the live picture, to 1e-3."""
    log = logs_of(monkeypatch)
    words = f"{REAL} --max_steps 8 --output_dir {tmp_path} --rollouts {vllm_url}".split()
    painting = paint("grpo", quiet=True, **settings("grpo", words))
    assert painting.finished
    artwork = painting.artwork
    assert len(gaps(log)) == 8
    assert max(gaps(log)) < 1e-3
    assert all(abs(entry["sampling/importance_sampling_ratio/mean"] - 1) < 1e-2 for entry in log)
    rows, model, processor = calls.rows("test", 60, seed=5), load_model("tiny"), load_processor("tiny")
    grey = Image.new("RGB", artwork.size[::-1], (128, 128, 128))
    before = score_rows(calls.TASK, rows, InProcess(model, processor, grey))
    after = score_rows(calls.TASK, rows, InProcess(model, processor, artwork.image))
    assert after.ci95[0] > before.ci95[1]


def test_rollouts_on_a_stale_picture_show_in_the_logged_gap(vllm_url, tmp_path, monkeypatch):
    """What the gap is for: were the first picture sent for ever, it would open after one step."""
    from pixeltune.adapter.model import ArtModel

    log, live = logs_of(monkeypatch), ArtModel.get_artwork_image
    first = []

    def stale(self):
        first.append(live(self))
        return first[0]

    monkeypatch.setattr(ArtModel, "get_artwork_image", stale)
    words = f"{REAL} --max_steps 3 --output_dir {tmp_path} --rollouts {vllm_url}".split()
    with pytest.raises(RuntimeError, match="not one pixel changed"):  # it looks at the stale one, too
        paint("grpo", quiet=True, **settings("grpo", words))
    assert gaps(log)[0] < 1e-3
    assert min(gaps(log)[1:]) > 0.1


def test_rloo_logs_the_gap_of_whole_completions(vllm_url, oracles, tmp_path, monkeypatch):
    log = logs_of(monkeypatch, "RLOOTrainer", "sampling/sequence_logp_difference/max")
    words = f"{REAL} --max_steps 2 --output_dir {tmp_path} --rollouts {vllm_url} --refill_rounds 1".split()
    paint("rloo", quiet=True, **settings("rloo", words))
    assert len(log) == 2
    assert all(0 < entry["sampling/sequence_logp_difference/max"] < 1e-2 for entry in log)
    run("rloo", tmp_path / "other", oracles().url)  # an engine that makes its log-probs up
    assert len(log) == 2 + 4
    assert all(entry["sampling/sequence_logp_difference/mean"] > 0.1 for entry in log[2:])


def logs_of(
    monkeypatch, trainer: str = "GRPOTrainer", key: str = "sampling/sampling_logp_difference/max"
) -> list[dict]:
    """What a trainer of TRL logs at its steps."""
    import trl

    log, original = [], getattr(trl, trainer).log

    def keep(self, logs, *rest, **options):
        original(self, logs, *rest, **options)
        if key in self.state.log_history[-1]:
            log.append(dict(self.state.log_history[-1]))

    monkeypatch.setattr(getattr(trl, trainer), "log", keep)
    return log
