"""Recorded sessions sent again: each keeps its own times, and only those that carry their answers hold them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.errors import DataError, NotMeasured
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.replay import read_trace
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import problems_of
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.load.session_file import RecordedSessions, read_sessions
from pytest_llmperf.load.session_loop import answer_of
from pytest_llmperf.load.session_replay import replay_sessions
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.load_log import LoadLog
from tests.fakes.dialects import DONE, Timed, due, event, speaking, whole

Truth = Callable[[ReferenceOptions], ReferenceServer]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
OPTIONS = SendOptions(warmup=0, nonce="n1", request_ids=True)
SLACK_S = 0.15
"""By which a busy machine may make a sending late. Nothing is early."""


def say(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


def recorded(folder: Path, *lines: dict[str, Any]) -> RecordedSessions:
    path = folder / "sessions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read_sessions(path)
    assert isinstance(found, RecordedSessions)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, JsonObject]:
    """The bodies of the load's requests, by their ids."""
    bodies: dict[str, JsonObject] = {}
    request = Endpoint.request

    def noted(self: Endpoint, method: str, path: str, body: JsonObject | None = None) -> bytes:
        if body and "request_id" in body:
            bodies[str(body["request_id"])] = body
        return request(self, method, path, body)

    monkeypatch.setattr(Endpoint, "request", noted)
    return bodies


def test_each_session_keeps_its_own_times(truth: Truth, tmp_path: Path) -> None:
    recording = recorded(
        tmp_path,
        {"session_id": "a", "messages": [say("A")], "timestamp": 1000, "output_length": 12},
        {"session_id": "b", "messages": [say("B")], "timestamp": 1120, "output_length": 2},
        {"session_id": "a", "messages": [say("A 2")], "delay": 150, "output_length": 2},
        {"session_id": "b", "messages": [say("B 2")], "delay": 60, "output_length": 2},
        {"session_id": "b", "messages": [say("B 3")], "timestamp": 1900, "output_length": 2},
        {"session_id": "a", "messages": [say("A 3")], "timestamp": 1010, "output_length": 2},
    )
    known = truth(ReferenceOptions(ttft_ms=30, gap_ms=20))
    first, second, third = replay_sessions(known.server, recording, Workload(), OPTIONS)
    by_id = {request.request_id: request for request in known.truth().requests if request.request_id}
    a1, a2, a3, b1, b2, b3 = (by_id[f"llmperf-{index}"] for index in range(6))

    def within(seconds: float, least_s: float) -> bool:
        return least_s - 0.001 <= seconds <= least_s + SLACK_S

    begin_s = first.traces[0].intended_s
    assert within(a1.received_s - begin_s, 0.0)
    assert within(b1.received_s - begin_s, 0.12)
    # By the server's own clock: after the last token of the answer before, whatever the other session does.
    assert within(a2.received_s - a1.tokens_s[-1], 0.15)
    assert within(b2.received_s - b1.tokens_s[-1], 0.06)
    assert b2.received_s < a1.tokens_s[-1] + 0.15
    # A time that has passed while the answer came: at once. One that has not: then.
    assert within(a3.received_s - a2.tokens_s[-1], 0.0)
    assert within(b3.received_s - begin_s, 0.9)
    assert [len(run.traces) for run in (first, second, third)] == [2, 2, 2]
    for run in (first, second, third):
        assert run.open_loop is not None
        assert len(run.open_loop.own_delay_s) == 2
        assert all(0 <= late_s < SLACK_S for late_s in run.open_loop.own_delay_s)
        assert all(trace.schedule_delay_s >= 0 for trace in run.traces)
    ended = {trace.index: trace.end_s for run in (first, second) for trace in run.traces}
    assert [trace.intended_s for trace in second.traces] == [ended[0] + 0.15, ended[3] + 0.06]


