"""Rows of every form that `--data` takes are the rows that a JSONL file of them gives, as other tools wrote them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Json, List
from PIL import Image

from pixeltune.data import sources, tables
from pixeltune.data.messages import Unused, UnusedDataWarning
from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError

ROWS = [
    {"prompt": "What is 007?", "completion": "007"},
    {"prompt": 'a "quoted", text', "completion": "two\nlines\n\nand more"},
    {"prompt": "2024-05-01", "completion": "NA"},
    {"prompt": "é\u2028😀", "completion": "1e5"},
    {"prompt": "  padded ", "completion": "true"},
    *({"prompt": f"{number} + 1 = ?", "completion": str(number + 1)} for number in range(40)),
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def call(**arguments):
    return [{"type": "function", "function": {"name": "f", "arguments": arguments}}]


TALKS = [
    {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": call(city="Oslo")},
            {"role": "tool", "content": "7", "name": "f"},
            {"role": "assistant", "content": "Seven."},
        ],
        "tools": json.dumps(TOOLS),
    },
    {
        "messages": [
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "", "tool_calls": call(n=2)},
        ],
        "tools": json.dumps(TOOLS),
    },
]


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def json_list(path: Path, rows: list[dict]) -> Path:
    path.write_text(json.dumps(rows, indent=1))
    return path


def marked_list(path: Path, rows: list[dict]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8-sig")
    return path


def pandas_list(path: Path, rows: list[dict]) -> Path:
    pandas.DataFrame(rows).to_json(path, orient="records")
    return path


def sheet(path: Path, rows: list[dict]) -> Path:
    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


def marked_sheet(path: Path, rows: list[dict]) -> Path:
    pandas.DataFrame(rows).to_csv(path, index=False, sep=";", encoding="utf-8-sig", quoting=1)
    return path


def tabbed(path: Path, rows: list[dict]) -> Path:
    pandas.DataFrame(rows).to_csv(path, index=False, sep="\t")
    return path


def parquet(path: Path, rows: list[dict]) -> Path:
    Dataset.from_list(rows).to_parquet(path)
    return path


def pandas_parquet(path: Path, rows: list[dict]) -> Path:
    pandas.DataFrame(rows).to_parquet(path)
    return path


def saved(path: Path, rows: list[dict]) -> Path:
    Dataset.from_list(rows).save_to_disk(path)
    return path


def saved_split(path: Path, rows: list[dict]) -> Path:
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(path)
    return path


FORMS = [
    (json_list, "rows.json"),
    (marked_list, "rows.json"),
    (pandas_list, "rows.jsonl"),
    (sheet, "rows [1]*?.csv"),
    (marked_sheet, "rows.csv"),
    (tabbed, "rows.tsv"),
    (sheet, "rows.txt"),
    (parquet, "rows {a,b}.parquet"),
    (pandas_parquet, "rows.data"),
    (saved, "rows [1]"),
    (saved_split, "rows"),
]


@pytest.mark.parametrize(("write", "name"), FORMS)
def test_every_form_gives_the_rows_of_jsonl(tmp_path, write, name, capfd):
    path = write(tmp_path / name, ROWS)
    capfd.readouterr()  # progress bars of writing
    found = read(path)
    assert found == read(jsonl(tmp_path / "plain.jsonl", ROWS))
    assert [row.where for row in found] == [f"{path}, row {number}" for number in range(1, len(ROWS) + 1)]
    assert found.notes[0].startswith(f"{path.name}: ")
    assert found.notes[0].endswith(f", {len(ROWS)} rows with the columns prompt, completion")
    assert capfd.readouterr() == ("", "")


def test_of_jsonl_nothing_need_be_said(tmp_path):
    found = read(jsonl(tmp_path / "plain.jsonl", ROWS))
    assert found.notes == ()
    assert found[1].where == f"{tmp_path}/plain.jsonl, line 2"


@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
@pytest.mark.parametrize("write", [json_list, parquet, saved])
def test_calls_have_no_arguments_of_other_rows(tmp_path, write):
    """Arrow gives every object of a column the names of all others, with null."""
    assert read(write(tmp_path / "rows", TALKS)) == read(jsonl(tmp_path / "plain.jsonl", TALKS))


def test_columns_that_datasets_keeps_as_json(tmp_path):
    features = Features({"messages": List(Json()), "tools": Json()})
    rows = [{**row, "tools": TOOLS} for row in TALKS]
    Dataset.from_list(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == read(jsonl(tmp_path / "plain.jsonl", rows))


def test_pairs_and_labels(tmp_path):
    pairs = [{"prompt": "a", "chosen": "b", "rejected": ""}, {"prompt": "c", "chosen": "d", "rejected": "e"}]
    columns = ("prompt", "chosen", "rejected")
    plain = read(jsonl(tmp_path / "plain.jsonl", pairs), columns)
    for write in (json_list, sheet, parquet, saved):
        assert read(write(tmp_path / write.__name__, pairs), columns) == plain
    labelled = [
        {"prompt": "a", "completion": "b", "label": True},
        {"prompt": "a", "completion": "", "label": False},
    ]
    columns = ("prompt", "completion", "label")
    plain = read(jsonl(tmp_path / "plain.jsonl", labelled), columns)
    for write in (json_list, sheet, parquet):
        assert read(write(tmp_path / f"labelled {write.__name__}", labelled), columns) == plain


def test_conversations_and_ids_in_a_table(tmp_path):
    rows = [
        {"id": f"0{number}", "messages": json.dumps(talk["messages"])} for number, talk in enumerate(TALKS)
    ]
    with pytest.warns(UnusedDataWarning, match="no column tools"):
        found = read(sheet(tmp_path / "rows.csv", rows), ids=True)
    assert [row["id"] for row in found] == ["00", "01"]
    assert found[0]["prompt"] == TALKS[0]["messages"][:1]
    (tmp_path / "rows.csv").write_text('messages\n"[{]"\n')
    with pytest.raises(UserError, match=r"rows.csv, row 1: messages is no JSON"):
        read(tmp_path / "rows.csv")


def test_pictures_lie_beside_the_data(tmp_path):
    rows = [{"prompt": "a", "completion": "b", "images": ["p.png"]}]
    saved(tmp_path / "saved", rows)
    for folder in (tmp_path, tmp_path / "saved"):
        Image.new("RGB", (8, 8)).save(folder / "p.png")
    for path in (parquet(tmp_path / "rows.parquet", rows), json_list(tmp_path / "rows.json", rows)):
        assert read(path)[0]["images"] == [str(tmp_path / "p.png")]
    assert read(tmp_path / "saved")[0]["images"] == [str(tmp_path / "saved" / "p.png")]


def test_what_json_cannot_hold(tmp_path):
    rows = [
        {"prompt": "a", "completion": "b", "photo": b"\xff", "day": datetime(2024, 5, 1), "x": float("nan")}
    ]
    with pytest.warns(UnusedDataWarning) as said:
        (row,) = read(parquet(tmp_path / "rows.parquet", rows), ("prompt",))
    assert row["x"] is None
    assert "photo" not in row
    assert sorted(str(one.message).split(": ", 1)[1] for one in said) == [
        "the column 'day' holds datetime, which is not read from tables: it is left out",
        "the column 'photo' holds bytes, which is not read from tables: it is left out",
    ]
    dated = parquet(tmp_path / "rows.parquet", [{"prompt": "a", "completion": datetime(2024, 5, 1)}])
    with pytest.raises(
        UserError, match=r"rows.parquet, row 1: the column 'completion' holds datetime, where texts"
    ):
        read(dated)


def refused(path: Path, data: bytes | None = None) -> str:
    """What is said of a file, in one line that names it."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError) as refusal:
        read(path)
    message = str(refusal.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A Parquet file."""
    return pandas_parquet(tmp_path_factory.mktemp("whole") / "rows.parquet", ROWS * 40).read_bytes()


def test_broken_parquet(tmp_path, whole, capfd):
    path = tmp_path / "rows.parquet"
    for data in (
        whole[: len(whole) // 2],
        whole[:-3],
        whole[:4] + bytes(len(whole) - 8) + whole[-4:],
        whole[:40] + bytes(60) + whole[100:],
        b"PAR1",
        b"PAR1PAR1",
    ):
        assert "it cannot be read (" in refused(path, data)
    assert "is empty (a download that broke off?)" in refused(path, b"")
    assert "is a ZIP file" in refused(path, b"PK\x03\x04\x14\x00" + whole)
    assert "is no Parquet file, whatever its name says" in refused(
        path, b'{"prompt": "a", "completion": "b"}\n'
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            b'prompt,completion\na,b\nc,"d\ne,f\n',
            "row 1: it cannot be read (Error tokenizing data.*EOF inside string",
        ),
        (b"prompt,completion\na,b,c\nd,e\n", "Length of header or names does not match"),
        (b"prompt,completion\na,b\nc,d\ne,f,g\n", "Expected 2 fields in line 4, saw 3"),
        (b"prompt,completion\na,b\nc\n", "row 2: completion must be"),
        (b"prompt,completion\na,\n", "row 1: completion must be"),
        ("prompt,completion\né,b\n".encode("latin-1"), "not UTF-8"),
        (b"prompt,prompt\na,b\n", "the column 'prompt' stands twice"),
        (b"prompt,completion\n", "holds no rows"),
        (b"question,reply\na,b\n", 'columns found: question, reply; expected: {"prompt": "question"'),
        (b"\n\n", "holds no rows"),
        (b"", "holds no rows"),
    ],
)
def test_broken_tables(tmp_path, data, said, capfd):
    message = refused(tmp_path / "rows.csv", data)
    for part in said.removeprefix("row 1: it").split(".*"):
        assert part in message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[]", "holds no rows"),
        (b"[", "not a JSON list (Expecting value: line 1 column 2"),
        (b'[{"prompt": "a", "completion": "b"}', "not a JSON list"),
        (b'[{"prompt": "a", "completion": "b"}, 7]', "row 2: not an object"),
        (b'[{"prompt": "a"}, {"prompt": "a", "prompt": "b"}]', "'prompt' stands twice"),
        (b'[{"prompt": "a", "completion": "b"}, {"prompt": "a"}]', "row 2: completion must be there"),
        (b'[{"prompt": "\xe9"}]', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"prompt": "a", "completion": "' + b"x" * (5 << 20) + b'"}]', "row 1: longer than 4 MiB"),
    ],
    ids=range(9),
)
def test_broken_lists(tmp_path, data, said):
    assert said in refused(tmp_path / "rows.json", data)


def test_huge_cells(tmp_path):
    """A cell that stands once in a small Parquet file and is in all of its 100,000 rows: 512 GiB."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * (5 << 20)]))
    pq.write_table(pa.table({"prompt": one}), tmp_path / "rows.parquet", dictionary_pagesize_limit=1 << 30)
    assert (tmp_path / "rows.parquet").stat().st_size < 1 << 20
    assert "row 1: longer than 4 MiB" in refused(tmp_path / "rows.parquet")
    assert "row 1: longer than 4 MiB" in refused(
        tmp_path / "rows.csv", b"prompt,completion\na," + b"x" * (5 << 20) + b"\n"
    )


def test_more_than_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 100)
    for write in (jsonl, sheet, saved):
        assert "larger than 2 GiB" in refused(write(tmp_path / write.__name__, ROWS))
    monkeypatch.setattr(sources, "MAX_BYTES", 1 << 30)
    monkeypatch.setattr(tables, "MAX_BYTES", 500)
    assert "has more than 2 GiB of text" in refused(parquet(tmp_path / "rows.parquet", ROWS))


