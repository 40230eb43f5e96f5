"""What is read and changed in a request's body."""

import base64
import io
import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError

PICTURE = b"data:image/png;base64,AAAA"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_what_is_read_is_written(body):
    assert json.loads(bodies.render(bodies.parse(json.dumps(body).encode()))) == body


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff\xfe",
        b'{"a": "\xc3\x28"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(raw):
    with pytest.raises(RequestError) as caught:
        bodies.parse(raw)
    assert caught.value.status == 400


def test_a_number_too_large_for_a_double_is_refused():
    with pytest.raises(RequestError, match="too large"):
        bodies.render(bodies.parse(b'{"a": 1e999}'))


def test_the_last_of_two_equal_keys_is_what_is_checked_and_what_is_sent():
    sent = bodies.render(bodies.parse(b'{"model": "a", "model": "b"}'))
    assert json.loads(sent) == {"model": "b"}
    assert b'"a"' not in sent


def test_a_lone_surrogate_passes():
    assert json.loads(bodies.render(bodies.parse(b'{"a": "\\ud800"}'))) == {"a": "\ud800"}


OWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


@pytest.mark.parametrize(
    "content",
    ["How many?", [{"type": "text", "text": "How many?"}], [OWN, {"type": "text", "text": "?"}], None],
)
def test_the_artwork_stands_before_the_first_user_text_and_its_pictures(content):
    system, later = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And now?"}
    body = {
        "model": "m",
        "messages": [system, {"role": "user", "content": content, "name": "x"}, later],
        "n": 2,
    }
    before = json.dumps(body)
    sent = json.loads(bodies.render(bodies.insert(body, "chat/completions", "pixeltune-1", True), PICTURE))
    assert json.dumps(body) == before
    first = sent["messages"][1]
    assert first["content"][0] == {
        "type": "image_url",
        "image_url": {"url": PICTURE.decode()},
        "uuid": "pixeltune-1",
    }
    expected = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    assert first["content"][1:] == expected
    assert first["name"] == "x"
    assert [sent["messages"][0], sent["messages"][2], sent["n"]] == [system, later, 2]


def test_without_bytes_only_the_name_goes_along():
    body = {"messages": [{"role": "user", "content": "How many?"}]}
    sent = json.loads(bodies.render(bodies.insert(body, "chat/completions", "pixeltune-1", False), PICTURE))
    assert sent["messages"][0]["content"][0] == {
        "type": "image_url",
        "image_url": None,
        "uuid": "pixeltune-1",
    }


@pytest.mark.parametrize("given_input", ["How many?", [{"role": "user", "content": "How many?"}]])
def test_the_responses_api_has_its_own_words(given_input):
    items = (
        given_input if isinstance(given_input, str) else [{"type": "reasoning", "summary": []}, *given_input]
    )
    sent = json.loads(bodies.render(bodies.insert({"input": items}, "responses", None, True), PICTURE))
    assert sent["input"][-1]["content"] == [
        {"type": "input_image", "image_url": PICTURE.decode(), "detail": "auto"},
        {"type": "input_text", "text": "How many?"},
    ]


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize(
    "value",
    [None, 3, [], ["x"], [{"role": "system", "content": "x"}], {}, [[]], [None], [{"role": ["user"]}]],
)
def test_no_place_for_the_artwork_is_an_error_that_says_so(path, value):
    field = "input" if path == "responses" else "messages"
    with pytest.raises(RequestError) as caught:
        bodies.insert({field: value}, path, None, True)
    assert caught.value.status == 400
    assert caught.value.param == field


def test_a_client_cannot_forge_the_place_of_the_picture():
    """The mark is random and made anew by every process; text that looks like another one stays text."""
    body = {"messages": [{"role": "user", "content": "pixeltune:" + "0" * 32}]}
    sent = json.loads(bodies.render(bodies.insert(body, "chat/completions", None, True), PICTURE))
    assert [part.get("text") for part in sent["messages"][0]["content"]] == [None, "pixeltune:" + "0" * 32]


def test_media_names_are_separated_by_owner():
    def names(owner, *given):
        body = {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": None, "uuid": u} for u in given],
                }
            ]
        }
        bodies.guard_media(body, owner)
        return [part["uuid"] for part in body["messages"][0]["content"]]

    art = "pixeltune-" + "0" * 64
    assert names("a", "x", art, 1, "1") == names("a", "x", art, 1, "1")  # the client's own cache still works
    everything = names("a", "x", art, 1, "1", ["x"]) + names("b", "x", art, 1, "1", ["x"])
    assert len(set(everything)) == len(everything)
    assert not any(name.startswith("pixeltune-") for name in everything)


