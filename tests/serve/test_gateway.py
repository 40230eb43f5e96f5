"""A request's way through the gateway, with the real openai client, in front of a stand-in for an engine."""

import asyncio
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
import zlib

import openai
import pytest

from gateways import curl, gateway, make_artwork, wait
from pixeltune.engines.kept_pictures import kept_name
from pixeltune.picture.files import data_url
from pixeltune.serve.gateway import Gateway
from pixeltune.serve.proxy import Proxy
from pixeltune.serve.reply import Limits
from pixeltune.serve.shelf import Shelf
from pixeltune.serve.upstreams import Upstreams
from stub_engine import StubEngine

USER = [{"role": "user", "content": "How many?"}]


@pytest.fixture(scope="module")
def client(served):
    return openai.OpenAI(base_url=served.url, api_key="unused", max_retries=0, timeout=10)


def chat(client, model="art", messages=USER, **options):
    return client.chat.completions.create(model=model, messages=messages, **options)


def seen(answer):
    """Pictures that the stand-in saw, decoded."""
    urls = answer.choices[0].message.seen
    return [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls]


def say(text):
    return [{"role": "user", "content": text}]


# What passes


@pytest.mark.parametrize("name", ["art", "team-a/one", "team-b/two", "both"])
def test_a_name_shows_its_picture_to_the_engine(client, engine, folder, name):
    answer = chat(client, name)
    assert seen(answer) == [(folder / f"{name}.png").read_bytes()]
    assert engine.requests[-1]["model"] == "base"
    assert engine.requests[-1]["messages"][0]["content"][1] == {"type": "text", "text": "How many?"}


def test_the_base_name_passes_through_without_an_artwork(client, engine):
    assert seen(chat(client, "base")) == []
    assert engine.requests[-1]["messages"] == USER


def test_every_other_field_passes_unchanged(client, engine):
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    unknown = {"priority": 3, "vllm_xargs": {"x": [1, 2.5, None, "é", "😀"]}}
    options = {
        "tools": tools,
        "response_format": schema,
        "logprobs": True,
        "top_logprobs": 3,
        "n": 2,
        "seed": 7,
    }
    chat(client, temperature=0.25, extra_body=unknown, extra_headers={"X-Tenant": "t"}, **options)
    sent = engine.requests[-1]
    assert {k: v for k, v in sent.items() if k not in ("model", "messages")} == {
        **options,
        **unknown,
        "temperature": 0.25,
    }
    assert engine.headers[-1]["x-tenant"] == "t"


def test_the_users_own_pictures_stay_behind_the_artwork(client, folder):
    own = "data:image/png;base64," + base64.b64encode(b"own").decode()
    parts = [{"type": "image_url", "image_url": {"url": own}}, {"type": "text", "text": "What is it?"}]
    assert seen(chat(client, "art", say(parts))) == [(folder / "art.png").read_bytes(), b"own"]


def test_the_picture_is_sent_once_and_again_when_the_engine_has_dropped_it(client, engine, served, folder):
    chat(client)
    chat(client)
    part = engine.requests[-1]["messages"][0]["content"][0]
    assert part["image_url"] is None
    assert part["uuid"] == kept_name(data_url((folder / "art.png").read_bytes()).encode())
    engine.cache.clear()
    assert len(seen(chat(client))) == 1
    assert engine.requests[-2]["messages"][0]["content"][0]["image_url"] is None  # refused,
    assert engine.requests[-1]["messages"][0]["content"][0]["image_url"]  # and in full
    assert b"pixeltune_pictures_resent_total" in served.get("/metrics")[1]


def test_streams_come_part_by_part(client):
    stream = chat(
        client, messages=say("one two slowly three"), stream=True, stream_options={"include_usage": True}
    )
    words = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert words == ["one", "two", "slowly", "three"]


