"""What a suite and its budgets say of the verdicts of one test: advisory, waived, or neither.

A verdict is never changed by it; it carries the reason for which it does not count, and every outlet shows that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.gates.verdict import Status, Verdict


@dataclass(frozen=True)
class TolerancePolicy:
    """How the verdicts of one test count on the day ``today``.

    ``advisory`` is the reason for which none of them counts, empty for a test that gates. An advisory test needs no
    waiver, and has none in effect.
    """

    advisory: str = ""
    waiver: Waiver | None = None
    today: date = date.min

    def applied_to(self, verdict: Verdict) -> Verdict:
        """``verdict`` with the reason for which it does not count, if there is one.

        A verdict that a waiver covers no longer, or not with this status, says so in its sentence.
        """
        if self.advisory:
            return replace(verdict, advisory=self.advisory)
        waiver = self.waiver
        if waiver is None or verdict.status is Status.PASS:
            return verdict
        if waiver.days_left(self.today) < 0:
            return _with(verdict, f"its waiver ended on {waiver.until} ({waiver.reason})")
        if verdict.status is Status.INVALID and not waiver.invalid:
            return _with(
                verdict,
                f"its waiver until {waiver.until} does not cover INVALID, which needs invalid = true ({waiver.reason})",
            )
        return replace(verdict, waived=f"until {waiver.until}: {waiver.reason}")


COUNTS = TolerancePolicy()
"""The policy of a test that is neither advisory nor waived."""


def _with(verdict: Verdict, more: str) -> Verdict:
    return replace(verdict, why=f"{verdict.why}; {more}")
