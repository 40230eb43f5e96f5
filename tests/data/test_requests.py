"""The artwork in requests: what has a place for it, and what would move it."""

import json

import pytest

from families import ALL, MARKS, QWEN
from pixeltune.data.placeholders import KNOWN, tokens_of
from pixeltune.data.requests import RequestProblem, check_request, place_in_request
from pixeltune.errors import UserError

TOKEN = "<|image_pad|>"
USER = {"role": "user", "content": "How many?"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string", "description": f"not {TOKEN}"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"x": TOKEN})}}
ESCAPED = '{"x": "\\u003c|image_pad|\\u003e"}'


def chat(*messages, **fields):
    return "chat/completions", {"messages": [*messages], **fields}


def response(*items, **fields):
    return "responses", {"input": [*items], **fields}


QUOTES = {
    "system": chat({"role": "system", "content": f"Never write {TOKEN}."}, USER),
    "user": chat({"role": "user", "content": f"What is {TOKEN}?"}),
    "a later user": chat(USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": TOKEN}),
    "assistant": chat(USER, {"role": "assistant", "content": f"It is {TOKEN}"}),
    "developer": chat({"role": "developer", "content": TOKEN}, USER),
    "a role": chat(USER, {"role": TOKEN, "content": "x"}),
    "a name": chat({**USER, "name": TOKEN}),
    "reasoning": chat(USER, {"role": "assistant", "content": "4", "reasoning_content": TOKEN}),
    "a part": chat({"role": "user", "content": [{"type": "text", "text": TOKEN}]}),
    "two parts": chat(
        {"role": "user", "content": [{"type": "text", "text": "<|image"}, {"type": "text", "text": "_pad|>"}]}
    ),
    "a tool result": chat(USER, {"role": "tool", "tool_call_id": "1", "content": TOKEN}),
    "a call": chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}),
    "an escaped call": chat(
        USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ESCAPED}}]}
    ),
    "a tool": chat(USER, tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]),
    "an argument's name": chat(USER, tools=[{"function": {"parameters": {"properties": {TOKEN: {}}}}}]),
    "an enum": chat(
        USER, tools=[{"function": {"parameters": {"properties": {"x": {"enum": ["a", TOKEN]}}}}}]
    ),
    "functions": chat(USER, functions=[{"name": "f", "description": TOKEN}]),
    "documents": chat(USER, documents=[{"title": "x", "text": TOKEN}]),
    "a template's words": chat(USER, chat_template_kwargs={"persona": TOKEN}),
    "input": ("responses", {"input": f"What is {TOKEN}?"}),
    "instructions": ("responses", {"input": "x", "instructions": TOKEN}),
    "an item": response({"role": "user", "content": [{"type": "input_text", "text": TOKEN}]}),
    "an output": response(USER, {"type": "function_call_output", "call_id": "1", "output": TOKEN}),
    "an item's call": response(
        USER, {"type": "function_call", "name": "f", "arguments": json.dumps({TOKEN: 1})}
    ),
    "a flat tool": response(USER, tools=[{"type": "function", "name": "f", "description": TOKEN}]),
}


@pytest.mark.parametrize("name", QUOTES)
def test_a_quoted_picture_token_is_named_wherever_a_template_may_write_it(name):
    endpoint, body = QUOTES[name]
    before = json.dumps(body)
    with pytest.raises(RequestProblem, match=r"<\|image_pad\|>") as caught:
        check_request(body, endpoint)
    assert caught.value.param in body
    assert json.dumps(body) == before
    spaced = json.loads(before.replace("image_pad", "image pad").replace('"<|image"', '"<| image"'))
    check_request(spaced, endpoint)
    place_in_request(spaced, endpoint, "data:,x")


