"""Requests nobody would think of: none may break the gateway."""

import http.client
import json

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixeltune.serve.description import describe

schema = schemathesis.openapi.from_dict(describe())
steady = settings(
    max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@schema.parametrize()
@steady
def test_what_schemathesis_makes_of_our_description(case, served):
    answer = case.call(base_url=served.root, timeout=20)
    case.validate_response(answer)
    assert answer.status_code < 500


words = st.sampled_from(
    ["user", "system", "text", "image_url", "uuid", "type", "content", "role", "url", "data:,x"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)
messages = st.lists(st.fixed_dictionaries({"role": words | anything, "content": anything}), max_size=3)


@steady
@given(
    path=st.sampled_from(["chat/completions", "responses", "completions"]),
    model=st.sampled_from(["art", "base"]),
    said=messages | anything,
    stream=anything,
    cut=st.integers(0, 40) | st.none(),
)
def test_bodies_near_to_right_ones(served, path, model, said, stream, cut):
    """The stand-in may fail on them; the gateway says so in OpenAI's words, and does not fail itself."""
    body = json.dumps({"model": model, "messages": said, "input": said, "stream": stream}).encode()
    if cut is not None:
        body = body[:-cut] or b"{}"
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=20)
    connection.request("POST", f"/v1/{path}", body)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 400:
        assert json.loads(text)["error"]["message"]
        assert b"the gateway failed" not in text
    connection.close()
