"""Text from models, engines and file names, escaped for where it is shown: Markdown, a page, a script element."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from pytest_llmperf.visible_text import printable

_LONGEST_IN_MARKDOWN = 2_000

# "<" ends a script and opens a comment; the two separators end a line in older JavaScript.
_UNSAFE_IN_SCRIPT = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


_MARKDOWN_MARKS = re.compile(r"([\\`*_{}\[\]#|~!$])")
_REFERENCES = re.compile(r"@|#(?=[0-9])")
"""GitHub looks for mentions and numbers of issues in the finished text, where neither a backslash nor an entity is left
(github/markup#1168); a comment in between ends the search."""


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