PICTURE = {"type": "image_url", "image_url": {"url": "data:,x"}}
SPLIT = {
    "two texts": ["<|image_", "pad|>"],
    "a text and a part": ["<|image_", {"type": "text", "text": "pad|>"}],
    "blanks that a template trims": [
        {"type": "text", "text": "See <|image_ "},
        {"type": "text", "text": "\npad|>"},
    ],
    "around a picture": [
        {"type": "text", "text": "<|image_"},
        PICTURE,
        {"type": "text", "text": "pad|>"},
    ],
    "a refusal": [{"type": "output_text", "text": "<|image_"}, {"type": "refusal", "refusal": "pad|>"}],
    "three": [{"type": "text", "text": text} for text in ("<|", "image_pad", "|>")],
}


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("role", ["user", "tool", "assistant"])
def test_a_token_in_several_parts_is_one_when_a_template_has_joined_them(name, role):
    said = {"role": role, "content": SPLIT[name]}
    with pytest.raises(RequestProblem, match=r"<\|image_pad\|>"):
        check_request({"messages": [USER, said]}, "chat/completions")
    result = {"type": "function_call_output", "call_id": "1", "output": SPLIT[name]}
    with pytest.raises(RequestProblem, match=r"<\|image_pad\|>"):
        check_request({"input": [USER, result]}, "responses")


@pytest.mark.parametrize("field", ["stop", "bad_words", "metadata", "user", "response_format"])
def test_what_no_template_writes_may_quote_a_token(field):
    check_request({"messages": [USER], field: [TOKEN]}, "chat/completions")


@pytest.mark.parametrize("token", KNOWN)
def test_tokens_of_every_family(token):
    with pytest.raises(UserError) as caught:
        check_request({"messages": [{"role": "user", "content": f"a{token}b"}]}, "chat/completions")
    assert repr(token) in str(caught.value)


@pytest.mark.parametrize("family", ALL)
def test_what_a_familys_template_writes_for_a_picture_is_known(family):
    with pytest.raises(UserError):
        check_request(
            {"messages": [{"role": "user", "content": MARKS.get(family, QWEN)}]}, "chat/completions"
        )


@pytest.mark.parametrize("token", ["<img>", "</img>", "<IMG_CONTEXT>", "<__media__>"])
def test_internvls_tokens_that_are_html_elsewhere(token):
    body = {"messages": [{"role": "user", "content": token}]}
    with pytest.raises(RequestProblem):
        check_request(body, "chat/completions", tokens_of("GotOcr2ImageProcessor"))


@pytest.mark.parametrize("kind", ["Qwen2VLImageProcessor", "Glm46VImageProcessor", "Gemma3ImageProcessor"])
def test_what_is_no_token_of_the_artworks_model_passes(kind):
    """HTML has <video>, forums have [IMG]: to these models they are words like others."""
    html = {"messages": [{"role": "user", "content": "Where does <video> go in HTML? [IMG]"}]}
    check_request(html, "chat/completions", tokens_of(kind))
    for unsure in (["LlavaOnevisionImageProcessor"], ["None"], [kind, "b"]):
        with pytest.raises(UserError):
            check_request(html, "chat/completions", tokens_of(*unsure))


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_what_the_server_keeps_is_refused(field):
    for value in ("resp_1", {"id": "x"}):
        with pytest.raises(RequestProblem, match="send the whole conversation") as caught:
            check_request({"input": "x", field: value}, "responses")
        assert caught.value.param == field
    check_request({"input": "x", field: None}, "responses")


def test_a_reference_to_an_item_may_stand_for_the_first_user_message():
    reference = {"type": "item_reference", "id": "msg_1"}
    with pytest.raises(RequestProblem, match="item_reference"):
        check_request({"input": [reference, USER]}, "responses")
    check_request({"input": [USER, reference]}, "responses")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": None},
        {"input": []},
        {"input": ["x"]},
        {"input": [{"type": "function_call_output", "call_id": "1", "output": "4"}]},
        {"input": [{"role": "system", "content": "x"}]},
    ],
)
def test_no_place_for_the_artwork(body):
    with pytest.raises(RequestProblem) as caught:
        place_in_request(body, "responses", "data:,x")
    assert caught.value.param == "input"


def test_a_whole_conversation_with_calls_has_one_artwork():
    items = [
        {"role": "system", "content": "x"},
        USER,
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "4"},
        {"role": "user", "content": "And now?"},
    ]
    body = place_in_request({"input": items}, "responses", "data:,x")
    assert json.dumps(body).count("data:,x") == 1
    assert body["input"][1]["content"][0]["image_url"] == "data:,x"
    assert [body["input"][0], *body["input"][2:]] == [items[0], *items[2:]]
