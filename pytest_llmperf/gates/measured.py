"""Gates over times, sizes and rates: damage is a common factor, and the client's own timing error decides nothing.

The client's error is what it reports more than the truth, measured against a server whose schedule is known
(``load.calibration``). Chance is not in it: that is in the interval already. It shifts the interval as a whole, and a
verdict stands only if it is the same with the shift taken back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.decision import invalid, status_of
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.units import format_bound, format_distinct

_REMEDY = "need a faster or idler machine for the client, uvloop, or less concurrency"


@dataclass(frozen=True, kw_only=True)
class MeasuredGate(Gate):
    """Is something in ``unit`` at most (``at_least``: at least) the bound?"""

    unit: str
    at_least: bool

    @property
    def verdict_unit(self) -> str:
        return self.unit

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Multiply the candidate's data by 1 + ``by``, rates by 1 / (1 + ``by``). ``ValueError`` for −1 and below."""
        del seed
        if not (math.isfinite(by) and by > -1.0):
            raise ValueError(f"by is {by:g}, a share above -1 is needed (0.08 for 8 % longer)")
        return self.scaled(1.0 + (1.0 / (1.0 + by) - 1.0 if self.at_least else by))

    def scaled(self, factor: float) -> Self:
        """Return the gate with the candidate's data multiplied by ``factor``."""
        raise NotImplementedError

    def judge(self) -> Verdict:
        verdict, error = super().judge(), self.client_error_text
        if not error or self.stands is verdict.status:
            return verdict
        checked = despite_client(verdict, self.bound, self.without_client, error, at_least=self.at_least)
        return replace(checked, origin=verdict.origin)

    @property
    def client_error_text(self) -> str:
        """The client's own error as a verdict names it; empty if it has none here."""
        return ""

    def without_client(self, value: float) -> float:
        """Return what the client would have reported without its own error."""
        return value


def scale(value: float | None, factor: float) -> float | None:
    """Multiply; None, which was not measured, stays None."""
    return None if value is None else value * factor


def despite_client(
    verdict: Verdict, bound: float | None, truth: Callable[[float], float], error: str, *, at_least: bool
) -> Verdict:
    """Return ``verdict``, or INVALID (client-bound) if it is another one without the client's error.

    ``truth`` gives what the client would have reported without it, for a value in the verdict's unit; it never falls.
    ``error`` is the error in words. INCONCLUSIVE and INVALID stay what they are: they are not decided.
    """
    if verdict.status not in (Status.PASS, Status.FAIL) or verdict.interval is None or bound is None:
        return verdict
    low, high = (truth(end) for end in verdict.interval)
    if status_of(low, high, bound, at_least=at_least) is verdict.status:
        return verdict
    # The end that decided is the one towards the bound.
    by_lower = at_least is (verdict.status is Status.PASS)
    kind, decided = ("lower", verdict.interval[0]) if by_lower else ("upper", verdict.interval[1])
    seen, limit = format_distinct(decided, bound, verdict.unit), format_bound(bound, verdict.unit)
    why = (
        f"client-bound: the client's own error, {error} at this load, is larger than the distance between the {kind} "
        f"bound {seen} and the limit {limit}; {_REMEDY}"
    )
    return invalid(verdict.metric, why, bound=bound, n=verdict.n, unit=verdict.unit, method="client-bound")


def true_ratio(ratio: float, share: float, *, rate: bool) -> float:
    """Return the ratio of two times without a client's part in both.

    ``share`` of the second one's time is the client's, and as many seconds of the first one's: both shrink, and what
    is left differs by more. With ``rate`` the values are rates, whose ratio is that of the times turned over.
    """
    if rate:
        return 1.0 / true_ratio(1.0 / ratio, share, rate=False) if ratio > 0 else ratio
    # Times that the client took wholly leave nothing that could be compared: no verdict stands against NaN.
    return (ratio - share) / (1.0 - share) if share < min(1.0, ratio) else math.nan
