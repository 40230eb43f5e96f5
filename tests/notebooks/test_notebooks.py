"""The notebooks run from top to bottom in a kernel, on the bundled model; they are kept without outputs."""

from __future__ import annotations

import ast
import json
import os
import re

import pytest

from documents import ROOT

BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
named = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)


def test_there_is_one_for_colab_and_one_for_machines_like_kaggle_s():
    assert [book.stem for book in BOOKS] == ["colab", "kaggle"]


@named
def test_outputs_are_stripped_and_the_file_is_valid(book):
    nbformat = pytest.importorskip("nbformat", reason="the extra `dev` brings it with nbclient")
    content = json.loads(book.read_text("utf-8"))
    nbformat.validate(content)
    assert set(content["metadata"]) == {"kernelspec", "language_info"}
    for cell in content["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


@named
def test_the_install_line_is_skipped_where_pixeltune_is(book):
    """It stands in front of the first import of pixeltune, alone under the question whether that is there."""
    codes = [cell for cell in json.loads(book.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in codes]
    (install,) = (place for place, source in enumerate(sources) if '"pip"' in source)
    assert not any(re.search(r"^(import|from) pixeltune", source, re.M) for source in sources[: install + 1])
    (guard,) = (node for node in ast.parse(sources[install]).body if isinstance(node, ast.If))
    assert ast.unparse(guard.test) == "importlib.util.find_spec('pixeltune') is None"
    assert '"pip"' in ast.unparse(guard).replace("'", '"')


@named
def test_it_runs_from_top_to_bottom(book, bundled, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="the extra `dev` brings it with nbclient")
    nbclient = pytest.importorskip("nbclient", reason="the extra `dev` brings it")
    pytest.importorskip("ipykernel", reason="the extra `dev` brings it")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    made = nbformat.read(book, 4)
    client = nbclient.NotebookClient(made, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env={**os.environ, "PIP_NO_INDEX": "1"})
    outputs = [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    plain = [output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs]
    said = "".join(plain)
    assert re.search(r"held-out score .* -> .*artwork.png", said)
    assert re.search(r"points against off \((significant|could be chance)", said)
    assert "image_url {'url': 'data:image/png;base64," in said
    assert "painting: 100%" in said
    assert "IPython.core.display.HTML" not in said  # the table of losses that transformers shows in notebooks
    assert "Traceback" not in said
    assert (
        re.sub("TqdmWarning: IProgress", "", said).count("Warning") == 0
    )  # that of plain kernels without ipywidgets
    assert list((tmp_path / "runs" / book.stem).glob("*.png"))
