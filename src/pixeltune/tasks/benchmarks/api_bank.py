"""api_bank: API-Bank (Li et al., arXiv 2304.08244), the next API request of a dialogue or the next reply.

The prompt is a record's ``instruction`` and ``input``, the reference a request or a reply. Data:
Apache-2.0, from AlibabaResearch/DAMO-ConvAI, ``api-bank``; on the hub liminghao1630/API-Bank.

Requests (``API-Request: [Name(key='value', ...)]``): upstream runs the call against a toy database and
compares outcomes. That takes its code, so here the name and the arguments must be equal, its stand-in.
Arguments are compared as texts, since upstream's own reader makes a text of every value. Of the references
31 of 399 (level-1-api), 10 of 135 (level-2-api), 10 of 245 (level-3-batch-inf) and 101 of 907
(lv3-api-train) are no Python: quotes inside quotes, or none at all. A reply to one of these is right if it
is the same text but for quotes, backslashes and spaces, in whatever order of arguments.

Replies: ROUGE-L (Lin, 2004), F of the longest common subsequence of lower-case words of a-z and 0-9, without
stemming, as in the package ``rouge_score``. Upstream takes the package ``rouge``, which splits at spaces,
keeps case and punctuation, goes sentence by sentence and counts every word once: its figures differ. The
``AI:`` that opens the references of lv3-response-train, and no others, does not count.

All rows of level-3-batch-inf are requests. Rows for training are those of level 3; one task there ("Calculate
the monthly salary after taxes for a Financial Analyst", with a city) is nearly one of the 50 of
level-3-batch-inf. All steps of one task are in the same of "train" and "validation".
"""

from __future__ import annotations

import ast
import re
from itertools import islice
from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.benchmarks import dataset

NAME = "api_bank"
CATEGORIES = ("level-1-api", "level-1-response", "level-2-api", "level-2-response", "level-3-batch-inf")
TRAINING = ("lv3-api-train", "lv3-response-train")
SPLITS = {"train": TRAINING, "validation": TRAINING, "test": CATEGORIES}
HUB = "liminghao1630/API-Bank"

REQUEST = "API-Request:"
MAX_TEXT = 20_000  # characters, from the end
MAX_CALL = 4_000  # characters from the opening parenthesis
MAX_ENDS = 50  # closing parentheses tried
MAX_WORDS = 2_000  # of either text of a ROUGE-L

# The brackets may be missing, as they are in two references of lv3-api-train.
_AFTER = re.compile(r"\s{0,20}(\[?)\s{0,5}(\w{1,100})\(")
_BARE = re.compile(r"(\[)(\w{1,100})\(")
_UTTERANCE = re.compile(r"User:\s{0,20}([^\n]*)")


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with ``prompt``, ``reference``, ``completion`` and their category as ``group``.

    A folder holds the files, as ``level-1-api.jsonl`` or ``test-data/level-1-api.json``. A category is a
    level and kind of the test, or one of the two files for training.
    """
    part = "test-data" if split == "test" else "training-data"
    found = []
    for stem in (category,) if category else SPLITS[split]:
        if folder is None:
            read = dataset.from_hub_file(HUB, [f"{part}/{stem}.json"])
        else:
            read = dataset.from_folder(folder, [f"{stem}.jsonl", f"{part}/{stem}.json", f"{stem}.json"])
        found += [_row(record, stem, number) for number, record in enumerate(read, start=1)]
    return found if split == "test" else dataset.validation(found, split, _task)


rows = dataset.rows_from(NAME, SPLITS, _rows)


def score(row: dict, text: str) -> float:
    """1.0 or 0.0 where the reference is a request, ROUGE-L where it is a reply."""
    reference = row["reference"]
    if not reference.lstrip().startswith(REQUEST):
        return rouge_l(text, reference)
    if (wanted := parse(reference)) is not None:
        return float(parse(text) == wanted)
    plain = _plain(reference)
    return float(plain is not None and _plain(text) == plain)


def reward(completions: list, reference: list[str], **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature."""
    return [
        score({"reference": right}, text)
        for right, text in zip(reference, texts_of(completions), strict=True)
    ]


