"""Strings that others wrote (models, engines, file names), made fit for a page.

Escaping for HTML is the template's work; this is about what HTML would let through: characters that cannot be seen,
that turn the text around them, or that end a script.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 20_000
"""Characters shown of one string: a reply that runs in circles for a megabyte says nothing new after that."""

_BIDIRECTIONAL = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_NAMED = [*range(0x80, 0xA0), *_BIDIRECTIONAL, 0x200B, 0x2028, 0x2029, 0xFEFF, *range(0xD800, 0xE000)]
_SEEN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_SEEN |= {0x7F: "␡", **{code: f"[U+{code:04X}]" for code in _NAMED}}

# "<" ends a script and opens a comment; the two separators end a line in older JavaScript.
_UNSAFE_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def visible(text: str, longest: int = LONGEST) -> str:
    """``text`` with every control character shown as a character, at most ``longest`` of its own characters.

    ANSI codes become ``␛[31m``, marks that turn the direction of writing ``[U+202E]``, half surrogates
    ``[U+D800]``. What was cut off is counted at the end.

    >>> visible("\\x1b[31mred")
    '␛[31mred'
    """
    shown = text[:longest].translate(_SEEN)
    return shown if len(text) <= longest else f"{shown}… [{len(text) - longest:,} more characters]"


def script_json(value: Any) -> str:
    """``value`` as JSON that can stand in a ``<script>`` element; ``ValueError`` for NaN and infinity."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escaped in _UNSAFE_IN_SCRIPT.items():
        text = text.replace(character, escaped)
    return text
