"""``pixeltune eval`` from its flags to its report, with the bundled model and the pictures of the README."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from engine_replies import Replies
from pixeltune.cli.main import main
from pixeltune.tasks.synthetic import calls, refusals, sums

ARTWORK = Path(__file__).parents[2] / "docs/images/calls.png"


def rows_of(folder: Path, start: str) -> list[dict]:
    (path,) = (folder / "rows").glob(f"{start}-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def lora(tmp_path_factory) -> Path:
    """A LoRA that PEFT saved, fresh: it changes nothing yet."""
    from pixeltune.model.loading import (
        load_model,  # first: it makes transformers importable beside CPU torchvision
    )

    from peft import LoraConfig, get_peft_model  # isort: skip

    folder = tmp_path_factory.mktemp("peft") / "nothing"
    get_peft_model(load_model("tiny"), LoraConfig(target_modules=["q_proj"])).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def soft(tmp_path_factory) -> Path:
    """A soft prompt that PEFT saved, untrained: eight tokens of the vocabulary."""
    from pixeltune.model.loading import load_model

    from peft import PromptTuningConfig, get_peft_model  # isort: skip

    folder = tmp_path_factory.mktemp("peft") / "words"
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=8, prompt_tuning_init="SAMPLE_VOCAB"
    )
    get_peft_model(load_model("tiny"), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compared(lora, soft, tmp_path_factory) -> Path:
    folder, all_of_them = tmp_path_factory.mktemp("eval"), refusals.rows()
    named = ["off", "start", "best", "few-shot:2", str(ARTWORK), f"adapter:{lora}", f"adapter:{soft}"]
    flags = ["--rows", "10", "--output_dir", str(folder), "--compare", *named]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refusals, "rows", lambda: all_of_them[:2] + all_of_them[-2:])
        assert main(["eval", "--task", "calls", "sums", *flags]) == 0
    return folder


def test_every_candidate_answers_the_same_rows(compared):
    report = json.loads((compared / "report.json").read_text())
    names = ["off", "start", "best", "few-shot:2", "calls.png", "nothing (LORA)", "words (PROMPT_TUNING)"]
    assert list(report["tasks"]) == ["calls", "sums"]
    for task in (calls.TASK, sums.TASK):
        part = report["tasks"][task.name]
        assert list(part["candidates"]) == names
        assert {one["n"] for one in part["candidates"].values()} == {10}
        for name in ("off", "best", "calls.png"):
            records = rows_of(compared, f"{task.name}-{name}")
            user = [record["prompt"][-1] for record in records]
            assert user == [row["prompt"][0] for row in task.rows("test", 10)]
    got = {name: report["tasks"]["calls"]["candidates"][name] for name in names}
    assert min(got[name]["score"] for name in ("calls.png", "best")) >= 0.8
    assert max(got[name]["score"] for name in ("off", "start")) <= 0.2
    picture = got["calls.png"]["prompt_tokens"] - got["off"]["prompt_tokens"]
    assert picture == pytest.approx(66)  # 64 image tokens between vision start and end
    assert "significant" in report["tasks"]["calls"]["verdict"]
    assert set(report["refusals"]) == set(names)
    assert {(one["n_harmful"], one["n_harmless"]) for one in report["refusals"].values()} == {(2, 2)}
    text = (compared / "report.md").read_text()
    assert all(name in text for name in names)
    assert report["tasks"]["calls"]["verdict"] in text


def test_a_lora_that_changes_nothing_answers_as_the_base(compared):
    off, lora = rows_of(compared, "calls-off"), rows_of(compared, "calls-nothing--LORA-")
    assert [record["completions"] for record in off] == [record["completions"] for record in lora]
    soft = rows_of(compared, "calls-words--PROMPT_TUNING-")
    assert [record["completions"] for record in off] != [record["completions"] for record in soft]


def test_what_was_answered_is_not_asked_again(compared, monkeypatch, capsys):
    before = (compared / "report.json").read_text()
    shown = refusals.rows()
    monkeypatch.setattr(refusals, "rows", lambda: shown[:2] + shown[-2:])
    monkeypatch.setattr("pixeltune.evaluation.in_process.InProcess.complete", None)  # calling it would fail
    flags = ["--rows", "10", "--output_dir", str(compared)]
    assert main(["eval", "--task", "calls", *flags, "--artwork", str(ARTWORK)]) == 0
    report = json.loads((compared / "report.json").read_text())
    assert (
        report["tasks"]["calls"]["candidates"]["calls.png"]
        == (json.loads(before)["tasks"]["calls"]["candidates"]["calls.png"])
    )
    assert "calls.png" in capsys.readouterr().out


def test_rows_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_scores.py").write_text(
        "def polite(completions, **_):\n    return [float('sum' in c[0]['content']) for c in completions]\n"
        "def odd(completions, **_):\n    return [2.0]\n"
    )
    rows = [{"id": f"r{i}", "prompt": sums.rows("test", 3)[i]["prompt"]} for i in range(3)]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    flags = ["eval", "--task", "mine", "--data", str(data), "--max-new-tokens", "8", "--output_dir", "out"]
    assert main([*flags, "--reward", "my_scores:polite"]) == 0
    assert [record["id"] for record in rows_of(tmp_path / "out", "mine-off")] == ["r0", "r1", "r2"]
    assert main([*flags, "--reward", "my_scores:odd", "--output_dir", "out2"]) == 1
    assert "scores are from 0 to 1" in capsys.readouterr().err
    data.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[0]) + "\n")
    assert main([*flags, "--reward", "my_scores:polite"]) == 1
    assert "'r0' occurs twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--task nothing", "there is no task 'nothing'; there are calls, sums"),
        ("--task calls:easy", "calls makes its own rows: it has no categories"),
        ("--task bfcl:java --data .", "bfcl has no category 'java'"),
        ("--task gsm8k --data nowhere", "there is no folder nowhere"),
        ("--task calls --data .", "leave one out"),
        ("--task calls --reward json:loads", "give them with --data"),
        ("--task calls --rows 0", "say how many"),
        ("--task calls --compare off off", "off is there twice"),
        ("--task calls --compare start", "name the artwork as well"),
        ("--task calls --compare few-shot:0", "1 to 64"),
        ("--task calls --compare words", "'words' is nothing to compare: give off, start, best"),
        ("--task calls --compare prompt:nowhere.txt", "there is no instruction file"),
        ("--task calls --compare adapter:.", "no adapter_config.json"),
        ("--task calls --compare model:other", "give its address with --engine"),
        ("--task calls --compare nowhere.png", "nowhere.png"),
        ("--task calls --engine http://127.0.0.1:9 --compare adapter:.", "compare model:NAME"),
        ("--task calls --artwork a.png --compare off", "not with --artwork as well"),
        ("--task calls --concurrency 0", "at least 1"),
    ],
)
def test_bad_input_is_one_line_before_anything_loads(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pixeltune.model.loading.load_model", None)
    assert main(["eval", *flags.split()]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_rows_that_do_not_fit_are_named_before_the_model_loads(tmp_path, monkeypatch, capsys):
    long = [{"role": "user", "content": "word " * 40000}]
    rows = [{"prompt": sums.rows("test", 1)[0]["prompt"]}, {"id": "long", "prompt": long}]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row | {"answer": "1"}) + "\n" for row in rows))
    monkeypatch.setattr("pixeltune.model.loading.load_model", None)
    flags = [
        "--data",
        str(data),
        "--reward",
        "pixeltune.tasks.synthetic.sums:reward",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(["eval", "--task", "mine", *flags]) == 1
    assert f"{data}, line 2: " in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_an_adapter_of_another_model_is_refused(lora, tmp_path, capsys):
    other = shutil.copytree(lora, tmp_path / "other")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["no_such_layer"]}))
    flags = ["--rows", "1", "--output_dir", str(tmp_path / "out"), "--compare", f"adapter:{other}"]
    assert main(["eval", "--task", "calls", *flags]) == 1
    assert "does not fit tiny" in capsys.readouterr().err


class Slow(Replies):
    """An engine that takes 50 ms for the right answer, and fails where it is told to."""

    def do_GET(self):
        self.list_models("one", "two")

    def do_POST(self):
        body = self.asked()
        question = body["messages"][-1]["content"]
        question = question if isinstance(question, str) else question[-1]["text"]
        self.server.asked.append((body["model"], question))
        time.sleep(0.05)
        if question in self.server.fails:
            self.server.fails.remove(question)
            self.send_response(400)
            self.end_headers()
            return
        self.say(self.server.answers.get(question, "What?"), 3)


@pytest.fixture
def engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.asked, server.fails = [], set()
    server.answers = {r["prompt"][0]["content"]: r["completion"][0]["content"] for r in sums.rows("test", 60)}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def command(engine, folder: Path, *flags: str) -> list[str]:
    address = f"http://127.0.0.1:{engine.server_port}"
    words = [
        "eval",
        "--task",
        "sums",
        "--rows",
        "60",
        "--engine",
        address,
        "--output_dir",
        str(folder),
        *flags,
    ]
    return [*words, "--engine-model", "one"]


def test_an_evaluation_killed_in_the_middle_asks_only_what_is_left(engine, tmp_path):
    words = command(engine, tmp_path, "--concurrency", "2")
    process = subprocess.Popen([sys.executable, "-m", "pixeltune.cli.main", *words])
    while len(engine.asked) < 20:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(0.2)  # what was on its way
    kept = len(rows_of(tmp_path, "sums-off"))
    assert 15 <= kept < 60
    engine.asked.clear()
    assert main(words) == 0
    assert sum(question in engine.answers for _, question in engine.asked) == 60 - kept
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tasks"]["sums"]["candidates"]["off"]["score"] == 1.0
    assert report["tasks"]["sums"]["candidates"]["off"]["n"] == 60


def test_names_on_an_engine_and_a_request_that_fails(engine, tmp_path, capsys):
    engine.fails = {sums.rows("test", 60)[6]["prompt"][0]["content"]}
    words = command(engine, tmp_path, "--concurrency", "3", "--compare", "off", "model:two")
    assert main(words) == 1
    report = json.loads((tmp_path / "report.json").read_text())["tasks"]["sums"]
    assert [(one["n"], one["failed"]) for one in report["candidates"].values()] == [(59, 1), (60, 0)]
    assert report["tests"][0]["n"] == 59
    assert "Requests that failed and are in no score: 1." in capsys.readouterr().out
    assert {model for model, _ in engine.asked} == {"one", "two"}
    engine.asked.clear()
    assert main(words) == 0, "the failed row is asked again, and no other"
    assert len(engine.asked) == 1


def test_on_a_real_vllm_as_in_this_process(vllm_url, tmp_path, monkeypatch):
    shown = refusals.rows()
    monkeypatch.setattr(refusals, "rows", lambda: shown[:2] + shown[-2:])
    flags = [
        "eval",
        "--task",
        "calls",
        "--rows",
        "20",
        "--compare",
        "off",
        "best",
        str(ARTWORK),
        "--output_dir",
    ]
    assert main([*flags, str(tmp_path / "here")]) == 0
    assert main([*flags, str(tmp_path / "there"), "--engine", vllm_url]) == 0
    for name in ("off", "best", "calls.png"):
        here, there = (
            rows_of(tmp_path / "here", f"calls-{name}"),
            rows_of(tmp_path / "there", f"calls-{name}"),
        )
        there.sort(key=lambda record: record["row"])
        for key in ("prompt", "prompt_tokens", "score"):
            assert [record[key] for record in here] == [record[key] for record in there]


def test_with_an_engine_neither_torch_nor_transformers_is_needed(engine, tmp_path):
    words = command(engine, tmp_path, "--compare", "off", "best", str(ARTWORK))
    code = "import sys\nsys.modules |= dict.fromkeys(('torch', 'transformers', 'peft', 'datasets'))\n"
    code += f"from pixeltune.cli.main import main\nsys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "calls.png" in done.stdout