def test_only_names_of_parts_are_changed():
    schema = {"type": "object", "properties": {"uuid": {"type": "string"}}}
    body = {"metadata": {"uuid": "mine"}, "tools": [{"type": "function", "function": {"parameters": schema}}]}
    before = json.dumps(body)
    bodies.guard_media(body, "a")
    assert json.dumps(body) == before


UUID = {"uuid": "mine", "title": "x", "text": "y"}
ELSEWHERE = {
    "documents": [UUID, {"content": "x", "uuid": "mine"}, {"content": [UUID]}],
    "tools": [{"function": {"parameters": {"properties": {"x": {"enum": [{"uuid": "mine"}, UUID]}}}}}],
    "response_format": {"json_schema": {"schema": {"prefixItems": [{"uuid": "mine"}], "examples": [UUID]}}},
    "tool_choice": {"tools": [{"uuid": "mine"}]},
    "metadata": {"content": [{"uuid": "mine"}]},
    "chat_template_kwargs": {"people": [{"uuid": "mine"}]},
    "vllm_xargs": [{"uuid": "mine"}],
    "uuid": "mine",
}


@pytest.mark.parametrize("field", ELSEWHERE)
@pytest.mark.parametrize("conversation", ["messages", "input"])
def test_what_is_called_uuid_elsewhere_passes_unchanged(field, conversation):
    call = {"function": {"name": "f", "arguments": {"items": [{"uuid": "mine"}]}}}
    said = [{"role": "user", "content": "x", "uuid": "mine", "tool_calls": [call]}]
    body = {conversation: said, field: ELSEWHERE[field]}
    before = json.dumps(body)
    bodies.guard_media(body, "a")
    assert json.dumps(body) == before


PART = {"type": "image_url", "image_url": None, "uuid": "x"}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "tool", "content": [PART]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [PART]}]}]},
        {"system": [PART], "messages": []},
        {"input": [{"role": "user", "content": [PART]}]},
        {"input": [{"type": "computer_call_output", "output": PART}]},
        {"query": {"content": [PART]}, "documents": ["x"]},
        {"query": "x", "documents": [{"content": [PART]}]},
        {"text_1": "x", "text_2": {"content": [PART]}},
        {"messages": [{"role": "user", "content": [{"video_url": None, "uuid": "x"}]}]},
    ],
    ids=range(9),
)
def test_names_of_parts_are_separated_wherever_parts_stand(body):
    body = json.loads(json.dumps(body))
    bodies.guard_media(body, "a")
    assert '"uuid": "client-' in json.dumps(body)
    assert '"uuid": "x"' not in json.dumps(body)


def test_parts_inside_tool_results_count_too():
    part = {"type": "input_image", "image_url": None, "uuid": "x"}
    body = {"input": [{"type": "function_call_output", "call_id": "1", "output": [dict(part)]}]}
    bodies.guard_media(body, "a")
    assert body["input"][0]["output"][0]["uuid"] != "x"


def picture(width, height, kind="PNG", before=b""):
    """A data URL of a file whose header says so; a PNG has next to nothing in it."""
    file = io.BytesIO()
    if kind == "PNG":
        file.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        for name, body in ((b"IHDR", header), (b"tEXt", before), (b"IDAT", b"x" * 100)):
            file.write(
                struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            )
    else:
        Image.new("L", (width, height)).save(file, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()


LARGE = [picture(8192, 8192), picture(60_000, 60_000), picture(6000, 6000, "JPEG")]
LARGE += [picture(8192, 8192, before=b"a\0" + b"b" * 500_000)]
SMALL = [picture(4000, 3000), picture(4000, 3000, "JPEG"), "data:image/png;base64,x", "data:image/"]


@pytest.mark.parametrize("url", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize("part", ["chat", "responses"])
def test_a_picture_that_would_fill_an_engines_memory_is_refused(url, part):
    content = {"image_url": {"url": url} if part == "chat" else url}
    with pytest.raises(RequestError) as caught:
        bodies.guard_media({"messages": [{"role": "user", "content": [content]}]}, "a")
    assert (caught.value.status, caught.value.code) == (413, "image_too_large")


@pytest.mark.parametrize("url", SMALL, ids=range(len(SMALL)))
def test_other_pictures_pass(url):
    body = {"messages": [{"role": "user", "content": [{"image_url": {"url": url}}]}]}
    bodies.guard_media(body, "a")
    assert body["messages"][0]["content"] == [{"image_url": {"url": url}}]


def test_too_deep_a_body_is_refused():
    body = {"a": []}
    for _ in range(200):
        body = {"a": [body]}
    with pytest.raises(RequestError, match="deeper"):
        bodies.guard_media(body, "a")


def test_errors_have_openais_shape():
    error = json.loads(RequestError(404, "no such model", code="model_not_found", param="model").body())[
        "error"
    ]
    assert error == {
        "message": "no such model",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }
