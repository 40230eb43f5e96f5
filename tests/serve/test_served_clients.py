"""The openai client's newer calls through the gateway, before a real vLLM server: a name gives what a picture gives."""

import json

import pydantic
import pytest

from documents import ROOT
from gateways import gateway
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placement import place_image, place_input
from pixeltune.tasks.synthetic import calls, sums

IMAGES = ROOT / "docs" / "images"


class Answer(pydantic.BaseModel):
    answer: int


@pytest.fixture(scope="module")
def served(vllm_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artworks")
    for name in ("calls", "sums"):
        (folder / f"{name}.png").write_bytes((IMAGES / f"{name}.png").read_bytes())
    with gateway(folder, "--upstream", vllm_url, log=folder / "log.jsonl") as it:
        yield it


def url_of(name):
    return Artwork.load(IMAGES / f"{name}.png").data_url()


def fitting(count):
    """Rows of `calls` in which a tool fits."""
    rows = [row for row in calls.rows("test", 4 * count, seed=5) if row["call"] != "null"][:count]
    return [(row["prompt"], json.loads(row["tools"]), json.loads(row["call"])) for row in rows]


def called(response):
    return [
        (item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"
    ]


def test_tools_of_the_responses_api(by_name, by_hand):
    """What bfcl-eval asks: parsed calls, also in a stream; without the picture none is made."""
    right = 0
    for prompt, tools, call in fitting(6):
        flat = [{"type": "function", **tool["function"]} for tool in tools]
        asked = {"tools": flat, "store": False, "temperature": 0.0}
        named = by_name.responses.create(model="calls", input=prompt, **asked)
        sent = by_hand.responses.create(model="tiny", input=place_input(prompt, url_of("calls")), **asked)
        assert called(named) == called(sent)
        assert named.usage.input_tokens == sent.usage.input_tokens
        assert called(by_name.responses.create(model="tiny", input=prompt, **asked)) == []
        stream = by_name.responses.create(model="calls", input=prompt, stream=True, **asked)
        assert called(
            next(event for event in stream if event.type == "response.completed").response
        ) == called(named)
        right += called(named) == [(call["name"], call["arguments"])]
    assert right >= 5


def test_results_of_tools_go_back_in_the_responses_api(by_name, by_hand):
    """The whole conversation is sent as `input`, the client's own objects among it; the artwork stands in it once."""
    prompt, tools, _ = fitting(1)[0]
    flat = [{"type": "function", **tool["function"]} for tool in tools]
    asked = {"tools": flat, "store": False, "temperature": 0.0}
    first = by_name.responses.create(model="calls", input=prompt, **asked)
    call = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"value": 7}'}
    talk = [*prompt, *first.output, result]
    named = by_name.responses.create(model="calls", input=talk, **asked)
    hand = [*place_input(prompt, url_of("calls")), *first.output, result]
    sent = by_hand.responses.create(model="tiny", input=hand, **asked)
    assert named.output_text == sent.output_text
    assert named.usage.input_tokens == sent.usage.input_tokens


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tools_that_the_model_picks(by_name, by_hand, choice):
    """Parsed by the engine, in chats; the results go back as the `tool` role."""
    for prompt, tools, _ in fitting(3):
        asked = {"tools": tools, "tool_choice": choice, "temperature": 0.0, "max_tokens": 64}
        hand = place_image(prompt, url_of("calls"))
        named = by_name.chat.completions.create(model="calls", messages=prompt, **asked).choices[0]
        sent = by_hand.chat.completions.create(model="tiny", messages=hand, **asked).choices[0]
        ours, theirs = (
            [(c.function.name, c.function.arguments) for c in m.tool_calls]
            for m in (named.message, sent.message)
        )
        assert ours == theirs
        assert named.finish_reason == sent.finish_reason
        rest = [
            named.message,
            {"role": "tool", "tool_call_id": named.message.tool_calls[0].id, "content": '{"value": 7}'},
        ]
        asked["tool_choice"] = "none"
        named = by_name.chat.completions.create(model="calls", messages=[*prompt, *rest], **asked)
        sent = by_hand.chat.completions.create(model="tiny", messages=[*hand, *rest], **asked)
        assert named.choices[0].message.content == sent.choices[0].message.content
        assert named.usage.prompt_tokens == sent.usage.prompt_tokens


def test_structured_output_by_a_class(by_name):
    """`parse` of chats, plain and streamed, and of responses: JSON of the schema, as an object."""
    prompt = sums.rows("test", 1, seed=5)[0]["prompt"]
    asked = {"model": "sums", "temperature": 0.0}
    chat = by_name.chat.completions.parse(messages=prompt, response_format=Answer, max_tokens=64, **asked)
    assert isinstance(chat.choices[0].message.parsed, Answer)
    with by_name.chat.completions.stream(
        messages=prompt, response_format=Answer, max_tokens=64, **asked
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == chat.choices[0].message.parsed
    response = by_name.responses.parse(input=prompt, text_format=Answer, max_output_tokens=64, **asked)
    assert isinstance(response.output_parsed, Answer)


def test_a_streamed_response_is_the_response(by_name):
    prompt = sums.rows("test", 1, seed=5)[0]["prompt"]
    asked = {"model": "sums", "input": prompt, "temperature": 0.0, "max_output_tokens": 96}
    stream = by_name.responses.create(stream=True, **asked)
    text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == by_name.responses.create(**asked).output_text


def test_examples_in_turns_show_the_artwork_once_in_the_first(by_name, by_hand):
    """What harnesses send for a few-shot prompt."""
    shown = [
        message for row in sums.rows("train", 2, seed=5) for message in row["prompt"] + row["completion"]
    ]
    asked = {"temperature": 0.0, "max_tokens": 96, "extra_body": {"return_token_ids": True}}
    for row in sums.rows("test", 3, seed=5):
        talk = [*shown, *row["prompt"]]
        named = by_name.chat.completions.create(model="sums", messages=talk, **asked)
        sent = by_hand.chat.completions.create(
            model="tiny", messages=place_image(talk, url_of("sums")), **asked
        )
        assert named.prompt_token_ids == sent.prompt_token_ids
        assert named.choices[0].message.content == sent.choices[0].message.content
