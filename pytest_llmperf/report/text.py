"""Text from models, engines and file names, made safe to show: in Markdown, on a page, inside a script element."""

from __future__ import annotations

import html
import json
import re
from typing import Any

LONGEST = 20_000
"""Characters shown of one string: a reply that repeats itself for a megabyte says nothing new after that."""
_LONGEST_IN_MARKDOWN = 2_000

_BIDIRECTIONAL = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_NAMED = [*range(0x80, 0xA0), *_BIDIRECTIONAL, 0x200B, 0x2028, 0x2029, 0xFEFF, *range(0xD800, 0xE000)]
_SEEN = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_SEEN |= {0x7F: "␡", **{code: f"[U+{code:04X}]" for code in _NAMED}}

# "<" ends a script and opens a comment; the two separators end a line in older JavaScript.
_UNSAFE_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


_MARKDOWN_MARKS = re.compile(r"([\\`*_{}\[\]#|~!$])")
_REFERENCES = re.compile(r"@|#(?=[0-9])")
"""GitHub looks for mentions and numbers of issues in the finished text, where neither a backslash nor an entity is left
(github/markup#1168); a comment in between ends the search."""


def printable(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` with every control character shown as a character, at most ``longest`` of its own characters.

    ANSI codes become ``␛[31m``, marks that turn the direction of writing ``[U+202E]``, half surrogates
    ``[U+D800]``. What was cut off is counted at the end.

    >>> printable("\\x1b[31mred")
    '␛[31mred'
    """
    shown = text[:longest].translate(_SEEN)
    return shown if len(text) <= longest else f"{shown}… [{len(text) - longest:,} more characters]"


def html_text(text: str) -> str:
    """Return ``text`` escaped for HTML, control characters made visible."""
    return html.escape(printable(text))


def markdown_text(text: str) -> str:
    """Return ``text`` on one line so that GitHub shows it as it is: no markup, HTML, link or mention of a user."""
    one_line = " ".join(printable(text, _LONGEST_IN_MARKDOWN).split("\n"))
    marked = _MARKDOWN_MARKS.sub(r"\\\1", html.escape(one_line, quote=False))
    apart = _REFERENCES.sub(r"\g<0><!-- -->", marked)
    return apart.replace("://", ":&#47;/").replace("www.", "www&#46;")


def script_json(value: Any) -> str:
    """Return ``value`` as JSON that can stand in a ``<script>`` element; ``ValueError`` for NaN and infinity."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character, escaped in _UNSAFE_IN_SCRIPT.items():
        text = text.replace(character, escaped)
    return text
