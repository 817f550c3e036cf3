"""Recorded sessions: Mooncake's trace lines with ``session_id``, ``messages``, ``text_input``, ``delay`` and ``tools``,
as aiperf reads them (ai-dynamo/aiperf, docs/benchmark-modes/trace-replay.md, read in December 2026).

JSON lines, one request each; lines of one ``session_id`` are the turns of one session, in the order of the file. A line
has exactly one of

* ``messages``: the whole history of the request, sent as it is. With ``"message_mode": "delta"`` they are only what is
  new, and follow the earlier messages and the live answers. ``tools`` may stand beside them.
* ``text_input``: the next message of the user, and ``input_length``: a made-up one of about so many tokens, whose
  beginning the blocks ``hash_ids`` name. Both follow the live answers.

``timestamp``: milliseconds, when a session begins, and before which a later turn is not sent. ``delay``: milliseconds
between the answer before and this turn. ``output_length``: most tokens of the answer. ``extra``: other fields of a
request.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import Json, JsonObject, finite, list_of, object_of, parse_json
from pytest_llmperf.load.conversation_file import Script, read_text, script_of
from pytest_llmperf.load.prompt_set import (
    WORDS,
    are_messages,
    fault_of_content,
    json_line,
    marked,
    request_fields,
)
from pytest_llmperf.load.replay import block_size

_NEED = (
    'need {"session_id": "a", "messages": [{"role": "user", "content": "…"}], "timestamp": 0} in each line, or '
    "text_input or input_length in the place of messages"
)
_KINDS = ("messages", "text_input", "input_length")
_KNOWN = (
    "session_id", *_KINDS, "message_mode", "tools", "hash_ids", "output_length", "timestamp", "delay", "extra", "type",
)  # fmt: skip
_MOST_DELAY_S = 3600.0
_MOST_TIME_S = 30 * 86400.0
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True)
class RecordedTurn:
    """One request of a session."""

    messages: tuple[JsonObject, ...] = field(default=(), hash=False)
    """The whole history, or what is new where the session carries its answers; empty: one made-up message."""
    input_tokens: int = 0
    """Tokens of the made-up message, about."""
    blocks: tuple[int, ...] = ()
    """Ids of the blocks that it begins with."""
    fields: JsonObject = field(default_factory=dict, hash=False)
    """Request fields beside the messages: ``tools``, and those of ``extra``."""
    answer_tokens: int | None = None
    """Most tokens of the answer; None: as the load has it."""
    at_s: float | None = None
    """Seconds after the begin of the earliest session, before which it is not sent; None: it has no such time."""
    delay_s: float = 0.0
    """Seconds after the end of the answer before."""


@dataclass(frozen=True)
class RecordedSession:
    """The requests of one session."""

    turns: tuple[RecordedTurn, ...]
    carries: bool
    """The next prompt holds the live answer; False: every turn is sent as it was recorded."""


@dataclass(frozen=True)
class RecordedSessions:
    """All sessions of a file."""

    file: str
    sessions: tuple[RecordedSession, ...] = field(repr=False)
    block_tokens: int = 0
    answer_tokens: int = 128
    """Most tokens of an answer where the file does not say it."""

    first_words: ClassVar[int] = 64
    """Words of a prompt of the warm-up; how long its own prompts are, the file says."""
    pauses_s: ClassVar[float] = 0.0
    """Its pauses are those of each session, and none of all."""

    @property
    def turns(self) -> int:
        """Those of the longest session."""
        return max(len(session.turns) for session in self.sessions)

    @property
    def users(self) -> int:
        """Number of sessions."""
        return len(self.sessions)

    def users_in(self, turn: int) -> int:
        """Sessions that have such a turn, from 1."""
        return sum(len(session.turns) >= turn for session in self.sessions)

    @property
    def name(self) -> str:
        """What a turn's name in the record has after ``turn 2 of conversations``."""
        return f"of {self.turns}, as recorded in {self}"

    def __repr__(self) -> str:
        return f"{self.file}, {len(self.sessions)} sessions"

    def messages(self, session: int, turn: int, nonce: str) -> list[JsonObject]:
        """The messages of turn ``turn`` (from 0), new to every cache by ``nonce``.

        All sessions have the same mark before their first text: what they share, they share still.
        """
        recorded = self.sessions[session]
        said = recorded.turns[turn]
        messages = list(said.messages) or [
            {"role": "user", "content": self._made_up(said, f"{nonce} {session} {turn}", nonce)}
        ]
        begins = turn == 0 or not recorded.carries
        return marked(messages, nonce) if begins else messages

    def _made_up(self, said: RecordedTurn, own: str, nonce: str) -> str:
        """Words, of about one token each: equal blocks are equal words."""
        words: list[str] = []
        for block in said.blocks:
            count = min(self.block_tokens, said.input_tokens - len(words))
            words += random.Random(f"block {nonce} {block}").choices(WORDS, k=max(0, count))
        if len(words) < said.input_tokens:
            words += random.Random(f"rest {own}").choices(WORDS, k=said.input_tokens - len(words))
        return " ".join(words)


