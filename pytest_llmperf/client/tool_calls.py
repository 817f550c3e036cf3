"""The tool calls of one answer, put together from the pieces that a stream carries.

Servers cut calls differently, and number them differently: OpenAI and vLLM give every piece an ``index`` and only the
first an ``id``; some gateways send ``index`` 0 for all calls of an answer, or none at all; SGLang and llama.cpp repeat
``id`` or ``name``; Ollama and Gemini's gateway send whole calls, some with ``arguments`` as an object; some begin every
call with an empty object, or send the name last. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of, parse_json

_EMPTY = "{}"


@dataclass(frozen=True)
class ToolCall:
    """One call that a model made. ``arguments`` are the text that it wrote, JSON or not."""

    name: str
    arguments: str
    id: str = ""

    def __str__(self) -> str:
        return f"{self.name or '(no name)'}({self.arguments})"


@dataclass
class _Call:
    index: int | None
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.arguments)

    @property
    def is_complete(self) -> bool:
        """The arguments are a JSON object by themselves: whatever follows belongs to another call."""
        return isinstance(parse_json(self.text), dict)


@dataclass(frozen=True)
class _Piece:
    index: int | None
    id: str
    name: str
    arguments: str
    is_whole: bool
    """The arguments came as an object, which is never one part of several."""

    @classmethod
    def of(cls, entry: JsonObject) -> _Piece:
        function = object_of(entry.get("function") or entry.get("custom")) or entry
        given = function.get("arguments", function.get("input", function.get("parameters")))
        is_whole = given is not None and not isinstance(given, str)
        written = json.dumps(given, ensure_ascii=False) if is_whole else given
        return cls(
            _index(entry.get("index")),
            _text(entry.get("id")),
            _text(function.get("name")),
            _text(written),
            is_whole,
        )


class ToolCalls:
    """Collects the calls of one answer."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def take(self, delta: JsonObject, *, whole: bool = False) -> None:
        """Add the pieces in a delta; ``whole``: in a message, where every entry is a call of its own."""
        before = len(self._calls)
        for entry in entries(delta):
            piece = _Piece.of(entry)
            call = None if whole else self._goes_on(piece)
            if any(call is begun for begun in self._calls[before:]) and _is_named_again(call, piece):
                call = None  # Two parts of one call in one delta would not both carry its name.
            if call is None:
                if not (piece.id or piece.name or piece.arguments):
                    continue
                call = _Call(piece.index, piece.id)
                self._calls.append(call)
            self._add(call, piece)

    @property
    def all(self) -> tuple[ToolCall, ...]:
        """In the order in which they began."""
        return tuple(ToolCall(call.name, call.text, call.id) for call in self._calls)

    def _goes_on(self, piece: _Piece) -> _Call | None:
        """The call that the piece goes on with; None if it begins another one."""
        if piece.index is None:
            known = [call for call in self._calls if piece.id and call.id == piece.id]
            if piece.id and not known and piece.name:
                return None
            candidates = known or self._calls
            call = candidates[-1] if candidates else None
        else:
            call = next((call for call in reversed(self._calls) if call.index == piece.index), None)
        return None if call is None or _begins_another(call, piece) else call

    def _add(self, call: _Call, piece: _Piece) -> None:
        call.id = call.id or piece.id
        # A name is sent in parts before the arguments begin, or whole and then again and again, or after them.
        if piece.name and piece.name != call.name and not (call.name and call.arguments):
            call.name += piece.name
        if piece.is_whole:
            # An empty object is what a server fills in where it has nothing to send.
            call.arguments = (
                [piece.arguments] if piece.arguments != _EMPTY or not call.text else call.arguments
            )
        elif piece.arguments:
            if call.text.strip() == _EMPTY and piece.arguments.lstrip().startswith("{"):
                call.arguments.clear()
            call.arguments.append(piece.arguments)


def entries(delta: JsonObject) -> Iterable[JsonObject]:
    """The calls in a delta or a message: ``tool_calls`` as a list or by key, or the old ``function_call``."""
    calls = delta.get("tool_calls")
    listed = list(calls.values()) if isinstance(calls, dict) else list_of(calls)
    if isinstance(calls, dict) and ("function" in calls or "name" in calls):
        listed = [calls]
    old = delta.get("function_call")
    return [object_of(entry) for entry in (*listed, old) if isinstance(entry, dict)]


def _begins_another(call: _Call, piece: _Piece) -> bool:
    """Whether a piece for the place of ``call`` belongs to a new call all the same."""
    if not piece.name:
        return False
    if piece.id and call.id and piece.id != call.id:
        # With another name the server numbers all calls alike; with the same one it may make up an id for every piece,
        # of which the first is the one that has no arguments.
        return piece.name != call.name or call.is_complete or not (call.text or piece.arguments)
    if piece.id and piece.id == call.id:
        return False
    if not call.arguments:
        return False
    if not call.name:
        # The name comes last, unless this piece has arguments of its own to follow a whole call.
        return call.is_complete and bool(piece.arguments)
    if call.id and not piece.id and not piece.arguments and piece.name == call.name:
        # A server that gives ids gives one to a new call as well: this is the name once more.
        return False
    return call.is_complete or piece.name != call.name


def _is_named_again(call: _Call | None, piece: _Piece) -> bool:
    """Whether a piece of the same delta names the function of ``call`` again, and is not the same call by its id."""
    return (
        call is not None
        and bool(piece.name)
        and piece.name == call.name
        and not (piece.id and piece.id == call.id)
    )


def _index(value: Json) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if type(value) is int else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
