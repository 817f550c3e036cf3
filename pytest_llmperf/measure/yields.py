"""What a row's answers tell beside right and wrong: what a correct one costs, and how they go astray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pytest_llmperf.measure.asking import Asked, last_turn
from pytest_llmperf.rules import detect
from pytest_llmperf.stats.ratio_of_means import RatioOfMeans, ratio_of_means
from pytest_llmperf.tasks.grading import Outcome


def behaviour_of(one: Asked, *, thinking: bool) -> detect.Behaviour:
    """What one answer did, with the language of its question as the one that is expected."""
    prompt = str(one.body.get("prompt", ""))
    return detect.examine(
        one.reply,
        finish_reason=one.answer.finish_reason,
        thinking=thinking,
        asked=last_turn(one.body) or prompt,
        opened=not prompt or prompt.rstrip().endswith("<think>"),
    )


def yields(asked: Sequence[Asked], *, thinking: bool, temperature: float) -> dict[str, Any]:
    """For the record; everything is of the answers that came, and None where none did.

    ``…_per_correct`` are ratios of totals, all answers' tokens (seconds in the server's hands) over the correct ones,
    with the interval of ``stats.ratio_of_means``. Seconds depend on the load that the answers were collected at.
    """
    came = [one for one in asked if one.usable]
    shown = [behaviour_of(one, thinking=thinking) for one in came]
    tokens = [one.answer.completion_tokens for one in came]
    counted = [count for count in tokens if count is not None]

    def share(count: int) -> float | None:
        return count / len(came) if came else None

    incomplete = sum(one.grade.outcome is Outcome.INCOMPLETE for one in came)
    return {
        "tokens_per_answer": sum(counted) / len(counted) if counted else None,
        "tokens_per_correct": _per_correct(came, lambda one: float(one.answer.completion_tokens or 0)),
        "seconds_per_correct": _per_correct(came, lambda one: one.answer.seconds),
        "incomplete": share(incomplete),
        "unboxed": share(sum(not one.boxed for one in shown)),
        "loops": {f"{temperature:g}": share(sum(one.loops for one in shown))},
        "language_switches": share(sum(one.language_switch for one in shown)),
    }


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
