"""Rows from a model's own answers, in this process and of an engine."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch

from engine_replies import Replies
from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.data.rows import read_rows
from pixeltune.engines.replies import EngineError
from pixeltune.errors import RunError, UserError
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.drawing import COUNTS, ON_ENGINES, draw
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.picking import Answer, by_prompt
from pixeltune.evaluation.sampled import provenance_path
from pixeltune.evaluation.sampling import sample
from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import sums

CALLS = "docs/images/calls.png"
FEW = {"task": "sums", "rows": 4, "samples": 3, "quiet": True}


def written(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_right_answers_of_a_model_told_in_words_without_the_words(bundled, tmp_path):
    made = sample(**FEW, instruction="best", output=tmp_path / "rows.jsonl")
    rows, prompts = written(made.path), {row["prompt"][0]["content"] for row in sums.rows("train", 4, 0)}
    assert made.counts["rows"] == len(rows) == 4 - made.counts["without"] > 0
    assert {row["prompt"][0]["content"] for row in rows} <= prompts
    known = {row["prompt"][0]["content"]: row for row in sums.rows("train", 4, 0)}
    for row in rows:
        assert row.keys() == {"prompt", "completion"}
        assert [message["role"] for message in row["prompt"]] == ["user"]
        (answer,) = row["completion"]
        assert sums.TASK.score(known[row["prompt"][0]["content"]], answer["content"]) == 1
    assert f"{made.counts['without']} had no right answer" in str(made)
    assert len(read_rows(made.path)) == len(rows)


def test_the_same_seed_gives_the_same_rows_and_says_where_they_are_from(bundled, tmp_path):
    state = torch.get_rng_state()
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        torch.rand(3)  # what was drawn before does not matter
        sample(**FEW, keep="labels", seed=seed, artwork=CALLS, output=path)
    torch.rand(3), torch.set_rng_state(state)
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    about = json.loads(provenance_path(paths[0]).read_text())
    assert about["sha256"] == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert about["artwork_sha256"] == Artwork.load(CALLS).sha256
    assert (about["model"], about["seed"], about["samples"], about["keep"]) == ("tiny", 5, 3, "labels")
    assert about["counts"]["answers"] == 12
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.jsonl{end}" for name in "abc" for end in ("", ".provenance.json")
    }


def test_a_temperature_near_zero_says_what_greedy_says_and_one_of_two_does_not(model, processor):
    groups = by_prompt(sums.rows("train", 6, 0))
    greedy = InProcess(model, processor).complete(
        [group[0]["prompt"] for group in groups], [None] * 6, sums.TASK.max_new_tokens
    )
    texts = [reply.text for reply in greedy]

    def drawn(temperature: float) -> list[str]:
        counts = dict.fromkeys(COUNTS, 0)
        given = (sums.TASK, groups, InProcess(model, processor), [], 1, temperature, 0, (), counts)
        return [found[0].text if found else "" for found in draw(*given, lambda done: None)]

    assert drawn(1e-4) == texts
    assert drawn(2.0) != texts


def test_draws_follow_the_model_s_own_distribution(model, processor):
    """First tokens of 400 draws beside the softmax of the untouched model: no top-k, no top-p."""
    (row,) = sums.rows("train", 1, 0)
    backend = InProcess(model, processor, chunk=400)
    text = processor.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
    batch = processor.tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        wanted = model(**batch).logits[0, -1].double().softmax(-1)
    task = Task(name="one token", max_new_tokens=2, score=lambda row, text: 1.0)
    drawn: list[int] = []

    def generate(**given):
        out = stock(**given | {"max_new_tokens": 1})
        drawn.extend(out[:, -1].tolist())
        return out

    stock = model.generate
    model.generate = generate
    try:
        draw(task, [[row]], backend, [], 400, 1.0, 0, (), dict.fromkeys(COUNTS, 0), lambda done: None)
    finally:
        del model.generate
    seen = torch.bincount(torch.tensor(drawn), minlength=len(wanted)).double() / len(drawn)
    assert len(drawn) == 400
    assert (seen - wanted).abs().max() < 4 * (0.25 / 400) ** 0.5  # four standard deviations of the widest


def test_of_a_pool_the_target_is_kept_that_transformers_finds_likeliest(model, processor, tmp_path):
    pool = [("2 + 3 = ?", said) for said in ("Answer: 5", "zebra zebra", "It is five, of course, my dear.")]
    pool += [("4 + 3 = ?", "Answer: 7"), ("4 + 3 = ?", "Answer: 7")]
    data = tmp_path / "pool.jsonl"
    data.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pool))
    sample(data=data, keep="likeliest", output=tmp_path / "rows.jsonl", quiet=True)
    losses = {}
    for prompt, completion in pool[:3]:
        talk = [{"role": "user", "content": prompt}]
        begin = processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        whole = processor.apply_chat_template(
            [*talk, {"role": "assistant", "content": completion}], tokenize=False
        )
        ids = processor.tokenizer(whole, return_tensors="pt")["input_ids"]
        first = processor.tokenizer(begin, return_tensors="pt")["input_ids"].shape[1]
        labels = ids.clone()
        labels[:, :first] = -100
        with torch.no_grad():
            losses[completion] = model(input_ids=ids, labels=labels).loss.item()
    assert [row["completion"][0]["content"] for row in written(tmp_path / "rows.jsonl")] == [
        min(losses, key=losses.get),
        "Answer: 7",
    ]


def engine(*replies):
    """An engine that says these one after another, and remembers what it was asked with."""
    left, asked = iter(replies), []

    def complete(messages, tools, **options):
        asked.append(options)
        reply = next(left)
        if isinstance(reply, Exception):
            raise reply
        text, tokens = reply
        return SimpleNamespace(text=text, prompt_tokens=5, completion_tokens=tokens, latency=0.1)

    return OnEngine(SimpleNamespace(complete=complete), concurrency=1), asked


def test_what_becomes_of_an_engine_s_answers():
    task = Task(name="t", max_new_tokens=9, score=lambda row, text: float(text == row["answer"]))
    rows = [{"prompt": [{"role": "user", "content": "?"}], "answer": answer} for answer in ("a", "b")]
    backend, asked = engine(("b", 2), ("a", 9), EngineError("gone"), ("a<|im_start|>", 3), ("c", 2))
    counts = dict.fromkeys(COUNTS, 0)
    given = (task, by_prompt(rows), backend, [], 5, 0.7, 0, ("<|im_start|>",), counts)
    assert draw(*given, lambda done: None) == [[Answer("b", True), Answer("c", False)]]
    assert counts == {"answers": 5, "right": 1, "wrong": 1, "failed": 1, "cut": 1, "quoting": 1}
    assert asked[0] == {"max_tokens": 9, "temperature": 0.7, "sampling": ON_ENGINES}


class Says(Replies):
    """An engine called "served" that says "4" and "5" in turns."""

    def do_GET(self):
        self.list_models("served")

    def do_POST(self):
        self.server.asked.append(self.asked())
        self.say("45"[len(self.server.asked) % 2], 1)


def test_pairs_of_an_engine_s_answers_to_rows_of_one_s_own(tmp_path, capsys):
    data, output = tmp_path / "rows.jsonl", tmp_path / "pairs.jsonl"
    data.write_text(
        '{"prompt": "2 + 2 = ?", "completion": "4"}\n{"prompt": "3 + 2 = ?", "completion": "6"}\n'
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    words = f"--engine http://127.0.0.1:{server.server_port} --concurrency 1 --samples 2 --temperature 0.9"
    status = main(
        [
            "sample",
            "--data",
            str(data),
            "--keep",
            "pairs",
            "--output",
            str(output),
            *words.split(),
            "--artwork",
            CALLS,
        ]
    )
    server.shutdown()
    assert status == 0
    assert written(output) == [
        {
            "prompt": [{"role": "user", "content": "2 + 2 = ?"}],
            "chosen": [{"role": "assistant", "content": "4"}],
            "rejected": [{"role": "assistant", "content": "5"}],
        }
    ]
    assert "rows: 1, from 2 prompts; 1 had not both a right and a wrong answer" in capsys.readouterr().out
    assert len(server.asked) == 4
    assert all(body["temperature"] == 0.9 and body["top_k"] == -1 for body in server.asked)
    assert not any("seed" in body for body in server.asked)
    assert "image_url" in json.dumps(server.asked[0])
    about = json.loads(provenance_path(output).read_text())
    assert (about["model"], about["seed"], about["rows_of"]) == ("served", None, "rows.jsonl")


def test_an_engine_that_is_gone_ends_it_and_nothing_is_said_to_be_kept():
    task = Task(name="t", max_new_tokens=9, score=lambda row, text: 1.0)
    backend, _ = engine(*[EngineError("gone")] * 30)
    row = {"prompt": [{"role": "user", "content": "?"}]}
    with pytest.raises(RunError, match="nothing is written") as caught:
        draw(task, [[row]], backend, [], 30, 1.0, 0, (), dict.fromkeys(COUNTS, 0), lambda done: None)
    assert "kept" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("", "ask what?"),
        ("--task calls --data rows.jsonl", "calls makes its own rows"),
        ("--task calls --score exact", "are of rows of your own"),
        ("--task calls --rows -1", "--rows must be at least 1"),
        ("--task calls --samples 0", "--samples must be at least 1"),
        ("--task calls --temperature 0", "must be above 0"),
        ("--task calls --keep likeliest --engine http://127.0.0.1:9", "needs the log-probs of given texts"),
        ("--task calls --artwork a.png --instruction best", "give --artwork or --instruction"),
        ("--task turns", "turns has several turns"),
        ("--task calls --dtype bfloat16 --engine http://127.0.0.1:9", "start the engine as you want it"),
        ("--data rows.jsonl --keep likeliest --instruction best", "best needs a task"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(flags, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert main(["sample", "--output", "out.jsonl", *flags.split()]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "rows.jsonl").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        sample("calls", output=tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="lies in a file"):
        sample("calls", output=tmp_path / "rows.jsonl" / "more.jsonl")
    assert (tmp_path / "rows.jsonl").read_text() == "mine"


def test_where_nothing_is_kept_nothing_is_written_and_it_is_said(bundled, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "2 + 2 = ?", "completion": "a zebra"}\n')
    with pytest.raises(
        UserError, match=r"nothing to write .*1 had no right answer; answers: 2, 0 right.*more --samples"
    ):
        sample(
            data=tmp_path / "rows.jsonl",
            samples=2,
            max_new_tokens=24,
            output=tmp_path / "out.jsonl",
            quiet=True,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
