"""What rows become in a dataset, and the token ids that TRL trains on: those of the row as it was written."""

from __future__ import annotations

import json

import pytest
from trl import SFTConfig, SFTTrainer

from pixeltune.data.rows import read_rows as read
from pixeltune.model.loading import load_model, load_processor
from pixeltune.training.table import as_dataset

USER, SAID = {"role": "user", "content": "What is the weather?"}, {"role": "assistant", "content": "Fine."}


def call(name: str, arguments: dict | str) -> dict:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict, content: str | None = "") -> dict:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


ROWS = [
    {"prompt": [USER], "completion": [SAID]},
    {
        "prompt": [USER],
        "completion": [
            calling(call("weather", {"city": "Oslo", "a": None, "lat": 59.91390000000001, "id": "3"}))
        ],
    },
    {
        "prompt": [USER],
        "completion": [calling(call("move", {"z": {"x": 1}, "y": [1, "2"]}), call("stop", {}))],
    },
    {
        "prompt": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": ", you"}],
            },
            calling(call("f", {"n": 2**70})),
            {"role": "tool", "tool_call_id": "1", "name": "f", "content": "4"},
        ],
        "completion": [{**SAID, "reasoning_content": "hm"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"n": {}}}}}],
    },
]


def test_a_dataset_holds_every_row_as_it_was():
    rows = [
        {
            "prompt": [USER],
            "box": [1, 2.5],
            "answer": 3,
            "where": {"a": 1},
            "big": 2**70,
            "on": True,
            "no": None,
        },
        {
            "prompt": [SAID, calling(call("f", {"b": 1}))],
            "answer": "x",
            "where": {"b": 2},
            "late": "l",
            "at": 1.5,
        },
        {"prompt": [calling(call("g", {"a": 1}))], "on": False, "big": 1},
    ]
    names = ["prompt", "box", "answer", "where", "big", "on", "no", "late", "at"]
    made = as_dataset(rows)
    assert made.column_names == names
    whole = [{name: row.get(name) for name in names} for row in rows]
    assert list(made) == whole
    seen = []
    mapped = made.map(lambda row: seen.append(row) or {"n": len(row["prompt"])})
    assert seen == whole  # what TRL tokenizes
    assert mapped["n"] == [1, 2, 1]
    assert [set(message) for row in mapped for message in row["prompt"]] == [
        set(message) for row in whole for message in row["prompt"]
    ]


def test_the_table_of_arrow_would_mix_rows_up():
    """Why `as_dataset` is there."""
    from datasets import Dataset

    rows = [{"prompt": [calling(call("f", {"b": 1}))]}, {"prompt": [calling(call("g", {"a": 1}))]}]
    assert Dataset.from_list(rows)[0] != rows[0]


@pytest.fixture(scope="module")
def tokenizer(bundled):
    return load_processor("tiny").tokenizer


@pytest.mark.parametrize("as_text", [False, True], ids=["objects", "texts of OpenAI's logs"])
def test_trained_token_ids_are_those_of_the_row_as_written(tokenizer, tmp_path, as_text):
    def written(messages):
        out = json.loads(json.dumps(messages))
        for one in [one for message in out for one in message.get("tool_calls", [])] if as_text else ():
            one["function"]["arguments"] = json.dumps(one["function"]["arguments"])
        return [{**m, "content": None} if as_text and m.get("tool_calls") else m for m in out]

    lines = [
        {**row, "prompt": written(row["prompt"]), "completion": written(row["completion"])} for row in ROWS
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    config = SFTConfig(output_dir=str(tmp_path), max_length=None, report_to="none", bf16=False, use_cpu=True)
    trainer = SFTTrainer(
        load_model("tiny"), config, train_dataset=as_dataset(read(path)), processing_class=tokenizer
    )
    for row, trained in zip(ROWS, trainer.train_dataset, strict=True):
        both, tools = [row["prompt"] + row["completion"], row["prompt"]], row.get("tools")
        whole = tokenizer.apply_chat_template(both[0], tools=tools, return_dict=True)["input_ids"]
        prompt = tokenizer.apply_chat_template(
            both[1], tools=tools, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        assert trained["input_ids"] == whole
        assert [i for i, label in enumerate(trained["labels"]) if label != -100] == [
            *range(len(prompt), len(whole))
        ]
        said = tokenizer.decode([label for label in trained["labels"] if label != -100])
        names = [one["function"]["name"] for m in row["completion"] for one in m.get("tool_calls", [])]
        assert said.count("<tool_call>") == len(names)
        assert all(name in said for name in names)
