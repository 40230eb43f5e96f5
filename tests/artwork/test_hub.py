"""Artworks on the hub: huggingface_hub, unmodified, talks to a stand-in that knows the hub's routes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi, ModelCard, constants, hf_hub_download

from hub_server import OWNER, READER, StandInHub
from pixeltune.artwork import hub as hub_module
from pixeltune.artwork import pull as pull_module
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.hub_errors import HubError, StaleWarning
from pixeltune.artwork.png import ArtworkError
from pixeltune.artwork.provenance import Provenance
from pixeltune.artwork.pull import pull
from pixeltune.cli.main import main
from pixeltune.errors import UserError

NOBODY = "http://127.0.0.1:9"
HELD_OUT = {
    "score": 0.955,
    "ci95": [0.917, 0.976],
    "n": 200,
    "before": {"score": 0.015, "ci95": [0.005, 0.043]},
}
FACTS = Provenance(
    base_model="Qwen/Qwen3.5-0.8B",
    image_tokens=4,
    placement="before the first user text",
    processor={},
    objective="sft",
    data="calls",
    scores={"held_out": HELD_OUT},
    licence="CC0-1.0",
)


def made(seed: int = 0, **facts) -> Artwork:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Artwork(pixels, replace(FACTS, **facts))


@pytest.fixture(scope="module")
def running() -> Iterator[StandInHub]:
    with StandInHub().running() as hub:
        yield hub


@pytest.fixture
def hub(running, tmp_path, monkeypatch) -> StandInHub:
    """An empty hub, which `me` may write to."""
    running.repos, running.collections, running.asked, running.status = {}, {}, [], 0
    running.silent.clear()
    running.used_here(monkeypatch, tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    return running


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run's folder with what a painting leaves; the adapter is none that could be loaded."""
    made().save(tmp_path / "run" / "artwork.png")
    config = {
        "peft_type": "ART",
        "height": 8,
        "width": 8,
        "image_tokens": 4,
        "start": str(tmp_path / "cat.png"),
    }
    config |= {"base_model_name_or_path": str(tmp_path / "models" / "qwen"), "mask": None, "revision": None}
    (tmp_path / "run" / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "run" / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "run" / "training_args.bin").write_bytes(b"not for others")
    return tmp_path / "run"


def test_what_is_pushed_comes_back_byte_for_byte(hub, tmp_path):
    address = made().push_to_hub("me/calls")
    (sha,) = [*hub.repos["me/calls"].commits][1:]
    assert address == f"{hub.url}/me/calls/commit/{sha}"
    assert hub.repos["me/calls"].messages == ["initial commit", f"Artwork {made().sha256[:12]}"], "one commit"
    assert sorted(hub.repos["me/calls"].commits[sha]) == [".gitattributes", "README.md", "artwork.png"]
    assert Artwork.from_hub("me/calls") == made()
    assert pull("me/calls", "calls.png").read_bytes() == made().png()
    assert files(pull("me/calls", tmp_path / "new" / "calls")) == {
        "artwork.png": made().png(),
        "README.md": made().card().encode(),
    }


def test_a_name_alone_is_the_user_s_own(hub):
    made().push_to_hub("calls")
    assert list(hub.repos) == ["me/calls"]


