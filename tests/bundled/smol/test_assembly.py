"""`smol` as a folder, and its name on the command line."""

from __future__ import annotations

import pytest
import torch

from pixeltune.bundled.smol import assembly
from pixeltune.cli.main import main
from pixeltune.errors import UserError
from pixeltune.model import finding
from pixeltune.model.loading import load_model, load_processor


def test_it_loads_as_any_folder_does(grafted, tmp_path):
    model, processor = grafted
    folder = tmp_path / "smol"
    assembly.write(model, processor, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["smol"]
    loaded, again = load_model(str(folder)), load_processor(str(folder))
    assert loaded.dtype == torch.float32
    ids = again.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}]
    text = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Hi<|im_end|>\n"
    assert again.apply_chat_template(chat, tokenize=False) == text
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in card


def test_a_folder_is_replaced_whole_or_not_at_all(grafted, tmp_path, monkeypatch):
    model, processor = grafted
    folder = tmp_path / "smol"
    folder.mkdir()
    (folder / "old").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(type(processor), "save_pretrained", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            assembly.write(model, processor, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["smol", "old"]
    assembly.write(model, processor, folder)
    assert not (folder / "old").exists()
    assert (folder / "config.json").exists()


def test_without_the_tower_it_says_where_it_comes_from(tmp_path):
    with pytest.raises(UserError, match="make smol-tower"):
        assembly.assemble(tmp_path / "none")


@pytest.mark.parametrize(
    "command",
    [
        "sft --model smol --task sums --output_dir {folder}/run",
        "eval --model smol --task sums --output_dir {folder}/run",
    ],
)
def test_not_put_together_yet_it_says_the_command(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setitem(finding.BUNDLED, "smol", tmp_path / "none")
    assert main(command.format(folder=tmp_path).split()) != 0
    assert "run make smol in a checkout of pixeltune" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_its_folder_goes_by_its_name():
    assert finding.public_name(str(finding.SMOL)) == "smol"
    assert finding.place("smol") == str(finding.SMOL)
