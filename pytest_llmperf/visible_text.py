"""Tell what a reader sees of a text, and show the characters that would act instead of being seen.

An answer of zero-width characters is no answer, however many tokens it cost; a waiver's reason must not move the cursor
of a terminal. Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import unicodedata

LONGEST = 20_000
"""Characters shown of one string: a reply that repeats itself for a megabyte says nothing new after that."""
_BIDIRECTIONAL = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_NAMED = [*range(0x80, 0xA0), *_BIDIRECTIONAL, 0x200B, 0x2028, 0x2029, 0xFEFF, *range(0xD800, 0xE000)]
_SEEN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_SEEN |= {0x7F: "␡", **{code: f"[U+{code:04X}]" for code in _NAMED}}

# Control, format (zero-width, direction marks, byte order mark, tags) and lone surrogates.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
# Letters, marks and symbols that are drawn as nothing; U+FFFD stands for bytes that were no text.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffd")


def printable(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` with every control character shown as a character, at most ``longest`` of its own characters.

    ANSI codes become ``␛[31m``, marks that turn the direction of writing ``[U+202E]``, half surrogates
    ``[U+D800]``. What was cut off is counted at the end.

    >>> printable("\\x1b[31mred")
    '␛[31mred'
    """
    shown = text[:longest].translate(_SEEN)
    return shown if len(text) <= longest else f"{shown}… [{len(text) - longest:,} more characters]"


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
