"""Most chunks of a stream differ from each other in a text and a count only: how they are read without parsing JSON.

From one chunk that was parsed, a pattern of bytes is made in which those two are open. What matches it is the same JSON
but for a string and a few integers, so that its reading is known; what does not is parsed. What has matched before is
known by its bytes alone: the beginning of a stream's chunks, a token's text, and what follows the text. That takes a
tenth of the time of parsing, and a load holds hundreds of thousands of chunks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TypeVar

from pytest_llmperf.json_values import JsonObject

V = TypeVar("V")
TEXTS = ("content", "text", "reasoning_content", "reasoning")
"""Fields whose text a template can have open."""
_BLANKS = (b"\n\n", b"\r\n\r\n")
_MOST_KEPT = 1 << 16
_TOKEN = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[{}\[\]:,]')
_STRING = rb'[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+'
_INTEGER = rb"(?:0|[1-9]\d*+)"
_COUNT = rb"(?:0|[1-9]\d{0,8})"
"""A number that can be one of tokens; a larger one is looked at by the parser."""
_COUNTS = {b'"completion_tokens"': b"counted", b'"prompt_tokens"': b"prompt"}
_UNREAD = (
    b'"id"',
    b'"request_id"',
    b'"created"',
    b'"total_tokens"',
    b'"obfuscation"',
    b'"system_fingerprint"',
)
"""They vary from chunk to chunk or from stream to stream, and nothing is read from them."""


@dataclass(frozen=True)
class Template:
    """``pattern`` has a group ``text`` (as JSON writes it), and ``counted`` and ``prompt`` if ``counts``."""

    pattern: re.Pattern[bytes]
    reasoning: bool
    counts: bool
    blank: bytes
    """The line ends that complete the event."""
    texts: dict[bytes, str] = field(default_factory=dict, repr=False)
    """Texts of chunks that matched, by how JSON writes them; none that is written with a backslash."""
    tails: dict[bytes, int] = field(default_factory=dict, repr=False)
    """The rest of matched chunks after their text, up to the blank line → the count in it (0 without ``counts``)."""

    @property
    def late(self) -> int:
        """Bytes at its end that need not have come for the event to be complete: the first of CRLF ends a line."""
        return int(self.blank.endswith(b"\r\n"))

    def remember(self, match: re.Match[bytes], text: str) -> None:
        """Know its text and its end again by their bytes."""
        raw, end = match["text"], match.end("text")
        if b"\\" not in raw:
            _keep(self.texts, raw, text)
        tail = match[0][end - match.start() :].removesuffix(self.blank)
        if self.blank not in tail:
            _keep(self.tails, tail, int(match["counted"]) if self.counts else 0)


def learn(event: bytes, chunk: JsonObject) -> Template | None:
    """The template of an event (``data: {…}`` and the blank line) that was parsed to ``chunk``.

    None where its text or its counts stand in none of the usual places, or a name occurs twice, so that one could be
    taken for the other.
    """
    name = _text_field(chunk)
    blank = next((end for end in _BLANKS if event.endswith(end)), None)
    if name is None or blank is None:
        return None
    wanted = b'"%b"' % name.encode()
    pattern: list[bytes] = []
    last, opened = 0, set[bytes]()
    key = before = b""
    for token in _TOKEN.finditer(event):
        word, hole = token[0], b""
        if word == b":":
            key = before
        elif word in b"{}[],":
            key = b""
        elif key == wanted and word.startswith(b'"'):
            hole = b'"(?P<text>%b)"' % _STRING
        elif key in _COUNTS and word.isdigit():
            hole = b"(?P<%b>%b)" % (_COUNTS[key], _COUNT)
        elif key in _UNREAD:
            hole = b'"%b"' % _STRING if word.startswith(b'"') else _INTEGER if word.isdigit() else b""
        if hole:
            if b"(?P<" in hole and key in opened:
                return None
            opened.add(key)
            pattern += [re.escape(event[last : token.start()]), hole]
            last, key = token.end(), b""
        before = word
    counts = opened & _COUNTS.keys()
    names = [name for name in (wanted, *_COUNTS) if event.count(name) != (name in opened)]
    if wanted not in opened or names or len(counts) != (len(_COUNTS) if _has_counts(chunk) else 0):
        return None
    if not counts and chunk.get("usage"):
        return None
    pattern.append(re.escape(event[last:]))
    return Template(re.compile(b"".join(pattern)), name.startswith("reasoning"), bool(counts), blank)


def _has_counts(chunk: JsonObject) -> bool:
    """Are the counts where the parser reads them? Gateways repeat them under names of their own."""
    usage = chunk.get("usage")
    return isinstance(usage, dict) and {"prompt_tokens", "completion_tokens"} <= usage.keys()


def _text_field(chunk: JsonObject) -> str | None:
    """The one field that has text, of the only choice, which is the first of its answer."""
    choices = chunk.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    choice = choices[0]
    if choice.get("finish_reason") not in (None, "") or choice.get("logprobs"):
        return None
    index = choice.get("index", 0)
    if isinstance(choice.get("token_ids"), list) or not (
        index is None or (type(index) is int and index == 0)
    ):
        return None
    within = choice.get("delta", choice if isinstance(choice.get("text"), str) else None)
    if not isinstance(within, dict):
        return None
    named = [name for name in TEXTS if isinstance(within.get(name), str)]
    return named[0] if len(named) == 1 and within[named[0]] else None


def text_of(raw: bytes) -> str:
    """The text of a JSON string without its quotes. Raises ``ValueError`` if it is none."""
    if b"\\" in raw:
        return str(json.loads(b'"%b"' % raw))
    return raw.decode("utf-8", errors="replace")


def _keep(known: dict[bytes, V], key: bytes, value: V) -> None:
    if len(known) >= _MOST_KEPT:
        known.clear()
    known[key] = value
