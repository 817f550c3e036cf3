"""Grading a reply to a long prompt: which of the facts does its final answer give?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_llmperf.tasks.boxes import boxes_together
from pytest_llmperf.tasks.long_context.text import Fact

_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*|__(?=\S)(.+?)(?<=\S)__|\\textbf\{([^{}]*)\}", re.DOTALL)
_SEPARATORS = r"(?:,|\{,\}|\\,|\.|['’_\u00a0\u2009\u202f])"
_GROUPED = re.compile(rf"(?<![\d.])\d{{1,3}}(?:{_SEPARATORS}\d{{3}})+(?!\d)")
_TOKEN = re.compile(r"\d+\.\d+(?![A-Za-z0-9])|[A-Za-z0-9]+")
_WITH_UNIT = re.compile(r"(\d+)(?:\.0+|[a-z]{1,2})")
"""``12345.0`` and ``12345km``."""
_DENIED = re.compile(r"(?:\bnot|n['’]t|\binstead of|\brather than)\s+[\"'`*_]*\d+", re.IGNORECASE)
_OF_THE_TEXT = re.compile(
    r"(?<!\d)\d+\s*(?:%|(?:percent|tokens|words|characters|letters|sentences|lines|paragraphs|pages|times)\b)",
    re.IGNORECASE,
)
"""Counts of what the text has, which no prompt asks for."""


def given_back(
    reply: str, facts: Sequence[Fact], confusable: frozenset[str], numbers: range = range(0)
) -> tuple[bool, ...]:
    r"""For each fact, whether the final answer gives it.

    The final answer is what stands in ``\boxed{…}``, else what is bold if that names as many answers as there are
    facts, else the whole reply. Of the possible answers that it names, as many count as there are facts, the last ones:
    a reply that lists everything is right by chance only. Possible answers are the facts, ``confusable`` and
    ``numbers``. Digits of any script, thousands separators and units are read; a number that the reply denies
    (``not 12345``) or that counts the text (``32,768 tokens``) is no answer.
    """
    answers = [fact.answer.casefold() for fact in facts]
    possible = {*answers, *(name.casefold() for name in confusable)}

    def named(text: str) -> list[str]:
        return [word for word in _words(text) if word in possible or _is_in(word, numbers)]

    boxed = boxes_together(reply)
    if boxed:
        found = named(" ; ".join(boxed))
    else:
        bold = named(" ; ".join("".join(filter(None, match.groups())) for match in _BOLD.finditer(reply)))
        found = bold if len({*bold}) >= len(answers) else named(reply)
    last = [*dict.fromkeys(reversed(found))][: len(answers)]
    return tuple(answer in last for answer in answers)


def _words(text: str) -> Iterator[str]:
    """Words and numbers in lower case; numbers without separators and units."""
    plain = _GROUPED.sub(lambda match: "".join(filter(str.isdecimal, match[0])), _ascii(text))
    plain = _OF_THE_TEXT.sub(" ", _DENIED.sub(" ", plain))
    for word in _TOKEN.findall(plain.casefold()):
        with_unit = _WITH_UNIT.fullmatch(word)
        yield with_unit[1] if with_unit else word


def _ascii(text: str) -> str:
    """The text with digits of any script, and full-width letters and signs, as ASCII has them."""
    if text.isascii():
        return text
    return "".join(
        str(int(sign)) if sign.isdecimal() else chr(ord(sign) - 0xFEE0) if "！" <= sign <= "～" else sign
        for sign in text
    )


def _is_in(word: str, numbers: range) -> bool:
    return word.isdecimal() and len(word) < 20 and int(word) in numbers
