"""What chat templates leave out of rows is refused or named before a model loads."""

from __future__ import annotations

import json

import pytest

import families
from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.origin import Row
from pixeltune.data.rendering import check_rendered
from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError
from pixeltune.model.loading import load_processor

USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}
PARTS = [{"type": "text", "text": "s"}]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
TOOLS = json.dumps([{"type": "function", "function": {"name": "look", "parameters": {}}}])


@pytest.fixture(scope="module")
def tiny(bundled):
    return load_processor("tiny")


def templated(text: str):
    """A tokenizer with another chat template."""
    tokenizer = families.make_tokenizer()
    tokenizer.chat_template = text
    return tokenizer


def row(prompt, columns, where="rows.jsonl, line 7"):
    out = Row(prompt=prompt, **columns)
    out.where = where
    return out


SILENT = """{%- for m in messages -%}{%- if m.role in ('user', 'assistant') -%}<|im_start|>{{ m.role }}
{{ m.content if m.content is string else '' }}<|im_end|>
{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
"""Knows neither tools nor calls nor systems nor lists of parts."""

TRIMS = SILENT.replace("m.content if m.content is string else ''", "m.content | trim")
STRICT = "{% if messages[0].content == 'odd' %}{{ raise_exception('No') }}{% endif %}{{ messages }}"


@pytest.mark.parametrize(
    ("template", "prompt", "columns", "message"),
    [
        (SILENT, [USER], {"completion": [CALL]}, "line 7: .*does not write tool_calls"),
        (SILENT, [USER, CALL, USER], {"completion": [SAID]}, "line 7: .*does not write tool_calls"),
        (SILENT, [{"role": "system", "content": "s"}, USER], {}, "line 7: .*leaves out .* 'system'"),
        (SILENT, [USER], {"completion": [SAID, {"role": "tool", "content": "4"}]}, "leaves out .* 'tool'"),
        (SILENT, [USER], {"completion": [{**SAID, "content": PARTS}]}, "leaves out .* 'assistant'"),
        (SILENT, [{**USER, "content": PARTS}, SAID, USER], {}, "leaves out .* 'user'"),
        (TRIMS, [USER], {"completion": [{**SAID, "content": " \n"}]}, "completion renders to nothing but"),
        (
            TRIMS,
            [USER],
            {"chosen": [{**SAID, "content": " "}], "rejected": [SAID]},
            "chosen renders to",
        ),
        (
            STRICT,
            [{**USER, "content": "odd"}],
            {"completion": [SAID]},
            "write this row: No",
        ),
        (None, [{"role": "developer", "content": "s"}, USER], {}, "leaves out .* 'developer'.*\"system\""),
        (None, [{"role": "human", "content": "s"}, USER], {}, "leaves out .* 'human'.*\"user\""),
    ],
)
def test_what_would_be_lost_is_refused_with_its_line(tiny, template, prompt, columns, message):
    good = {name: [{**SAID, "content": name}] for name in columns}
    rows = [row([USER], good, "rows.jsonl, line 6"), row(prompt, columns)]
    with pytest.raises(UserError, match=f"(?s){message}") as refusal:
        check_rendered(rows, templated(template) if template else tiny, tuple(columns))
    assert "line 7" in str(refusal.value)


def test_pairs_that_the_template_writes_alike_are_refused(tiny):
    pair = {"chosen": [SAID], "rejected": [{**SAID, "content": "b ", "name": "other"}]}
    rows = [row([USER], {**pair, "rejected": [{**SAID, "content": "c"}]}), row([USER], pair)]
    with pytest.raises(UserError, match=r"line 7: .* writes chosen and rejected alike"):
        check_rendered(rows, templated(TRIMS), ("chosen", "rejected"))


def test_what_was_rendered_is_handed_back_for_other_checks(tiny):
    pair = {"chosen": [SAID], "rejected": [{**SAID, "content": "c"}]}
    (texts, alone) = check_rendered([row([USER], pair), row([USER], {})], tiny, ("chosen", "rejected"))
    assert [text.count("<|im_end|>") for text in (*texts, *alone)] == [2, 2, 1]
    assert "b<|im_end|>" in texts[0]
    assert "c<|im_end|>" in texts[1]
    assert alone[0].endswith("<|im_start|>assistant\n")


def test_an_answer_that_is_bad_may_be_empty():
    empty = {**SAID, "content": " "}
    rows = [
        row([USER], {"chosen": [SAID], "rejected": [empty]}),
        row([USER], {"completion": [empty], "label": False}),
    ]
    check_rendered(rows, templated(TRIMS), ("chosen", "rejected", "completion"))


def test_what_is_written_is_not_spoken_of(tiny, recwarn):
    turns = [USER, CALL, {"role": "tool", "content": "4"}]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    rows = [
        row(turns, {"completion": [SAID], "tools": TOOLS}),
        row([{"role": "system", "content": parts}, USER], {"completion": [CALL, turns[2], SAID]}),
        {"prompt": [USER, SAID, USER], "completion": [{**SAID, "content": parts}]},
    ]
    check_rendered(rows, tiny)
    check_rendered(rows, families.make_tokenizer())
    assert not [one for one in recwarn.list if issubclass(one.category, UnusedDataWarning)]


def test_fields_and_tools_that_are_not_written_are_named_once(tiny):
    thought = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]
    told = {**SAID, "reasoning_content": "hm"}
    rows = [
        row([USER], {"completion": [SAID]}, "F, line 1"),
        row([USER], {"completion": [told], "tools": TOOLS}, "F, line 2"),
        row([USER], {"completion": [{**told, "content": thought}], "tools": TOOLS}, "F, line 3"),
    ]
    with pytest.warns(UnusedDataWarning) as said:
        check_rendered(rows, tiny)
    assert sorted(str(one.message)[:60] for one in said) == [
        "F, line 2: the model's chat template does not write the fiel",
        "F, line 3: the model's chat template does not write content ",
    ]
    with pytest.warns(UnusedDataWarning, match="F, line 2: .*does not write tools"):
        check_rendered(rows[:2], templated(SILENT))
    writes = SILENT.replace("{{ m.role }}", "{{ m.role }}{{ m.reasoning_content }}{{ tools }}")
    check_rendered(rows[:2], templated(writes))


@pytest.mark.parametrize("name", ["rows", "tool-history", "null-content"])
def test_the_cases_are_written(tiny, name):
    (one,) = read(f"tests/fixtures/cases/rows/{name}.jsonl")
    check_rendered([one], tiny)
