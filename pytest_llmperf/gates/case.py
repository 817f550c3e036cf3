"""One gate with its data: what an assert asked, kept so that it can be judged again.

A comparison of estimands makes a case, and nothing else. The run settles it (measures as much as its decision
needs), judges it, and keeps it beside the record, so that a recorded run can be judged again, whole or with damage
planted into it (``gates.planted``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from pytest_llmperf.gates import spending
from pytest_llmperf.gates.decision import ALPHA, invalid
from pytest_llmperf.gates.verdict import Status, Verdict

Damage = Literal["points", "share"]
"""``points``: so much of all answers (0.05: five points); ``share``: so much longer, larger, slower (0.05: 5 %)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What all gates have: a metric, a bound and where it was written.

    ``bound`` is None only where ``refused`` says why there is none. ``refused``: why nothing is to be judged,
    whatever the data say (a warm cache, a client that could not keep up, no budget for this device).
    ``spent``: the error of this look, and of those before it whose data are joined in (``gates.spending``).
    ``stands``: what an earlier look decided. ``remark``: a line below the verdict.
    """

    metric: str
    bound: float | None
    origin: str = ""
    refused: str = ""
    spent: Sequence[float] = (ALPHA,)
    stands: Status | None = None
    remark: str = ""
    unplanned: ClassVar[Mapping[str, Any]] = {}
    """What the plan says of this kind of gate, where no chances can be told before there are data."""

    @property
    def alpha(self) -> float:
        """Chance of a wrong PASS, and of a wrong FAIL, of this look."""
        return self.spent[-1]

    @property
    def label(self) -> str:
        """The metric as the verdict names it."""
        return self.metric

    @property
    def target(self) -> float | None:
        """Where the line is drawn: at the bound, and for a margin that is allowed below the baseline at minus it."""
        return self.bound

    @property
    def verdict_unit(self) -> str:
        """Unit of the bound: ``share``, ``points``, ``ratio``, ``s``, …"""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many data there are."""
        raise NotImplementedError

    @property
    def unasked(self) -> int:
        """How many more the run would have measured, had the gate not been decided before."""
        return 0

    @property
    def damage(self) -> Damage:
        """What ``damaged`` takes."""
        raise NotImplementedError

    def settled(self) -> Self:
        """The case with as much data as its decision needs; measures them if they are not there yet."""
        return self

    def judge(self) -> Verdict:
        """The verdict on the data that are there. The same data always give the same verdict."""
        if self.refused or self.bound is None:
            why = self.refused or "there is no bound"
            verdict = invalid(self.label, why, bound=self.bound, n=self.size, unit=self.verdict_unit)
        else:
            verdict = self._verdict(self.bound)
            verdict = _standing(verdict, self.stands)
            detail = "\n".join(filter(None, (verdict.detail, spending.told(self.spent), self.remark)))
            verdict = replace(verdict, detail=detail)
        return replace(verdict, origin=self.origin)

    def damaged(self, by: float, seed: int = 0) -> Self:
        """The same case with the candidate's data made worse by ``by``, at places drawn from ``seed``."""
        raise NotImplementedError

    def _verdict(self, bound: float) -> Verdict:
        raise NotImplementedError


def _standing(verdict: Verdict, stands: Status | None) -> Verdict:
    """A decision of an earlier look is not undone: its error is spent. Only a PASS yields to a FAIL."""
    if stands is None or verdict.status in (Status.INVALID, Status.FAIL, stands):
        return verdict
    why = f"{verdict.why}; the {stands.value} of an earlier look stands"
    return replace(verdict, status=stands, n_needed=None, why=why)
