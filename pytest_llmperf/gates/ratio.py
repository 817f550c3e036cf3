"""Candidate over baseline, measured in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmperf.gates.comparable import Estimand
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.measured_cases import RatioCase, Rounds
from pytest_llmperf.gates.ratio_within import MAX_LOST_ROUNDS


@dataclass(frozen=True, eq=False)
class Ratio(Estimand):
    """Rounds of one (candidate, baseline) value each, in ``unit``; None on a side: that round was lost.

    ``starts`` holds the rounds of each pair of starts of the two servers. With one pair the gate says whether *these
    processes* differ; with several the start is the sample, and it speaks of the model (``gates.ratio_over_starts``).

    ``tpot.ratio <= 1.05`` where low is good, ``throughput.ratio >= 0.95`` where high is.
    """

    metric: str
    starts: Sequence[Rounds] = field(repr=False)
    unit: str
    max_lost_share: float = MAX_LOST_ROUNDS
    client_share: float = 0.0
    """Share of the baseline's time that is the client's own (``load.calibration``)."""

    @property
    def label(self) -> str:
        return f"{self.metric} ratio"

    @property
    def example(self) -> str:
        return f"{self.metric}.ratio <= 1.05"

    @property
    def size(self) -> int:
        return sum(map(len, self.starts))

    def __le__(self, other: object) -> Judgement:
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        return self._against(
            other,
            "ratio",
            lambda asked: RatioCase(
                metric=self.metric,
                starts=self.starts,
                unit=self.unit,
                at_least=at_least,
                max_lost_share=self.max_lost_share,
                client_share=self.client_share,
                **asked,
            ),
        )
