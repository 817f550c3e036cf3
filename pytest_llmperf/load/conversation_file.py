"""Conversations of a file in the multi-turn form of aiperf: JSON lines, one session each.

``{"session_id": "a", "turns": [{"text": "Hello"}, {"text": "And then?", "delay": 1500, "output_length": 64}]}``. Lines
of one ``session_id`` are one session. ``delay``: milliseconds between the answer before and this turn;
``output_length``: most tokens of the answer; ``texts`` instead of ``text``: several parts of one message; a first turn
of ``"role": "system"`` is the system message of the session.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import Json, JsonObject, finite

_NEED = 'need {"session_id": "a", "turns": [{"text": "…", "delay": 1000}, …]} in each line'
_MOST_DELAY_S = 3600.0
_MOST_TOKENS = 10_000_000
_KNOWN = ("text", "texts", "role", "delay", "output_length")


@dataclass(frozen=True)
class ScriptTurn:
    """A message of a user."""

    texts: tuple[str, ...]
    delay_s: float = 0.0
    answer_tokens: int | None = None
    """Most tokens of the answer; None: as the load has it."""

    def content(self, mark: str = "") -> Json:
        """The content of the message, with ``mark`` before its first word."""
        first, *rest = self.texts
        first = f"{mark} {first}" if mark else first
        return [{"type": "text", "text": text} for text in (first, *rest)] if rest else first


@dataclass(frozen=True)
class Session:
    """One user's conversation."""

    turns: tuple[ScriptTurn, ...]
    system: str = ""


@dataclass(frozen=True)
class Script:
    """All sessions of a file."""

    name: str
    sessions: tuple[Session, ...] = field(repr=False)

    @property
    def turns(self) -> int:
        """Those of the longest session."""
        return max(len(session.turns) for session in self.sessions)

    def __repr__(self) -> str:
        return f"{self.name}, {len(self.sessions)} sessions"

    def pause_s(self, turn: int) -> float:
        """The longest delay before a turn (from 1): all of its users ask at once."""
        return max(each.turns[turn - 1].delay_s for each in self.sessions if len(each.turns) >= turn)


def read_script(path: Path) -> Script:
    """Read such a file. Raises :class:`DataError` with file, line, the value seen and the one needed."""
    return script_of(path, read_text(path))


def script_of(path: Path, text: str) -> Script:
    """The sessions of such a file, whose content is ``text``; raises as :func:`read_script` does."""
    found: dict[str, Session] = {}
    # Not splitlines(), which also splits at U+2028 and others inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, session = _session(line, where, str(number))
        if name in found:
            if session.system:
                raise DataError(f"{where}: session {name} has a system message after its first turn")
            session = Session((*found[name].turns, *session.turns), found[name].system)
        found[name] = session
    if not found:
        raise DataError(f"{path} has no conversations; {_NEED}")
    return Script(path.name, tuple(found.values()))


def read_text(path: Path) -> str:
    """The content of a file of conversations. Raises :class:`DataError`."""
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except OSError as error:
        raise DataError(f"the conversations {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the conversations {path} are not UTF-8 at byte {error.start}") from None


def _session(line: str, where: str, number: str) -> tuple[str, Session]:
    try:
        fields = json.loads(line)
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {line[:80]!r} can't be read as JSON ({error}); {_NEED}") from None
    turns = fields.get("turns") if isinstance(fields, dict) else None
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: {line[:80]!r} has no turns; {_NEED}")
    name = fields.get("session_id")
    if name is not None and not isinstance(name, str):
        raise DataError(f"{where}: session_id is {name!r}; need a text")
    for at, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise DataError(f"{where}, turn {at}: {str(turn)[:40]!r} is not an object; {_NEED}")
    system = ""
    if turns[0].get("role") == "system":
        first, *turns = turns
        system = "\n".join(_texts(first, f"{where}, turn 1"))
        if not turns:
            raise DataError(f"{where}: has a system message and no turn of a user")
    asked = [_turn(turn, f"{where}, turn {at}") for at, turn in enumerate(turns, start=1 + bool(system))]
    # A line without a name is a session of its own, whatever the others are called.
    return name if name is not None else f"\0{number}", Session(tuple(asked), system)


def _turn(turn: JsonObject, where: str) -> ScriptTurn:
    if "timestamp" in turn:
        raise DataError(
            f"{where}: timestamp is {turn['timestamp']!r}; need delay, the milliseconds after the answer before"
        )
    if unknown := [name for name in turn if name not in _KNOWN]:
        raise DataError(f"{where}: {unknown[0]!r} can't be sent; need one of {', '.join(_KNOWN)}")
    if turn.get("role", "user") not in ("user", None):
        raise DataError(f"{where}: role is {turn['role']!r}; need user, or system in the first turn")
    delay = turn.get("delay")
    delay_s = 0.0 if delay is None else (value / 1e3 if (value := finite(delay)) is not None else -1.0)
    if not 0.0 <= delay_s <= _MOST_DELAY_S:
        raise DataError(
            f"{where}: delay is {delay!r}; need milliseconds from 0 to {1e3 * _MOST_DELAY_S:,.0f}"
        )
    tokens = turn.get("output_length")
    if tokens is not None and (
        isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= _MOST_TOKENS
    ):
        raise DataError(f"{where}: output_length is {tokens!r}; need a whole number from 1 on")
    return ScriptTurn(_texts(turn, where), delay_s, tokens)


def _texts(turn: JsonObject, where: str) -> tuple[str, ...]:
    both = [turn[name] for name in ("text", "texts") if turn.get(name) is not None]
    if len(both) != 1:
        raise DataError(
            f"{where}: has {'both text and texts' if both else 'neither text nor texts'}; need one"
        )
    texts: Sequence[Json] = both[0] if isinstance(both[0], list) else [both[0]]
    said = tuple(text for text in texts if isinstance(text, str) and text)
    if not said or len(said) < len(texts) or ("text" in turn and isinstance(turn["text"], list)):
        raise DataError(f"{where}: the text is {str(both[0])[:40]!r}; need a text, or texts: a list of them")
    return said
