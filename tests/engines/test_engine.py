"""The engine client: against canned answers for every error, and against a real vLLM server."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.engines.engine import Engine
from pixeltune.engines.replies import EngineError
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.base import Task
from pixeltune.tasks.parsing.tool_calls import parse

HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


class Canned(ThreadingHTTPServer):
    """Answers every chat request with `answer`, and keeps what was sent in `seen`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.status, self.delay, self.seen = ["one"], 200, 0.0, []
        self.answer: dict | bytes = {"choices": [choice("hi")]}
        self.kind = "text/html"  # of an answer in bytes
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Canned

    def do_GET(self) -> None:
        if isinstance(self.server.models, bytes):
            return self.reply(200, self.server.models)
        self.reply(
            200, {"object": "list", "data": [{"id": m, "object": "model"} for m in self.server.models]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((body, dict(self.headers)))
        time.sleep(self.server.delay)
        try:
            answer = self.server.answer(body) if callable(self.server.answer) else self.server.answer
        except ConnectionAbortedError:
            self.close_connection = True
            return
        status = answer.get("status", self.server.status) if isinstance(answer, dict) else 200
        self.reply(status, answer)

    def reply(self, status: int, answer: dict | bytes) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header(
            "Content-Type", self.server.kind if isinstance(answer, bytes) else "application/json"
        )
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError):  # the client waited no longer
            self.wfile.write(data)

    def log_message(self, *_: object) -> None: ...


def choice(text: str | None, **more: object) -> dict:
    return {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}, **more}


@pytest.fixture
def canned() -> Iterator[Canned]:
    with Canned() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_addresses_with_and_without_v1(canned):
    for url in (canned.url, canned.url + "/", canned.url + "/v1", canned.url + "/v1/"):
        assert Engine(url).url == canned.url + "/v1"


@pytest.mark.parametrize("reason", ["abort", "error", "content_filter", "cancelled", "something new"])
@pytest.mark.parametrize("text", ["Answer: 4", "", None])
def test_an_answer_that_the_engine_gave_up_on_is_a_failed_request(canned, reason, text):
    canned.answer = {"choices": [choice(text, finish_reason=reason)]}
    with pytest.raises(EngineError, match=f"gave up on the answer \\({reason}\\)"):
        Engine(canned.url).complete(HELLO)


@pytest.mark.parametrize(
    "reason", ["stop", "length", "tool_calls", "function_call", "eos_token", "STOP", "max_tokens", None]
)
def test_a_normal_end_is_an_answer(canned, reason):
    canned.answer = {"choices": [choice("Answer: 4", finish_reason=reason)]}
    assert Engine(canned.url).complete(HELLO).text == "Answer: 4"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_was_given_up_on_counts_as_failed_and_not_as_right(canned, reason):
    canned.answer = {"choices": [choice("Answer: 4", finish_reason=reason)]}
    task = Task(name="four", max_new_tokens=8, score=lambda row, text: float(text == "Answer: 4"))
    result = score_rows(task, [{"prompt": HELLO}], OnEngine(Engine(canned.url)))
    assert (result.n, result.failed) == (0, 1)
    canned.answer = {"choices": [choice("Answer: 4")]}
    assert score_rows(task, [{"prompt": HELLO}], OnEngine(Engine(canned.url))).score == 1.0