def test_a_stream_is_not_held_back(served):
    """Parts arrive while the engine still writes: 0.2 s apart, not all at the end."""
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"))
    body = {"model": "art", "messages": say("a b c d slowly"), "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer, times = connection.getresponse(), []
    while part := answer.read1():
        times += [time.perf_counter()] * part.count(b"delta")
    assert len(times) == 5
    assert times[-1] - times[0] > 0.5


def test_async_clients_too(served):
    async def ask():
        async with openai.AsyncOpenAI(base_url=served.url, api_key="unused") as client:
            answers = await asyncio.gather(
                *(chat(client, name) for name in ("art", "base", "team-a/one") * 10)
            )
            stream = await chat(client, messages=say("one two"), stream=True)
            return answers, [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]

    answers, words = asyncio.run(ask())
    assert [len(answer.choices[0].message.seen) for answer in answers] == [1, 0, 1] * 10
    assert words == ["one", "two"]


def test_the_responses_api(client, engine, folder):
    raw = client.responses.with_raw_response.create(model="art", input="How many?", instructions="Be brief.")
    assert raw.status_code == 200
    sent = engine.requests[-1]
    picture = sent["input"][0]["content"][0]
    assert base64.b64decode(picture["image_url"].partition(",")[2]) == (folder / "art.png").read_bytes()
    assert sent["instructions"] == "Be brief."


def test_curl(served):
    assert len(curl(served, {"model": "art", "messages": USER})["choices"][0]["message"]["seen"]) == 1


def test_other_paths_pass_for_the_base_and_say_what_they_need_for_an_artwork(client, engine):
    client.completions.create(model="base", prompt="Once")
    assert engine.requests[-1]["prompt"] == "Once"
    with pytest.raises(openai.BadRequestError, match="needs a chat"):
        client.completions.create(model="art", prompt="Once")
    with pytest.raises(openai.BadRequestError, match="needs a chat"):
        client.embeddings.create(model="art", input="Once")


def test_the_list_of_models(client):
    models = {model.id: model for model in client.models.list()}
    assert models.keys() == {"base", "art", "team-a/one", "team-b/two", "foreign", "both"}
    assert models["team-a/one"].parent == "base"
    assert models["team-a/one"].artwork == {"base": "base", "task": "noise", "sha256": make_artwork(1).sha256}
    assert client.models.retrieve("team-a/one").id == "team-a/one"


def test_headers_pass_as_they_are_also_repeated_ones_and_utf8(served, engine):
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=20)
    body = json.dumps({"model": "art", "messages": say("headers")}).encode()
    connection.putrequest("POST", "/v1/chat/completions")
    given = [(b"x-tag", b"a"), (b"x-tag", b"b"), (b"x-name", "Zoë, 東".encode()), (b"x-empty", b"")]
    for name, value in [*given, (b"content-length", b"%d" % len(body))]:
        connection.putheader(name.decode(), value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    assert [(name, value) for name, value in engine.raw_headers[-1] if name.startswith(b"x-")][:4] == given
    back = [(name, value.encode("latin-1")) for name, value in answer.getheaders() if name.startswith("x-")]
    assert back[:3] == [("x-tag", b"a"), ("x-tag", b"b"), ("x-name", "Zoë".encode())]


def test_request_ids_are_passed_on_and_logged(client, engine, served):
    answer = client.chat.completions.with_raw_response.create(
        model="art", messages=USER, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert answer.headers["x-request-id"] == engine.headers[-1]["x-request-id"] == "mine-1"
    wait(lambda: any(line.get("request_id") == "mine-1" for line in served.lines()))
    line = next(line for line in served.lines() if line.get("request_id") == "mine-1")
    assert (line["model"], line["status"], line["tokens"]) == ("art", 200, {"prompt": 7, "completion": 3})
    forged = client.chat.completions.with_raw_response.create(
        model="art", messages=USER, extra_headers={"X-Request-Id": 'x" y'}
    )
    assert len(forged.headers["x-request-id"]) == 32


def test_a_request_refused_before_its_model_is_known_is_not_the_base_model_s(served):
    """Nor does a name that does not exist get into the metrics."""
    data = json.dumps({"model": "nobody-at-all", "messages": USER}).encode()
    status, _ = post(served, data, **{"X-Request-Id": "refused-1"})
    assert status == 404
    wait(lambda: any(line.get("request_id") == "refused-1" for line in served.lines()))
    line = next(line for line in served.lines() if line.get("request_id") == "refused-1")
    assert line["model"] == "-"
    assert "'nobody-at-all' does not exist" in line["problem"]
    text = served.get("/metrics")[1].decode()
    assert 'pixeltune_requests_total{artwork="-",status="404",upstream=""}' in text
    assert 'artwork="",status="404"' not in text
    assert "nobody-at-all" not in text


def test_metrics(client, served):
    chat(client)
    text = served.get("/metrics")[1].decode()
    assert 'pixeltune_requests_total{artwork="art",status="200",upstream="127.0.0.1' in text
    assert 'pixeltune_tokens_total{artwork="art",kind="completion"' in text
    assert "pixeltune_first_byte_seconds_bucket" in text
    assert 'pixeltune_artworks{state="broken"} 1.0' in text


# What is refused


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("nobody", 404, "does not exist"),
        ("../art", 404, "does not exist"),
        ("art.png", 404, "does not exist"),
        ("team-a/../art", 404, "does not exist"),
        ("/etc/passwd", 404, "does not exist"),
        ("art\0", 404, "does not exist"),
        ("x" * 100_000, 404, "does not exist"),
        ("", 400, "`model`"),
        (None, 400, "`model`"),
        (["art"], 400, "`model`"),
        ({"a": 1}, 400, "`model`"),
        ("foreign", 400, "painted for 'another'; the engines serve base"),
        ("broken", 503, "truncated"),
    ],
)
def test_models_that_cannot_be_had(served, model, status, words):
    got, error = post(served, {"model": model, "messages": USER})
    assert got == status
    assert words in error["message"]
    assert len(error["message"]) < 500