def test_only_delta_sessions_hold_the_live_answer(
    truth: Truth, tmp_path: Path, asked: dict[str, JsonObject]
) -> None:
    history = [say("Hi"), say("Recorded.", "assistant"), say("And?")]
    recording = recorded(
        tmp_path,
        {"session_id": "h", "messages": history[:1], "output_length": 4},
        {"session_id": "h", "messages": history, "output_length": 3},
        {
            "session_id": "d",
            "message_mode": "delta",
            "messages": history[:1],
            "tools": [TOOL],
            "output_length": 4,
        },
        {"session_id": "d", "message_mode": "delta", "messages": history[2:], "extra": {"top_k": 5}},
        {"session_id": "t", "text_input": "one two", "output_length": 5},
        {"session_id": "t", "input_length": 9},
    )
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    first, second = replay_sessions(known.server, recording, Workload(), OPTIONS)
    live = {trace.index: trace.text for trace in first.traces}
    sent = [asked[f"llmperf-{index}"] for index in range(6)]
    messages = [body["messages"] for body in sent]
    assert messages[0] == messages[2] == [say("n1 Hi")]
    assert messages[1] == [say("n1 Hi"), *history[1:]]
    assert messages[3] == [say("n1 Hi"), say(live[2], "assistant"), say("And?")]
    assert live[2]
    carried = messages[5]
    assert isinstance(carried, list)
    assert len(carried) == 3
    assert carried[:2] == [say("n1 one two"), say(live[4], "assistant")]
    assert len(str(carried[2]["content"]).split()) == 9
    assert [trace.index for trace in second.traces] == [1, 3, 5]
    assert ["tools" in body for body in sent] == [False, False, True, True, False, False]
    assert [body["max_tokens"] for body in sent] == [4, 3, 4, 128, 5, 128]
    assert sent[3]["top_k"] == 5
    assert not any("ignore_eos" in body or "cache_salt" in body for body in sent)


def test_each_turn_is_a_load_of_its_own_whose_rates_are_not_judged(truth: Truth, tmp_path: Path) -> None:
    recording = recorded(
        tmp_path,
        *({"session_id": name, "text_input": "x", "output_length": 3} for name in "ab"),
        {"session_id": "a", "text_input": "y", "output_length": 3},
    )
    known, log = truth(ReferenceOptions(ttft_ms=5, gap_ms=1)), LoadLog()
    for _ in range(2):
        for run in replay_sessions(known.server, recording, Workload(), SendOptions(warmup=0)):
            metrics = of_run(run)
            assert metrics.succeeded == len(run.traces)
            assert "no rate of its own" in metrics.missing["throughput"]
            assert "not comparable" in metrics.missing["e2el"]
            assert (run.cache, run.counters) == (None, None)
            log.note("distill", run, metrics, purpose="conversations")
    facts: Any = log.facts()["scheduled_load"]
    assert [(load["schedule"], len(load["rounds"])) for load in facts] == [
        ("turn 1 of sessions of sessions.jsonl, 2 sessions", 2),
        ("turn 2 of sessions of sessions.jsonl, 2 sessions", 2),
    ]
    given = "turn 2 of conversations of 2, as recorded in sessions.jsonl, 2 sessions, 1 prompts"
    assert facts[1]["workload"]["given"] == given
    assert facts[1]["rate"] is None
    assert facts[0]["tails"]["schedule_delay"]["p50"]["n"] == 4
    json.dumps(facts, allow_nan=False)


def test_a_failed_answer_ends_a_session_that_would_hold_it_and_no_other(truth: Truth, tmp_path: Path) -> None:
    lines = [
        {"session_id": name, "message_mode": mode, "messages": [say("x")], "output_length": 3}
        for mode in ("delta", "history")
        for name in (mode, mode, f"{mode} 2", f"{mode} 2")
    ]
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1, cut_after=1))
    with pytest.raises(
        NotMeasured, match=r"no session of sessions.jsonl went on after turn 1; the first error"
    ):
        replay_sessions(known.server, recorded(tmp_path, *lines[:4]), Workload(), OPTIONS)
    first, second = replay_sessions(known.server, recorded(tmp_path, *lines), Workload(), OPTIONS)
    assert (len(first.traces), len(second.traces), second.gave_up) == (4, 2, 2)
    assert problems_of([second])[-1].startswith("2 of 4 users asked no more")


