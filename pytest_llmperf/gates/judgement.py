"""From a verdict to an assert: true only for what passed, and never a silent false."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import table

Policy = Literal["fail", "warn"]
"""What INCONCLUSIVE does to an assert: ``"fail"`` raises, ``"warn"`` lets it pass."""


class GateError(AssertionError):
    """A gate that did not pass. ``str()`` is the sentence, its detail and a table of the numbers."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict

    def __str__(self) -> str:
        verdict = self.verdict
        parts = [f"{verdict.status.value}: {verdict.why}"]
        if verdict.detail:
            parts.append("\n".join(f"  {line}" for line in verdict.detail.splitlines()))
        parts.append(table(verdict))
        return "\n".join(parts)


class GateFailed(GateError):
    """The data show that the bound is not met."""


class GateInconclusive(GateError):
    """The data do not decide; ``verdict.n_needed`` estimates how many would."""


class GateInvalid(GateError):
    """Nothing that could be judged was measured."""


_ERRORS = {
    Status.FAIL: GateFailed,
    Status.INCONCLUSIVE: GateInconclusive,
    Status.INVALID: GateInvalid,
}


class Judgement:
    """What a comparison of an estimand gives: a verdict that can be asserted.

    ``bool()`` is True for PASS, and for INCONCLUSIVE under the policy ``"warn"``; everything else raises the
    :class:`GateError` of its kind, so that ``not``, ``or`` and ``if`` cannot turn a failure into something
    else. ``asked`` says whether that happened: a comparison that nobody asserted is one to complain about.
    """

    __hash__ = object.__hash__

    def __init__(self, verdict: Verdict, inconclusive: Policy = "fail") -> None:
        if inconclusive not in ("fail", "warn"):
            raise ValueError(f"the policy for INCONCLUSIVE is 'fail' or 'warn', not {inconclusive!r}")
        self.verdict = verdict
        self.inconclusive = inconclusive
        self.asked = False

    def __bool__(self) -> bool:
        self.asked = True
        status = self.verdict.status
        if status is Status.PASS or (status is Status.INCONCLUSIVE and self.inconclusive == "warn"):
            return True
        raise _ERRORS[status](self.verdict)

    def __eq__(self, other: object) -> bool:
        raise TypeError("a Judgement is asserted, not compared; its verdict.status can be compared")

    def __repr__(self) -> str:
        return f"<{self.verdict.status.value}: {self.verdict.why}>"


Judge = Callable[[Case], Judgement]
"""Receives every case that a comparison makes; the plugin's settles and records it, and applies the run's policy."""


def strict(case: Case) -> Judgement:
    """The judge without a plugin: INCONCLUSIVE fails."""
    return Judgement(case.settled().judge(), "fail")
