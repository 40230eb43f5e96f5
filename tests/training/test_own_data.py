"""Runs on rows of every form: what is held out and kept, resumed, shown and said is as of a JSONL file of them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest
from datasets import Dataset
from PIL import Image

from pixeltune.cli.main import main
from pixeltune.data.hashes import TRAINED, prompt_hash, trained
from pixeltune.errors import UserError
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.tasks import own
from pixeltune.training import own_rows, resumption
from pixeltune.training.arguments import read_settings
from pixeltune.training.folder import HELD_OUT
from pixeltune.training.paint import paint
from pixeltune.training.preview import preview

SUMS = [{"question": f"{a}0 + {b} = ?", "reply": f"Answer: {a}{b}"} for a in range(1, 7) for b in range(5)]
NAMES = ["prompt=question", "completion=reply"]


def turns(row: dict) -> dict:
    return {
        "conversations": [{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row["reply"]}]
    }


def listed(path: Path) -> list[str]:
    path.write_text(json.dumps([turns(row) for row in SUMS]))
    return []


def alpaca(path: Path) -> list[str]:
    path.write_text(json.dumps([{"instruction": row["question"], "output": row["reply"]} for row in SUMS]))
    return []


def sheet(path: Path) -> list[str]:
    pandas.DataFrame(SUMS).to_csv(path, index=False)
    return NAMES


def parquet(path: Path) -> list[str]:
    Dataset.from_list(SUMS).to_parquet(path)
    return NAMES


def saved(path: Path) -> list[str]:
    Dataset.from_list([turns(row) for row in SUMS]).save_to_disk(path)
    return []


def plain(path: Path) -> Path:
    lines = [{"prompt": row["question"], "completion": row["reply"]} for row in SUMS]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(data: Path, columns: list[str] = (), verb: str = "sft") -> own_rows.OwnRows:
    return own_rows.read(verb, str(data), *read_settings(verb, {"data": data, "columns": columns}))


@pytest.mark.parametrize("verb", ["sft", "grpo"])
@pytest.mark.parametrize("write", [listed, alpaca, sheet, parquet, saved])
def test_what_is_held_out_and_kept(tmp_path, write, verb):
    data = tmp_path / "rows.data"
    columns = write(data)
    found, jsonl = read(data, columns, verb), read(plain(tmp_path / "plain.jsonl"), verb=verb)
    assert (found.train, found.held_out) == (jsonl.train, jsonl.held_out)
    assert resumption._rows(found.train) == resumption._rows(jsonl.train)
    assert found.notes[0].startswith("rows.data: ")
    assert found.notes[1:] == jsonl.notes
    own_rows.keep(tmp_path / "run", verb, [data], found.train, found.held_out, columns)
    _, rows = own.read(tmp_path / "run" / HELD_OUT)  # which needs no --columns
    assert [(row["prompt"], row["completion"]) for row in rows] == [
        (row["prompt"], row["completion"]) for row in found.held_out
    ]
    assert trained(tmp_path / "run") == set(map(prompt_hash, jsonl.train))
    assert (tmp_path / "run" / TRAINED).is_file()


def test_pictures_of_a_table_are_kept_with_their_places(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    rows = [{"prompt": f"{number}?", "completion": "7", "images": ["p.png"]} for number in range(3)]
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    own_rows.keep(tmp_path / "run", "sft", [tmp_path / "rows.parquet"], found.train, found.held_out)
    assert own.read(tmp_path / "run" / HELD_OUT)[1][0]["images"] == [str(tmp_path / "p.png")]


@pytest.mark.filterwarnings("ignore::pixeltune.evaluation.doubts.DoubtWarning")
def test_a_table_is_painted_on_resumed_and_scored(bundled, tmp_path, capsys):
    columns = sheet(tmp_path / "sheet.csv")
    flags = [
        *(
            "sft",
            "--data",
            str(tmp_path / "sheet.csv"),
            "--columns",
            *columns,
            "--output_dir",
            str(tmp_path / "run"),
        ),
        *("--save_steps", "1", "--score_steps", "0", "--snapshot_steps", "0", "--report_to", "none"),
        *("--per_device_train_batch_size", "2", "--learning_rate", "0.06"),
    ]
    assert main([*flags, "--max_steps", "1"]) == 0
    said = capsys.readouterr().out
    assert (
        "sheet.csv: CSV, 30 rows with the columns question, reply; prompt is question, completion is reply"
        in said
    )
    again = [*flags, "--max_steps", "2", "--resume_from_checkpoint", "true"]
    assert main(again) == 0
    assert "resumed from checkpoint-1" in capsys.readouterr().out
    with (tmp_path / "sheet.csv").open("a") as file:
        file.write("one more,Answer: 7\n")
    assert main([*again[:-1], "true", "--max_steps", "3"]) == 1
    assert "rows to train on was 20 and is now 21" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "run")]) == 0
    assert "sheet.csv" in capsys.readouterr().out
    for data, names in ((tmp_path / "sheet.csv", columns), (tmp_path / "run" / HELD_OUT, [])):
        report = evaluate(
            data=data,
            columns=names,
            rows=2,
            max_new_tokens=4,
            compare=str(tmp_path / "run"),
            output_dir=tmp_path / "eval",
            quiet=True,
        )
        assert ("sheet.csv: CSV, 31 rows" in report.about) == bool(names)


def test_a_name_on_the_hub_stays_whole_in_what_a_run_says_of_itself(bundled, tmp_path, monkeypatch):
    rows = Dataset.from_list(SUMS)
    monkeypatch.setattr("pixeltune.data.hub.load", lambda _: rows)
    given = {"data": "owner/sums:main:train", "columns": NAMES, "output_dir": tmp_path / "run"}
    shown = str(preview("sft", **given))
    assert shown.startswith(
        "owner/sums:main:train: on the hub, 30 rows with the columns question, reply; prompt is question, completion "
        "is reply\nowner/sums:main:train, row 1, "
    )
    assert "10 + 0 = ?" in shown
    few = {"report_to": "none", "score_steps": 0, "per_device_train_batch_size": 2, "learning_rate": 0.06}
    painting = paint(**given, **few, max_steps=1, quiet=True)
    assert painting.artwork.provenance.data == "owner/sums:main:train"
    assert (tmp_path / "run" / HELD_OUT).is_file()


def test_columns_are_of_rows_of_ones_own(tmp_path):
    with pytest.raises(UserError, match="--columns is of rows of your own, without --task"):
        read_settings("sft", {"task": "sums", "columns": NAMES})
    with pytest.raises(UserError, match="--columns is of rows of your own, without --task"):
        evaluate("sums", columns=NAMES, output_dir=tmp_path)
    with pytest.raises(UserError, match="there is no 'promt'"):
        read_settings("sft", {"data": "rows.csv", "columns": ["promt=question"]})