@dataclass(frozen=True)
class _Line:
    where: str
    session: str
    mode: str
    """``history``, ``delta``, or empty for a line without ``messages``."""
    turn: RecordedTurn
    has_delay: bool


def read_recording(path: Path, text: str) -> RecordedSessions:
    """The sessions of such a file, whose content is ``text``. Raises :class:`DataError` with file, line, the value seen
    and the one needed."""
    sessions: dict[str, list[_Line]] = {}
    # Not splitlines(), which also splits at U+2028 and others inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            read = _line(line.encode(), f"{path}, line {number}", number)
            sessions.setdefault(read.session, []).append(read)
    if not sessions:
        raise DataError(f"{path} has no sessions; {_NEED}")
    for lines in sessions.values():
        _check(lines)
    starts = [(lines[0].turn.at_s, lines[0].where) for lines in sessions.values()]
    untimed = [where for at_s, where in starts if at_s is None]
    if untimed and len(untimed) < len(starts):
        raise DataError(
            f"{untimed[0]}: begins a session without timestamp, and other sessions have one; need the millisecond at "
            "which each session begins, or none in all of them, which then begin together"
        )
    begin_s = min((at_s for at_s, _ in starts if at_s is not None), default=0.0)
    recorded = [_session(lines, begin_s) for lines in sessions.values()]
    listed = [
        (0.0, line.turn.input_tokens, 0, line.turn.blocks) for lines in sessions.values() for line in lines
    ]
    return RecordedSessions(path.name, tuple(recorded), _block_size(path, listed))


def _block_size(path: Path, listed: Sequence[tuple[float, int, int, tuple[int, ...]]]) -> int:
    if not any(blocks for *_, blocks in listed):
        return 0
    try:
        return block_size(path, listed, None)
    except DataError as error:
        raise DataError(f"{str(error).partition('; need')[0]}; need blocks of a usual size") from None


