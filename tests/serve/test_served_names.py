"""The gateway before a real vLLM server: a name gives what sending the picture by hand gives."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from gateways import curl, gateway
from pixeltune.data.placement import place_image, place_input
from pixeltune.engines.client import with_artwork
from pixeltune.engines.engine import Engine
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.synthetic import calls, sums

FIXTURES = Path(__file__).parents[1] / "fixtures"
IDS = {"return_token_ids": True, "skip_special_tokens": False}


@pytest.fixture(scope="module")
def served(vllm_url, painted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artworks")
    for name, artwork in painted.items():
        artwork.save(folder / f"{name}.png")
    with gateway(folder, "--upstream", vllm_url, log=folder / "log.jsonl") as served:
        yield served


def requests(task, count):
    for row in task.rows("test", count, seed=9):
        tools = {"tools": json.loads(row["tools"]), "tool_choice": "none"} if "tools" in row else {}
        yield row["prompt"], {"max_tokens": task.max_new_tokens, "temperature": 0.0, **tools}


def ask(client, model, messages, options, **extra):
    return client.chat.completions.create(model=model, messages=messages, extra_body=IDS, **options, **extra)


@pytest.mark.parametrize("task", [calls.TASK, sums.TASK], ids=lambda task: task.name)
def test_names_give_the_tokens_of_pictures_sent_by_hand(by_name, by_hand, painted, served, task):
    """Log-probs too; from the second request on the picture itself is not sent, only its name."""
    url = painted[task.name].data_url()
    for messages, options in requests(task, 12):
        named = ask(by_name, task.name, messages, options, logprobs=True)
        sent = ask(by_hand, "tiny", place_image(messages, url), options, logprobs=True)
        assert named.prompt_token_ids == sent.prompt_token_ids
        assert named.choices[0].token_ids == sent.choices[0].token_ids
        assert named.choices[0].message.content == sent.choices[0].message.content
        for one, other in zip(
            named.choices[0].logprobs.content, sent.choices[0].logprobs.content, strict=True
        ):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    assert not any(line.get("picture_resent") for line in served.lines())


def test_the_base_name_is_the_base(by_name, by_hand):
    for messages, options in requests(sums.TASK, 4):
        named, sent = ask(by_name, "tiny", messages, options), ask(by_hand, "tiny", messages, options)
        assert named.prompt_token_ids == sent.prompt_token_ids
        assert named.choices[0].token_ids == sent.choices[0].token_ids


def test_streams_are_the_same(by_name, by_hand, painted):
    messages, options = next(requests(sums.TASK, 1))
    url = painted["sums"].data_url()
    streams = (
        ask(by_name, "sums", messages, options, stream=True),
        ask(by_hand, "tiny", place_image(messages, url), options, stream=True),
    )
    named, sent = ([c.choices[0].delta.content or "" for c in stream if c.choices] for stream in streams)
    assert len(named) > 3
    assert "".join(named) == "".join(sent)  # a busy engine puts several tokens into one part


def test_several_answers_and_structured_ones(by_name, by_hand, painted):
    messages, options = next(requests(sums.TASK, 1))
    url = painted["sums"].data_url()
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    for extra in ({"n": 3, "seed": 5, "temperature": 1.0}, {"response_format": wanted}):
        asked = {**options, **extra}
        named = ask(by_name, "sums", messages, asked)
        sent = ask(by_hand, "tiny", place_image(messages, url), asked)
        assert [c.message.content for c in named.choices] == [c.message.content for c in sent.choices]
    assert named.choices[0].message.content.lstrip().startswith("{")


def test_the_users_own_picture_beside_the_artwork(by_name, by_hand, painted):
    """The other artwork stands in for a user's picture: two images, the artwork first."""
    url, own = painted["sums"].data_url(), painted["calls"].data_url()
    messages, options = next(requests(sums.TASK, 1))
    messages = place_image(messages, own)
    sent = ask(by_hand, "tiny", place_image(messages, url), options).choices[0]
    assert ask(by_name, "sums", messages, options).choices[0].token_ids == sent.token_ids
    with pytest.raises(openai.BadRequestError, match="image"):  # this server allows two
        ask(by_name, "sums", place_image(messages, own), options)


def test_the_responses_api(by_name, by_hand, painted):
    messages, options = next(requests(sums.TASK, 1))
    text, url = messages[-1]["content"], painted["sums"].data_url()
    asked = {"max_output_tokens": options["max_tokens"], "temperature": 0.0}
    named = by_name.responses.create(model="sums", input=text, **asked)
    sent = by_hand.responses.create(model="tiny", input=place_input(text, url), **asked)
    plain = by_hand.responses.create(model="tiny", input=text, **asked)
    assert named.output_text == sent.output_text != plain.output_text
    assert named.usage.input_tokens == sent.usage.input_tokens > plain.usage.input_tokens + 60


def test_the_client_without_a_gateway(vllm_url, by_hand, painted, tmp_path):
    png = painted["sums"].save(tmp_path / "sums.png")
    client = with_artwork(openai.OpenAI(base_url=vllm_url, api_key="x"), png)
    for messages, options in requests(sums.TASK, 3):
        sent = ask(by_hand, "tiny", place_image(messages, painted["sums"].data_url()), options)
        assert ask(client, "tiny", messages, options).choices[0].token_ids == sent.choices[0].token_ids