def test_a_run_s_adapter_goes_along_and_names_no_folder_of_this_machine(hub, run, tmp_path):
    made().push_to_hub("me/calls", adapter=run)
    pulled = files(pull("me/calls", "calls"))
    assert sorted(pulled) == ["README.md", "adapter_config.json", "adapter_model.safetensors", "artwork.png"]
    assert pulled["adapter_model.safetensors"] == b"weights"
    assert str(tmp_path) not in pulled["adapter_config.json"].decode()
    config = json.loads(pulled["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["start"]) == ("Qwen/Qwen3.5-0.8B", "cat.png")


def test_an_artwork_without_its_adapter_leaves_no_other_one_s_beside_it(hub, run):
    made().push_to_hub("me/calls", adapter=run)
    made(1).push_to_hub("me/calls")
    assert len(hub.repos["me/calls"].commits) == 3, "in the same commit"
    assert sorted(files(pull("me/calls", "calls"))) == ["README.md", "artwork.png"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 16}, "of another artwork than the picture"),
        ({"peft_type": "LORA"}, "of another artwork than the picture"),
        (None, "has no adapter_model.safetensors"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
    ],
)
def test_an_adapter_of_something_else_is_not_pushed(change, said, hub, run):
    config = run / "adapter_config.json"
    if change is None:
        (run / "adapter_model.safetensors").unlink()
    else:
        text = json.dumps(json.loads(config.read_text()) | change) if isinstance(change, dict) else change
        config.write_text(text)
    with pytest.raises(ArtworkError, match=said):
        made().push_to_hub("me/calls", adapter=run)
    assert not hub.asked


def test_private_a_branch_and_a_message_by_flags(hub, capsys):
    made().save("a.png")
    words = "push a.png me/calls --private --revision try-2 --commit_message".split()
    assert main([*words, "Second try"]) == 0
    repo = hub.repos["me/calls"]
    assert capsys.readouterr().out == f"{hub.url}/me/calls/commit/{repo.branches['try-2']}\n"
    assert repo.private
    assert repo.messages[-1] == "Second try"
    assert "artwork.png" not in repo.commits[repo.branches["main"]]
    for revision in ("try-2", repo.branches["try-2"]):
        assert Artwork.from_hub("me/calls", revision=revision) == made()
    made(1).push_to_hub("me/calls", revision="try-2")  # the branch is there
    assert Artwork.from_hub("me/calls", revision="try-2") == made(1)


def test_the_same_again_is_no_commit(hub):
    assert made().push_to_hub("me/calls") == made().push_to_hub("me/calls")
    assert len(hub.repos["me/calls"].commits) == 2


def test_private_does_not_become_public_unnoticed(hub):
    made().push_to_hub("me/calls")
    with pytest.raises(
        HubError, match="is there already, for everybody to see: make it private in its settings"
    ):
        made(1).push_to_hub("me/calls", private=True)
    assert Artwork.from_hub("me/calls") == made()


def test_another_thing_s_repository_is_left_alone(hub):
    held = {"README.md": b"my model", "model.safetensors": b"weights"}
    hub.repo("me/llama", held)
    with pytest.raises(
        HubError, match=r"is there already and no artwork, it holds model\.safetensors: push to"
    ):
        made().push_to_hub("me/llama")
    assert len(hub.repos["me/llama"].commits) == 1


def test_a_change_in_the_meantime_is_not_written_over(hub, monkeypatch):
    made().push_to_hub("me/calls")
    create = HfApi.create_commit

    def late(api, name, *rest, **more):
        hub.repos[name].add({"artwork.png": made(2).png()}, "somebody else's")
        return create(api, name, *rest, **more)

    monkeypatch.setattr(HfApi, "create_commit", late)
    with pytest.raises(HubError, match="me/calls: cannot push: somebody changed it meanwhile: try again"):
        made(1).push_to_hub("me/calls")


def test_nothing_is_drawn_or_told_beside_the_result(hub, run, capfd, recwarn):
    made().push_to_hub("me/calls", adapter=run)
    made().push_to_hub("me/calls", adapter=run)
    pull("me/calls", "calls")
    assert capfd.readouterr() == ("", "")
    ours = [
        one for one in recwarn.list if one.category is not DeprecationWarning
    ]  # of the client's own insides
    assert ours == []


