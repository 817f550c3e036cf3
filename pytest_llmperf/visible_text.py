"""Detect text that shows nothing: an answer of zero-width characters is no answer, however many tokens it cost.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import unicodedata

# Control, format (zero-width, direction marks, byte order mark, tags) and lone surrogates.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
# Letters, marks and symbols that are drawn as nothing; U+FFFD stands for bytes that were no text.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffd")


def is_blank(text: str) -> bool:
    """Return whether ``text`` shows nothing: white space, control and zero-width characters, U+FFFD.

    Letters, digits, punctuation, symbols and private-use characters are visible. Reading stops at the first of them.
    """
    return all(_is_invisible(character) for character in text)


def is_invisible(text: str) -> bool:
    """Return whether ``text`` has characters and shows not even white space, as answers of NaN weights do."""
    return is_blank(text) and any(character not in " \t\r\n" for character in text)


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) in _INVISIBLE_CATEGORIES
        or character in _INVISIBLE
        or "\ufe00" <= character <= "\ufe0f"  # variation selectors
        or "\U000e0100" <= character <= "\U000e01ef"
    )
