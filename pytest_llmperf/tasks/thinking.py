"""Finds the end of a reply's reasoning, whatever tags its model writes around it."""

from __future__ import annotations

import re

END_OF_THINKING = "</think>"
"""Separator put between reasoning and answer where a server has split them."""

_WORD = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|monologue|deliberation)"
_NAMED = rf"(?:[A-Za-z0-9]+[:_]){{0,2}}{_WORD}"
_OPENING = re.compile(
    rf"<{_NAMED}>"  # <think>, <thinking>, <seed:think>, <longcat_think>
    rf"|\[{_NAMED}\]"  # [THINK]
    rf"|<\|(?:begin_of_|start_of_|start_|begin_)?{_NAMED}\|>"  # <|begin_of_thought|>, <|START_THINKING|>
    r"|◁think(?:ing)?▷"
    r"|<\|channel\|?>\s*(?:analysis|commentary|thought)\b"
    r"|<unused94>"
    r"|\Aanalysis(?=[A-Z])",  # channels whose marks were left out
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"</{_NAMED}>|\[/{_NAMED}\]|<\|(?:/|end_of_|end_){_NAMED}\|>|◁/think(?:ing)?▷"
    r"|<\|channel\|?>\s*final\b(?:\s*<\|constrain\|>\s*\w+)?\s*(?:<\|message\|>)?"
    r"|<channel\|>|<unused95>|(?<=[a-z.!?)\]}\s])assistantfinal",
    re.IGNORECASE,
)
_OUTPUT = re.compile(r"\A\s*(?:<\|(?:begin_of_solution|START_RESPONSE)\|>|<(?:response|solution)>)")


def after_thinking(text: str) -> str | None:
    """The text after the last end of thinking; None if none ended, or the reply ends in a thinking that began anew."""
    position = _end_of_last(_CLOSING, text)
    if position is None:
        return None
    rest = text[position:]
    again = _OPENING.search(rest) if _may_hold_tags(rest) else None
    if again is not None:
        before = rest[: again.start()]
        # At a line's begin, or right behind the text; a sentence about tags has a space or a quote before it.
        if not before.rpartition("\n")[2].strip() or before[-1] not in " \t`'\"“(":
            return None
    return _OUTPUT.sub("", rest, count=1)


def content_of(text: str, *, inside: bool) -> str:
    """The part of a whole reply that a user is shown: the text after the first end of the thinking.

    ``inside``: the reply begins inside a thinking; its content is empty if that never ends. A reply that does not is
    content from its first character on.
    """
    if not inside:
        return text
    end = _CLOSING.search(text) if _may_hold_tags(text) else None
    return text[end.end() :] if end else ""


def opens_thinking(text: str) -> bool:
    """True if the text contains a tag that begins a thinking."""
    return _may_hold_tags(text) and _OPENING.search(text) is not None


def begins_inside(opening: str) -> bool | None:
    """True if a reply behind ``opening``, the end of its prompt, begins inside a thinking; False if one has just ended.

    None if ``opening`` holds no tag of a thinking.
    """
    opened, closed = _end_of_last(_OPENING, opening), _end_of_last(_CLOSING, opening)
    if opened is None and closed is None:
        return None
    return (opened or 0) > (closed or 0)


def thought_of(text: str) -> str:
    """The text before the first end of the thinking, without its opening tag; all of it if none ends."""
    end = _CLOSING.search(text) if _may_hold_tags(text) else None
    return _OPENING.sub("", text[: end.start()] if end else text, count=1).strip()


def never_ends(text: str, *, thinking: bool) -> bool:
    """True if a reply stopped inside its thinking; ``thinking``: its row promises to think."""
    return (thinking or opens_thinking(text)) and after_thinking(text) is None


def with_thinking(reasoning: str, content: str) -> str:
    """The reply as the model wrote it, where a server has split it into reasoning and content."""
    return f"{reasoning}{END_OF_THINKING}{content}" if content else reasoning


def _end_of_last(pattern: re.Pattern[str], text: str) -> int | None:
    if not _may_hold_tags(text):
        return None
    ends = [match.end() for match in pattern.finditer(text)]
    return ends[-1] if ends else None


_KEYS = (
    "think",
    "thought",
    "reason",
    "reflect",
    "scratch",
    "monologue",
    "deliberat",
    "channel",
    "unused9",
    "assistantfinal",
)


def _may_hold_tags(text: str) -> bool:
    """A quick look, since most replies hold none."""
    if text[:8].lower() == "analysis":
        return True
    if not any(mark in text for mark in "<[◁") and "assistantfinal" not in text:
        return False
    lower = text.lower()
    return any(key in lower for key in _KEYS)
