"""Harnesses of others, unchanged, through the gateway: their scores, and pixeltune's own on the same rows.

    make .venv-vllm; python benchmarks/harnesses.py --build; python benchmarks/harnesses.py [--rows 100] [--table]

The bundled model on vLLM's CPU build, `pixeltune serve` in front of it with the artworks of the README; each
harness in an environment of its own (`--build` makes them) asks the base model and the artwork by name, and
scores with its own code. Rows are the bundled tasks as files in the forms that they read. Pixeltune's own
evaluation asks the same. `--record` writes one request of each, for the tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.common.cells import once, read
from benchmarks.common.engine_environments import PATH, ROOT
from benchmarks.common.harness_environments import PACKAGES, build, version
from benchmarks.common.harness_files import SEED, ours, write
from benchmarks.common.harness_runs import BASE_ENTRY, ENTRY, HARNESSES, run, shown
from pixeltune.engines.engine import Engine
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.scoring import score_rows
from pixeltune.evaluation.statistics import wilson
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "harnesses.json"
RECORDED = ROOT / "tests" / "fixtures" / "harnesses.json"
FEW = 12  # rows, of which some need no call
SIDES = ("off", "artwork")
MADE_BY = "python benchmarks/harnesses.py"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=HARNESSES, default=list(HARNESSES))
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument(
        "--build", action="store_true", help="make the harnesses' environments, and nothing else"
    )
    parser.add_argument("--record", action="store_true", help="one request of each, and nothing else")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    arguments = parser.parse_args(argv)
    if arguments.build:
        for name in PACKAGES:
            build(name)
    elif arguments.table:
        print(table(read(OUT)["cells"]))
    elif arguments.record:
        with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as url:
            record(url, arguments.only)
    else:
        with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as url:
            for name in arguments.only:
                measure(url, name, arguments.rows)
        print(table(read(OUT)["cells"]))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of the gateway in front of vLLM; a PNG is there under the name that bfcl-eval has, too."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "serve")]
    from gateways import gateway
    from vllm_server import vllm_server

    artworks = folder / "artworks"
    artworks.mkdir()
    for name, file in {"sums": "sums", "calls": "calls", ENTRY: "calls"}.items():
        shutil.copy(ROOT / "docs" / "images" / f"{file}.png", artworks / f"{name}.png")
    tools = ("--enable-auto-tool-choice", "--tool-call-parser=hermes")  # so that calls come parsed
    with (
        vllm_server(PATH, folder / "vllm.log", *tools, name="tiny") as engine,
        gateway(artworks, "--upstream", engine, "--alias", f"{BASE_ENTRY}=tiny", log=folder / "log") as it,
    ):
        yield it.url


def measure(url: str, name: str, rows: int) -> None:
    """Both sides of a harness, and pixeltune's own score of the same."""
    harness = HARNESSES[name]
    for side, model in zip(SIDES, harness.model, strict=True):
        settings = {"rows": rows, "seed": SEED, "version": version(harness.environment)}
        once(OUT, f"{name}, {side}", settings, partial(theirs, url, name, model, rows), made_by=MADE_BY)
        own = partial(by_hand, url, harness.task, model, rows)
        once(OUT, f"pixeltune, {harness.task}, {side}", {"rows": rows, "seed": SEED}, own, made_by=MADE_BY)


def theirs(url: str, name: str, model: str, rows: int) -> dict:
    """What a harness says of each row."""
    harness = HARNESSES[name]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        right = run(harness, Path(folder), url, model)
    print(name, model, f"{right.count('1')} of {len(right)}", flush=True)
    return {"version": version(harness.environment), "right": right, "commands": shown(harness, model)}


def by_hand(url: str, task: str, model: str, rows: int) -> dict:
    """What pixeltune's own evaluation says of each row."""
    model = {BASE_ENTRY: "tiny"}.get(model, model)  # an alias is not listed
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        scored = score_rows(*ours(task, Path(folder), rows), OnEngine(Engine(url, model)))
    right = "".join(f"{record['score']:.0f}" for record in scored.records)
    print("pixeltune", task, model, f"{right.count('1')} of {len(right)}", flush=True)
    return {"right": right}


def record(url: str, names: list[str]) -> None:
    """The first request of each harness to the artwork, as it arrives at the gateway."""
    found = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for name in names:
        with recorder(url) as (address, requests):
            theirs(address, name, HARNESSES[name].model[1], FEW)
        path, body = requests[0]
        found[name] = {"version": version(HARNESSES[name].environment), "path": path, "body": body}
    write_atomically(RECORDED, json.dumps(found, indent=1) + "\n")


@contextmanager
def recorder(url: str) -> Iterator[tuple[str, list]]:
    """An address that passes everything on to `url`, and what came in: pairs of path and body."""
    requests: list[tuple[str, dict]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path.removeprefix("/v1/"), json.loads(raw)))
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url + self.path.removeprefix("/v1"), raw, headers)
            with urllib.request.urlopen(request, timeout=600) as answer:
                said = answer.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def table(cells: dict) -> str:
    """Markdown: right rows of each harness without and with the artwork, and on how many pixeltune says the same."""
    lines = [
        "| harness, task | its version | rows | without | with the artwork | pixeltune says the same |",
        "|---|---|---|---|---|---|",
    ]
    for name, harness in HARNESSES.items():
        found = [cells.get(f"{name}, {side}") for side in SIDES]
        if None in found:
            continue
        same = total = 0
        for side, cell in zip(SIDES, found, strict=True):
            own = cells[f"pixeltune, {harness.task}, {side}"]["right"]
            same += sum(map(str.__eq__, cell["right"], own))
            total += len(own)
        shares = [share(cell["right"]) for cell in found]
        rows = len(found[0]["right"])
        lines.append(
            f"| {name} | {found[0]['version']} | {rows} | {' | '.join(shares)} | {same} of {total} |"
        )
    return "\n".join(lines)


def share(right: str) -> str:
    """Percent of right rows, with Wilson's interval."""
    low, high = wilson(right.count("1"), len(right))
    return f"{100 * right.count('1') / len(right):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
