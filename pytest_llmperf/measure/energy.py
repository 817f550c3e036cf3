"""What a right answer costs in energy: a model that thinks long may be right more often, and dearer."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.gates.estimand import Judge, Scalar
from pytest_llmperf.measure.asking import Asked
from pytest_llmperf.tasks.grading import Outcome


def energy_per_correct(judge: Judge, metric: str, asked: Sequence[Asked], energy_j: float | None) -> Scalar:
    """Joules of the whole device by right answer.

    ``energy_j`` was taken while the answers of this run came; those that an earlier run has left cost nothing now, and
    are taken to have cost as much as the others.
    """
    now = sum(not one.answer.reused for one in asked)
    right = sum(one.grade.outcome is Outcome.CORRECT for one in asked)
    why = ""
    if energy_j is None:
        why = "no device tells its energy"
    elif not now:
        why = "every answer is of an earlier run, whose energy nobody has measured"
    elif not right:
        why = f"not one of {len(asked)} answers is right"
    value = None if why or energy_j is None else energy_j / now * len(asked) / right
    return Scalar(metric, value, "J", judge=judge, unusable=why)
