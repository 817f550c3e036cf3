r"""Grading a multiple choice: the letter in the last box, or behind "the answer is".

``\boxed{C}``, ``\boxed{\text{(C)}}``, ``\boxed{C. Report it}``, ``The answer is (C).``, ``**Answer: C**`` and a last
line that is nothing but the letter are the same answer.
"""

from __future__ import annotations

import re

from pytest_llmperf.catalog import Protocol
from pytest_llmperf.tasks.boxes import WINDOW, after_thinking, last_box
from pytest_llmperf.tasks.grading import Grade, Outcome, final_answer, own_answer

LETTERS = "ABCDEFGHIJ"
_STYLE = re.compile(r"\\(?:text|textbf|mathbf|mathrm|textrm|bf|rm|boldsymbol)(?![A-Za-z])|[{}*$`\\\s]")
_LONE = re.compile(r"\(?([A-J])\)?[.:]?", re.IGNORECASE)
_LEADING = re.compile(r"\(?([A-J])(?:[).:,]|\s+[-–—])")
_SAID = re.compile(
    r"\b(?i:answer|option|choice)\b(?: is| would be|:)?[\s:*]*(?:(?:is|therefore|thus)[\s:*]*){0,2}(?:option|choice)?"
    r"\s*[*(\[]*([A-J])\b(?![’'\w])(?!\)?\s*(?:or|and|/|,)\s*\(?[A-J]\b)"
)
_BARE_LINE = re.compile(r"[\s*(]*([A-J])[\s*).]*")


def grade_choice(
    text: str | None,
    gold: str,
    *,
    finish_reason: str | None,
    thinking: bool = False,
    protocol: Protocol = "chat",
) -> Grade:
    """Grade a reply against the letter ``gold``; the answer of the grade is a letter. See :func:`.grading.grade`.

    Raises :class:`ValueError` if ``gold`` is not one of A to J.
    """
    check_choice(gold)
    answer = final_answer(
        text, finish_reason=finish_reason, thinking=thinking, protocol=protocol, marked=_said
    )
    if isinstance(answer, Grade):
        if answer.detail != "unboxed":
            return answer
        body = after_thinking(text or "")
        said = _said(text or "" if body is None else body)
        if said is None:
            return answer
        answer = said
    letter = _letter(answer)
    if letter is None:
        return Grade(Outcome.UNGRADED, "unreadable", answer)
    return Grade(Outcome.CORRECT, "", letter) if letter == gold else Grade(Outcome.WRONG, "other", letter)


def check_choice(gold: str) -> None:
    """Raises :class:`ValueError` unless ``gold`` is one capital letter, A to J."""
    if len(gold) != 1 or gold not in LETTERS:
        raise ValueError(f"the expected answer is not a letter of A to J: {gold[:80]!r}")


def _letter(answer: str) -> str | None:
    """The one letter that an answer names; None for none, several, or words."""
    bare = _STYLE.sub("", answer)
    if lone := _LONE.fullmatch(bare):
        return lone[1].upper()
    spaced = _STYLE.sub(lambda m: " " if m[0].isspace() else "", answer).strip()
    leading = _LEADING.match(spaced)
    rest = "" if leading is None else spaced[leading.end() :].strip()
    if leading is None or _LEADING.match(rest) or _LONE.fullmatch(rest):
        return None
    return leading[1]


def _said(body: str) -> str | None:
    """The last box, or the last "answer is (C)", or a last line that is a letter."""
    tail = own_answer(body)[-WINDOW:]
    if (box := last_box(tail)) is not None:
        return box
    if said := _SAID.findall(tail):
        return str(said[-1])
    lines = tail.strip().splitlines()
    bare = _BARE_LINE.fullmatch(lines[-1]) if lines else None
    return bare[1] if bare else None
