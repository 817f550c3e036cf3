"""The outcome of an answer: correct, wrong, incomplete, ungraded, or an infrastructure error.

A reply that did not come to its end is incomplete and never correct, whatever numbers are in it: graders that take the
last number of a reply are wrong in 95 of 100 solutions that are cut just before their answer line.

One module for each kind of answer: ``number``, ``choice``, ``symbolic``, ``structured``, ``tool_calls``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pytest_llmperf.tasks.sentences import final_words
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
    """The outcome of one answer, why, and the final answer that was read (None: there was none).

    ``detail`` is empty for correct ones, else: ``other`` (another answer), ``empty``, ``refused``, ``unboxed``,
    ``length``, ``thinking`` (never ended), ``filtered``, ``unreadable``, ``time``, ``memory``, ``died`` (of the
    process that compared), ``no reply``, ``cut``; structured output and tool calls add a reason behind a colon:
    ``not JSON: …``, ``schema: …``, ``no call``, ``needless call``, ``malformed call: …``, ``arguments: …``.
    """

    outcome: Outcome
    detail: str = ""
    answer: str | None = None
    score: float | None = None
    """Quality of the answer, 0 to 1, from graders that know more than right or wrong; see :attr:`value`."""
    checks: Mapping[str, bool] = field(default_factory=dict, hash=False)
    """Single findings by name, from the graders of structured output and tool calls: ``valid_json``, ``called``, …"""

    def __post_init__(self) -> None:
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"the score of an answer is {self.score}; need 0 to 1")

    @property
    def value(self) -> float:
        """The score; without one 1 for a correct answer and 0 for any other."""
        return float(self.outcome is Outcome.CORRECT) if self.score is None else self.score


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


def final_answer(
    text: str | None, *, finish_reason: str | None, thinking: bool, reads: Callable[[str], bool]
) -> str | Grade:
    """The final answer of a reply that came to its end, else the grade of a reply that cannot be right.

    The first step of every grader. ``reads(answer)``: whether the grader can read an answer.
    """
    body = answer_proper(text, finish_reason=finish_reason, thinking=thinking)
    if isinstance(body, Grade):
        return body
    answer = final_words(body, reads)
    return unanswered(body) if answer is None else answer


def answer_proper(text: str | None, *, finish_reason: str | None, thinking: bool) -> str | Grade:
    """The text after the thinking of a reply that came to its end, else the grade of a reply that cannot be right."""
    if text is None:
        return Grade(Outcome.INFRA, "no reply")
    if (ended := not_ended(finish_reason)) is not None:
        return ended
    body = after_thinking(text)
    if body is None:
        if thinking or opens_thinking(text):
            return Grade(Outcome.INCOMPLETE, "thinking")
        body = text
    return body if body.strip() else Grade(Outcome.WRONG, "empty")


def not_ended(finish_reason: str | None) -> Grade | None:
    """The grade of a reply that did not come to its end by itself; None if it did."""
    if finish_reason in _LIMITED:
        return Grade(Outcome.INCOMPLETE, "length")
    if finish_reason == "content_filter":
        return Grade(Outcome.INCOMPLETE, "filtered")
    return None if finish_reason in _ENDED else Grade(Outcome.INFRA, "cut")


def unanswered(body: str) -> Grade:
    """The grade of a reply that came to its end without a final answer."""
    return Grade(Outcome.WRONG, "refused" if is_refusal(body) else "unboxed")


def is_refusal(body: str) -> bool:
    """True if a reply, without its thinking, begins by saying that the model will not or cannot answer."""
    return _REFUSAL.search(body[:_REFUSAL_WINDOW]) is not None
