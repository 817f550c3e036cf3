"""Times per token are judged only where every token was seen when it came: one table of streams, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.goodput import Slo
from pytest_llmperf.load.results import Metrics, measure
from pytest_llmperf.load.seen_times import clumped_gaps, seen_times
from pytest_llmperf.measure.load_results import chunked_apart

TOKENS, TTFT_S, GAP_S = 32, 0.015, 0.002
Event = dict[str, Any]
Timed = tuple[float, Event]


def chunk(delta: Event | None, count: int | None = None, finish: str | None = None, **usage: Any) -> Event:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    if count is None:
        return {"choices": choices}
    return {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": count, **usage}}


def due(token: int) -> float:
    return TTFT_S + token * GAP_S


def stream(
    *, every: int = 1, counted: str = "chunks", field: str = "content", hidden: int = 0, parts: bool = False
) -> list[Timed]:
    """An answer of 32 tokens, 2 ms each: ``every`` so many in a chunk, ``counted`` in all ``chunks``, at the ``end``,
    in the ``last`` chunk that has text, or with a count that stands still until then (``late``); ``hidden`` tokens
    are counted and never sent."""
    events: list[Timed] = []
    for first in range(0, TOKENS, every):
        last = first + every >= TOKENS
        text = " tok" * every
        count = {
            "chunks": hidden + first + every,
            "last": hidden + TOKENS if last else None,
            "late": hidden + TOKENS if last else 0,
        }.get(counted)
        delta = {field: [{"type": "text", "text": text}] if parts else text}
        events.append((due(first + every - 1), chunk(delta, count, "stop" if last else None)))
    details: Event = {"completion_tokens_details": {"reasoning_tokens": hidden}} if hidden else {}
    if counted == "end":
        events.append((due(TOKENS - 1), chunk(None, hidden + TOKENS, **details)))
    return events


def thinking(delta: Callable[[str], Event], counted: str = "end") -> list[Timed]:
    """16 tokens of thinking, written as the server writes them, and 16 of the answer."""
    events: list[Timed] = []
    for token in range(TOKENS):
        written = delta(f" t{token}") if token < 16 else {"content": " tok"}
        count = token + 1 if counted == "chunks" else None
        events.append((due(token), chunk(written, count, "stop" if token == TOKENS - 1 else None)))
    return [*events, (due(TOKENS - 1), chunk(None, TOKENS))]


def held(events: Sequence[Timed], size: int, spread_s: float = 0.0) -> list[Timed]:
    """The same through something that lets go of ``size`` events at a time; within ``spread_s`` of each other."""
    passed: list[Timed] = []
    for first in range(0, len(events), size):
        together = events[first : first + size]
        passed += [(together[-1][0] + place * spread_s, event) for place, (_, event) in enumerate(together)]
    return passed


def seen(events: Sequence[Timed], **asked: Any) -> Trace:
    reply = Reply(
        sent_s=0.0, headers_s=0.01, status=200, received=True, ending=Ending.COMPLETE, end_s=events[-1][0]
    )
    for time_s, event in events:
        reply.body += b"data: " + json.dumps(event).encode() + b"\n\n"
        reply.times.append(time_s)
        reply.ends.append(len(reply.body))
    reply.body += b"data: [DONE]\n\n"
    reply.times.append(events[-1][0])
    reply.ends.append(len(reply.body))
    trace = trace_of(reply, **asked)
    assert trace.ok, trace.error
    return trace


def metrics_of(events: Sequence[Timed]) -> Metrics:
    return measure([seen(events)] * 4, 1.0)


@pytest.mark.parametrize(
    "events",
    [
        stream(),
        stream(counted="end"),
        stream(counted="last"),
        stream(counted="late"),
        stream(parts=True),
        stream(field="thinking"),
        stream(hidden=468),
        stream(hidden=468, counted="end"),
        stream(every=4),
        thinking(lambda text: {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}),
        thinking(lambda text: {"content": [{"type": "thinking", "thinking": text}]}),
        thinking(lambda text: {"reasoning_details": [{"type": "reasoning.text", "text": text}]}),
        thinking(lambda text: {"thinking": text}, "chunks"),
        thinking(lambda text: {"tool_calls": [{"function": {"arguments": text}}]}),
    ],
    ids=[
        "counted in every chunk", "counted at the end", "counted in the last chunk, which has text",
        "a count that stands still", "content in parts", "thinking under another name",
        "hidden tokens, counted as they come",
        "hidden tokens, named in usage", "four in a chunk, counted", "thinking in parts", "thinking in a part",
        "thinking in details", "thinking by its name", "a tool's call",
    ],
)  # fmt: skip
def test_whatever_can_be_seen_gives_the_true_times(events: list[Timed]) -> None:
    metrics = metrics_of(events)
    assert metrics.value("itl") == pytest.approx(GAP_S, rel=0.01)
    assert metrics.value("tpot") == pytest.approx(GAP_S, rel=0.01)
    assert TTFT_S <= metrics.value("ttft") <= TTFT_S + 3.01 * GAP_S


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (held(stream(), 16), "holds the stream back"),
        (held(stream(), 11), "holds the stream back"),
        (held(stream(), 32), "holds the stream back"),
        (held(stream(), 8, 0.00005), "holds the stream back"),
        (held(stream(counted="end"), 16), "holds the stream back"),
        (held(stream(), 3), "holds the stream back"),
        (stream(every=4, counted="end"), "32 chunks came for 124 tokens"),
        (stream(every=4, counted="last"), "32 chunks came for 124 tokens"),
        (thinking(lambda text: {"role": "assistant"}), "64 chunks came for 124 tokens"),
        ([*stream(), (due(31), chunk(None, 500))], "1872 of 2000 tokens were counted that were not seen"),
        ([*stream(), (due(31), chunk(None, 8))], "the count went back"),
        ([*stream()[:-1], (due(31), chunk({"content": " tok"}, 9, "stop"))], "the count went back"),
        (thinking(lambda text: {"inner_voice": text}), "'inner_voice'"),
        (thinking(lambda text: {"inner_voice": text}, "chunks"), "'inner_voice'"),
    ],
    ids=[
        "a proxy holds 4 kB", "three pieces", "one piece", "bursts", "held, counted at the end", "three at a time",
        "four in a chunk, not counted", "four in a chunk, counted in the last", "thinking that is not sent",
        "a count at the end that nobody saw", "a count that is taken back", "a count that is taken back in a chunk",
        "an unknown field", "an unknown field, counted",
    ],
)  # fmt: skip
def test_times_per_token_of_what_was_not_seen_are_no_times(events: list[Timed], words: str) -> None:
    metrics = metrics_of(events)
    for name in ("itl", "itl_p95", "tpot"):
        with pytest.raises(NotMeasured, match=words):
            metrics.value(name)
    assert metrics.value("e2el") == events[-1][0]


def test_the_first_token_is_not_known_where_text_came_that_is_not_read() -> None:
    metrics = metrics_of(thinking(lambda text: {"inner_voice": text}))
    for name in ("ttft", "stall"):
        with pytest.raises(NotMeasured, match="inner_voice"):
            metrics.value(name)
    beside = thinking(lambda text: {"role": text})
    for number, (_, event) in enumerate(beside[:16]):
        event["choices"][0]["reasoning"] = f"t{number}"
    with pytest.raises(NotMeasured, match="'reasoning'"):
        metrics_of(beside).value("ttft")
    # A call or a part that begins with nothing, and what every chunk repeats, is no text.
    for name, begun in (
        ("tool_calls", {"function": {"arguments": ""}}),
        ("content", {"type": "text", "text": ""}),
    ):
        opening = [(0.001 * n, chunk({name: [{**begun, "id": n}]})) for n in range(1, 4)]
        assert metrics_of([*opening, *stream()]).value("ttft") == TTFT_S
    assert metrics_of(thinking(lambda text: {"vendor": "x", "content": text})).value("ttft") == TTFT_S


def test_thinking_that_interrupts_an_answer_unseen_is_found() -> None:
    events = stream()[:8] + [(time_s + 0.4, event) for time_s, event in stream(hidden=200)[8:]]
    with pytest.raises(NotMeasured, match="804 of 928 tokens were counted that were not seen"):
        metrics_of(events).value("tpot")


@pytest.mark.parametrize(
    ("times", "together"),
    [
        ((0.0, 0.02, 0.04, 0.06), 0),
        ((0.0, 0.02, 0.02, 0.06), 1),
        ((0.0, 0.0, 0.0, 0.0), 3),
        ((0.0, 0.00005, 0.06, 0.06005), 2),
        # Jitter is no clump, however long a freeze is beside it.
        ((0.0, 0.012, 0.04, 0.05, 3.05, 3.06), 0),
        ((0.0,), 0),
        ((), 0),
    ],
)
def test_tokens_come_together_within_a_moment(times: tuple[float, ...], together: int) -> None:
    trace = seen([(time_s, chunk({"content": "a"}, finish="stop")) for time_s in times or (0.0,)])
    assert clumped_gaps(trace) == (together, max(0, len(times) - 1))


def test_now_and_then_two_tokens_in_one_read_are_natural() -> None:
    busy = [(due(token - token % 5 // 4), event) for token, (_, event) in enumerate(stream())]
    found = seen_times([seen(busy)])
    assert 0.1 < found.clumped / found.gaps < 0.25
    assert not found.problems
    # One answer of a load that came late and whole says nothing of the others.
    assert not seen_times([seen(stream())] * 5 + [seen(held(stream(), 32))]).problems
    assert seen_times([seen(stream())] * 2 + [seen(held(stream(), 32))]).problems


def test_tokens_that_came_with_the_first_took_none_of_the_time() -> None:
    events = held(stream()[:8], 8) + stream()[8:]
    assert measure([seen(events)], 1.0).value("tpot") == pytest.approx(GAP_S, rel=0.01)


def test_an_answer_in_one_piece_does_not_meet_a_time_per_token() -> None:
    assert not Slo(tpot_s=10.0).met_by(seen(held(stream(), 32)))


@pytest.mark.parametrize(
    ("of_candidate", "of_baseline", "words"),
    [
        (4, 1, "the candidate sends 4 tokens a chunk, the baseline 1"),
        (1, 2, "the baseline 2"),
        (1, 1, ""),
        (4, 4, ""),
    ],
)
def test_gaps_between_chunks_are_compared_with_their_like_only(
    of_candidate: int, of_baseline: int, words: str
) -> None:
    candidate, baseline = ([metrics_of(stream(every=size))] * 3 for size in (of_candidate, of_baseline))
    why = chunked_apart(candidate, baseline)
    assert words in why
    assert bool(why) is bool(words)
    assert [one.value("tpot") for one in (*candidate, *baseline)] == [pytest.approx(GAP_S)] * 6


def test_a_missing_count_is_no_count_of_zero() -> None:
    uncounted = stream(counted="none")
    metrics = measure([seen(stream()), seen(uncounted)], 1.0)
    assert metrics.output_tokens is None
    assert metrics.known("throughput") is None
    with pytest.raises(NotMeasured, match=r"1 of 2 answers carry no usage"):
        _ = metrics.value("throughput")
