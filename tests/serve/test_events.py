"""Streams that are cut between events, and compressed answers."""

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixeltune.serve.decoding import PIECE, Decoder
from pixeltune.serve.events import MAX_EVENT, Events

EVENTS = [b'data: {"a": 1}', b"event: x\ndata: {}", b": still here", b"data: [DONE]"]
ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
streams = st.lists(st.tuples(st.sampled_from(EVENTS), ends), max_size=8)


@given(streams, st.lists(st.integers(0, 200), max_size=8))
def test_however_a_stream_is_cut_it_comes_out_whole_and_in_events(stream, cuts):
    whole = b"".join(event + end for event, end in stream)
    cuts = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    events, out = Events(), []
    for begin, end in itertools.pairwise(cuts):
        out.append(events.feed(whole[begin:end]))
    rest = events.finish()
    assert (b"".join(out) + rest).startswith(whole)
    assert (b"".join(out) + rest)[len(whole) :].strip() == b""
    for part in filter(None, out):
        assert part.endswith((b"\n", b"\r"))


@pytest.mark.parametrize("comment", [b":\n", b": ping\n", b": ping\r\n", b": a\n: b\n"])
def test_comments_that_keep_a_connection_alive_are_not_held_back(comment):
    assert Events().feed(comment) == comment


def test_an_endless_event_is_not_kept_in_memory():
    events = Events()
    out = sum(len(events.feed(b"data: " + b"x" * 2**20)) for _ in range(10))
    assert out >= 10 * 2**20 - MAX_EVENT


@pytest.mark.parametrize(
    "last", [b"data: [DONE]", b"data: [DONE]\n", b'data: {"a": 1}', b'data: {"a":\ndata: 1}\n']
)
def test_a_last_event_without_a_blank_line_gets_one(last):
    events = Events()
    assert events.feed(last) == b""
    assert events.finish() == last + b"\n\n"


@pytest.mark.parametrize(
    "half",
    [b'data: {"a', b'data: {"a":\n', b"data: [1, 2", b"data: ", b"da", b"event: x\n", b"event: x\ndata: [DO"],
)
def test_half_an_event_is_none(half):
    events = Events()
    assert events.feed(b"data: {}\n\n" + half) == b"data: {}\n\n"
    assert events.finish() is None


def raw(data):
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]) + b"\0" * 20),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw),
    ],
)
def test_codings_in_parts_of_any_size(coding, pack):
    data = b"some words, " * 100
    packed = pack(data)
    for size in (1, 2, 7, 1000, 100_000):
        decoder = Decoder(coding)
        parts = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert b"".join(piece for part in parts for piece in decoder.feed(part)) == data
        assert decoder.ended


def test_what_comes_out_is_bounded_piece_by_piece():
    bomb = gzip.compress(b"\0" * (50 * 2**20))
    assert max(len(piece) for piece in Decoder("gzip").feed(bomb)) <= PIECE


def test_an_end_that_is_missing_is_seen():
    decoder = Decoder("gzip")
    list(decoder.feed(gzip.compress(b"some words")[:-6]))
    assert not decoder.ended