def test_the_client_library_reads_the_card_s_metadata(hub):
    made().push_to_hub("me/calls")
    data = ModelCard(Path(hf_hub_download("me/calls", "README.md")).read_text()).data
    assert data.base_model == "Qwen/Qwen3.5-0.8B"
    assert (data.base_model_relation, data.library_name, data.license) == ("adapter", "pixeltune", "cc0-1.0")
    assert (data.pipeline_tag, data.tags) == ("image-text-to-text", ["pixeltune", "visual-prompting", "sft"])
    assert data.widget == [{"text": "The artwork", "output": {"url": "artwork.png"}}]
    (result,) = data.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == ("calls", "score", 0.955)
    assert result.metric_args == {"n": 200, "ci95": [0.917, 0.976]}


@pytest.mark.parametrize(
    ("licence", "header"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("GPL-3.0-only", {"license": "other", "license_name": "gpl-3.0-only"}),
        ("Ask me, please!", {"license": "other", "license_name": "ask-me-please"}),
        (None, {}),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_another(licence, header):
    data = ModelCard(made(licence=licence).card()).data.to_dict()
    assert {name: value for name, value in data.items() if name.startswith("license")} == header


# What goes wrong: each is one line with its remedy, within seconds.


def prepare(hub: StandInHub, name: str) -> None:
    if name == "gated":
        hub.repo("me/calls", {"artwork.png": made().png()}, gated=True)
    if name == "private":
        hub.repo("me/calls", {"artwork.png": made().png()}, private=True)
    if name == "a model":
        hub.repo("me/calls", {"model.safetensors": b"weights"})
    if name == "damaged":
        hub.repo("me/calls", {"artwork.png": made().png()[:-20]})
    if name == "huge":
        hub.repo("me/calls", {"artwork.png": bytes(hub_module.FILES["artwork.png"] + 1)})
    if name in ("there", "busy", "broken", "silent"):
        hub.repo("me/calls", {"artwork.png": made().png()})
    hub.status = {"busy": 429, "broken": 503}.get(name, 0)
    if name == "silent":
        hub.silent.set()


@pytest.mark.parametrize(
    ("what", "words", "token", "said"),
    [
        ("", "push a.png me/calls", None, "there is no token: make one at "),
        ("", "push a.png me/calls", "hf_old", "the hub does not accept the token: make another at "),
        ("", "push a.png me/calls", READER, "the token may not do that (You don't have the "),
        ("", "push a.png you/calls", OWNER, "the token may not do that (You don't have the "),
        ("", "push a.png a/b/c", OWNER, "that is no name on the hub"),
        (
            "",
            "push a.png me/calls --revision refs/x",
            OWNER,
            "refuses it (Invalid reference for a branch): mend",
        ),
        ("broken", "push a.png me/calls", OWNER, "answers 503: try again later"),
        ("silent", "push a.png me/calls", OWNER, "cannot be reached ("),
        ("", "pull me/calls", OWNER, "has no such repository, or it is private: check the name"),
        (
            "",
            "pull me/calls --output a.png",
            None,
            "has no such repository, or it is private: check the name",
        ),
        ("private", "pull me/calls", None, "has no such repository, or it is private: check the name"),
        ("gated", "pull me/calls", OWNER, "gives it to those who accept its terms: do so on its page"),
        (
            "there",
            "pull me/calls --revision v9",
            OWNER,
            "it has no revision 'v9': check the name of the branch",
        ),
        ("there", "pull me/calls", "hf_old", "the hub does not accept the token"),
        ("a model", "pull me/calls", OWNER, "me/calls is no artwork, it has no artwork.png: check the name"),
        ("damaged", "pull me/calls", OWNER, "me/calls: "),
        ("huge", "pull me/calls", OWNER, "its artwork.png has 67,108,865 bytes, and none has more than"),
        ("busy", "pull me/calls", OWNER, "the hub was asked too often: try again in some minutes"),
        ("broken", "pull me/calls", OWNER, "answers 503: try again later"),
        ("silent", "pull me/calls", OWNER, "cannot be reached ("),
        ("", "pull calls!", OWNER, "that is no name on the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_line(what, words, token, said, hub, tmp_path, monkeypatch, capsys):
    hub.used_here(monkeypatch, tmp_path / "home", token)
    monkeypatch.setattr(hub_module, "SECONDS", 1.0)
    made().save("a.png")
    prepare(hub, what)
    before, begin = {path.name for path in tmp_path.iterdir()}, time.monotonic()
    assert main(words.split()) == 1
    assert time.monotonic() - begin < 5
    error = capsys.readouterr().err
    assert error.startswith(f"pixeltune {words.split()[0]}: ")
    assert said in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == before, "nothing is left behind"


@pytest.mark.parametrize("words", ["push a.png me/calls", "pull me/calls", "pull me/calls --output b.png"])
@pytest.mark.parametrize("offline", [False, True])
def test_without_a_network_it_is_said_at_once(words, offline, hub, monkeypatch, capsys):
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    made().save("a.png")
    begin = time.monotonic()
    assert main(words.split()) == 1
    assert time.monotonic() - begin < 5
    error = capsys.readouterr().err
    assert ("HF_HUB_OFFLINE is set" if offline else f"({NOBODY}) cannot be reached (") in error
    assert error.count("\n") == 1


def test_what_is_no_hub_is_called_so(hub, monkeypatch):
    monkeypatch.setattr(hub_module.Hub, "_look", lambda *_: json.loads("<html>"))
    with pytest.raises(HubError, match="is no hub: check HF_ENDPOINT"):
        Artwork.from_hub("me/calls")


def test_where_the_hub_cannot_be_reached_the_last_one_does_and_it_is_said(hub, monkeypatch):
    made().push_to_hub("me/calls")
    assert Artwork.from_hub("me/calls") == made()
    commit = hub.repos["me/calls"].branches["main"]
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    with pytest.warns(StaleWarning, match=rf"cannot be reached .* Taken from the cache: {commit}"):
        assert Artwork.from_hub("me/calls") == made()
    with pytest.warns(StaleWarning):
        assert pull("me/calls", "a.png").read_bytes() == made().png()
    with pytest.raises(HubError, match="cannot be reached"):  # what else belongs to it is not known
        pull("me/calls", "calls")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    hub.repos.clear()
    with pytest.raises(HubError, match="no such repository"):  # the cache is no way around that
        Artwork.from_hub("me/calls")


def test_a_pull_writes_all_or_nothing(hub, run, monkeypatch, tmp_path):
    made().push_to_hub("me/calls", adapter=run)
    Path("calls").mkdir()
    Path("calls", "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="calls is there already: give another name, or remove it"):
        pull("me/calls", "calls")
    Path("note.png").write_text("no artwork")
    assert main(["pull", "me/calls", "--output", "note.png"]) == 1
    assert Path("note.png").read_text() == "no artwork"
    before = {path.name for path in tmp_path.iterdir()}
    copied = []

    def full(source, target):
        copied.append(target)
        if len(copied) == 3:
            raise OSError(28, "No space left on device")
        return os.link(source, target)

    monkeypatch.setattr(pull_module.shutil, "copyfile", full)
    with pytest.raises(UserError, match=r"other cannot be written .No space left on device"):
        pull("me/calls", "other")
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == before


def test_the_command_line_pulls_into_the_repository_s_name(hub, capsys):
    made().push_to_hub("me/calls")
    assert main(["pull", "me/calls"]) == 0
    assert capsys.readouterr().out == "calls\n"
    assert Artwork.load("calls") == made()


def test_processes_of_their_own_find_the_hub_by_its_variables(hub, tmp_path):
    made().save("a.png")
    code = "import sys; from pixeltune.cli.main import main; s = main(sys.argv[1:]); "
    code += "assert 'torch' not in sys.modules; sys.exit(s)"
    for words in ("push a.png calls", "pull me/calls --output b.png"):
        done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "b.png").read_bytes() == made().png()


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="huggingface_hub package is missing: pip install huggingface_hub"):
        Artwork.from_hub("me/calls")