def test_of_several_answers_none_may_be_given_up_on(canned):
    canned.answer = {"choices": [choice("a"), choice("b", finish_reason="abort")]}
    with pytest.raises(EngineError, match="abort"):
        Engine(canned.url).sample(HELLO, n=2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"choices": []}, "no answer"),
        ({"choices": None}, "no answer"),
        ({}, "no answer"),
        ({"error": {"message": "out of\nmemory", "code": 500}}, r"no answer \(out of memory\)"),
        ({"choices": None, "error": "no worker"}, r"no answer \(no worker\)"),
        ({"choices": [None]}, "without a message"),
        ({"choices": [{"index": 0, "finish_reason": "stop", "text": "4"}]}, "without a message"),
        ({"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}, "without a message"),
        ({"choices": [{"index": 0, "finish_reason": "stop", "message": "hi"}]}, "without a message"),
        ({"choices": [choice(None, finish_reason=None)]}, "nor why it ended"),
        ({"choices": [choice("", finish_reason=None)]}, "nor why it ended"),
        ({"choices": [{"index": 0, "message": {"role": "assistant"}}]}, "nor why it ended"),
        ({"choices": [choice({"text": "4"})]}, "cannot be read"),
        (
            {"choices": [choice("4", finish_reason="error", error={"message": "a bug"})]},
            r"\(error\) \(a bug\)",
        ),
        (b"<html>a page</html>", "no answer"),
        (b"null", "no answer"),
        (b"[]", "no answer"),
    ],
)
def test_what_is_no_answer_is_a_failed_request(canned, answer, message):
    engine = Engine(canned.url)
    canned.answer = answer
    with pytest.raises(EngineError, match=message) as caught:
        engine.complete(HELLO)
    assert "\n" not in str(caught.value)


def test_json_that_is_cut_off_is_a_failed_request(canned):
    engine = Engine(canned.url)
    canned.answer, canned.kind = b'{"choices": [{"fin', "application/json"
    with pytest.raises(EngineError, match="no JSON"):
        engine.complete(HELLO)
    canned.models = b'{"data": '
    with pytest.raises(EngineError, match="lists no models"):
        Engine(canned.url)
    canned.models, canned.kind = b"<html>", "text/html"
    with pytest.raises(EngineError, match="lists no models"):
        Engine(canned.url)


def test_a_message_without_its_fields_is_what_it_says(canned):
    canned.answer = {"choices": [{"message": {"content": "4"}}]}
    done = Engine(canned.url).complete(HELLO)
    assert (done.text, done.finish_reason) == ("4", None)
    canned.answer = {"choices": [choice(None)]}  # it ended at once, and says so
    assert Engine(canned.url).complete(HELLO).text == ""


def test_a_refusal_of_its_own_field_is_the_answer(canned):
    refused = choice(None)
    refused["message"]["refusal"] = "I cannot."
    canned.answer = {"choices": [refused]}
    assert Engine(canned.url).complete(HELLO).text == "I cannot."


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "thinking", "thinking": "Answer: 5"}, {"type": "text", "text": "Answer: 4"}], "Answer: 4"),
        ([{"type": "reasoning", "text": "5?"}, {"type": "output_text", "text": "4"}], "4"),
        ([{"type": "text", "text": "Answer"}, {"type": "text", "text": ": 4"}], "Answer: 4"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "5"}]}], ""),
        (["Answer: ", "4"], "Answer: 4"),
        ([], ""),
    ],
)
def test_of_an_answer_in_parts_the_text_is_the_answer_and_the_thinking_is_not(canned, parts, text):
    canned.answer = {"choices": [choice(parts)]}
    assert Engine(canned.url).complete(HELLO).text == text


def test_a_score_of_an_answer_that_was_given_up_on_is_a_failed_request(canned):
    given_up = choice("x", finish_reason="abort")
    canned.answer = {
        "choices": [given_up], "prompt_token_ids": [1, 2], "prompt_logprobs": [None, {"2": {"logprob": -1.0}}]
    }  # fmt: skip
    with pytest.raises(EngineError, match="abort"):
        Engine(canned.url).score(HELLO, "hi")


