"""What a row's answers tell beside right and wrong: what a correct one costs, and how they go astray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pytest_llmperf.measure.asking import Asked, last_turn
from pytest_llmperf.rules import detect
from pytest_llmperf.stats.ratio_estimators import RatioOfMeans, ratio_of_means
from pytest_llmperf.tasks.grading import Outcome


def behaviour_of(one: Asked, *, thinking: bool) -> detect.Behaviour:
    """What one answer did, with the language of its question as the one that is expected."""
    prompt = str(one.body.get("prompt", ""))
    return detect.examine(
        one.reply,
        finish_reason=one.answer.finish_reason,
        thinking=thinking,
        asked=last_turn(one.body) or prompt,
        begins_inside=one.begins_inside,
        opened=(not prompt or prompt.rstrip().endswith("<think>"))
        if one.begins_inside is None
        else one.begins_inside,
    )


def yields(asked: Sequence[Asked], *, thinking: bool, temperature: float) -> dict[str, Any]:
    """For the record; everything is of the answers that came, and None where none did.

    ``…_per_correct`` are ratios of totals, all answers' tokens (seconds in the server's hands) over the correct ones,
    with the interval of ``stats.ratio_estimators``. Seconds depend on the load that the answers were collected at.
    """
    came = [one for one in asked if one.usable]
    shown = [behaviour_of(one, thinking=thinking) for one in came]
    tokens = tokens_of(came)

    def share(count: int) -> float | None:
        return count / len(came) if came else None

    incomplete = sum(one.grade.outcome is Outcome.INCOMPLETE for one in came)
    return {
        "tokens_per_answer": tokens / len(came) if tokens is not None and came else None,
        "tokens_per_correct": None if tokens is None else _per_correct(came, output_tokens),
        "seconds_per_correct": _per_correct(came, lambda one: one.answer.seconds),
        "incomplete": share(incomplete),
        "unboxed": share(sum(not one.boxed for one in shown)),
        "loops": {f"{temperature:g}": share(sum(one.loops for one in shown))},
        "language_switches": share(sum(one.language_switch for one in shown)),
    }


def output_tokens(one: Asked) -> float:
    """Of an answer, as the server counted. Raises ``ValueError`` where it did not: that is no count of zero."""
    if one.answer.completion_tokens is None:
        raise ValueError(f"the answer to {one.item} carries no usage.completion_tokens")
    return float(one.answer.completion_tokens)


def tokens_of(came: Sequence[Asked]) -> int | None:
    """Output tokens of all these answers together; None if the server did not count those of one."""
    total = 0
    for one in came:
        if one.answer.completion_tokens is None:
            return None
        total += one.answer.completion_tokens
    return total


def uncounted(came: Sequence[Asked]) -> str:
    """Why tokens of these answers must not be judged; empty if all of them were counted."""
    missing = sum(one.answer.completion_tokens is None for one in came)
    if not missing:
        return ""
    return (
        f"{missing} of {len(came)} answers carry no usage.completion_tokens, which is no count of zero; need a server "
        "that sends usage with every answer"
    )


def per_item(came: Iterable[Asked], cost: Callable[[Asked], float]) -> dict[str, tuple[float, float]]:
    """By item the cost of its answers, and how many of them are right."""
    totals: dict[str, tuple[float, float]] = {}
    for one in came:
        spent, right = totals.get(one.item, (0.0, 0.0))
        totals[one.item] = (spent + cost(one), right + (one.grade.outcome is Outcome.CORRECT))
    return totals


def _per_correct(came: Sequence[Asked], cost: Callable[[Asked], float]) -> dict[str, float | int] | None:
    found: RatioOfMeans | None = ratio_of_means(list(per_item(came, cost).values()))
    return (
        None if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    )