def parse(text: str) -> tuple[str, dict[str, str]] | None:
    """The last request in a text: its name, and its arguments as texts. None if there is none to be read.

    The last one behind ``API-Request:`` counts, without any the last ``[Name(...)]``. Arguments must be named
    and be literals. Nothing is executed; never raises.
    """
    if (found := _opening(text)) is None:
        return None
    bracket, name, inside = found
    for end in islice(re.finditer(r"\)", inside), MAX_ENDS):
        arguments = _arguments(inside[: end.start()])
        if arguments is not None:
            closed = not bracket or inside[end.end() : end.end() + 20].lstrip().startswith("]")
            return (name, arguments) if closed else None
    return None


def rouge_l(text: str, reference: str) -> float:
    """F of the longest common subsequence of words; 0.0 without any. Only the first words are compared."""
    given, wanted = _words(text), _words(reference)
    common = longest_common(given[:MAX_WORDS], wanted[:MAX_WORDS])
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def longest_common(first: list[str], second: list[str]) -> int:
    """Length of the longest common subsequence, bit by bit of one integer per row of the table.

    The recurrence is Hyyrö's (Bit-parallel LCS-length computation revisited, 2004): a bit of ``row`` is
    cleared where the table's next column is larger by one.
    """
    where: dict[str, int] = {}
    for place, word in enumerate(first):
        where[word] = where.get(word, 0) | 1 << place
    full = row = (1 << len(first)) - 1
    for word in second:
        hits = row & where.get(word, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(first) - row.bit_count()


def _opening(text: str) -> tuple[str, str, str] | None:
    """The bracket, the name and what follows the parenthesis of the request that counts."""
    text = text[-MAX_TEXT:]
    mark = text.rfind(REQUEST)
    bare = [None, *_BARE.finditer(text)]
    found = _AFTER.match(text, mark + len(REQUEST)) if mark >= 0 else bare[-1]
    return (found[1], found[2], text[found.end() : found.end() + MAX_CALL]) if found else None


def _arguments(source: str) -> dict[str, str] | None:
    """What stands between a call's parentheses; None if that is not only named literals."""
    try:
        call = ast.parse(f"f({source})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        values = {str(one.arg): str(ast.literal_eval(one.value)) for one in call.keywords if one.arg}
        return values if len(values) == len(call.keywords) else None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _plain(text: str) -> tuple[str, list[str]] | None:
    """A request without its quotes: its name and its arguments as written, sorted."""
    if (found := _opening(text)) is None:
        return None
    _, name, inside = found
    line = inside.partition("\n")[0]
    result = re.search(r"\)\]?->", line)  # a model may go on as the prompt does, with what the call returns
    body = line[: result.start()] if result else line.rpartition(")")[0]
    body = " ".join(re.sub(r"['\"\\]", "", body).split())
    return name, sorted(re.split(r",(?=\w+=)", re.sub(r" ?([^\w ]) ?", r"\1", body)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.strip().removeprefix("AI:").lower())


def _row(record: dict, stem: str, number: int) -> dict:
    where = f"{NAME} {stem}, record {number}"
    instruction = dataset.field(record, "instruction", str, where).strip()
    asked = dataset.field(record, "input", str, where).strip()
    output = "expected_output" if "expected_output" in record else "output"
    reference = dataset.field(record, output, str, where).strip()
    if not reference or (reference.startswith(REQUEST) and _opening(reference) is None):
        raise UserError(f"{where}: {output!r} is neither a request nor a reply: {reference[:80]!r}")
    names = [str(record[name]) for name in ("file", "id", "sample_id", "api_id") if name in record]
    return {
        "id": "/".join([stem, *(names or [str(number)])]),
        "group": stem,
        "prompt": [{"role": "user", "content": f"{instruction}\n{asked}"}],
        "completion": [{"role": "assistant", "content": reference}],
        "reference": reference,
    }


def _task(row: dict) -> str:
    """What the user asks for, without the time: rows that ask the same are steps of one solution."""
    content = row["prompt"][0]["content"]
    found = [*_UTTERANCE.finditer(content)]
    return found[-1][1].partition("TIME:")[0].strip() if found else content


TASK = Task(
    name=NAME,
    instruction="Write only what is asked for: one API request with every value in quotes, or the reply.",
    max_new_tokens=384,
    rows=rows,
    score=score,
    reward=reward,
    benchmark=True,
)
