"""The verdict of a gate: one of four statuses, with the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """PASS and FAIL are shown by the data; the other two are not answers, and are never green."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    """The interval holds the bound: more data would decide."""
    INVALID = "INVALID"
    """Nothing can be concluded from these data however many: errors, no samples, a warm cache, NaN."""


WORST_FIRST = (Status.FAIL, Status.INVALID, Status.INCONCLUSIVE, Status.PASS)
"""The order in which a reader needs verdicts."""

NOT_MEASURED = "not measured"
"""Method of the verdict of a test that judged nothing, or failed in another way than by a gate."""


@dataclass(frozen=True)
class Verdict:
    """The result of one gate.

    ``observed``, ``interval`` and ``bound`` are in the unit named by ``unit`` (``"share"`` for a proportion
    in 0..1, ``"points"`` for a difference of proportions in 0..1, ``"ratio"``, ``"s"``, ``"tok/s"``,
    ``"bytes"``). ``interval`` is the one that the decision used, None when there was none. ``n_needed``
    estimates the data that would decide an INCONCLUSIVE one, None when unknown or already decided. ``why`` is
    one sentence.
    """

    status: Status
    metric: str
    observed: float | None
    interval: tuple[float, float] | None
    bound: float | None
    n: int
    n_needed: int | None
    method: str
    why: str
    unit: str = ""
    candidate: float | None = None
    baseline: float | None = None
    detail: str = ""
    """Lines below the sentence: flips, error kinds, a small table."""
    p_value: float | None = None
    """Probability of data at least this extreme if the bound is in truth met; None if no test was made."""
    level_unit: str = ""
    """Unit of ``candidate`` and ``baseline`` where it is not ``unit`` (a ratio of seconds, points of
    shares).
    """
    origin: str = ""
    """File, table and key in which the bound was written."""
    discordance: float | None = None
    """Share of the common items that the two sides answered differently, 0 to 1; None unless the gate pairs items."""
    flips: float | None = None
    """Share of the pairs of answers of which exactly one is right, 0 to 1; None unless the gate pairs items."""
    flips_interval: tuple[float, float] | None = None
    """Two-sided 95 % interval of :attr:`flips`."""
    starts: int | None = None
    """Pairs of starts that a ratio was taken over; None where it was taken over rounds, and for other gates."""
    level: float | None = None
    """One-sided error of each bound at this look, where rounds are looked at several times (of one or two starts: that
    of the rounds' part); None for :data:`~pytest_llmperf.gates.decision.ALPHA`."""
    inconclusive: str = ""
    """``"fail"`` or ``"warn"`` where the budget says what INCONCLUSIVE does; empty: as the whole run does it."""
    advisory: str = ""
    """Reason for which this gate never makes a run red (``llmperf_advisory``); empty for a gate that counts."""
    waived: str = ""
    """Last day and reason of the waiver that lets this verdict through, ``until 2026-12-31: …``; empty without one."""

    @property
    def excused(self) -> bool:
        """True if the verdict does not count: it is advisory, or waived."""
        return bool(self.advisory or self.waived)

    def __bool__(self) -> bool:
        """A verdict has no truth value: four outcomes do not fit into two."""
        raise TypeError(
            f"a Verdict is not true or false ({self.status.value}: {self.why}); "
            "compare its .status, or let the gate fixture judge it"
        )
