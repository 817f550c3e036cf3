r"""TeX in what models write, as MathML: browsers draw it without a font or a script of ours.

The output is built from an allow-list of elements and attributes, so that no reply can put anything else into the page.
Text that cannot be read as TeX stays as it was written.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from pytest_llmperf.report.text import html_text

LONGEST = 400
"""Characters of one formula that are tried."""

_DELIMITED = re.compile(
    r"\\\[(?P<display>.+?)\\\]|\$\$(?P<dollars>[^$]+?)\$\$|\\\((?P<inline>.+?)\\\)"
    # A dollar sign before a number and after a space is money; a formula begins and ends without a space.
    r"|(?<![\\$\w])\$(?P<dollar>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\d$])",
    re.DOTALL,
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(?!\s*\})(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}")
_NAMES = """math mrow mi mo mn mtext mspace ms mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup
munder mover munderover mmultiscripts mprescripts none mtable mtr mtd"""
_GIVEN = """display mathvariant stretchy fence form accent accentunder movablelimits largeop symmetric separator minsize
maxsize lspace rspace width height depth linethickness displaystyle scriptlevel columnalign rowspacing columnspacing"""
_ELEMENTS, _ATTRIBUTES = frozenset(_NAMES.split()), frozenset(_GIVEN.split())
_VALUE = re.compile(r"[\w.+-]+(?: [\w.+-]+)*%?")


class Maths:
    """Converts text to markup; after ``budget`` characters of MathML the rest stays TeX, to keep the page small."""

    def __init__(self, budget: int = 400_000) -> None:
        self._left = budget
        self._known: dict[tuple[str, bool], str | None] = {}

    def markup(self, text: str) -> str:
        """Return ``text`` as HTML: formulas as MathML, all else escaped, control characters made visible."""
        return "".join(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        at = 0
        for found in sorted(
            [*_DELIMITED.finditer(text), *_BOX.finditer(text)], key=lambda match: match.start()
        ):
            if found.start() < at:
                continue  # a box within a formula is drawn with it
            formula = _formula(found)
            drawn = self._drawn(*formula) if formula else None
            if drawn is None:
                continue
            yield html_text(text[at : found.start()])
            yield drawn
            at = found.end()
        yield html_text(text[at:])

    def _drawn(self, tex: str, block: bool) -> str | None:
        if len(tex) > LONGEST or self._left <= 0:
            return None
        if (tex, block) not in self._known:
            self._known[tex, block] = _mathml(tex, block)
        drawn = self._known[tex, block]
        self._left -= len(drawn or "")
        return drawn


def _formula(found: re.Match[str]) -> tuple[str, bool] | None:
    groups = found.groupdict()
    if not groups:
        return found[0], False
    name, tex = next((name, tex) for name, tex in groups.items() if tex is not None)
    return (tex.strip(), name in {"display", "dollars"}) if tex.strip() else None


def _mathml(tex: str, block: bool) -> str | None:
    """Return None for text that is not TeX, or if the library is not installed."""
    try:
        from latex2mathml.converter import convert_to_element
    except ImportError:
        return None
    try:
        element: Element = convert_to_element(tex, display="block" if block else "inline")
        inner = _children(element)
    except (
        Exception
    ):  # the library raises whatever its parser stumbles over, and hostile text finds all of it
        return None
    if not inner:
        return None
    # What is copied, and what a reader without MathML gets, is what the model wrote.
    display = ' display="block"' if block else ""
    return f'<math{display} aria-label="{html_text(tex)}"><mrow>{inner}</mrow></math>'


def _markup(element: Any) -> str:
    name = str(element.tag).rpartition("}")[2]
    boxed = name == "menclose"
    if boxed or name not in _ELEMENTS:
        name = "mrow"
    given = "".join(
        f' {key}="{value}"'
        for key, value in element.attrib.items()
        if key in _ATTRIBUTES and _VALUE.fullmatch(value)
    )
    if boxed:
        given = ' class="boxed"'
    return f"<{name}{given}>{_children(element)}</{name}>"


def _children(element: Any) -> str:
    parts = [_text(element.text)]
    for child in element:
        parts += [_markup(child), _text(child.tail)]
    return "".join(parts)


def _text(text: str | None) -> str:
    return html_text(html.unescape(text or ""))
