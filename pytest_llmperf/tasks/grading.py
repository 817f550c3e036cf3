"""What an answer is worth: correct, wrong, incomplete, ungraded, or nothing learned. Bounded and exact.

A reply that did not come to its end is incomplete and never correct, however right the numbers in it are: the
answer line is what is graded, cutting solutions just before theirs fools graders that take the last number 95
times in 100.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from pytest_llmperf.catalog import Protocol
from pytest_llmperf.tasks.boxes import WINDOW, after_thinking, last_box
from pytest_llmperf.tasks.exact_number import Number, read_number


class Outcome(StrEnum):
    """The outcome of one item."""

    CORRECT = "correct"
    WRONG = "wrong"
    INCOMPLETE = "incomplete"
    """Cut off by a limit, or the thinking never ended: not a wrong answer, and never a right one."""
    UNGRADED = "ungraded"
    """There is a final answer, and the grader can't read it: never right, shown apart."""
    INFRA = "infra"
    """No answer came for a reason that is not the model's: says nothing about it."""


@dataclass(frozen=True)
class Grade:
    """The outcome of one item, why, and the final answer that was read (None: there was none).

    ``detail`` is empty for correct ones, else: ``other`` (another answer), ``empty``, ``refused``, ``unboxed``,
    ``length``, ``thinking`` (never ended), ``filtered``, ``unreadable``, ``time``, ``memory``, ``died`` (of the
    process that compared), ``no reply``, ``cut``.
    """

    outcome: Outcome
    detail: str = ""
    answer: str | None = None


_ENDED = frozenset({"stop", "eos_token", "stop_sequence", "tool_calls", "function_call"})
_LIMITED = frozenset({"length", "max_tokens"})
_MARK = re.compile(r"####|[Tt]he (?:final )?answer is:?")
_SENTENCE_END = re.compile(r"\.(?=\s|$)|[!;\n]|\.?\*\*")
_LEADING = re.compile(r"[\s:$*]*-?[\s$]*[0-9](?:[0-9,./]*[0-9])?")
_REFUSAL_WINDOW = 400
_REFUSAL = re.compile(
    r"\b(?:I(?:'|’)?m|I am) (?:really |very )?sorry,? (?:but )?I (?:can|am not|(?:'|’)m not|won)"
    r"|\bI (?:can(?:no|'|’)t|cannot|am unable to|(?:'|’)m unable to|won(?:'|’)t) "
    r"(?:help|assist|answer|provide|comply|do that)"
    r"|\bas an AI\b.{0,60}\b(?:can(?:no|'|’)t|cannot|unable|not able)|(?:我|本人)(?:无法|不能)(?:回答|提供|协助|帮助)",
    re.IGNORECASE,
)
_NEXT_QUESTION = re.compile(r"\n[ \t]*Question:")


def grade(
    text: str | None,
    gold: str,
    *,
    finish_reason: str | None,
    thinking: bool = False,
    protocol: Protocol = "chat",
) -> Grade:
    r"""Grade a reply against ``gold``, a number.

    ``text`` is the whole reply, thinking included (see :func:`~pytest_llmperf.tasks.boxes.with_thinking`), or
    None if none came. ``thinking``: the row promises reasoning that ends in ``</think>``. The final
    answer is the last box; after ``protocol = "few-shot"`` also ``#### N`` or ``The answer is N``,
    whichever comes last. Raises :class:`ValueError` if ``gold`` is not a number.
    """
    answer = final_answer(text, finish_reason=finish_reason, thinking=thinking, protocol=protocol)
    if isinstance(answer, Grade):
        return answer
    number = read_number(answer)
    if number is None:
        return Grade(Outcome.UNGRADED, "unreadable", answer)
    if number.equals(gold_number(gold)):
        return Grade(Outcome.CORRECT, "", answer)
    return Grade(Outcome.WRONG, "other", answer)


def final_answer(
    text: str | None,
    *,
    finish_reason: str | None,
    thinking: bool,
    protocol: Protocol,
    marked: Callable[[str], str | None] | None = None,
) -> str | Grade:
    """The final answer of a reply that came to its end, else the grade of one that cannot be right.

    What every grader asks first. ``marked`` finds the answer in a few-shot reply, whose form is the examples' own;
    None: a number behind ``The answer is``.
    """
    if text is None:
        return Grade(Outcome.INFRA, "no reply")
    if finish_reason in _LIMITED:
        return Grade(Outcome.INCOMPLETE, "length")
    if finish_reason == "content_filter":
        return Grade(Outcome.INCOMPLETE, "filtered")
    if finish_reason not in _ENDED:
        return Grade(Outcome.INFRA, "cut")
    body = after_thinking(text)
    if body is None:
        if thinking or "<think>" in text:
            return Grade(Outcome.INCOMPLETE, "thinking")
        body = text
    if not body.strip():
        return Grade(Outcome.WRONG, "empty")
    answer = (marked or _marked_number)(own_answer(body)) if protocol == "few-shot" else last_box(body)
    if answer is None:
        refused = _REFUSAL.search(body[:_REFUSAL_WINDOW]) is not None
        return Grade(Outcome.WRONG, "refused" if refused else "unboxed")
    return answer


@lru_cache(maxsize=8192)
def gold_number(gold: str) -> Number:
    """``gold`` as a number. Raises :class:`ValueError` if it is not one."""
    number = read_number(gold)
    if number is None:
        raise ValueError(f"the expected answer is not a number: {gold[:80]!r}")
    return number


def own_answer(body: str) -> str:
    """A few-shot reply as far as it answers what was asked: a base model goes on with questions of its own."""
    stop = _NEXT_QUESTION.search(body)
    return body[: stop.start()] if stop else body


def after_mark(body: str) -> tuple[str | None, str]:
    """The box that is the answer, and what follows the last ``####`` or ``The answer is``: (None, "") for neither."""
    tail = body[-WINDOW:]
    marks = list(_MARK.finditer(tail))
    if not marks:
        return last_box(tail), ""
    rest = tail[marks[-1].end() :]
    return last_box(rest), rest


def _marked_number(body: str) -> str | None:
    """The last of box, ``#### N`` and ``The answer is N``."""
    box, rest = after_mark(body)
    if box is not None:
        return box
    line = _SENTENCE_END.split(rest.lstrip(" :*\n"), maxsplit=1)[0].strip()
    if not line or read_number(line) is not None:
        return line or None
    leading = _LEADING.match(line)
    return leading[0].strip(" :$*") if leading and _ends_there(line, leading.end()) else line


def _ends_there(line: str, end: int) -> bool:
    """Whether the number before ``end`` is all: so in ``18 because …``, not in ``18^2`` or ``18 or 20``."""
    rest = line[end:].lstrip()
    return rest[:1].isalpha() and not any(map(str.isdigit, rest))
