"""From a claim to its decisions: one where no device matters, else on the claim's device and on the one here.

Arithmetic first: it holds on any device and needs no weights. Then the roofline, which only refuses. Then a run's
record. What none of them decides is *not testable here*, with what is missing, and never confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from contrib.claims.arithmetic import decide_by_arithmetic, why_impossible
from contrib.claims.averaging import without_answers
from contrib.claims.claim import ANY, Build, Claim, Decision, Outcome, Sheet
from contrib.claims.measured import Evidence
from contrib.claims.measurement import Measurement
from pytest_llmperf.errors import GpuUnreadable, UsageError
from pytest_llmperf.load.device_limits import limits_of
from pytest_llmperf.load.roofline import Roofline
from pytest_llmperf.serving import placement
from pytest_llmperf.stats.sample_size import items_for_floor
from pytest_llmperf.units import format_interval, format_value

_OF_DEVICES = ("speed", "first token", "cold start", "peak memory", "ratio")
_SUITES = {
    "speed": "throughput",
    "first token": "latency",
    "cold start": "startup",
    "peak memory": "memory",
    "accuracy": "accuracy",
}


def device_at_hand() -> str:
    """The first GPU as NVML names it, or ``CPU``. Raises :class:`UsageError` where there is one that cannot be read."""
    try:
        return placement.first_device()[1]
    except GpuUnreadable as error:
        raise UsageError(f"{error.cause}; {error.remedy}, or name a device: --device CPU") from None


def decide_all(sheet: Sheet, device: str, evidence: Evidence | None = None) -> list[Decision]:
    """Every claim of ``sheet`` on ``device``, or on the record's where there is one, in the order of the file.

    Raises :class:`~pytest_llmperf.errors.UsageError` for a record of another profile.
    """
    if evidence is not None:
        evidence.must_be_of(sheet.profile)
        device = evidence.device
    return [decision for claim in sheet.claims for decision in decide(claim, device, evidence)]


def decide(claim: Claim, here: str, evidence: Evidence | None = None) -> list[Decision]:
    """One or two decisions; ``here`` is the device at hand, which is that of ``evidence``."""
    if (decision := decide_by_arithmetic(claim)) is not None:
        seen = evidence.beside(claim) if evidence is not None else ""
        return [replace(decision, why=f"{decision.why}; {seen}") if seen else decision]
    if claim.kind not in _OF_DEVICES or claim.of == "accuracy":
        return [_on(claim, ANY, evidence)]
    named = claim.protocol.device
    if named is None or _same(named, here):
        return [_on(claim, here, evidence)]
    return [_on(claim, named, None), _on(claim, here, evidence)]


def _same(one: str, other: str) -> bool:
    ours = limits_of(one)
    return one == other or (ours is not None and ours == limits_of(other))


def _on(claim: Claim, device: str, evidence: Evidence | None) -> Decision:
    measurement = None if evidence is None else evidence.of(claim)
    if measurement is None and claim.kind == "averaging":
        measurement = without_answers(claim)
    if (sentence := why_impossible(claim, limits_of(device))) is not None:
        # Also against a measurement: what is above the limit was not measured on this device.
        return _noted(claim, device, Outcome.IMPOSSIBLE, _measured(claim, measurement), sentence)
    if measurement is None:
        return _noted(claim, device, Outcome.NOT_TESTABLE, "", _missing(claim, device, evidence))
    return _compare(claim, device, measurement)


def _compare(claim: Claim, device: str, seen: Measurement) -> Decision:
    least = claim.value * (1.0 - claim.tolerance) if claim.holds != "at most" else -math.inf
    most = claim.value * (1.0 + claim.tolerance) if claim.holds != "at least" else math.inf
    low = -math.inf if seen.low is None else seen.low
    high = math.inf if seen.high is None else seen.high
    if least <= low and high <= most:
        outcome = Outcome.CONFIRMED
    elif high < least or low > most:
        outcome = Outcome.REFUTED
    else:
        outcome = Outcome.UNDECIDED
    wanted = "" if claim.holds == "about" else f"{claim.holds} "
    elsewhere = claim.protocol.device
    of = f" of a {elsewhere}" if elsewhere and not _same(elsewhere, device) else ""
    known = "is what arithmetic leaves open" if seen.computed else "was measured"
    why = f"{_measured(claim, seen)} {known}, {wanted}{format_value(claim.value, claim.unit)} is claimed{of}"
    needed = _needed(claim, seen) if outcome is Outcome.UNDECIDED else None
    if needed is not None and seen.computed:
        why += f"; {needed:,} answers to each item would decide"
    elif needed is not None:
        why += f"; about {needed:,} in place of {seen.n:,} would decide"
    return _noted(claim, device, outcome, _measured(claim, seen), why, needed)


def _needed(claim: Claim, seen: Measurement) -> int | None:
    """Data that would decide, if the truth is where it was seen; None where it was seen on the bound itself."""
    if seen.low is None or seen.high is None or seen.n < seen.least_n:
        return seen.least_n
    edges = [claim.value * (1.0 + sign * claim.tolerance) for sign in (-1, 1)]
    edge = min(edges, key=lambda one: abs(one - seen.value))
    if claim.unit == "share":
        return items_for_floor(seen.value, edge) if 0.0 <= edge <= 1.0 else None
    value, low, high = seen.value, seen.low, seen.high
    if claim.unit == "ratio" and low > 0.0 and edge > 0.0:
        value, low, high, edge = (math.log(one) for one in (value, low, high, edge))
    gap, half = abs(value - edge), max(high - value, value - low)
    return None if gap == 0.0 else max(seen.n + 1, math.ceil(seen.n * (half / gap) ** 2))


def _measured(claim: Claim, seen: Measurement | None) -> str:
    if seen is None:
        return ""
    if seen.low is None or seen.high is None or seen.low == seen.high:
        return f"{format_value(seen.value, claim.unit)} ({seen.what})"
    bounds = format_interval((seen.low, seen.high), claim.unit)
    if seen.computed:
        return f"{bounds} ({seen.what})"
    return f"{format_value(seen.value, claim.unit)} ({seen.what}, 95 % bounds {bounds})"


def _missing(claim: Claim, device: str, evidence: Evidence | None) -> str:
    """Requirements of a test of the claim."""
    if claim.missing:
        return claim.missing
    kind = claim.of or claim.kind
    suite = f"suites/test_{_SUITES.get(kind, kind)}.py --llmperf-record"
    if kind == "accuracy":
        whose = f"{claim.model.weights} and {claim.against.weights}" if claim.against else claim.model.weights
        what = f"answers of {whose} to {claim.key}"
        if evidence is not None and evidence.answers_are_noise(Build(claim.model.name)):
            return f"{what}: the record's weights are random numbers"
        return f"{what} ({claim.variant}), and so its weights: a record of {suite}"
    if claim.kind == "speed" and (limits := limits_of(device)) is not None:
        limit = Roofline(claim.model.architecture, limits, claim.stored).throughput(claim.concurrency)
        possible = f"not above the limit of {format_value(limit, 'tok/s')} ({100 * claim.value / limit:.0f} % of it): "
    else:
        possible = ""
    return f"{possible}needs a record of {suite} made on {'a GPU' if device == 'CPU' else device}"


def _noted(
    claim: Claim, device: str, outcome: Outcome, measured: str, why: str, needed: int | None = None
) -> Decision:
    return Decision(claim, device, outcome, measured, f"{why}; {claim.note}" if claim.note else why, needed)


def counts(outcomes: Sequence[str]) -> str:
    """``3 confirmed, 1 refuted``: how many of each outcome, those that occur."""
    found = [(outcomes.count(outcome.value), outcome.value) for outcome in Outcome]
    return ", ".join(f"{count} {outcome}" for count, outcome in found if count)
