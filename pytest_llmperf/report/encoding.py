"""Text for terminals that cannot write all of it (Windows' code pages, the C locale)."""

from __future__ import annotations

import codecs
import io
from typing import IO

_INSTEAD = {
    "→": "->", "…": "...", "×": "x", "—": "-", "–": "-", "−": "-", "≤": "<=", "≥": ">=", "∞": "inf", "µ": "u", "·": "-",
}  # fmt: skip
_HANDLER = "llmperf-fitting"


def fitting(text: str, encoding: str) -> str:
    """Return ``text`` with replacements for characters that ``encoding`` lacks; a question mark where there is none.

    >>> fitting("distill → tiny, ×1.03", "cp1252")
    'distill -> tiny, ×1.03'
    """
    try:
        return text.encode(encoding, _HANDLER).decode(encoding)
    except LookupError:
        return fitting(text, "ascii")


def write_all(*streams: IO[str] | None) -> None:
    """Let each of ``streams`` replace characters that its encoding lacks as :func:`fitting` does, from now on.

    Without it Python raises, and pytest writes the code point (``\\u2192``). UTF-8 streams stay as they are.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors=_HANDLER)


def _instead(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unfit = error.object[error.start : error.end]
    return "".join(_INSTEAD.get(character, "?") for character in unfit), error.end


codecs.register_error(_HANDLER, _instead)
