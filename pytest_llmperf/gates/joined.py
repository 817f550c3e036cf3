"""A gate with the data of an earlier look at it: nothing is left out, and what was decided stands."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.answer_cases import MarginCase, ShareCase
from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.factor import FactorCase
from pytest_llmperf.gates.level import LevelCase
from pytest_llmperf.gates.measured_cases import QuantileCase, RatioCase, ValueCase, ValueRatioCase
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats.start_to_start import LEAST_STARTS

_DATA = {
    "candidate",
    "baseline",
    "samples",
    "groups",
    "errors",
    "starts",
    "client_error",
    "client_share",
    "value",
    "planned",
    "before",
    "more",
    "refused",
    "spent",
    "stands",
    "origin",
    "remark",
    "endings",
    "ended",
}
"""What may differ between two looks at one gate."""

_NOTHING = (
    "this look added nothing: an earlier one asked all items, and greedy answers to them are the same again"
)

_NOTHING_NEW = "this look added nothing: an earlier one measured the same items"

AnyCase = TypeVar("AnyCase", bound=Case)


def same_question(before: Case, now: Case) -> bool:
    """Whether two cases ask the same, apart from the bound."""
    return type(before) is type(now) and _question(before) == _question(now)


def joined(before: Case, decided: Status, now: AnyCase, spent: Sequence[float]) -> AnyCase:
    """``now`` with the data of ``before``, whose verdict was ``decided``, in front of its own.

    Other items and further rounds or samples are added; an item that was asked again has more answers and is not a
    new item; of what is measured once for an item the first counts, and of what is measured once at all the worse.
    ``spent`` is the error of all looks, this one last. A case that cannot be joined says why, and is INVALID.
    """
    if not same_question(before, now):
        return replace(now, refused=f"an earlier look at {before.label} asked something else: start anew")
    if before.bound != now.bound:
        was = "no bound" if before.bound is None else f"{before.bound:g}"
        return replace(now, refused=f"an earlier look judged by {was}, this one by {now.bound}: start anew")
    if before.refused or decided is Status.INVALID:
        why = before.refused or "an earlier look was INVALID"
        return replace(now, refused=f"{why}: data that cannot be judged are not added to, start anew")
    stands = decided if decided in (Status.PASS, Status.FAIL) else None
    case: Any = replace(now, spent=tuple(spent), stands=stands)
    if now.refused or now.bound is None:
        return replace(now, spent=tuple(spent))
    match before, case:
        case (ShareCase() | MarginCase()) as earlier, (ShareCase() | MarginCase()):
            case = _answers(earlier, case)
        case QuantileCase() as earlier, QuantileCase():
            case = _samples(earlier, case)
        case RatioCase() as earlier, RatioCase():
            case = _starts(earlier, case)
        case ValueCase() as earlier, ValueCase():
            case = replace(case, value=_worse(earlier.value, case.value, case.at_least))
        case ValueRatioCase() as earlier, ValueRatioCase():
            case = _worse_pair(earlier, case)
        case (LevelCase() | FactorCase()) as earlier, (LevelCase() | FactorCase()):
            case = _by_item(earlier, case)
    result: AnyCase = case
    return result


def _question(case: Case) -> dict[str, Any]:
    return {name: value for name, value in vars(case).items() if name not in _DATA | {"bound"}}


def _answers(before: Any, now: Any) -> Any:
    """Both kinds of cases over answers, with as many sides as they have."""
    sides = [name for name in ("candidate", "baseline") if hasattr(now, name)]
    earlier = {side: getattr(before, side) for side in sides}
    more, planned = now.more, now.planned

    def both(given: Sequence[Outcomes]) -> dict[str, Outcomes]:
        return {side: _together(earlier[side], ours) for side, ours in zip(sides, given, strict=False)}

    if now.stands is not None and planned is not None:
        return replace(now, **earlier, planned=before.planned, before=before.size, more=None)
    if more is None or planned is None:
        # Asked already: all of them, or the same items once more.
        if not now.size:
            now = replace(now, remark=_NOTHING)
        return replace(now, planned=None, before=0, **both([getattr(now, side) for side in sides]))
    if before.planned is None:
        # The first look left nothing to be spent on looking: ask all, and look once.
        try:
            return replace(now, planned=None, more=None, **both(more(planned)))
        except NotMeasured as error:
            return replace(now, refused=str(error))
    return replace(
        now,
        **earlier,
        planned=before.size + planned,
        before=before.size,
        more=lambda n: (*both(more(n)).values(), {})[:2],
    )


def _together(before: Outcomes, now: Outcomes) -> Outcomes:
    """Items in the order in which they were first asked, each with all of its answers."""

    def several(given: Any) -> list[Any]:
        return list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]

    again = {item: [*several(before[item]), *several(now[item])] for item in now if item in before}
    return {**before, **now, **again}


def _by_item(before: Any, now: Any) -> Any:
    """Of cases with one measurement of each item: the first that succeeded. The same item once more says little about
    other items, and these cases count items."""

    def both(earlier: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
        known = {item: found for item, found in earlier.items() if found is not None}
        return {**earlier, **ours, **known}

    baseline = None if now.baseline is None else both(before.baseline, now.baseline)
    case = replace(now, candidate=both(before.candidate, now.candidate), baseline=baseline)
    is_new = any(
        found is not None and before.candidate.get(item) is None for item, found in now.candidate.items()
    )
    return case if is_new else replace(case, remark=_NOTHING_NEW)


def _samples(before: QuantileCase, now: QuantileCase) -> QuantileCase:
    groups: list[Hashable] | None = None
    if before.groups is not None and now.groups is not None:
        # Rounds of another run are other rounds, also where they have the same number.
        groups = [*((0, group) for group in before.groups), *((1, group) for group in now.groups)]
    return replace(
        now,
        samples=[*before.samples, *now.samples],
        groups=groups,
        errors=before.errors + now.errors,
        client_error=max(before.client_error, now.client_error, key=abs),
    )


def _starts(before: RatioCase, now: RatioCase) -> RatioCase:
    """Rounds of one start more are more rounds; where starts are the sample, they are more starts."""
    share = max(before.client_share, now.client_share)
    by_start = [len(case.starts) >= LEAST_STARTS for case in (before, now)]
    if all(by_start):
        return replace(now, starts=[*before.starts, *now.starts], client_share=share)
    if any(by_start):
        counts = f"{len(before.starts)} and {len(now.starts)}"
        return replace(now, refused=f"the two looks compare {counts} starts: give the same --llmperf-starts")
    return replace(
        now, starts=[[pair for case in (before, now) for rounds in case.starts for pair in rounds]]
    )


def _worse(before: float | None, now: float | None, at_least: bool) -> float | None:
    if before is None or now is None:
        return None  # not measured once is not measured
    return min(before, now) if at_least else max(before, now)


def _worse_pair(before: ValueRatioCase, now: ValueRatioCase) -> ValueRatioCase:
    def ratio(case: ValueRatioCase) -> float | None:
        return case.candidate / case.baseline if case.candidate and case.baseline else None

    ours, theirs = ratio(now), ratio(before)
    if ours is None or theirs is None:
        return replace(now, candidate=None)
    worse = before if (theirs < ours) == now.at_least else now
    return replace(now, candidate=worse.candidate, baseline=worse.baseline)