def post(served, body, path="/v1/chat/completions", **headers):
    """Status and error of a request that is refused."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=20)
    connection.request("POST", path, data, headers)
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    return answer.status, error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"\xff",
        b"[" * 50_000,
        b'{"model": "art", "messages": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"model": "art", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"model": "art", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        {"model": "art"},
        {"model": "art", "messages": []},
        {"model": "art", "messages": "hello"},
        {"model": "art", "messages": [{"role": "system", "content": "no user"}]},
    ],
    ids=range(12),
)
def test_bodies_that_make_no_sense(served, engine, body):
    before = len(engine.requests)
    status, _ = post(served, body)
    assert status == 400
    assert len(engine.requests) == before


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
@pytest.mark.parametrize("model", ["art", "base"])
def test_conversations_are_not_kept(served, model, field):
    status, error = post(served, {"model": model, "input": "x", field: "resp_1"}, "/v1/responses")
    assert (status, error["param"]) == (400, field)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("chat/completions", {"messages": say("What is <|image_pad|>?")}, "messages"),
        ("chat/completions", {"messages": [{"role": "system", "content": "<image>"}, *USER]}, "messages"),
        (
            "chat/completions",
            {"messages": USER, "tools": [{"function": {"name": "f", "description": "[IMG]"}}]},
            "tools",
        ),
        ("responses", {"input": "<start_of_image>"}, "input"),
        ("responses", {"input": "x", "instructions": "<|vision_start|>"}, "instructions"),
    ],
)
def test_a_text_that_quotes_a_picture_token_never_moves_the_artwork(served, engine, path, body, field):
    before = len(engine.requests)
    status, error = post(served, {"model": "art", **body}, f"/v1/{path}")
    assert (status, error["param"]) == (400, field)
    assert "a token that stands for pictures" in error["message"]
    assert len(engine.requests) == before


def test_without_an_artwork_a_text_may_quote_picture_tokens(client, engine):
    chat(client, "base", say("What is <|image_pad|>?"))
    assert engine.requests[-1]["messages"] == say("What is <|image_pad|>?")


def test_a_prompt_kept_by_the_engine_is_refused_for_an_artwork(served):
    status, error = post(served, {"model": "art", "prompt": {"id": "pmpt_1"}}, "/v1/responses")
    assert (status, error["param"]) == (400, "prompt")


def test_too_large_a_body(served):
    body = {"model": "art", "messages": say("x" * 5_000_000)}
    try:
        status, _ = post(served, body)
        assert status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before it was all sent


def test_all_bodies_together_are_bounded(engine, folder, tmp_path):
    """In this process, with small bounds: three bodies of 40 bytes where there is room for 100."""
    sent, answers = [b'{"model": "' + b"x" * 28 + b'"', b"}"], []

    async def ask(forward):
        parts = list(sent)

        async def receive():
            if len(parts) == 1:
                await asyncio.sleep(0.1)
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message):
            answers.append(message.get("status"))

        await forward({"headers": []}, receive, send)

    async def run(gateway):
        await asyncio.gather(*(ask(Proxy(gateway, "completions")) for _ in range(3)))
        assert gateway.intake.held == 0

    asyncio.run(run(Gateway(Shelf(folder), Upstreams(["http://x"]), limits=Limits(held=100))))
    assert sorted(filter(None, answers)) == [429, 503, 503]  # nobody has looked for an engine yet


def test_compressed_bodies_are_refused(served):
    assert post(served, b"\x1f\x8b", **{"Content-Encoding": "gzip"})[0] == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("POST", "/v1/chat/completions/../../sleep", 404),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
    ],
)
def test_other_paths_and_methods(served, engine, method, path, status):
    before = len(engine.requests)
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"))
    connection.request(method, path)
    answer = connection.getresponse()
    assert answer.status == status
    assert json.loads(answer.read())["error"]["message"]
    assert len(engine.requests) == before


# Engines that are ill


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
def test_an_engines_errors_pass(client, status):
    with pytest.raises(openai.APIStatusError, match="as you wish") as caught:
        chat(client, messages=say(f"status {status}"))
    assert caught.value.status_code == status


def test_an_engines_plain_errors_get_openais_shape(client):
    with pytest.raises(openai.BadRequestError, match="the engine says: <h1>Bad"):
        chat(client, "base", say("plain error"))


PRINTED = json.dumps(
    {"error": {"message": "too long", "type": "x", "param": "messages", "code": "context_length_exceeded"}},
    indent=4,
)


@pytest.mark.parametrize("body", [PRINTED, f"\n{PRINTED}\n", PRINTED.replace("    ", "\t")])
def test_an_error_keeps_its_code_however_it_is_printed(client, body):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "base", say(f"error {body}"))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert caught.value.body["message"] == "too long"


@pytest.mark.parametrize("body", [f"event of error {json.dumps(json.loads(PRINTED))}", f"error [{PRINTED}]"])
def test_an_error_keeps_its_code_as_an_event_and_in_a_list(client, body):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "base", say(body), stream=True)
    assert (caught.value.code, caught.value.body["message"]) == ("context_length_exceeded", "too long")


def test_a_compressed_stream_that_lacks_its_end_ends_with_an_error(client):
    raw = client.chat.completions.with_raw_response.create(
        model="art", messages=say("one compressed cut"), stream=True
    )
    last = raw.http_response.read().decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_broke_off"


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ('{"error": "no such thing"}', "no such thing", "upstream_error"),
        ('{"object": "error", "message": "too long", "code": 40303}', "too long", 40303),
        ('{"detail": "Not Found"}', "Not Found", "upstream_error"),
        ('{"detail": [{"loc": ["body"]}]}', '"loc"', "upstream_error"),
        ('{"error": null}', '"error"', "upstream_error"),
        ("[" * 5000, "[[[", "upstream_error"),
        ("   ", "no reason given", "upstream_error"),
    ],
)
def test_other_shapes_of_errors_keep_what_they_say(client, body, message, code):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "base", say(f"error {body}"))
    assert message in caught.value.body["message"]
    assert caught.value.body["code"] == code


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw", "x-gzip"])
def test_an_engine_that_compresses_though_it_was_not_asked(client, engine, coding):
    assert chat(client, messages=say(f"compressed {coding}")).choices[0].message.seen
    assert engine.headers[-1]["accept-encoding"] == "identity"
    stream = chat(client, messages=say(f"one two compressed {coding}"), stream=True)
    words = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert words == ["one", "two", "compressed", coding]
    with pytest.raises(openai.BadRequestError, match="as you wish") as caught:
        chat(client, messages=say(f"compressed error {coding}"))
    assert caught.value.body["code"] == 400


def test_a_compressed_stream_is_not_held_back_and_ends_with_an_error(client):
    stream = chat(client, messages=say("one break off compressed gzip"), stream=True)
    assert next(stream).choices[0].delta.content == "one"
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)


def test_a_coding_that_is_not_known_here_is_the_clients_to_undo(served):
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=20)
    body = {"model": "base", "messages": say("compressed br")}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    assert answer.headers["content-encoding"] == "br"
    assert json.loads(zlib.decompress(answer.read(), 31))["choices"]  # the stand-in has no brotli


def test_a_small_answer_that_becomes_a_large_one_is_cut_off(client):
    with pytest.raises(openai.InternalServerError, match="larger than"):
        chat(client, messages=say("compressed bomb"))


def test_an_engine_that_does_not_answer(client):
    with pytest.raises(openai.InternalServerError, match="did not answer within 2 s") as caught:
        chat(client, messages=say("stall"))
    assert caught.value.status_code == 504


def test_an_engine_that_sends_too_much(client):
    with pytest.raises(openai.InternalServerError, match="larger than"):
        chat(client, messages=say("huge"))


@pytest.mark.parametrize("how", ["break off", "silence"])
def test_a_stream_that_ends_early_ends_with_an_error(client, how):
    stream = chat(client, messages=say(f"some {how} words"), stream=True)
    assert next(stream).choices[0].delta.content == "some"
    with pytest.raises(openai.APIError, match=r"broke off|went silent"):
        list(stream)


@pytest.mark.parametrize("breaks_at", [1, 5, 6, 20, 60, -1, -2, 0])
def test_a_stream_that_ends_within_an_event_ends_with_an_error(client, engine, monkeypatch, breaks_at):
    """The client never gets half an event, which it could not read."""
    monkeypatch.setattr(engine, "breaks_at", breaks_at)
    stream = chat(client, messages=say("some break off words"), stream=True)
    assert next(stream).choices[0].delta.content == "some"
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)


def test_an_orderly_end_within_an_event_is_no_end(client):
    stream = chat(client, messages=say("some end early words"), stream=True)
    with pytest.raises(openai.APIError, match="in the middle of an event"):
        list(stream)


def test_the_raw_end_of_a_stream_that_broke_off(served, engine, monkeypatch):
    monkeypatch.setattr(engine, "breaks_at", 20)
    connection = http.client.HTTPConnection(served.root.removeprefix("http://"), timeout=20)
    body = {"model": "art", "messages": say("some break off words"), "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    events = [event for event in connection.getresponse().read().split(b"\n\n") if event]
    assert [sorted(json.loads(event.removeprefix(b"data: "))) for event in events][-1] == ["error"]


@pytest.mark.parametrize(
    "answer", [b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"]
)
def test_an_engine_that_does_not_speak_http(folder, tmp_path, answer):
    """It lists its models, and then sends something else."""
    listener = socket.create_server(("127.0.0.1", 0))
    models = json.dumps({"data": [{"id": "base"}]}).encode()

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(100_000)
                if b"/models" in asked:
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(models) + models
                    )
                else:
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with gateway(folder, "--upstream", url, log=tmp_path / "log") as served:
        status, error = post(served, {"model": "art", "messages": USER})
        assert status == 502
        assert error["code"] in ("upstream_garbage", "upstream_gone", "upstream_broke_off")
        assert served.get("/healthz")[0] == 200
    listener.close()


def test_when_the_client_leaves_the_engine_may_stop(served, engine):
    with socket.create_connection(served.root.removeprefix("http://").split(":")) as connection:
        body = json.dumps({"model": "art", "messages": say("endless slowly"), "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        connection.recv(1000)
        wait(lambda: engine.open_streams == 1)
    wait(lambda: engine.open_streams == 0, seconds=5)
    wait(lambda: any(line.get("status") == 499 for line in served.lines()))


def test_a_slow_client_and_a_stalled_engine_hold_nobody_up(served, client, engine):
    host, port = served.root.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
            )
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            stalled = [
                pool.submit(post, served, {"model": "art", "messages": say("stall")}) for _ in range(10)
            ]
            assert all(seen(chat(client)) for _ in range(20))
            assert not any(future.done() for future in stalled)


# Whose picture


def test_one_tenants_names_for_pictures_cannot_touch_anothers(served, engine, client, folder):
    """A client that claims an artwork's name for a picture of its own changes nothing for others."""
    name = kept_name(data_url((folder / "team-a" / "one.png").read_bytes()).encode())
    engine.cache.clear()
    own = "data:image/png;base64," + base64.b64encode(b"poison").decode()
    part = {"type": "image_url", "image_url": {"url": own}, "uuid": name}
    assert seen(chat(client, "base", say([part, {"type": "text", "text": "x"}]))) == [b"poison"]
    assert seen(chat(client, "team-a/one")) == [(folder / "team-a" / "one.png").read_bytes()]
    again = {"type": "image_url", "image_url": None, "uuid": name}
    assert seen(chat(client, "base", say([again]))) == [b"poison"]  # its own, still there


