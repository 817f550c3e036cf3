"""Grading of numbers: the default grader."""

from __future__ import annotations

from functools import lru_cache

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.boxes import alternatives
from pytest_llmperf.tasks.grading import Grade, Outcome, answer_proper, final_answer
from pytest_llmperf.tasks.grading.exact_number import Number, read_number
from pytest_llmperf.tasks.sentences import own_answer


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


@lru_cache(maxsize=8192)
def gold_number(gold: str) -> Number:
    """``gold`` as a number. Raises :class:`ValueError` if it is not one."""
    number = read_number(gold)
    if number is None:
        raise ValueError(f"the expected answer is not a number: {gold[:80]!r}")
    return number


def _is_number(text: str) -> bool:
    return read_number(text) is not None
