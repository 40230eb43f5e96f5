"""What cannot be served is refused in one line, before anything starts."""

from __future__ import annotations

import socket
from importlib.util import find_spec

import pytest

from pixeltune.cli import studio as verb
from pixeltune.cli.main import main
from pixeltune.cli.parser import Parser
from pixeltune.studio.server import open_studio

needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="the extra `studio` is not installed")


@needs_gradio
@pytest.mark.parametrize("port", ["taken", "70000"])
def test_an_address_that_cannot_be_had(port, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1]) if port == "taken" else port
        assert main(["studio", "--output_dir", str(tmp_path), "--port", number]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"pixeltune studio: cannot listen on 127.0.0.1, port {number} (")
    assert said.count("\n") == 1


@needs_gradio
def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", "/proc/studio"):
        assert main(["studio", "--output_dir", str(folder)]) == 1
        assert f"--output_dir {folder} cannot be written (" in capsys.readouterr().err


def test_flags_have_the_function_s_defaults():
    parser = Parser("pixeltune studio", verb.HELP)
    verb.add_arguments(parser)
    given = vars(parser.parse_args([]))
    names = open_studio.__code__.co_varnames[: open_studio.__code__.co_argcount]
    assert given == dict(zip(names, open_studio.__defaults__, strict=True)) | open_studio.__kwdefaults__
    assert given["host"] == "127.0.0.1"
