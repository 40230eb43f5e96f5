"""The sides of the serving benchmark: what each request holds, and that a side which changes nothing is refused."""

from __future__ import annotations

import pytest

from benchmarks import serving
from benchmarks.serving import SIDES, dressed, tables

PROMPT = [{"role": "user", "content": "What is 1 + 2?"}]
PICTURE, VECTORS = "data:image/png;base64,AAAA", "BBBB"


def parts(side: str) -> list[str]:
    content = dressed(side, PICTURE, VECTORS, PROMPT)[0]["content"]
    return content if isinstance(content, str) else [part["type"] for part in content]


def test_each_side_asks_the_same_question_its_own_way():
    assert parts("text") == parts("LoRA") == parts("base, LoRA enabled") == "What is 1 + 2?"
    assert parts("text + artwork") == parts("artwork by name") == ["image_url", "text"]
    assert parts("soft prompt") == ["prompt_embeds", "text"]
    (named, _) = dressed("artwork by name", PICTURE, VECTORS, PROMPT)[0]["content"]
    assert named["image_url"] is None
    assert named["uuid"] == serving.NAME
    assert PROMPT == [{"role": "user", "content": "What is 1 + 2?"}]


@pytest.mark.parametrize("silent", ["text + artwork", "artwork by name", "LoRA", "soft prompt"])
def test_a_side_that_says_what_is_said_without_it_is_no_side(monkeypatch, silent):
    where = {side: (side, "model") for side in SIDES}
    asked = {side: lambda prompt, side=side: dressed(side, PICTURE, VECTORS, prompt) for side in SIDES}

    def likely(url, model, messages):
        return [-1.0] if url in ("text", "base, LoRA enabled", silent) else [-2.0]

    monkeypatch.setattr(serving, "likely", likely)
    with pytest.raises(RuntimeError, match=f"^{silent.replace('+', '.')}: "):
        serving.check(where, asked, PROMPT)


def test_tables_hold_every_side():
    sides = {side: {"per_second": [2.0 + n], "first_ms": [10.0 + n]} for n, side in enumerate(SIDES)}
    cell = {"8": sides, "bytes": dict.fromkeys(SIDES, 7)}
    lines = tables({"tiny, prefix cache on": cell}).splitlines()
    assert lines[2].startswith("| tiny | on | 8 | 2.00 | 1.50")
    assert lines[2].count("|") == lines[0].count("|") == 4 + len(SIDES)
    assert lines[6].endswith("| 10 | 11 | 12 | 13 | 14 | 15 |")
    assert "soft prompt 7" in lines[-1]
