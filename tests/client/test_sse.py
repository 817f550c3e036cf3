"""Events out of bytes, however the bytes were cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.client.sse import parse

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """Bytes of a stream, and the data of its events."""
    wire, expected = b"", []
    for lines in draw(st.lists(st.lists(texts, min_size=1, max_size=3), max_size=5)):
        end = draw(ends)
        for line in lines:
            if draw(st.booleans()):
                wire += b": " + draw(texts).encode() + end
            space = b" " if draw(st.booleans()) or line.startswith(" ") else b""
            wire += b"data:" + space + line.encode() + end
        wire += end
        # A CR directly before an LF is one line end, so a CR-ended event must not meet an LF-begun line; none
        # begins so.
        expected.append("\n".join(lines))
    return wire, expected


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:stop] for start, stop in pairwise(marks)]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=20))
def test_no_way_of_cutting_the_bytes_changes_the_events(
    stream: tuple[bytes, list[str]], places: list[int]
) -> None:
    wire, expected = stream
    parts = cut(wire, places)
    got = parse((float(number), part) for number, part in enumerate(parts))
    assert [event.data for event in got.events] == expected
    assert got.rest == ""
    times = [event.time_s for event in got.events]
    assert times == sorted(times)


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=20))
def test_arbitrary_bytes_are_read_alike_whole_or_cut(wire: bytes, places: list[int]) -> None:
    whole = parse([(0.0, wire)])
    pieces = parse((0.0, part) for part in cut(wire, places))
    assert (pieces.events, pieces.rest) == (whole.events, whole.rest)


@given(streams())
def test_byte_by_byte_is_like_whole(stream: tuple[bytes, list[str]]) -> None:
    wire, expected = stream
    got = parse((float(number), wire[number : number + 1]) for number in range(len(wire)))
    assert [event.data for event in got.events] == expected


def test_an_event_has_the_time_of_the_read_that_completed_it() -> None:
    got = parse([(1.0, b'data: {"a'), (2.0, b'": 1}\n'), (3.0, b"\ndata: x\n\nda"), (4.0, b"ta: y\n\n")])
    assert [(event.time_s, event.data) for event in got.events] == [(3.0, '{"a": 1}'), (3.0, "x"), (4.0, "y")]


def test_a_character_cut_in_two_reads_is_whole_again() -> None:
    wire = "data: é世😀\n\n".encode()
    got = parse((float(i), wire[i : i + 1]) for i in range(len(wire)))
    assert [event.data for event in got.events] == ["é世😀"]


def test_a_cr_completes_the_event_without_waiting_for_an_lf() -> None:
    got = parse([(1.0, b"data: x\r\r"), (2.0, b"data: y\r\r")])
    assert [(event.time_s, event.data) for event in got.events] == [(1.0, "x"), (2.0, "y")]


def test_an_lf_in_the_next_read_belongs_to_the_cr_before() -> None:
    got = parse([(1.0, b"data: x\r"), (2.0, b"\n\r"), (3.0, b"\ndata: y\r\n\r\n")])
    assert [(event.time_s, event.data) for event in got.events] == [(2.0, "x"), (3.0, "y")]


@pytest.mark.parametrize("wire", [b"data: x\n", b"data: x", b": c\ndata: x"])
def test_what_no_blank_line_completed_is_no_event_but_is_told(wire: bytes) -> None:
    got = parse([(1.0, wire)])
    assert got.events == ()
    assert got.rest == "x"


def test_a_byte_order_mark_and_foreign_fields_are_read_over() -> None:
    got = parse([(1.0, b"\xef\xbb\xbfevent: token\nid: 7\nretry: 1\ndata: x\n\n")])
    assert [event.data for event in got.events] == ["x"]
