"""Text for terminals that cannot write all of it (Windows' code pages, the C locale)."""

from __future__ import annotations

_INSTEAD = {
    "→": "->", "…": "...", "×": "x", "—": "-", "–": "-", "≤": "<=", "≥": ">=", "∞": "inf", "µ": "u", "·": "-",
}  # fmt: skip


def fitting(text: str, encoding: str) -> str:
    """``text`` with what ``encoding`` does not have written otherwise; a question mark for what has no other way.

    >>> fitting("distill → tiny, ×1.03", "cp1252")
    'distill -> tiny, ×1.03'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_one(character, encoding) for character in text)
    except LookupError:
        return fitting(text, "ascii")
    return text


def _one(character: str, encoding: str) -> str:
    for candidate in (character, _INSTEAD.get(character, "?")):
        try:
            candidate.encode(encoding)
        except UnicodeEncodeError:
            continue
        return candidate
    return "?"