def test_a_client_that_comes_late_to_a_turn_makes_it_invalid(truth: Truth, tmp_path: Path) -> None:
    lines = [{"session_id": "a", "text_input": "x", "output_length": 3} for _ in range(3)]
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    # Progress is told on the client's own thread: what holds it up there is of the client's own making.
    options = SendOptions(warmup=0, on_progress=lambda done, _: time.sleep(0.3 if done == 1 else 0))
    _, second, _ = replay_sessions(known.server, recorded(tmp_path, *lines), Workload(), options)
    assert any("the client came to its requests 3" in problem for problem in problems_of([second]))
    ttft_s = second.traces[0].ttft_s
    assert ttft_s is not None
    assert ttft_s > 0.3
    assert "kept from the processor" in of_run(second).taken_out


def test_the_answer_goes_back_with_its_calls_and_without_its_thinking() -> None:
    thought = Arrival(0.1, "Hm.", reasoning=True)
    said = (thought, Arrival(0.2, "Let me "), Arrival(0.3, "look."))
    answered = Trace(0, 0.0, 0.0, 0.0, said, 0.4, RequestOutcome.OK)
    assert answer_of(answered) == say("Let me look.", "assistant")
    calling = replace(
        answered, arrivals=(thought, Arrival(0.2, "")), tool_calls=(ToolCall("look", "{}", "c1"),)
    )
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert answer_of(calling) == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert answer_of(replace(answered, arrivals=(thought,))) is None
    assert answer_of(replace(answered, outcome=RequestOutcome.CUT)) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            {"session_id": "a", "timestamp": 5, "input_length": 4, "output_length": 1},
            "another turn of session 'a'",
        ),
        ({"timestamp": 5, "messages": [], "output_length": 1}, "messages is not a length"),
        ({"timestamp": 5, "text_input": "x", "output_length": 1}, "text_input is not a length"),
    ],
)
def test_a_trace_of_lengths_refuses_what_is_none(tmp_path: Path, line: dict[str, Any], says: str) -> None:
    path = tmp_path / "trace.jsonl"
    first = {"session_id": "a", "timestamp": 0, "input_length": 4, "output_length": 1}
    path.write_text(f"{json.dumps(first)}\n{json.dumps(line)}\n")
    with pytest.raises(DataError, match=f"line 2: .*{says}.*load.conversations"):
        read_trace(path, unit="ms")


def test_calls_that_the_model_streams_go_back_with_the_ids_that_it_gave_them(tmp_path: Path) -> None:
    bodies: list[Mapping[str, Any]] = []

    def answer(number: int, body: Mapping[str, Any]) -> list[Timed]:
        bodies.append(body)
        if any(message["role"] == "tool" for message in body["messages"]):
            return whole(body)
        pieces = (
            {"id": "live-1", "function": {"name": "look", "arguments": '{"at"'}},
            {"function": {"arguments": ": 1}"}},
        )
        deltas = [{"tool_calls": [{"index": 0, **piece}]} for piece in pieces]
        chunks = [event({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
        end = event(
            {
                "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4},
            }
        )
        return [(due(place), chunk) for place, chunk in enumerate([*chunks, end, DONE])]

    result = {"role": "tool", "tool_call_id": "recorded-1", "content": "7"}
    delta = {"session_id": "a", "message_mode": "delta", "output_length": 4}
    lines = [{**delta, "messages": [say("Look.")], "tools": [TOOL]}, {**delta, "messages": [result]}]
    with speaking(answer) as server:
        _, second = replay_sessions(
            server, recorded(tmp_path, *lines), Workload(), SendOptions(warmup=0, nonce="n1")
        )
    assert [trace.ok for trace in second.traces] == [True]
    call = {"id": "live-1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    assert bodies[-1]["messages"] == [say("n1 Look."), called, result]
    assert bodies[-1]["tools"] == [TOOL]
