"""Logs and metrics."""

import json
import logging

from pixeltune.serve.telemetry import LABELLED, OTHERS, JsonLines, Metrics, usage


def test_a_line_is_one_json_object_whatever_is_in_it():
    nasty = 'a"b\n{"event": "forged"}\u2028'
    text = JsonLines().format(logging.makeLogRecord({"msg": "request", "levelname": "INFO", "model": nasty}))
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert (line.pop("time")[:2], line) == ("20", {"level": "info", "event": "request", "model": nasty})


def test_the_number_of_labels_is_bounded():
    metrics = Metrics()
    for number in range(LABELLED + 500):
        metrics.request(f"art-{number}", "host", 200, 0.1, 0.05)
    text = metrics.text([], {}).decode()
    assert f'pixeltune_requests_total{{artwork="{OTHERS}",status="200",upstream="host"}} 500.0' in text
    assert text.count("pixeltune_requests_total{") == LABELLED + 1


def test_token_counts_are_read_from_answers_and_streams():
    chat = json.dumps({"usage": {"prompt_tokens": 70, "total_tokens": 75, "completion_tokens": 5}}).encode()
    assert usage(chat) == {"prompt": 70, "completion": 5}
    assert usage(chat.replace(b" ", b"")) == {"prompt": 70, "completion": 5}
    assert usage(b'"usage": {"input_tokens": 7, "output_tokens": 5}') == {"prompt": 7, "completion": 5}
    assert usage(b'data: {"usage": null}') == {}


def test_text_that_looks_like_a_count_is_none():
    said = json.dumps({"content": '"prompt_tokens": 1000000'}).encode()
    assert usage(said) == {}
