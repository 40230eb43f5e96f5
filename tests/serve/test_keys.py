"""API keys."""

import hashlib
import json

import pytest

from pixeltune.serve.gateway import header_text
from pixeltune.serve.keys import ANYBODY, ApiKeys


def write(path, entries):
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def entry(name="a", key="secret", models=("team-a/*", "base")):
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "models": list(models)}


def test_the_owner_of_a_key(tmp_path):
    keys = ApiKeys(write(tmp_path / "keys.json", [entry(), entry("b", "other", ["*"])]))
    assert keys.caller("Bearer secret").name == "a"
    assert keys.caller("bearer  other").name == "b"
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer secre",
        "Bearer secret2",
        "Basic secret",
        "secret",
        "Bearer é",
    ):
        assert keys.caller(wrong) is None


@pytest.mark.parametrize("key", ["schlüssel", "鍵"])
def test_a_key_of_other_letters_is_the_bytes_that_were_summed(tmp_path, key):
    keys = ApiKeys(write(tmp_path / "keys.json", [entry(key=key)]))
    assert keys.caller(header_text(f"Bearer {key}".encode())).name == "a"
    assert keys.caller(header_text(b"Bearer \xff")) is None


def test_models_by_pattern(tmp_path):
    a = ApiKeys(write(tmp_path / "keys.json", [entry()])).caller("Bearer secret")
    assert a.may_use("team-a/one")
    assert a.may_use("base")
    assert not a.may_use("team-b/one")
    assert not a.may_use("team-a")
    assert not a.may_use("BASE")
    assert not a.sees_all
    assert ANYBODY.sees_all


@pytest.mark.parametrize(
    "entries",
    [
        "",
        "[",
        "[" * 100_000,
        [],
        {},
        ["x"],
        [{"name": "a"}],
        [entry() | {"key": "secret"}],
        [entry() | {"sha256": "secret"}],
        [entry() | {"sha256": None}],
        [entry() | {"models": "*"}],
        [entry() | {"models": [1]}],
        [entry() | {"name": ""}],
    ],
    ids=range(13),
)
def test_a_wrong_file_is_an_error_before_anything_starts(tmp_path, entries):
    with pytest.raises(ValueError, match=r"keys\.json"):
        ApiKeys(write(tmp_path / "keys.json", entries))


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        ApiKeys(tmp_path / "keys.json")
