"""Session-wide fixtures: the bundled model, and one real vLLM server that serves it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# Before huggingface_hub is imported, which reads it once: without a network it asks for minutes.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

import pixeltune  # noqa: F401  before transformers: where torchvision is a CUDA build beside a CPU torch
from vllm_server import vllm_server


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that uses a server is marked `vllm`, and skipped where that is asked for, aloud.

    Side by side (`pytest -n 2 --dist loadgroup`), tests that share the server or the painted artworks stay in
    one process, which starts first because it takes longest; the others go by file, long ones before short
    ones, so that both processes end at about the same time.
    """
    skip = pytest.mark.skip(reason="PIXELTUNE_SKIP_VLLM=1")
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & {"vllm_url", "smol_url"} or item.get_closest_marker("vllm"):
            item.add_marker("vllm")
            if os.environ.get("PIXELTUNE_SKIP_VLLM") == "1":
                item.add_marker(skip)
        shared = used & {"vllm_url", "_paintings"}
        item.add_marker(pytest.mark.xdist_group("shared" if shared else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: _turn(*item.get_closest_marker("xdist_group").args))


LONGEST = (
    "shared",
    "test_train.py",
    "test_walk.py",
    "test_objectives.py",
    "test_shop.py",
    "test_distillation.py",
)


def _turn(group: str) -> int:
    """When a group of tests starts."""
    name = group.rpartition("/")[2]
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.fixture(scope="session")
def bundled() -> Path:
    """Folder of the bundled model."""
    from pixeltune.bundled.tiny import PATH

    if not (PATH / "model.safetensors").exists():
        pytest.fail(f"the bundled model is missing from {PATH}: restore it from git, or run `make tiny`")
    return PATH


@pytest.fixture(scope="session")
def vllm_url(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM server, one for the whole session, that serves the bundled model as `tiny`."""
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    tools = ("--enable-auto-tool-choice", "--tool-call-parser=hermes")  # for clients that want parsed calls
    with vllm_server(bundled, log, *tools, name="tiny") as url:
        yield url


@pytest.fixture(scope="session")
def painted_folder(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's artworks were painted."""
    return tmp_path_factory.mktemp("painted")


@pytest.fixture(scope="session")
def _paintings(painted_folder: Path) -> dict:
    """Task name to (artwork, model that wears it); painted once per session, in about a minute."""
    from pixeltune.cli.train import settings
    from pixeltune.training.paint import paint

    out = {}
    for name in ("calls", "sums"):
        flags = (
            f"--task {name} --max_steps 18 --save_steps 18 --held_out_rows 40 --score_steps 9 "
            "--per_device_train_batch_size 16 --train_rows 1000 --learning_rate 0.06 "
            f"--snapshot_steps 9 --output_dir {painted_folder / name}"
        )
        painting = paint("sft", quiet=True, **settings("sft", flags.split()))
        assert painting.finished
        out[name] = (painting.artwork, painting.model)
    return out


@pytest.fixture(scope="session")
def painted(_paintings: dict) -> dict:
    """An artwork for "calls" and one for "sums", painted for the bundled model."""
    return {name: artwork for name, (artwork, _) in _paintings.items()}


@pytest.fixture(scope="session")
def painted_calls_model(_paintings: dict):
    """The model that wears the live "calls" artwork."""
    return _paintings["calls"][1]


# Without the last three the browser itself would look for its makers' servers.
BROWSER_FLAGS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """The system's Chromium; no longer than a file, because its event loop would be in the way of others."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine, and `make chromium` could not put it there")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS.split()) as running,
    ):
        yield running
