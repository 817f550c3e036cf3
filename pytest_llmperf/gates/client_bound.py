"""What a client that is itself slow may decide: nothing that its own error could have decided otherwise.

The error is what the client reports more than the truth, measured against a server whose schedule is known
(``load.calibration``). Chance is not in it: that is in the interval already. It shifts the interval as a whole, and a
verdict stands if it is the same with the shift taken back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pytest_llmperf.gates.decision import invalid, status_of
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import beside, target

_REMEDY = "need a faster or idler machine for the client, uvloop, or less concurrency"


def despite_client(
    verdict: Verdict, bound: float | None, truth: Callable[[float], float], said: str, *, at_least: bool
) -> Verdict:
    """The verdict, or INVALID (client-bound) if it is another one without the client's error.

    ``truth`` gives what the client would have reported without it, for a value in the verdict's unit; it never falls.
    ``said`` is the error in words. INCONCLUSIVE and INVALID stay what they are: they are not decided.
    """
    if verdict.status not in (Status.PASS, Status.FAIL) or verdict.interval is None or bound is None:
        return verdict
    low, high = (truth(end) for end in verdict.interval)
    if status_of(low, high, bound, at_least=at_least) is verdict.status:
        return verdict
    # The end that decided is the one towards the bound.
    by_lower = at_least is (verdict.status is Status.PASS)
    kind, decided = ("lower", verdict.interval[0]) if by_lower else ("upper", verdict.interval[1])
    why = (
        f"client-bound: the client's own error, {said} at this load, is larger than the distance between the {kind} "
        f"bound {beside(decided, bound, verdict.unit)} and the limit {target(bound, verdict.unit)}; {_REMEDY}"
    )
    return invalid(verdict.metric, why, bound=bound, n=verdict.n, unit=verdict.unit, method="client-bound")


def true_ratio(ratio: float, share: float, *, rate: bool) -> float:
    """The ratio of two times without a client's part in both.

    ``share`` of the second one's time is the client's, and as many seconds of the first one's: both shrink, and what
    is left differs by more. With ``rate`` the values are rates, whose ratio is that of the times turned over.
    """
    if rate:
        return 1.0 / true_ratio(1.0 / ratio, share, rate=False) if ratio > 0 else ratio
    # Times that the client took wholly leave nothing that could be compared: no verdict stands against NaN.
    return (ratio - share) / (1.0 - share) if share < min(1.0, ratio) else math.nan
