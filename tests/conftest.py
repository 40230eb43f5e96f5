"""Session-wide fixtures: the bundled model, and one real vLLM server that serves it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vllm_server import vllm_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that uses the server is marked `vllm`, and skipped where that is asked for, aloud."""
    skip = pytest.mark.skip(reason="PIXELTUNE_SKIP_VLLM=1")
    for item in items:
        if "vllm_url" in getattr(item, "fixturenames", ()):
            item.add_marker("vllm")
            if os.environ.get("PIXELTUNE_SKIP_VLLM") == "1":
                item.add_marker(skip)


@pytest.fixture(scope="session")
def bundled() -> Path:
    """Folder of the bundled model."""
    from pixeltune.tiny import PATH

    if not (PATH / "model.safetensors").exists():
        pytest.fail(f"the bundled model is missing from {PATH}: restore it from git, or run `make tiny`")
    return PATH


@pytest.fixture(scope="session")
def vllm_url(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a vLLM server, one for the whole session, that serves the bundled model as `tiny`."""
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with vllm_server(bundled, log, name="tiny") as url:
        yield url
