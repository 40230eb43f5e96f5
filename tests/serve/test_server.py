"""The process: starting, bounds on connections, a folder that changes, orderly and disorderly ends."""

import concurrent.futures
import inspect
import json
import socket
import subprocess
import sys
import threading
import time

import openai
import pytest
import uvicorn

from gateways import gateway, make_artwork, wait
from pixeltune.cli.main import main
from pixeltune.engines.kept_pictures import kept_name
from pixeltune.picture.files import data_url
from pixeltune.serve import protocol
from pixeltune.serve.server import serve

HEAVY = ("torch", "transformers", "openai", "pydantic", "datasets", "huggingface_hub")


def test_neither_torch_nor_transformers_is_imported():
    code = "import sys, pixeltune.serve.server; print([name for name in sys.argv[1:] if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_it_is_ready_in_a_second_of_computing(engine, folder, tmp_path):
    """Time on the processor, which other work on this machine does not lengthen much."""
    before = time.monotonic()
    with gateway(folder, "--upstream", engine.url, log=tmp_path / "log") as served:
        print(f"ready after {time.monotonic() - before:.2f} s")
        with open(f"/proc/{served.process.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
    assert (int(user) + int(system)) / 100 < 1.0


def test_ten_thousand_artworks(tmp_path):
    """Listed in seconds, in little memory. They share pixels; each has its own file."""
    folder = tmp_path / "artworks"
    png = make_artwork(0).png()
    for number in range(100):
        (folder / f"team-{number}").mkdir(parents=True)
        for other in range(100):
            (folder / f"team-{number}" / f"{other}.png").write_bytes(png)
    code = """
import asyncio, sys, time
from pixeltune.serve.shelf import Shelf

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

shelf, before, times = Shelf(sys.argv[1]), resident(), []
for _ in range(2):
    begin = time.process_time()
    asyncio.run(shelf.refresh())
    times.append(time.process_time() - begin)
print(len(shelf.entries), *times, (resident() - before) / 2**20)
"""
    out = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    ).stdout
    print(out)
    count, took, again, mebibytes = map(float, out.split())
    assert count == 10_000
    assert took < 5
    assert again < 0.5
    assert mebibytes < 50


def ask(served, model="art", **options):
    client = openai.OpenAI(base_url=served.url, api_key="x", max_retries=0, timeout=20)
    said = [{"role": "user", "content": options.pop("say", "x")}]
    return client.chat.completions.create(model=model, messages=said, **options)


def test_the_folder_may_change_while_it_runs(engine, tmp_path):
    folder = tmp_path / "artworks"
    make_artwork(0).save(folder / "art.png")
    with gateway(folder, "--upstream", engine.url, log=tmp_path / "log") as served:
        assert ask(served).choices[0].message.seen
        make_artwork(1).save(folder / "new.png")
        wait(lambda: "new" in listed(served), seconds=10)
        assert ask(served, "new").choices[0].message.seen
        make_artwork(2).save(folder / "art.png")
        wait(lambda: listed(served)["art"] == make_artwork(2).sha256, seconds=10)
        ask(served)
        part = engine.requests[-1]["messages"][0]["content"][0]
        # Never the old picture by the old name.
        assert part["uuid"] == kept_name(data_url((folder / "art.png").read_bytes()).encode())
        (folder / "new.png").unlink()
        wait(lambda: "new" not in listed(served), seconds=10)


def test_a_swapped_link_and_a_folder_that_is_away_do_not_stop_it(engine, tmp_path):
    make_artwork(0).save(tmp_path / "old" / "art.png")
    make_artwork(1).save(tmp_path / "new" / "art.png")
    current = tmp_path / "current"
    current.symlink_to("old")
    with gateway(current, "--upstream", engine.url, log=tmp_path / "log") as served:
        assert listed(served)["art"] == make_artwork(0).sha256
        assert ask(served).choices[0].message.seen
        current.unlink()
        time.sleep(2.5)
        assert ask(served).choices[0].message.seen
        assert [line["event"] for line in served.lines()].count("artworks cannot be read") == 1
        current.symlink_to("new")
        wait(lambda: listed(served)["art"] == make_artwork(1).sha256, seconds=10)


