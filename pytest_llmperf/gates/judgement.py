"""A verdict that can be asserted: true only for PASS, an error for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import table

Policy = Literal["fail", "warn"]
"""Effect of INCONCLUSIVE on an assert: ``"fail"`` raises, ``"warn"`` lets it pass."""


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


def error_of(verdict: Verdict) -> GateError:
    """Return the exception of a verdict that is not PASS."""
    return _ERRORS[verdict.status](verdict)


def is_green(verdict: Verdict, policy: Policy) -> bool:
    """Return whether this verdict leaves the run green."""
    return verdict.status is Status.PASS or (verdict.status is Status.INCONCLUSIVE and policy == "warn")


class Judgement:
    """The result of a comparison of an estimand: a verdict that can be asserted.

    ``bool()`` is True for PASS, and for INCONCLUSIVE under the policy ``"warn"``; everything else raises the
    :class:`GateError` of its kind, so that ``not``, ``or`` and ``if`` cannot turn a failure into something
    else. ``asked`` says whether that happened, and ``on_assert`` is called when it does: a comparison that was not
    asserted has gated nothing.
    """

    __hash__ = object.__hash__

    def __init__(
        self,
        verdict: Verdict,
        inconclusive: Policy = "fail",
        on_assert: Callable[[], None] | None = None,
    ) -> None:
        if inconclusive not in ("fail", "warn"):
            raise ValueError(f"the policy for INCONCLUSIVE is 'fail' or 'warn', not {inconclusive!r}")
        self.verdict = verdict
        self.inconclusive = inconclusive
        self.asked = False
        self._on_assert = on_assert

    def __bool__(self) -> bool:
        self.asked = True
        if self._on_assert is not None:
            self._on_assert()
        if is_green(self.verdict, self.inconclusive):
            return True
        raise error_of(self.verdict)

    def __eq__(self, other: object) -> bool:
        raise TypeError("a Judgement is asserted, not compared; its verdict.status can be compared")

    def __repr__(self) -> str:
        return f"<{self.verdict.status.value}: {self.verdict.why}>"