def test_what_is_sent(canned, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key for somebody else")
    Engine(canned.url).complete(HELLO, TOOLS, max_tokens=7, logprobs=False)
    body, headers = canned.seen[-1]
    assert "somebody else" not in str(headers)
    assert body == {
        "model": "one",
        "messages": HELLO,
        "tools": TOOLS,
        "tool_choice": "none",
        "max_tokens": 7,
        "temperature": 0.0,
        "skip_special_tokens": False,
        "return_token_ids": True,
    }
    Engine(canned.url, extras=False, tool_choice=None).complete(HELLO, TOOLS, seed=1)
    body, _ = canned.seen[-1]
    assert body.keys() == {"model", "messages", "tools", "max_tokens", "temperature", "seed"}


def test_plain_answer(canned):
    done = Engine(canned.url).complete(HELLO)
    assert (done.text, done.finish_reason, done.token_ids, done.logprobs) == ("hi", "stop", None, None)
    assert done.latency > 0


def test_nobody_there():
    with pytest.raises(EngineError, match="nobody answers there: start the engine"):
        Engine("http://127.0.0.1:9")


def test_models(canned):
    with pytest.raises(EngineError, match="does not serve 'two': choose from one"):
        Engine(canned.url, "two")
    canned.models = ["one", "two"]
    assert Engine(canned.url, "two").model == "two"
    with pytest.raises(EngineError, match=r"serves one, two: name the model.*--engine_model"):
        Engine(canned.url)
    canned.models = []
    with pytest.raises(EngineError, match="serves no model"):
        Engine(canned.url)
    assert Engine(canned.url, "folder").model == "folder"  # it lists nothing: the name is taken on trust


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "request refused: .*the reason"),
        (401, "pass the right API key .*the reason"),
        (404, "OpenAI-compatible API .*the reason"),
        (500, "see its log .*the reason"),
    ],
)
def test_refusals_are_one_line(canned, status, expected):
    engine = Engine(canned.url)
    canned.status, canned.answer = status, {"error": {"message": "the reason\nat length"}}
    with pytest.raises(EngineError, match=expected) as caught:
        engine.complete(HELLO)
    assert "\n" not in str(caught.value)


def test_timeout(canned):
    engine = Engine(canned.url, timeout=0.2)
    canned.delay = 0.5
    with pytest.raises(EngineError, match="raise the timeout"):
        engine.complete(HELLO)


def test_no_log_probs(canned):
    engine = Engine(canned.url)
    with pytest.raises(EngineError, match="returned no log-probs"):
        engine.complete(HELLO, logprobs=True)
    with pytest.raises(EngineError, match="returned no prompt log-probs"):
        engine.score(HELLO, "hi")
    with pytest.raises(EngineError, match="extras=True"):
        Engine(canned.url, extras=False).score(HELLO, "hi")


def test_tokens_beside_log_probs_and_their_ids_where_an_engine_gives_them(canned):
    entries = [{"token": "a", "logprob": -0.5, "top_logprobs": []}, {"token": "b", "logprob": -1.0}]
    canned.answer = {"choices": [choice("ab", logprobs={"content": entries})]}
    done = Engine(canned.url).complete(HELLO, logprobs=True)
    assert (done.tokens, done.logprobs, done.token_ids) == (["a", "b"], [-0.5, -1.0], None)
    entries[0]["id"] = 7
    assert Engine(canned.url).complete(HELLO, logprobs=True).token_ids is None  # of one token only
    entries[1]["id"] = 8
    assert Engine(canned.url).complete(HELLO, logprobs=True).token_ids == [7, 8]


def test_parsed_tool_calls_are_refused_or_written_out_again(canned):
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    parsed = choice(None)
    parsed["message"]["tool_calls"] = [call]
    canned.answer = {"choices": [parsed]}
    with pytest.raises(EngineError, match="without a tool parser"):
        Engine(canned.url).complete(HELLO, TOOLS)
    done = Engine(canned.url, tool_choice="auto").complete(HELLO, TOOLS)
    assert parse(done.text) == [{"name": "f", "arguments": {"a": 1}}]


def test_tokens_are_counted_as_the_engine_counts_them(canned):
    usage = {"prompt_tokens": 70, "completion_tokens": 9, "total_tokens": 79}
    canned.answer = {"choices": [choice("yes")], "usage": usage}
    done = Engine(canned.url).complete(HELLO)
    assert (done.prompt_tokens, done.completion_tokens) == (70, 9)
    canned.answer = {"choices": [choice("yes"), choice("no")], "usage": usage}
    first, _ = Engine(canned.url).sample(HELLO, n=2)
    assert (first.prompt_tokens, first.completion_tokens) == (70, None)


# The rest speaks to a real server.

