"""A verdict that can be asserted: true only for PASS, an error for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import table
from pytest_llmperf.visible_text import printable

Policy = Literal["fail", "warn", "exit"]
"""Effect of INCONCLUSIVE on an assert: ``"fail"`` raises, ``"warn"`` lets it pass, ``"exit"`` raises and gives a run in
which nothing worse happened an exit code of its own."""
POLICIES = get_args(Policy)


class GateError(AssertionError):
    """A gate that did not pass. ``str()`` is :attr:`summary` and a table of the numbers."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict

    @property
    def summary(self) -> str:
        """The sentence of the verdict, and its detail in lines below."""
        verdict = self.verdict
        parts = [f"{verdict.status.value}: {verdict.why}"]
        parts += [f"  {line}" for line in verdict.detail.splitlines()]
        text = "\n".join(parts)
        return printable(text, len(text))

    def __str__(self) -> str:
        numbers = table(self.verdict)
        return f"{self.summary}\n{printable(numbers, len(numbers))}"


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
    """Return whether this verdict leaves the run green: PASS, INCONCLUSIVE where that only warns, or excused."""
    if verdict.status is Status.PASS or verdict.excused:
        return True
    return verdict.status is Status.INCONCLUSIVE and (verdict.inconclusive or policy) == "warn"


def check_policy(policy: str) -> None:
    """Raise ``ValueError`` for what is no :data:`Policy`."""
    if policy not in POLICIES:
        raise ValueError(f"the policy for INCONCLUSIVE is 'fail', 'warn' or 'exit', not {policy!r}")


class Judgement:
    """The result of a comparison of an estimand: a verdict that can be asserted.

    ``bool()`` is True for PASS, for INCONCLUSIVE under the policy ``"warn"``, and for an advisory or waived gate;
    everything else raises the :class:`GateError` of its kind, so that ``not``, ``or`` and ``if`` cannot turn a failure
    into something else. ``asked`` says whether that happened, and ``on_assert`` is called when it does: a comparison
    that was not asserted has gated nothing.
    """

    __hash__ = object.__hash__

    def __init__(
        self,
        verdict: Verdict,
        inconclusive: Policy = "fail",
        on_assert: Callable[[], None] | None = None,
    ) -> None:
        check_policy(inconclusive)
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