def read_sessions(path: Path) -> RecordedSessions | Script:
    """The conversations of a file, of either form, told apart by its first line. Raises :class:`DataError`."""
    text = read_text(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    fields = object_of(parse_json(first))
    if "turns" not in fields and any(name in fields for name in _KINDS):
        return read_recording(path, text)
    return script_of(path, text)


def _session(lines: Sequence[_Line], begin_s: float) -> RecordedSession:
    turns: list[RecordedTurn] = []
    tools: JsonObject = {}
    for line in lines:
        turn = line.turn
        if line.mode == "delta":
            # What was declared goes on to be: the messages do, too.
            tools = {"tools": turn.fields["tools"]} if "tools" in turn.fields else tools
            turn = replace(turn, fields={**tools, **turn.fields})
        turns.append(replace(turn, at_s=None if turn.at_s is None else turn.at_s - begin_s))
    if turns[0].at_s is None:
        turns[0] = replace(turns[0], at_s=0.0)
    return RecordedSession(tuple(turns), lines[0].mode != "history")


def _check(lines: Sequence[_Line]) -> None:
    """Raise :class:`DataError` if the lines of one session contradict each other."""
    first, *rest = lines
    if first.has_delay and first.turn.delay_s > 0:
        raise DataError(
            f"{first.where}: delay is {1e3 * first.turn.delay_s:g} in the first line of a session; need timestamp, "
            "since there is no answer before it"
        )
    latest_s = first.turn.at_s
    for line in rest:
        if line.mode != first.mode:
            said = [
                f"message_mode {each.mode!r}" if each.mode else "no messages of its own"
                for each in (line, first)
            ]
            raise DataError(
                f"{line.where}: session {line.session!r} has {said[0]} here and {said[1]} in its first line; need one "
                'way for a whole session ("message_mode" is "history" where nothing is said)'
            )
        at_s = line.turn.at_s
        if at_s is not None and latest_s is None:
            raise DataError(
                f"{line.where}: timestamp is {1e3 * at_s:g}, and the first line of session {line.session!r} has none; "
                "need one there too, or delay here"
            )
        if at_s is not None and latest_s is not None and at_s < latest_s:
            raise DataError(
                f"{line.where}: timestamp is {1e3 * at_s:g}, and a line before it in session {line.session!r} has "
                f"{1e3 * latest_s:g}; need times that do not fall"
            )
        latest_s = latest_s if at_s is None else at_s


def _line(line: bytes, where: str, number: int) -> _Line:
    fields = object_of(json_line(line, where, _NEED))
    given = [name for name in _KINDS if fields.get(name) is not None]
    if len(given) != 1:
        said = (
            f"has {' and '.join(given)}"
            if given
            else f"{line[:80].decode(errors='replace')!r} has none of them"
        )
        raise DataError(f"{where}: {said}; need exactly one of {', '.join(_KINDS)}: {_NEED}")
    if unknown := [name for name in fields if name not in _KNOWN]:
        raise DataError(f"{where}: {unknown[0]!r} can't be replayed; need some of {', '.join(_KNOWN)}")
    if fields.get("type") not in (None, "mooncake_trace"):
        raise DataError(f"{where}: type is {fields['type']!r}; need 'mooncake_trace', or nothing")
    kind = given[0]
    for field_name, only in (
        ("hash_ids", "input_length"),
        ("tools", "messages"),
        ("message_mode", "messages"),
    ):
        if fields.get(field_name) is not None and kind != only:
            raise DataError(f"{where}: has {field_name} beside {kind}; need {only} there, or no {field_name}")
    name = fields.get("session_id")
    if name is not None and not isinstance(name, str):
        raise DataError(f"{where}: session_id is {name!r}; need a text")
    at_ms, delay_ms = fields.get("timestamp"), fields.get("delay")
    if at_ms is not None and delay_ms is not None:
        raise DataError(f"{where}: has timestamp {at_ms!r} and delay {delay_ms!r}; need one of them")
    messages, tokens, blocks = _said(fields, kind, where)
    turn = RecordedTurn(
        messages,
        tokens,
        blocks,
        _beside(fields, where),
        _count(fields, "output_length", where),
        _seconds(at_ms, "timestamp", _MOST_TIME_S, where),
        _seconds(delay_ms, "delay", _MOST_DELAY_S, where) or 0.0,
    )
    mode = _mode(fields, where) if kind == "messages" else ""
    # A line without a name is a session of its own, whatever the others are called.
    return _Line(where, f"\0{number}" if name is None else name, mode, turn, delay_ms is not None)


def _mode(fields: JsonObject, where: str) -> str:
    mode = fields.get("message_mode")
    if mode not in (None, "history", "delta"):
        raise DataError(f"{where}: message_mode is {mode!r}; need 'history' or 'delta'")
    return str(mode or "history")


def _said(fields: JsonObject, kind: str, where: str) -> tuple[tuple[JsonObject, ...], int, tuple[int, ...]]:
    """The messages of a line; or the tokens of a made-up one, and the ids of its blocks."""
    if kind == "messages":
        messages = fields["messages"]
        if not are_messages(messages):
            raise DataError(
                f"{where}: messages are {str(messages)[:60]!r}; need a list of objects with a role"
            )
        said = [object_of(message) for message in list_of(messages)]
        if fault := next(filter(None, map(fault_of_content, said)), ""):
            raise DataError(f"{where}: {fault}; {_NEED}")
        return tuple(said), 0, ()
    if kind == "text_input":
        text = fields["text_input"]
        if not isinstance(text, str) or not text:
            raise DataError(f"{where}: text_input is {text!r}; need a text")
        return ({"role": "user", "content": text},), 0, ()
    blocks = fields.get("hash_ids") or []
    whole = [one for one in list_of(blocks) if isinstance(one, int) and not isinstance(one, bool)]
    if not isinstance(blocks, list) or len(whole) < len(blocks):
        raise DataError(f"{where}: hash_ids is {str(blocks)[:40]}; need a list of whole numbers")
    return (), _count(fields, "input_length", where) or 0, tuple(whole)


def _beside(fields: JsonObject, where: str) -> dict[str, Json]:
    """The request fields of a line beside its messages."""
    extra, tools = fields.get("extra"), fields.get("tools")
    if extra is not None and not isinstance(extra, dict):
        raise DataError(f"{where}: extra is {str(extra)[:40]!r}; need an object of request fields")
    for name in ("messages", "prompt", "tools", "max_tokens", "max_completion_tokens", "output_tokens"):
        if extra is not None and name in extra:
            raise DataError(f"{where}: extra has {name}, which the line itself says; take it out of extra")
    if tools is not None and not (
        isinstance(tools, list) and tools and all(isinstance(each, dict) for each in tools)
    ):
        raise DataError(f"{where}: tools are {str(tools)[:40]!r}; need a list of definitions of tools")
    asked: dict[str, Json] = {"messages": [], **(extra or {}), **({"tools": tools} if tools else {})}
    found = request_fields(asked, where)
    return {name: value for name, value in found.items() if name != "messages"}


def _count(fields: JsonObject, name: str, where: str) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_TOKENS:
        raise DataError(f"{where}: {name} is {value!r}; need a whole number from 1 on")
    return value


def _seconds(value: Json, name: str, most_s: float, where: str) -> float | None:
    if value is None:
        return None
    number = finite(value)
    if number is None or not 0.0 <= number / 1e3 <= most_s:
        raise DataError(f"{where}: {name} is {value!r}; need milliseconds from 0 to {1e3 * most_s:,.0f}")
    return number / 1e3
