"""Per-item outcomes, counted: right, wrong, and lost to infrastructure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import NotMeasured

Outcome = bool | None
"""True: correct (or: shows the behaviour). False: not. None: an infrastructure error, which is neither."""
Outcomes = Mapping[str, Outcome | Sequence[Outcome]]
"""By item id: one outcome, or those of K samples."""


@dataclass(frozen=True)
class Tally:
    """``scores``: by item id, the outcomes that count, as 0.0 and 1.0; items without any are left out."""

    scores: Mapping[str, Sequence[float]]
    lost: int
    answers: int

    @property
    def asked(self) -> int:
        """Answers asked for: those that count and those lost."""
        return self.answers + self.lost

    @property
    def sampled(self) -> bool:
        """Whether some item has more than one answer."""
        return any(len(scores) > 1 for scores in self.scores.values())


def tally(outcomes: Outcomes, *, lost_as: bool | None = None) -> Tally:
    """Count; ``NotMeasured`` when an outcome is neither True, False nor None (NaN, 0.7, "yes").

    ``lost_as``: what a lost outcome counts as among the scores, for the worst and the best that they can have been;
    None: it is left out.
    """
    scores: dict[str, list[float]] = {}
    lost = answers = 0
    for item, given in outcomes.items():
        several = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else (given,)
        kept: list[float] = []
        for outcome in several:
            if outcome is None:
                lost += 1
                if lost_as is not None:
                    kept.append(1.0 if lost_as else 0.0)
            elif _is_bool(outcome):
                kept.append(1.0 if outcome else 0.0)
            else:
                raise NotMeasured(
                    f"the outcome of item {item!r} is {outcome!r}: True, False or None is needed"
                )
        if kept:
            scores[item] = kept
            answers += len(kept) - (lost_as is not None) * sum(one is None for one in several)
    return Tally(scores, lost, answers)


def _is_bool(outcome: object) -> bool:
    # numpy's bool is not a bool, and is what a comparison of arrays leaves behind
    return isinstance(outcome, bool) or type(outcome).__name__ in ("bool_", "bool")