def test_keys_open_what_they_are_for_and_nothing_else(engine, folder, tmp_path):
    callers = [
        ("team-a", "key-a", ["base", "team-a/*"]),
        ("team-b", "key-b", ["team-b/*"]),
        ("all", "key-c", ["*"]),
    ]
    keys = [
        {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "models": models}
        for name, key, models in callers
    ]
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    flags = ["--upstream", engine.url, "--api-keys", tmp_path / "keys.json"]
    with gateway(folder, *flags, log=tmp_path / "log") as served:

        def client(key):
            return openai.OpenAI(base_url=served.url, api_key=key, max_retries=0)

        a, b, everything = client("key-a"), client("key-b"), client("key-c")
        assert {m.id for m in a.models.list()} == {"base", "team-a/one"}
        assert {m.id for m in b.models.list()} == {"team-b/two"}
        assert {m.id for m in everything.models.list()} > {"base", "art", "team-a/one", "team-b/two"}
        assert seen(chat(a, "team-a/one"))
        assert "authorization" not in engine.headers[-1]  # our key is none of the engine's business
        for model in ("team-b/two", "art", "nobody"):  # forbidden and absent look the same
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                chat(a, model)
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                a.models.retrieve(model)
        for key in ("wrong", "", "key-a key-b"):
            assert post(served, {"model": "art", "messages": USER}, Authorization=f"Bearer {key}")[0] == 401
        assert post(served, {"model": "art", "messages": USER})[0] == 401
        assert served.get("/v1/models")[0] == 401
        assert served.get("/metrics", Authorization="Bearer key-a")[0] == 403
        assert served.get("/metrics", Authorization="Bearer key-c")[0] == 200
        assert served.get("/healthz")[0] == 200
        # The same name for a picture, by two callers, is two names.
        for caller in (a, everything):
            picture = {"type": "image_url", "image_url": {"url": "data:,x"}, "uuid": "mine"}
            chat(caller, "base", say([picture]))
        names = [request["messages"][0]["content"][0]["uuid"] for request in engine.requests[-2:]]
        assert names[0] != names[1]
        text = served.log.read_text()
        assert not [line for line in text.splitlines() if "key-" in line]


def test_the_engines_key_comes_from_the_environment_and_is_not_logged(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELTUNE_UPSTREAM_KEY", "engine-secret")
    with (
        StubEngine().running() as engine,
        gateway(folder, "--upstream", engine.url, log=tmp_path / "log") as served,
    ):
        chat(openai.OpenAI(base_url=served.url, api_key="client-key"))
        assert engine.authorizations[-1] == ["Bearer engine-secret"]
        assert "secret" not in served.log.read_text()
        assert "client-key" not in served.log.read_text()