def test_async_and_curl(served, by_hand, painted):
    messages, options = next(requests(sums.TASK, 1))
    sent = ask(by_hand, "tiny", place_image(messages, painted["sums"].data_url()), options)

    async def many():
        async with openai.AsyncOpenAI(base_url=served.url, api_key="x") as client:
            return await asyncio.gather(*(ask(client, "sums", messages, options) for _ in range(8)))

    for answer in asyncio.run(many()):
        assert answer.choices[0].token_ids == sent.choices[0].token_ids
    answer = curl(served, {"model": "sums", "messages": messages, **options, **IDS})
    assert answer["choices"][0]["token_ids"] == sent.choices[0].token_ids


def test_a_tool_that_must_be_called(by_name, by_hand, painted):
    """Parsed by the engine: `tool_calls` come through, whole and in a stream."""
    messages, options = next(requests(calls.TASK, 1))
    name = options["tools"][0]["function"]["name"]
    asked = {**options, "tool_choice": {"type": "function", "function": {"name": name}}}
    named = ask(by_name, "calls", messages, asked).choices[0].message.tool_calls[0].function
    hand = place_image(messages, painted["calls"].data_url())
    sent = ask(by_hand, "tiny", hand, asked).choices[0].message.tool_calls[0].function
    assert (named.name, named.arguments) == (sent.name, sent.arguments)
    assert named.name == name
    stream = ask(by_name, "calls", messages, asked, stream=True)
    deltas = [c.choices[0].delta.tool_calls for c in stream if c.choices and c.choices[0].delta.tool_calls]
    assert "".join(part.function.arguments or "" for (part, *_) in deltas) == named.arguments


def test_vllm_refuses_a_name_it_does_not_know(by_hand):
    """What the gateway relies on to send the whole picture again."""
    part = {"type": "image_url", "image_url": None, "uuid": "pixeltune-unknown"}
    with pytest.raises(openai.APIStatusError) as caught:
        ask(by_hand, "tiny", [{"role": "user", "content": [part, {"type": "text", "text": "x"}]}], {})
    assert caught.value.status_code in (400, 422, 500)


def test_our_own_evaluation_through_the_gateway(served, vllm_url, painted):
    """By name through the gateway, and with the picture by hand: the same completions, many at a time."""
    rows = calls.rows("test", 30, seed=9)
    named = score_rows(calls.TASK, rows, OnEngine(Engine(served.url, "calls"), None))
    sent = score_rows(calls.TASK, rows, OnEngine(Engine(vllm_url), painted["calls"].data_url()))
    assert [r["completions"] for r in named.records] == [r["completions"] for r in sent.records]
    assert named.score > 0.7


def test_lm_eval_asks_by_name(served, tmp_path):
    """lm-eval's own client and scoring."""
    rows = sums.rows("test", 12, seed=9)
    data = tmp_path / "sums.jsonl"
    data.write_text(
        "".join(
            json.dumps({"question": row["prompt"][-1]["content"], "answer": f"Answer: {row['answer']}"})
            + "\n"
            for row in rows
        )
    )
    (tmp_path / "sums.yaml").write_text(
        f"""
task: pixeltune_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
output_type: generate_until
generation_kwargs: {{until: ["<|im_end|>"], max_gen_toks: 160, temperature: 0.0}}
filter_list:
  - name: last
    filter: [{{function: regex, regex_pattern: "(Answer: -?[0-9]+)"}}, {{function: take_first}}]
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
    )
    _their_task(tmp_path, "gsm8k/gsm8k-cot-zeroshot.yaml", "gsm8k/train.jsonl")
    _their_task(tmp_path, "bbh/zeroshot/boolean_expressions.yaml", "bbh/bbh.jsonl")
    address = f"base_url={served.url}/chat/completions,model=sums,num_concurrent=4,tokenized_requests=False"
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "run",
        "--model",
        "local-chat-completions",
        "--model_args",
        address,
    ]
    command += [
        "--apply_chat_template",
        "--tasks",
        "pixeltune_sums,gsm8k-cot-zeroshot,boolean_expressions",
        "--include_path",
        str(tmp_path),
    ]
    command += ["--output_path", str(tmp_path / "out")]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results*.json")
    report = json.loads(results.read_text())
    score = report["results"]["pixeltune_sums"]["exact_match,last"]
    assert score >= 0.75  # without the picture none is right (tests/engines/test_served.py)
    for name in ("gsm8k-cot-zeroshot", "boolean_expressions"):  # beyond the bundled model, but they run
        assert report["n-samples"][name]["effective"] >= 1
        assert 0 <= report["results"][name]["exact_match,flexible-extract"] <= 1


def _their_task(folder: Path, yaml: str, fixture: str) -> None:
    """lm-eval's own task, unchanged but for where its rows come from: there is no hub here."""
    import lm_eval

    rows = [json.loads(line) for line in (FIXTURES / fixture).read_text().splitlines()]
    name = Path(yaml).stem
    rows = [row for row in rows if row.get("task", name) == name]
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / f"{name}.yaml").write_text(
        f"""
include: {Path(lm_eval.__file__).parent / "tasks" / yaml}
task: {name}
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{test: {data}}}}}
training_split: null
fewshot_split: null
"""
    )