QUESTION = "What is 12 + 7?"
CASES = {
    "text": ([{"role": "user", "content": QUESTION}], None),
    "system, tools": (
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather in Oslo?"}],
        TOOLS,
    ),
    "artwork": ([{"role": "user", "content": ["artwork", QUESTION]}], None),
    "artwork, tools": ([{"role": "user", "content": ["artwork", "Weather in Oslo?"]}], TOOLS),
    "artwork, turns": (
        [
            {"role": "user", "content": ["artwork", QUESTION]},
            {"role": "assistant", "content": "Answer: 19"},
            {"role": "user", "content": "Sure?"},
        ],
        None,
    ),
}


@pytest.fixture(scope="module")
def artwork() -> Artwork:
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return Artwork(pixels, Provenance("tiny", 64, "before the first user text", {}, "none"))


@pytest.fixture(scope="module")
def in_process(bundled):
    """(model in float32, processor) of the bundled model."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(bundled, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(bundled)


def with_picture(messages: list[dict], part: dict) -> list[dict]:
    """The messages, with `part` for the word artwork in lists of content."""
    return [
        m
        if isinstance(m["content"], str)
        else m | {"content": [part if c == "artwork" else {"type": "text", "text": c} for c in m["content"]]}
        for m in messages
    ]


def for_engine(messages: list[dict], artwork: Artwork) -> list[dict]:
    return with_picture(messages, {"type": "image_url", "image_url": {"url": artwork.data_url()}})


def encoded(in_process, messages: list[dict], artwork: Artwork, tools: list[dict] | None):
    return in_process[1].apply_chat_template(
        with_picture(messages, {"type": "image", "image": artwork.image}),
        tools=tools,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )


def own_logprobs(model, inputs, answer: list[int]) -> list[float]:
    """Log-probs that the in-process model gives to the tokens of `answer` after the prompt."""
    import torch

    prompt, said = inputs["input_ids"], torch.tensor([answer])
    more = {"input_ids": torch.cat([prompt, said], 1)}
    more["attention_mask"] = torch.ones_like(more["input_ids"])
    if "mm_token_type_ids" in inputs:
        more["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(said)], 1)
    with torch.no_grad():
        logits = model(**(dict(inputs) | more)).logits[0, prompt.shape[1] - 1 : -1]
    return logits.log_softmax(-1).gather(1, said.T)[:, 0].tolist()


@pytest.mark.parametrize("case", CASES)
def test_vllm_sees_and_says_what_transformers_does(vllm_url, in_process, artwork, case):
    """Same prompt ids, same greedy answer, log-probs within 1e-3."""
    messages, tools = CASES[case]
    inputs = encoded(in_process, messages, artwork, tools)
    done = Engine(vllm_url).complete(for_engine(messages, artwork), tools, max_tokens=12, logprobs=True)
    prompt = inputs["input_ids"][0].tolist()
    assert done.prompt_token_ids == prompt
    generated = (
        in_process[0].generate(**inputs, max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
    )
    assert done.token_ids == generated
    own = own_logprobs(in_process[0], inputs, generated)
    assert np.abs(np.subtract(own, done.logprobs)).max() < 1e-3
    tokenizer = in_process[1].tokenizer
    stopped = done.finish_reason == "stop"
    assert done.text == tokenizer.decode(generated[:-1] if stopped else generated)
    assert stopped == (generated[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>"))


def test_vllm_scores_a_given_answer_as_transformers_does(vllm_url, in_process, artwork):
    messages, tools = CASES["artwork, tools"]
    answer = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    inputs = encoded(in_process, messages, artwork, tools)
    scored = Engine(vllm_url).score(for_engine(messages, artwork), answer, tools)
    assert scored.prompt_token_ids == inputs["input_ids"][0].tolist()
    assert scored.token_ids == in_process[1].tokenizer(answer)["input_ids"]
    own = own_logprobs(in_process[0], inputs, scored.token_ids)
    assert np.abs(np.subtract(own, scored.logprobs)).max() < 1e-3


def test_vllm_refuses_aloud(vllm_url):
    with pytest.raises(EngineError, match="refused"):
        Engine(vllm_url).complete(HELLO, max_tokens=10**6)
