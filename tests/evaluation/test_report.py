from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from pixeltune.evaluation.report import Report, lines, markdown, summary, verdict
from pixeltune.evaluation.scoring import result
from pixeltune.tasks.base import Task

ROWS = [{"prompt": [], "group": "easy" if i < 60 else "hard"} for i in range(100)]
TASK = Task(
    name="any",
    max_new_tokens=1,
    score=lambda row, text: 0.0,
    metrics=lambda rows, answers: {"longest": max(map(len, answers))},
)


def _result(right: set[int], failed: frozenset = frozenset(), part: float = 1.0):
    return result(
        [
            {
                "row": i,
                "completions": ["" if i in failed else "word " * (i % 7)],
                "score": None if i in failed else part * (i in right),
                "prompt_tokens": None if i in failed else 70,
                "completion_tokens": None if i in failed else i % 7,
                "latency": None if i in failed else 0.1,
                "error": "HTTP 500" if i in failed else None,
            }
            for i in range(100)
        ]
    )


ALL = set(range(100))


def test_a_report_says_significant_where_it_is_and_only_there():
    report = summary(
        {"off": _result(set()), "a.png": _result(ALL - {1}), "best": _result(ALL - {2, 3})},
        ROWS,
        TASK,
        "a.png",
    )
    assert [(t["a"], t["b"], t["significant"]) for t in report["tests"]] == [
        ("a.png", "off", True),
        ("a.png", "best", False),
    ]
    text = report["verdict"]
    assert text.startswith("a.png: 99.0%; +99.0 points against off (significant, p < 0.001); +1.0 points")
    assert text.count("significant") == 1
    assert "could be chance, p = 1.00), corrected for 2 comparisons" in text


def test_without_a_difference_the_word_is_not_there():
    report = summary({"off": _result({1, 2}), "best": _result({2, 3})}, ROWS, TASK, "off")
    assert "significant" not in report["verdict"]
    assert report["tests"][0]["method"] == "McNemar, exact"


def test_several_comparisons_are_paid_for():
    lucky = _result(set(range(7)))  # 7 to 1 against all others: p = 0.07 alone, 0.016 at 7 to 0
    others = {f"{i}": _result(set()) for i in range(4)}
    alone = summary({"a.png": lucky, "0": others["0"]}, ROWS, TASK, "a.png")
    assert alone["tests"][0]["significant"]
    report = summary({"a.png": lucky, **others}, ROWS, TASK, "a.png")
    assert not any(test["significant"] for test in report["tests"])
    assert report["tests"][0]["p_holm"] == pytest.approx(4 * report["tests"][0]["p"])


def test_failed_requests_are_shown_and_not_scored():
    report = summary({"off": _result({1}, frozenset({5, 6})), "a.png": _result(ALL)}, ROWS, TASK, "a.png")
    assert report["candidates"]["off"] | {"ci95": None} == {
        "score": 1 / 98,
        "n": 98,
        "ci95": None,
        "failed": 2,
        "prompt_tokens": 70,
        "completion_tokens": pytest.approx(sum(i % 7 for i in ALL - {5, 6}) / 98),
        "latency": pytest.approx(0.1),
        "groups": {"easy": (1 / 58, 58), "hard": (0.0, 40)},
        "metrics": {"longest": 30},
    }
    assert report["tests"][0]["n"] == 98
    assert report["verdict"].endswith("Requests that failed and are in no score: 2.")


def test_parts_of_a_point_get_a_bootstrap():
    report = summary({"off": _result(set()), "a.png": _result(ALL, part=0.5)}, ROWS, TASK, "a.png")
    (test,) = report["tests"]
    assert (test["method"], test["difference"], test["significant"]) == ("paired bootstrap", 0.5, True)


def test_one_system_alone_is_compared_with_nothing():
    report = summary({"off": _result({4})}, ROWS, TASK, "off")
    assert report["verdict"] == "off: 1.0%; nothing to compare it with."
    assert verdict(report["candidates"], []) == report["verdict"]


def test_table_and_markdown_show_the_same():
    part = summary({"off": _result(set(), frozenset(ALL)), "a|b.png": _result(ALL)}, ROWS, TASK, "off")
    header, cells = lines(part)
    assert {len(line) for line in cells} == {len(header)}
    assert cells[0][:5] == ["off", "-", "-", "0", "100"]
    text = markdown({"model": "tiny", "tasks": {"calls": part}, "refusals": {}, "about": "A line."})
    assert "| a\\|b.png | 100.0% | 96.3% to 100.0% | 100 | 0 | 70 | 3 |" in text
    assert part["verdict"] in text


def printed(part: dict, width: int) -> str:
    file = io.StringIO()
    report = Report("tiny", {"calls": part}, {}, "A line.", Path("out"), 0)
    report.print(Console(file=file, width=width))
    return file.getvalue()


def test_names_are_whole_in_a_narrow_terminal_and_as_they_are_where_there_is_none():
    name = "runs/calls-with-a-long-name-that-says-everything/snapshots/step-000050.png"
    part = summary({"off": _result({1}), name: _result(ALL)}, ROWS, TASK, name)
    table = printed(part, 80).partition(name + ":")[0]
    assert max(map(len, table.splitlines())) <= 80
    folded = "".join(line[: line.rstrip().find("  ") + 1 or None] for line in table.splitlines())
    assert "\N{HORIZONTAL ELLIPSIS}" not in table
    assert name in "".join(folded.split())
    assert f" {name} " in str(Report("tiny", {"calls": part}, {}, "A line.", Path("out"), 0))


def test_names_say_nothing_to_the_terminal():
    """Neither as control characters nor as rich's markup."""
    name = "a\x1b[31m\u202e[bold].png"
    part = summary({name: _result(ALL)}, ROWS, TASK, name)
    assert "a\\x1b[31m\\u202e[bold].png: 100.0%" in printed(part, 80)
    assert "\x1b" not in printed(part, 80)
