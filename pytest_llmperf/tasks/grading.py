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

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.boxes import alternatives
from pytest_llmperf.tasks.exact_number import Number, read_number
from pytest_llmperf.tasks.sentences import final_words, own_answer
from pytest_llmperf.tasks.thinking import after_thinking, opens_thinking


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
_REFUSAL_WINDOW = 400
_REFUSAL = re.compile(
    r"\b(?:I(?:'|’)?m|I am) (?:really |very )?sorry,? (?:but )?I (?:can|am not|(?:'|’)m not|won)"
    r"|\bI (?:can(?:no|'|’)t|cannot|am unable to|(?:'|’)m unable to|won(?:'|’)t) "
    r"(?:help|assist|answer|provide|comply|do that)"
    r"|\bas an AI\b.{0,60}\b(?:can(?:no|'|’)t|cannot|unable|not able)|(?:我|本人)(?:无法|不能)(?:回答|提供|协助|帮助)",
    re.IGNORECASE,
)


def grade(
    text: str | None,
    gold: str,
    *,
    finish_reason: str | None,
    thinking: bool = False,
    protocol: Protocol = "chat",
) -> Grade:
    r"""Grade a reply against ``gold``, a number.

    ``text`` is the whole reply, thinking included (see :func:`~pytest_llmperf.tasks.thinking.with_thinking`), or
    None if none came. ``thinking``: the row promises reasoning that ends. The final answer is the last box, or what a
    sentence names that is marked as the answer (``The answer is N``, ``#### N``, ``Answer: N``) where there is no box
    or it stands behind the last one. ``protocol`` changes nothing: the same text is worth the same however it was
    asked for. Raises :class:`ValueError` if ``gold`` is not a number.
    """
    del protocol
    answer = final_answer(text, finish_reason=finish_reason, thinking=thinking, reads=_is_number)
    if isinstance(answer, Grade):
        return answer
    number, expected = read_number(answer), gold_number(gold)
    if number is None:
        return Grade(Outcome.UNGRADED, "unreadable", answer)
    if number.equals(expected):
        body = answer_proper(text, finish_reason=finish_reason, thinking=thinking)
        together = alternatives(own_answer(body)) if isinstance(body, str) else []
        if len(together) > 1 and together[-1] == answer:
            others = [read_number(part) for part in together[:-1]]
            if not all(other is not None and other.equals(expected) for other in others):
                return Grade(Outcome.UNGRADED, "unreadable", ", ".join(together))
        return Grade(Outcome.CORRECT, "", answer)
    return Grade(Outcome.WRONG, "other", answer)


def final_answer(
    text: str | None, *, finish_reason: str | None, thinking: bool, reads: Callable[[str], bool]
) -> str | Grade:
    """The final answer of a reply that came to its end, else the grade of one that cannot be right.

    What every grader asks first. ``reads`` tells whether it can read an answer.
    """
    body = answer_proper(text, finish_reason=finish_reason, thinking=thinking)
    if isinstance(body, Grade):
        return body
    answer = final_words(body, reads)
    return unanswered(body) if answer is None else answer


def answer_proper(text: str | None, *, finish_reason: str | None, thinking: bool) -> str | Grade:
    """What follows the thinking of a reply that came to its end, else the grade of one that cannot be right."""
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
        if thinking or opens_thinking(text):
            return Grade(Outcome.INCOMPLETE, "thinking")
        body = text
    return body if body.strip() else Grade(Outcome.WRONG, "empty")


def unanswered(body: str) -> Grade:
    """The grade of a reply that came to its end and names no final answer."""
    refused = _REFUSAL.search(body[:_REFUSAL_WINDOW]) is not None
    return Grade(Outcome.WRONG, "refused" if refused else "unboxed")


@lru_cache(maxsize=8192)
def gold_number(gold: str) -> Number:
    """``gold`` as a number. Raises :class:`ValueError` if it is not one."""
    number = read_number(gold)
    if number is None:
        raise ValueError(f"the expected answer is not a number: {gold[:80]!r}")
    return number


def _is_number(text: str) -> bool:
    return read_number(text) is not None
