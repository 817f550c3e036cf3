"""Candidate over baseline, measured in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmperf.gates.comparable import Estimand
from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.ratio_within import MAX_LOST_ROUNDS, ratio_within


@dataclass(frozen=True, eq=False)
class Ratio(Estimand):
    """One (candidate, baseline) value per round, in ``unit``; None on a side: that round was lost.

    ``tpot.ratio <= 1.05`` where low is good, ``throughput.ratio >= 0.95`` where high is.
    """

    metric: str
    rounds: Sequence[tuple[float | None, float | None]] = field(repr=False)
    unit: str
    alpha: float = ALPHA
    max_lost_share: float = MAX_LOST_ROUNDS

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def example(self) -> str:
        return f"{self.metric}.ratio <= 1.05"

    @property
    def size(self) -> int:
        return len(self.rounds)

    def __le__(self, other: object) -> Judgement:
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self._against(
            other,
            "ratio",
            lambda budget: ratio_within(
                self.metric,
                self.rounds,
                budget,
                unit=self.unit,
                at_least=at_least,
                alpha=self.alpha,
                max_lost_share=self.max_lost_share,
            ),
        )
