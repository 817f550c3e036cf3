r"""Finding ``\boxed{…}`` in a reply: the last one, and those that stand beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_llmperf.tasks.thinking import END_OF_THINKING, after_thinking, with_thinking

__all__ = [
    "END_OF_THINKING",
    "FIRST_BOX",
    "WINDOW",
    "Box",
    "after_thinking",
    "alternatives",
    "boxes",
    "boxes_together",
    "last_box",
    "with_thinking",
]

WINDOW = 4096
"""Characters at the end that are searched: an answer stands there, and the search stays cheap."""

_MOST_BOXES = 16
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
FIRST_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{\s*[^\s}]")
"""The beginning of a box with something in it."""
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE = re.compile(
    r"-?[0-9][0-9.,]*[0-9]|-?[0-9]|\([^()\n]{1,80}\)"
    r"|-?\\(?!boxed|fbox)[A-Za-z]+(?:\s*\{[^{}\n]*\}|\s*\[[^\[\]\n]*\]|[0-9A-Za-z]|\s[0-9])*|[A-Za-z](?![A-Za-z]|\s+[a-z])"
)
_BETWEEN = re.compile(
    r"(?:[\s,;.$&]|\\[\[\]();,!. ]|\\(?:quad|qquad|text\s*\{\s*(?:and|or)\s*,?\s*\})"
    r"|\b(?:and|or|und)\b|[和或、，]"
    r"|[A-Za-z](?:_\{?\w\}?)?\s*=)*"
)
_OR = re.compile(r"\bor\b|或")
_JOINED = re.compile(r"[,;&和或、，]|\b(?:and|or|und)\b")
"""Text that may stand between the boxes of one answer: nothing that says another thing, like "wait" or "rather"."""


@dataclass(frozen=True)
class Box:
    """``content`` without its braces; ``start`` and ``end`` in the text searched. None: it was never closed."""

    content: str | None
    start: int
    end: int


def boxes(text: str) -> list[Box]:
    r"""The last boxes (16 at most) with something in them, in their order.

    The instruction's own empty box, and the bare name of the command, are passed over. A box that is never closed is an
    answer that broke off.
    """
    found: list[Box] = []
    for match in list(_BOX.finditer(text))[-_MOST_BOXES:]:
        box = _box(text, match)
        if box is not None and (not found or box.start >= found[-1].end or box.content is None):
            found.append(box)
        elif box is not None and found[-1].content is not None and box.end <= found[-1].end:
            found[-1] = box  # a box in a box
    return found


def last_box(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}`` or ``\fbox{…}`` in the last 4,096 characters, no braces.

    None if there is none, or the last one was never closed.
    """
    found = boxes(text[-WINDOW:])
    return found[-1].content if found else None


def boxes_together(text: str) -> list[str]:
    r"""The contents of the last box and of those that stand beside it, as in ``\boxed{1}, \boxed{-2}``."""
    tail = text[-WINDOW:]
    together: list[Box] = []
    for box in reversed(boxes(tail)):
        between = tail[box.end : together[-1].start] if together else ","
        if box.content is None or not (_BETWEEN.fullmatch(between) and _JOINED.search(between)):
            break
        together.append(box)
    return [box.content for box in reversed(together) if box.content is not None]


def alternatives(text: str) -> list[str]:
    r"""The last boxes where an "or" stands between them; else none. ``\boxed{17} or \boxed{18}`` decides nothing."""
    tail = text[-WINDOW:]
    found = boxes(tail)[-2:]
    if len(found) < 2 or not _OR.search(tail[found[0].end : found[1].start]):
        return []
    return boxes_together(text)


def _box(text: str, match: re.Match[str]) -> Box | None:
    start = match.end()
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return None if bare is None else Box(bare[0].strip(), match.start(), bare.end())
    depth = 0
    for brace in _BRACE.finditer(text, start):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
            if depth == 0:
                content = text[start + 1 : brace.start()].strip()
                return Box(content, match.start(), brace.end()) if content else None
    return Box(None, match.start(), len(text))
