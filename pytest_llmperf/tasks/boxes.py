r"""Finding the final answer in a reply: what follows the thinking, and the last ``\boxed{…}`` in it."""

from __future__ import annotations

import re

END_OF_THINKING = "</think>"
WINDOW = 4096
"""Characters at the end that are searched: an answer stands there, and the search stays cheap."""

_MOST_BOXES = 16
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"-?[0-9][0-9.,]*[0-9]|-?[0-9]")


def after_thinking(text: str) -> str | None:
    """What follows the last ``</think>``; None if the thinking never ended."""
    position = text.rfind(END_OF_THINKING)
    return None if position < 0 else text[position + len(END_OF_THINKING) :]


def with_thinking(reasoning: str, content: str) -> str:
    """The reply as the model wrote it, where a server has split it into reasoning and content."""
    return f"{reasoning}{END_OF_THINKING}{content}" if content else reasoning


def last_box(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` or ``\fbox{…}`` in the last 4,096 characters, no braces.

    None if there is none. The instruction's own empty box is passed over. A box that is never closed is an
    answer that broke off: then there is none, and the box before it is not taken for what was meant.
    """
    tail = text[-WINDOW:]
    for match in reversed(list(_BOX.finditer(tail))[-_MOST_BOXES:]):
        content = _content(tail, match.end())
        if content is None:
            return None
        if content.strip():
            return content.strip()
    return None


def _content(text: str, start: int) -> str | None:
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return bare[0] if bare else ""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : brace.start()]
    return None