def test_folders(tmp_path):
    assert "is a folder, and not one that datasets saved" in refused(tmp_path)
    rows = Dataset.from_list(ROWS)
    DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "both")
    assert f"name one of them, as {tmp_path}/both/train, {tmp_path}/both/test" in refused(tmp_path / "both")
    assert read(tmp_path / "both" / "test")[2].where == f"{tmp_path}/both/test, row 3"
    (data,) = (tmp_path / "both" / "test").glob("*.arrow")
    data.write_bytes(data.read_bytes()[:200])
    assert "it cannot be read (" in refused(tmp_path / "both" / "test")
    (tmp_path / "both" / "test" / "state.json").write_text("{")
    assert "it cannot be read (" in refused(tmp_path / "both" / "test")


def test_a_saved_folder_runs_nothing_and_has_no_format(tmp_path):
    """A script beside its files is not imported; values are plain, whatever they were saved as."""
    folder = saved(tmp_path / "rows", [{**row, "number": 7} for row in ROWS])
    (folder / "rows.py").write_text("raise SystemExit('ran')")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_format_type": "numpy"}))
    rows = read(folder, ("prompt",))
    assert len(rows) == len(ROWS)
    assert type(rows[0]["number"]) is int
    (folder / "state.json").write_text(json.dumps({**state, "_format_type": "os.system"}))
    assert "it cannot be read (" in refused(folder)


def test_jsonl_is_read_without_datasets(tmp_path):
    jsonl(tmp_path / "rows.jsonl", ROWS)
    code = (
        "import sys\nfrom pixeltune.data.rows import read_rows as read\n"
        "assert len(read('rows.jsonl')) == 45\nassert 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ})


@pytest.mark.parametrize(
    ("data", "known", "title"),
    [
        ("folder/rows.jsonl", "rows.jsonl", "rows"),
        ("/data/rows.v2.csv", "rows.v2.csv", "rows.v2"),
        (Path("owner/rows"), "rows", "rows"),
        ("owner/rows", "owner/rows", "rows"),
        ("owner/rows-v1.5:main:train[:9]", "owner/rows-v1.5:main:train[:9]", "rows-v1.5"),
    ],
)
def test_what_strangers_may_know(data, known, title):
    assert (sources.public_name(data), sources.title(data)) == (known, title)


def test_records_are_read_as_often_as_wanted(tmp_path):
    source = sources.find(sheet(tmp_path / "rows.csv", ROWS))
    assert list(source.records(Unused())) == list(source.records(Unused()))
