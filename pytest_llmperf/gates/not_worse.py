"""Candidate against baseline on the same items: not worse by more than a margin.

One answer an item and side: Tango's score interval for the paired difference, at the critical value that keeps
both errors at the margin (``stats.paired_exact``). Several: the Laplace-adjusted interval on per-item differences.
Never "no significant difference, hence equal": the margin must be shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import sensitivity
from pytest_llmperf.gates.decision import (
    ALPHA,
    MAX_LOST_SHARE,
    enough,
    invalid,
    lost_decide,
    status_of,
    too_many_lost,
)
from pytest_llmperf.gates.outcomes import Outcome, Outcomes, Tally, tally
from pytest_llmperf.gates.share_gates import level_of, missing
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import about, beside, percent, plural, show
from pytest_llmperf.stats import clustered, paired, paired_exact, power

FLIPS_SHOWN = 12


def not_worse(
    metric: str,
    candidate: Outcomes,
    baseline: Outcomes,
    margin: float,
    *,
    lower_is_better: bool = False,
    guess: float = 0.0,
    alpha: float = ALPHA,
    max_lost_share: float = MAX_LOST_SHARE,
) -> Verdict:
    """Is the candidate's share at least the baseline's minus ``margin`` (a share: 0.03 for three points)?

    A negative margin asks for an improvement. ``lower_is_better`` turns the direction round: at most the
    baseline's plus ``margin``. Items that only one side has, or that were lost on one side, are left out of what is
    observed; its bounds count them as the worst and the best that they can have been, and more than
    ``max_lost_share`` of them make the gate INVALID. ``guess``: the share that a model reaches which knows nothing,
    see :mod:`pytest_llmperf.gates.sensitivity`. ``ValueError`` for a margin outside −1…1.
    """
    if not -1.0 < margin < 1.0:
        raise ValueError(
            f"{metric}: the margin is {margin}, a share between -1 and 1 (0.03 for three points)"
        )
    bound = margin if lower_is_better else -margin
    try:
        ours, theirs = tally(candidate), tally(baseline)
    except NotMeasured as error:
        return invalid(metric, str(error), bound=bound, unit="points")
    common = sorted(ours.scores.keys() & theirs.scores.keys(), key=_natural)
    if trouble := _trouble(ours, theirs, candidate, baseline, len(common), max_lost_share):
        return invalid(metric, trouble, bound=bound, n=len(common), unit="points")
    pairs = _Pairs(
        {item: _mean(ours.scores[item]) for item in common},
        {item: _mean(theirs.scores[item]) for item in common},
        sampled=any(len(side.scores[item]) > 1 for side in (ours, theirs) for item in common),
    )
    low, high, p_value, method = _bounds(pairs, bound, alpha, lower_is_better)
    status, lost_turn = status_of(low, high, bound, at_least=not lower_is_better), ""
    every = len(candidate.keys() | baseline.keys())
    if ours.lost or theirs.lost or every > pairs.n:
        without = status
        worst, best = (_filled(candidate, baseline, is_worst) for is_worst in (True, False))
        low_at_worst, _, p_at_worst, _ = _bounds(worst, bound, alpha, lower_is_better)
        _, high_at_best, p_at_best, _ = _bounds(best, bound, alpha, lower_is_better)
        low, high = min(low, low_at_worst), max(high, high_at_best)
        p_value = p_at_worst if lower_is_better else p_at_best
        status = status_of(low, high, bound, at_least=not lower_is_better)
        lost_turn = lost_decide(max(every - pairs.n, ours.lost, theirs.lost), without, status, "item")
    n_needed = None
    if status is Status.INCONCLUSIVE and not lost_turn:
        n_needed = enough(_n_needed(pairs, bound, alpha), pairs.n)
    why = _sentence(metric, pairs, status, low, high, margin, lower_is_better, alpha, n_needed) + lost_turn
    verdict = Verdict(
        status=status,
        metric=metric,
        observed=pairs.difference,
        interval=(low, high),
        bound=bound,
        n=pairs.n,
        n_needed=n_needed,
        method=method,
        why=why,
        unit="points",
        candidate=pairs.candidate,
        baseline=pairs.baseline,
        detail=_detail(pairs, ours, theirs, every),
        p_value=p_value,
        level_unit="share",
        discordance=pairs.discordance,
    )
    level = level_of([theirs.scores[item] for item in common], alpha)
    return sensitivity.checked(
        verdict, *level, margin, guess=guess, lower_is_better=lower_is_better, alpha=alpha
    )


def _filled(candidate: Outcomes, baseline: Outcomes, is_worst: bool) -> _Pairs:
    """All items, with what was lost of them counted as the lowest difference that it can have been, or the highest."""
    items = sorted(candidate.keys() | baseline.keys(), key=_natural)
    ours = tally({item: _given(candidate, item) for item in items}, lost_as=not is_worst).scores
    theirs = tally({item: _given(baseline, item) for item in items}, lost_as=is_worst).scores
    return _Pairs(
        {item: _mean(ours[item]) for item in items},
        {item: _mean(theirs[item]) for item in items},
        sampled=any(len(side[item]) > 1 for side in (ours, theirs) for item in items),
    )


@dataclass(frozen=True)
class _Pairs:
    """Item means of both sides on the items that both have."""

    ours: Mapping[str, float]
    theirs: Mapping[str, float]
    sampled: bool

    @property
    def n(self) -> int:
        return len(self.ours)

    @property
    def candidate(self) -> float:
        return sum(self.ours.values()) / self.n

    @property
    def baseline(self) -> float:
        return sum(self.theirs.values()) / self.n

    @property
    def differences(self) -> list[float]:
        return [self.ours[item] - self.theirs[item] for item in self.ours]

    @property
    def difference(self) -> float:
        return sum(self.differences) / self.n

    @property
    def gained(self) -> list[str]:
        return [item for item in self.ours if self.ours[item] > self.theirs[item]]

    @property
    def lost(self) -> list[str]:
        return [item for item in self.ours if self.ours[item] < self.theirs[item]]

    @property
    def discordance(self) -> float:
        """Share of the items whose means differ."""
        return (len(self.gained) + len(self.lost)) / self.n

    @property
    def squared(self) -> float:
        """Mean squared difference: the discordant share where every item has one answer a side."""
        return sum(d * d for d in self.differences) / self.n


def _given(side: Outcomes, item: str) -> Outcome | Sequence[Outcome]:
    """The outcomes of an item; None, which is lost, for one that this side was not asked or has no answer to."""
    given = side.get(item)
    return None if isinstance(given, Sequence) and not given else given


def _trouble(
    ours: Tally, theirs: Tally, candidate: Outcomes, baseline: Outcomes, common: int, allowed: float
) -> str | None:
    for side, counted in (("candidate", ours), ("baseline", theirs)):
        if why := missing(counted, allowed):
            return f"{side}: {why}"
    every = len(candidate.keys() | baseline.keys())
    if not common:
        return f"the two sides have no item in common ({len(candidate)} and {len(baseline)} items)"
    one_sided = len(candidate.keys() ^ baseline.keys())
    if one_sided / every > allowed:
        return (
            f"{one_sided} of {plural(every, 'item')} were given to one side only "
            f"({percent(one_sided / every)}, allowed {percent(allowed)}): compare the same items"
        )
    return too_many_lost(every - common, every, allowed, "item")


def _bounds(
    pairs: _Pairs, bound: float, alpha: float, lower_is_better: bool
) -> tuple[float, float, float, str]:
    """Lower bound, upper bound, p-value of "the bound is met", method."""
    if pairs.sampled:
        low, high = clustered.paired_bounds(pairs.differences, 1.0 - alpha)
        against = [-d for d in pairs.differences] if lower_is_better else pairs.differences
        p_value = clustered.paired_p_below(against, -bound if lower_is_better else bound)
        return low, high, p_value, "Laplace-adjusted paired interval, clustered by item"
    gained, lost, n = len(pairs.gained), len(pairs.lost), pairs.n
    low = paired.tango_lower_at(gained, lost, n, paired_exact.critical_z(n, gained + lost, bound, alpha))
    high = paired.tango_upper_at(gained, lost, n, paired_exact.critical_z(n, gained + lost, -bound, alpha))
    if lower_is_better:
        p_value = paired_exact.p_above(gained, lost, n, bound, alpha)
    else:
        p_value = paired_exact.p_above(lost, gained, n, -bound, alpha)
    return low, high, p_value, "Tango's paired score interval, exact at the margin"


def _n_needed(pairs: _Pairs, bound: float, alpha: float) -> int | None:
    difference = min(0.999, max(-0.999, pairs.difference))
    return power.items_for_margin(difference, -bound, min(1.0, pairs.squared), alpha=alpha)


def _sentence(
    metric: str,
    pairs: _Pairs,
    status: Status,
    low: float,
    high: float,
    margin: float,
    lower_is_better: bool,
    alpha: float,
    n_needed: int | None,
) -> str:
    confidence = percent(1.0 - alpha)
    worse, better = ("higher", "lower") if lower_is_better else ("lower", "higher")
    size = f"{100 * abs(margin):.6g} points"
    if margin > 0:
        claim, opposite = f"not {worse} by more than {size}", f"{worse} by more than {size}"
    elif margin < 0:
        claim, opposite = f"{better} by at least {size}", f"not {better} by {size}"
    else:
        claim, opposite = f"not {worse}", worse
    bound = margin if lower_is_better else -margin
    lower, upper = (beside(end, bound, "points") for end in (low, high))
    near, far = (upper, lower) if lower_is_better else (lower, upper)
    near_name, far_name = ("upper", "lower") if lower_is_better else ("lower", "upper")
    if status is Status.PASS:
        evidence, result = f"{confidence} {near_name} bound {near}", claim
    elif status is Status.FAIL:
        evidence, result = f"{confidence} {far_name} bound {far}", opposite
    else:
        evidence = f"{confidence} bounds {lower} and {upper}"
        more = "" if n_needed is None else f"; about {about(n_needed)} items would decide it"
        result = f"cannot tell whether it is {claim if margin < 0 else opposite}{more}"
    return (
        f"{metric} {show(pairs.candidate, 'share')} against the baseline's {show(pairs.baseline, 'share')} "
        f"({show(pairs.difference, 'points')}, n = {plural(pairs.n, 'common item')}, {evidence}): {result}"
    )


def _detail(pairs: _Pairs, ours: Tally, theirs: Tally, every: int) -> str:
    gained, lost = pairs.gained, pairs.lost
    same = pairs.n - len(lost) - len(gained)
    lines = [f"{len(lost)} items got worse, {len(gained)} got better, {same} stayed the same"]
    lines += [f"{name}: {_some(items)}" for name, items in (("worse", lost), ("better", gained)) if items]
    if every > pairs.n:
        lines.append(
            f"{plural(every - pairs.n, 'item')} left out: on one side only, or lost to infrastructure errors "
            f"({ours.lost} answers of the candidate, {theirs.lost} of the baseline)"
        )
    return "\n".join(lines)


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(str(item) for item in items[:FLIPS_SHOWN])
    return shown if len(items) <= FLIPS_SHOWN else f"{shown} and {len(items) - FLIPS_SHOWN} more"


def _natural(item: str) -> list[tuple[int, str]]:
    """Sorts ``item-9`` before ``item-10``."""
    parts = re.split(r"(\d+)", str(item))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)
