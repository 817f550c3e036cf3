"""Recorded sessions of a file: read as aiperf reads them, and refused with line, value and need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import DataError
from pytest_llmperf.load.conversation_file import Script
from pytest_llmperf.load.session_file import RecordedSession, RecordedSessions, RecordedTurn, read_sessions

HI = {"role": "user", "content": "Hi"}
MORE = {"role": "user", "content": "More?"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def read(folder: Path, *lines: object) -> RecordedSessions:
    path = folder / "sessions.jsonl"
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines))
    found = read_sessions(path)
    assert isinstance(found, RecordedSessions)
    return found


def test_lines_of_one_session_are_its_turns_and_times_count_from_the_earliest_begin(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"session_id": "a", "messages": [HI], "timestamp": 1500, "output_length": 7},
        {"messages": [MORE], "timestamp": 1000, "type": "mooncake_trace"},
        "",
        {"session_id": "a", "messages": [HI, MORE], "delay": 20.5},
        {"session_id": "a", "messages": [MORE], "timestamp": 9000},
    )
    assert found.sessions == (
        RecordedSession(
            (
                RecordedTurn((HI,), answer_tokens=7, at_s=0.5),
                RecordedTurn((HI, MORE), delay_s=0.0205),
                RecordedTurn((MORE,), at_s=8.0),
            ),
            carries=False,
        ),
        RecordedSession((RecordedTurn((MORE,), at_s=0.0),), carries=False),
    )
    assert (found.turns, found.users, found.users_in(1), found.users_in(2)) == (3, 2, 2, 1)
    assert repr(found) == "sessions.jsonl, 2 sessions"


def test_what_carries_the_live_answers_is_told_by_the_line(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"session_id": "history", "message_mode": "history", "messages": [HI]},
        {"session_id": "delta", "message_mode": "delta", "messages": [HI]},
        {"session_id": "text", "text_input": "Hi"},
        {"session_id": "length", "input_length": 40},
    )
    assert [session.carries for session in found.sessions] == [False, True, True, True]
    assert [session.turns[0].at_s for session in found.sessions] == [0.0] * 4
    assert found.sessions[2].turns[0].messages == (HI,)


def test_tools_go_on_to_be_declared_in_delta_mode_alone(tmp_path: Path) -> None:
    def tools(mode: str) -> list[bool]:
        lines = [
            {
                "session_id": "a",
                "messages": [HI],
                "message_mode": mode,
                "tools": [TOOL],
                "extra": {"top_k": 3},
            },
            {"session_id": "a", "messages": [MORE], "message_mode": mode},
        ]
        turns = read(tmp_path, *lines).sessions[0].turns
        assert [turn.fields.get("top_k") for turn in turns] == [3, None]
        return [turn.fields.get("tools") == [TOOL] for turn in turns]

    assert tools("delta") == [True, True]
    assert tools("history") == [True, False]


def test_equal_blocks_are_equal_words_and_a_round_has_its_own(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"input_length": 40, "hash_ids": [1, 2, 3], "timestamp": 0},
        {"input_length": 36, "hash_ids": [1, 2, 9], "timestamp": 5},
    )
    assert found.block_tokens == 16
    first, second = (str(found.messages(n, 0, "n1")[0]["content"]).split() for n in (0, 1))
    assert (len(first), len(second)) == (1 + 40, 1 + 36)
    assert first[:33] == second[:33]
    assert first[33:] != second[33:]
    assert str(found.messages(0, 0, "n2")[0]["content"]).split()[1:] != first[1:]


def test_the_mark_of_a_round_stands_before_the_first_text_of_what_is_sent_whole(tmp_path: Path) -> None:
    lines = [{"session_id": "a", "messages": [HI]}, {"session_id": "a", "messages": [HI, MORE]}]
    history = read(tmp_path, *lines)
    assert [history.messages(0, turn, "n1")[0]["content"] for turn in (0, 1)] == ["n1 Hi", "n1 Hi"]
    delta = read(tmp_path, *({**line, "message_mode": "delta"} for line in lines))
    assert [delta.messages(0, turn, "n1")[0]["content"] for turn in (0, 1)] == ["n1 Hi", "Hi"]


def test_the_other_form_of_conversations_is_told_by_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('\n{"turns": [{"text": "x"}]}\n')
    assert isinstance(read_sessions(path), Script)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", r"'nonsense' can't be read as JSON"),
        ("[1]", "has none of them; need exactly one of messages, text_input, input_length"),
        ({"turns": [{"text": "x"}]}, "has none of them"),
        ({"messages": [HI], "text_input": "x"}, "has messages and text_input; need exactly one"),
        ({"messages": [HI], "hash_ids": [1]}, "hash_ids beside messages; need input_length there"),
        ({"text_input": "x", "tools": [TOOL]}, "tools beside text_input; need messages there"),
        ({"text_input": "x", "message_mode": "delta"}, "message_mode beside text_input"),
        ({"messages": [HI], "message_mode": "deltas"}, "message_mode is 'deltas'; need 'history' or 'delta'"),
        ({"messages": []}, r"messages are '\[\]'; need a list"),
        ({"messages": [{"content": "x"}]}, "need a list of objects with a role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "only text parts can be sent"),
        ({"messages": [HI], "tools": {}}, "tools are '{}'; need a list of definitions"),
        ({"messages": [HI], "extra": []}, r"extra is '\[\]'; need an object"),
        ({"messages": [HI], "extra": {"messages": [HI]}}, "extra has messages, which the line itself says"),
        ({"messages": [HI], "extra": {"temprature": 1}}, "temprature"),
        ({"messages": [HI], "extra": {"stream": False}}, "stream is set by the load"),
        ({"messages": [HI], "payload": {}}, "'payload' can't be replayed; need some of session_id"),
        ({"messages": [HI], "type": "bailian_trace"}, "type is 'bailian_trace'"),
        ({"messages": [HI], "session_id": 7}, "session_id is 7; need a text"),
        ({"text_input": 5}, "text_input is 5; need a text"),
        ({"input_length": 0}, "input_length is 0; need a whole number"),
        ({"input_length": 8, "hash_ids": ["a"]}, "hash_ids is .*; need a list of whole numbers"),
        ({"input_length": 7000, "hash_ids": [1], "timestamp": 0}, "need blocks of a usual size"),
        ({"messages": [HI], "output_length": True}, "output_length is True"),
        ({"messages": [HI], "timestamp": -1}, "timestamp is -1; need milliseconds"),
        ({"messages": [HI], "timestamp": "0"}, "timestamp is '0'"),
        ({"messages": [HI], "session_id": "a", "delay": 3.7e6}, "delay is 3700000.0; need milliseconds"),
        ({"messages": [HI], "timestamp": 0, "delay": 1}, "has timestamp 0 and delay 1; need one of them"),
        ({"messages": [HI], "delay": 5}, "delay is 5 in the first line of a session; need timestamp"),
        ({"messages": [HI]}, "begins a session without timestamp, and other sessions have one"),
        ({"messages": [HI], "session_id": "a", "message_mode": "delta"}, "has message_mode 'delta' here and"),
        ({"text_input": "x", "session_id": "a"}, "no messages of its own here and message_mode 'history' in"),
        (
            {"messages": [HI], "session_id": "a", "timestamp": 5},
            "timestamp is 5, and a line before it .* has 10",
        ),
    ],
)
def test_a_line_that_cannot_be_replayed_is_refused_with_its_number(
    tmp_path: Path, line: object, says: str
) -> None:
    good = {"session_id": "a", "messages": [HI], "timestamp": 10}
    with pytest.raises(DataError, match=says) as raised:
        read(tmp_path, good, line)
    if "usual size" not in says:
        assert "sessions.jsonl, line 2" in str(raised.value)


def test_a_later_time_needs_one_at_the_begin(tmp_path: Path) -> None:
    lines = [{"session_id": "a", "messages": [HI]}, {"session_id": "a", "messages": [HI], "timestamp": 5}]
    with pytest.raises(DataError, match="line 2: timestamp is 5, and the first line of session 'a' has none"):
        read(tmp_path, *lines)


_LINES = st.lists(
    st.fixed_dictionaries(
        {"session_id": st.sampled_from(["a", "b", "c"])},
        optional={
            "messages": st.lists(
                st.sampled_from([HI, MORE, {"role": "tool", "content": "1"}, {"role": 1}]), max_size=2
            ),
            "text_input": st.text(max_size=3),
            "input_length": st.integers(-1, 40),
            "hash_ids": st.lists(st.integers(0, 3), max_size=3),
            "message_mode": st.sampled_from(["delta", "history", "other"]),
            "timestamp": st.integers(-5, 5),
            "delay": st.one_of(st.integers(-5, 5), st.none()),
        },
    ),
    min_size=1,
    max_size=5,
)


@given(lines=_LINES)
def test_any_file_is_read_whole_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    refused = ""
    found = None
    try:
        found = read_sessions(path)
    except DataError as error:
        refused = str(error)
    if found is None:
        assert "need" in refused
        return
    assert isinstance(found, RecordedSessions)
    assert sum(len(session.turns) for session in found.sessions) == len(lines)
    begins = [session.turns[0].at_s for session in found.sessions]
    assert min(begin for begin in begins if begin is not None) == 0.0
    for session in found.sessions:
        times = [turn.at_s for turn in session.turns if turn.at_s is not None]
        assert times == sorted(times)