def listed(served):
    entries = json.loads(served.get("/v1/models")[1])["data"]
    return {entry["id"]: entry.get("artwork", {}).get("sha256") for entry in entries}


def connect(served):
    host, port = served.root.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(50_000)),
        b"X: " + b"y" * 50_000_000,
    ],
    ids=["many", "one endless"],
)
def test_floods_of_headers_are_cut_off(served, flood):
    """uvicorn has no such bound of its own: without BoundedProtocol all this would be taken."""
    with connect(served) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(flood)
    assert served.get("/healthz")[0] == 200


@pytest.mark.parametrize("said", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_who_does_not_finish_a_request_is_sent_away(monkeypatch, said):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, http=protocol.BoundedProtocol, lifespan="off", log_level="critical")
    process = uvicorn.Server(config)
    thread = threading.Thread(target=process.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    with socket.create_connection(listener.getsockname(), timeout=10) as connection:
        for _ in range(2):  # a second request on the same connection has no more time than the first
            if said:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 204 " in connection.recv(1000)
        connection.sendall(said)
        assert connection.recv(1000) == b""
    process.should_exit = True
    thread.join(10)


def test_flags_and_keyword_arguments_have_the_same_defaults(monkeypatch):
    """`pixeltune serve` is a thin layer: without flags it calls `serve` with its own defaults."""
    monkeypatch.delenv("PIXELTUNE_UPSTREAM_KEY", raising=False)
    called = []
    monkeypatch.setattr("pixeltune.serve.server.serve", lambda *given, **named: called.append((given, named)))
    assert main(["serve", "--artworks", "folder", "--upstream", "http://x"]) == 0
    ((given, named),) = called
    assert given == (["http://x"], "folder")
    own = {n: p.default for n, p in inspect.signature(serve).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert named == own | {"aliases": {}}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--artworks", "/nowhere", "--upstream", "http://x"], "--artworks"),
        (["--artworks", ".", "--upstream", "x"], "--upstream"),
        (["--artworks", ".", "--upstream", "http://x", "--api-keys", "/nowhere"], "API keys"),
        (["--artworks", ".", "--upstream", "http://x", "--alias", "x"], "--alias"),
        (["--artworks", ".", "--upstream", "http://x", "--timeout", "0"], "--timeout"),
        (["--artworks", ".", "--upstream", "http://x", "--notice", "-1"], "--notice"),
        (["--artworks", ".", "--upstream", "http://x", "--host", "203.0.113.1"], "--host"),
        (["--artworks", ".", "--upstream", "http://x", "--port", "99999"], "--port"),
    ],
)
def test_wrong_options_are_errors_before_anything_starts(capsys, flags, words):
    assert main(["serve", *flags]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_taken_port_is_an_error(capsys, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--artworks", str(folder), "--upstream", "http://x", "--port", port]) == 1
    assert "in use" in capsys.readouterr().err


def test_it_listens_on_this_machine_alone_unless_told(served):
    assert served.root.startswith("http://127.0.0.1:")
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"


def test_kill_and_restart_under_load(engine, folder, tmp_path):
    """Killed outright while requests run; after a restart on the same port all is as before."""
    answers, stop = [], threading.Event()

    def load(served):
        while not stop.is_set():
            try:
                answers.append(len(ask(served).choices[0].message.seen))
            except openai.APIConnectionError:
                answers.append(None)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    flags = ["--upstream", engine.url, "--port", port]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with gateway(folder, *flags, log=tmp_path / "log") as served:
            for _ in range(4):
                pool.submit(load, served)
            wait(lambda: answers.count(1) > 20)
            served.process.kill()
            served.process.wait()
            wait(lambda: None in answers)
        with gateway(folder, *flags, log=tmp_path / "log"):
            before = len(answers)
            wait(lambda: answers[before:].count(1) > 20)
            stop.set()
    assert set(answers) == {1, None}  # whoever got an answer got the right one
