"""What a gate will be able to say, before anything is measured: how often it errs with nothing wrong, what it catches.

Pure: from a case without data, and from the verdict of an earlier run where there is one, to numbers. Everything
is by ``stats.chances``, for a fixed number of items: the looks in between can only end the questions sooner, and what
they cost is taken off (``spending.final``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pytest_llmperf.gates import spending
from pytest_llmperf.gates.answer_cases import MarginCase, ShareCase
from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.decision import ALPHA, invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.level import LevelCase
from pytest_llmperf.gates.measured_cases import QuantileCase, RatioCase
from pytest_llmperf.gates.sensitivity import insensitive, is_sensitive
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import about, plural, show
from pytest_llmperf.stats import chances, hodges_lehmann, order_statistics, plan
from pytest_llmperf.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, z_of
from pytest_llmperf.stats.chances import Chances
from pytest_llmperf.stats.start_to_start import LEAST_STARTS, t_of

WANTED = 0.95
"""A gate that passes less often with nothing wrong is worth a warning."""
OFTEN = 0.80
DISCORDANCE = 0.20
"""Items that two equal models answer differently, where nothing is known: a fifth. Independently trained ones have more
(.26 to .41 on GSM8K), a model and its quantised self less."""
ROUND_NOISE = 0.03
"""Spread of a round's value on each side, where nothing is known; a quiet machine has less, a shared one more."""
START_NOISE = 0.03
"""Spread of one start's value around its model's, where nothing is known: two live servers of one model differed by up
to 12 % in time per output token on an H100, most by far less."""

Unit = Literal["points", "slower", "beyond", ""]
"""Of what is caught: ``points`` of a share, ``slower`` a share of the time, ``beyond`` the share of samples outside."""


@dataclass(frozen=True, kw_only=True)
class PlannedGate:
    """One gate before its data.

    ``caught_often`` and ``caught``: the smallest damage that FAILs with :data:`OFTEN` and with :data:`WANTED`, None
    where none does or none can be told. ``chances``: with nothing wrong; None where no truth is assumed.
    """

    label: str
    unit: str
    bound: float | None
    at_least: bool
    n: int
    noun: str
    at_most: bool = False
    """Whether the gate stops before ``n`` when it is clear."""
    assumed: str = ""
    chances: Chances | None = None
    caught_often: float | None = None
    caught: float | None = None
    caught_unit: Unit = ""
    remark: str = ""
    warning: str = ""
    origin: str = ""


class PlannedJudgement(Judgement):
    """What a comparison gives while the run is planned: it lets the test go on, and says PASS to nobody."""

    def __init__(self, case: Case) -> None:
        super().__init__(invalid(case.label, "planned, and not measured", unit=case.verdict_unit))

    def __bool__(self) -> bool:
        self.asked = True
        return True


def planned(case: Case, earlier: Verdict | None = None) -> PlannedGate:
    """What ``case`` will be able to say; ``earlier`` is the verdict of the same gate in a run that had data.

    ``ValueError`` for a bound that the gate itself refuses (a margin of 100 points, a ratio of zero).
    """
    gate = PlannedGate(
        label=case.label,
        unit=case.verdict_unit,
        bound=case.target,
        at_least=getattr(case, "at_least", True),
        n=case.size,
        noun="measurement",
        origin=case.origin,
    )
    if case.refused or case.bound is None:
        return replace(gate, warning=f"will be INVALID: {case.refused or 'there is no bound'}")
    if isinstance(case, ShareCase):
        return _share(gate, case, case.bound, earlier)
    if isinstance(case, MarginCase):
        return _margin(gate, case, case.bound, earlier)
    if isinstance(case, RatioCase):
        return _ratio(gate, case, case.bound, earlier)
    if isinstance(case, QuantileCase):
        return _quantile(gate, case, case.bound, earlier)
    if isinstance(case, LevelCase) and (why := _insensitive(case, gate.n, case.bound, case.alpha, earlier)):
        return replace(gate, **case.unplanned, warning=why)
    return replace(gate, **(case.unplanned or {"n": 1, "remark": _once(gate, case.bound, earlier)}))


# Shares


def _share(gate: PlannedGate, case: ShareCase, bound: float, earlier: Verdict | None) -> PlannedGate:
    n, alpha = case.planned or case.size, _alpha(case)
    gate = replace(gate, n=n, noun=case.noun, at_most=case.planned is not None, caught_unit="points")
    if n < 1:
        return replace(gate, warning="will be INVALID: no items are asked")
    if bound in (0.0, 1.0) and (bound == 1.0) == case.at_least:
        what = "floor" if case.at_least else "limit"
        return replace(gate, warning=f"can never pass: no amount of data shows a {what} of {bound:g}")

    def good(share: float) -> float:
        return share if case.at_least else 1.0 - share

    if earlier is not None and earlier.observed is not None:
        truth = min(1.0, max(0.0, good(earlier.observed)))
        assumed = f"{_percent(good(truth))} as recorded"
    else:
        truth = (1.0 + good(bound)) / 2.0
        assumed = f"{_percent(good(truth))}, half-way from the bound to {'100' if case.at_least else '0'} %"
    said = chances.of_floor(n, truth, good(bound), alpha=alpha)

    def needed() -> str:
        items = _items_for_floor(truth, good(bound), alpha)
        return f"about {about(items)} {case.noun}s" if items else ""

    return replace(
        gate,
        assumed=assumed,
        chances=said,
        caught_often=_drop_from(n, truth, good(bound), alpha, OFTEN),
        caught=_drop_from(n, truth, good(bound), alpha, WANTED),
        warning=_warning(said, truth >= good(bound), needed, assumed),
    )


def _margin(gate: PlannedGate, case: MarginCase, margin: float, earlier: Verdict | None) -> PlannedGate:
    if not -1.0 < margin < 1.0:
        raise ValueError(
            f"{case.metric}: the margin is {margin}, a share between -1 and 1 (0.03 for three points)"
        )
    n, alpha = case.planned or case.size, _alpha(case)
    gate = replace(
        gate,
        n=n,
        noun=case.noun,
        at_most=case.planned is not None,
        caught_unit="points",
        bound=margin if case.lower_is_better else -margin,
        at_least=not case.lower_is_better,
    )
    if n < 1:
        return replace(gate, warning="will be INVALID: no items are asked")
    if why := _insensitive(case, n, margin, alpha, earlier):
        return replace(gate, warning=why)
    difference, assumed = 0.0, "equal models"
    if earlier is not None and earlier.observed is not None:
        difference = -earlier.observed if case.lower_is_better else earlier.observed
        assumed = f"{show(earlier.observed, 'points')} as recorded"
    seen = None if earlier is None else earlier.discordance
    discordance = min(1.0, max(abs(difference), DISCORDANCE if seen is None else seen))
    assumed += f", {_percent(discordance)} answered differently{'' if seen is None else ' as recorded'}"
    said = _of_margin(n, difference, discordance, margin, alpha)

    def needed() -> str:
        items = _items_for_margin(difference, margin, discordance, alpha)
        wider = _margin_for(n, difference, discordance, margin, alpha)
        ways = [f"about {about(items)} {case.noun}s"] if items else []
        ways += [f"a margin of {100 * wider:.1f} points"] if wider is not None else []
        return ", or ".join(ways)

    return replace(
        gate,
        assumed=assumed,
        chances=said,
        caught_often=_drop_against(n, discordance, margin, alpha, OFTEN),
        caught=_drop_against(n, discordance, margin, alpha, WANTED),
        warning=_warning(said, difference >= -margin, needed, assumed),
    )


def _insensitive(
    case: MarginCase | LevelCase, n: int, margin: float, alpha: float, earlier: Verdict | None
) -> str:
    """Why a margin can decide nothing against the baseline (``gates.sensitivity``); empty where it may.

    The baseline's level is that of the earlier run; without one, the best there is.
    """
    if case.baseline is None or not -1.0 < margin < 1.0:
        return ""
    lower_is_better = isinstance(case, MarginCase) and case.lower_is_better
    best = 0.0 if lower_is_better else 1.0
    level = best if earlier is None or earlier.baseline is None else min(1.0, max(0.0, earlier.baseline))
    low = clopper_pearson_lower(level * n, float(n), 1.0 - alpha)
    high = clopper_pearson_upper(level * n, float(n), 1.0 - alpha)
    if is_sensitive(low, high, margin, guess=case.guess, lower_is_better=lower_is_better):
        return ""
    return f"will be INVALID: {insensitive(level, low, high, margin, case.guess, lower_is_better, alpha)}"


def _alpha(case: ShareCase | MarginCase) -> float:
    """Of the gate over all items: where it may stop before, looking has cost its part."""
    return case.alpha if case.planned is None else spending.final(case.spent)


# Speed


def _ratio(gate: PlannedGate, case: RatioCase, bound: float, earlier: Verdict | None) -> PlannedGate:
    # High is good where at_least: the same question turned round.
    budget = 1.0 / bound if case.at_least else bound
    by_start = len(case.starts) > 1
    noun, n = ("start", len(case.starts)) if by_start else ("round", gate.n)
    if by_start:
        each = max(1, gate.n // len(case.starts))
        side = math.hypot(START_NOISE, ROUND_NOISE * math.sqrt(math.pi / 3.0 / each))
        said_noise = f"{_percent(START_NOISE)} from start to start, {_percent(ROUND_NOISE)} noise a round"
    else:
        side, said_noise = ROUND_NOISE, f"{_percent(ROUND_NOISE)} noise a round"
    ratio, noise, assumed = 1.0, side * math.sqrt(2.0), f"equal servers, {said_noise}"
    # A record over rounds tells nothing of starts, nor the other way round.
    if earlier is not None and by_start is (earlier.starts is None):
        earlier = None
    if earlier is not None and earlier.observed and earlier.interval is not None and earlier.n > 1:
        ratio = 1.0 / earlier.observed if case.at_least else earlier.observed
        noise = (start_noise if by_start else round_noise)(earlier.interval, earlier.n)
        side = noise / math.sqrt(2.0)
        assumed = f"{show(earlier.observed, 'ratio')}, {_percent(side)} noise a {noun}, as recorded"
    gate = replace(gate, n=n, noun=noun, assumed=assumed, caught_unit="slower")
    least = LEAST_STARTS if by_start else hodges_lehmann.least_n(1.0 - case.alpha)
    if n < least:
        return replace(gate, warning=f"will be INVALID: {plural(n, noun)}, at least {least} are needed")
    of, enough, caught = (
        (chances.of_starts, plan.starts_for_ratio, plan.slowdown_caught_by_starts)
        if by_start
        else (chances.of_ratio, plan.rounds_for_ratio, plan.slowdown_caught_by_ratio)
    )
    said = of(n, ratio, budget, noise, alpha=case.alpha)

    def needed() -> str:
        more = enough(ratio, budget, noise, alpha=case.alpha, wanted=WANTED)
        return f"about {about(more)} {noun}s" if more else ""

    def slower(wanted: float) -> float | None:
        found = caught(n, budget, noise, alpha=case.alpha, wanted=wanted)
        return None if found is None else max(0.0, (1.0 + found) / ratio - 1.0)

    return replace(
        gate,
        chances=said,
        caught_often=slower(OFTEN),
        caught=slower(WANTED),
        warning=_warning(said, ratio <= budget, needed, assumed),
    )


def start_noise(interval: tuple[float, float], starts: int) -> float:
    """The deviation of one pair of starts, from the interval that so many gave; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / t_of(starts - 1, 1.0 - ALPHA) * math.sqrt(starts)


def round_noise(interval: tuple[float, float], rounds: int) -> float:
    """The deviation of one round's log ratio, from the interval that so many rounds gave; 0 for a degenerate one."""
    low, high = interval
    if not 0.0 < low < high < math.inf:
        return 0.0
    return math.log(high / low) / 2.0 / z_of(1.0 - ALPHA) * math.sqrt(rounds * 3.0 / math.pi)


def _quantile(gate: PlannedGate, case: QuantileCase, bound: float, earlier: Verdict | None) -> PlannedGate:
    """Absolute times: what they will be nobody knows, but how many samples may exceed the budget is arithmetic.

    The samples of one round count as one, which they are worth at least.
    """
    rounds = len(set(case.groups)) if case.groups is not None else case.size
    gate = replace(
        gate, n=rounds, noun=case.group_noun if case.groups is not None else case.noun, caught_unit="beyond"
    )
    # Against a floor the few bad samples lie below the quantile, and a p50 has as many on either side.
    q = 1.0 - case.q if case.at_least else case.q
    least = order_statistics.least_n(q, 1.0 - case.alpha)
    if rounds < least:
        worth = f"{plural(rounds, gate.noun)} may be worth no more than {rounds} samples"
        return replace(gate, warning=f"may be INVALID: {worth}, p{100 * case.q:.6g} needs {least}")
    green = _beyond(rounds, q, case.alpha, lambda said: said.passes >= WANTED, last=True)
    assumed = f"nothing: passes while at most {_percent(green or 0.0)} of the samples are beyond"
    return replace(
        gate,
        assumed=assumed,
        caught_often=_beyond(rounds, q, case.alpha, lambda said: said.fails >= OFTEN, last=False),
        caught=_beyond(rounds, q, case.alpha, lambda said: said.fails >= WANTED, last=False),
        remark=_room(case, bound, earlier),
    )


def _beyond(n: int, q: float, alpha: float, holds: Callable[[Chances], bool], *, last: bool) -> float | None:
    """The last (first) share of samples beyond the bound for which something holds that ends (begins) to hold."""
    low, high = 0.0, 1.0
    if not holds(chances.of_quantile(n, 1.0 if last else 0.0, q, alpha=alpha)):
        return None
    while high - low > 1e-5:
        middle = (low + high) / 2.0
        low, high = (
            (middle, high)
            if holds(chances.of_quantile(n, 1.0 - middle, q, alpha=alpha)) == last
            else (low, middle)
        )
    return low if last else high


def _room(case: QuantileCase, bound: float, earlier: Verdict | None) -> str:
    """From when on the recorded samples would no longer pass, and from when on they would fail."""
    if earlier is None or earlier.observed is None or earlier.interval is None:
        return ""
    low, high = earlier.interval
    if not 0.0 < low <= high < math.inf or bound <= 0.0:
        return ""
    passing, failing = (low / bound, high / bound) if case.at_least else (bound / high, bound / low)
    room = f"passes up to {_change(passing)}, fails from {_change(failing)} on"
    return f"{show(earlier.observed, case.unit)} as recorded: {room}"


def _once(gate: PlannedGate, bound: float, earlier: Verdict | None) -> str:
    single = "single measurement, no power"
    if earlier is None or not earlier.observed or earlier.observed < 0.0 or bound <= 0.0:
        return single
    room = earlier.observed / bound if gate.at_least else bound / earlier.observed
    return f"{single}; {show(earlier.observed, gate.unit)} as recorded, fails from {_change(room)} on"


# The sentence


def _warning(said: Chances, is_met: bool, needed: Callable[[], str], assumed: str) -> str:
    """Empty for a gate that passes often enough when what is assumed is true."""
    if said.passes >= WANTED:
        return ""
    if not is_met:
        return f"FAIL in {_rate(said.fails)} of runs: the truth assumed misses the bound ({assumed})"
    ways = needed()
    advice = (
        f"{ways} would give {_percent(WANTED)}" if ways else "too close to the bound for any number of them"
    )
    return f"passes in only {_rate(said.passes)} of runs with nothing wrong ({assumed}): {advice}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.01 else f"{100 * share:.3g} %"


def _rate(chance: float) -> str:
    """Never rounded to a certainty, nor up to what is wanted."""
    return f"{min(99.9, math.floor(1000 * chance) / 10):.3g} %"


def _change(factor: float) -> str:
    return f"{100 * (factor - 1.0):+.0f} %"


# Searches that take up to a second: the same question is asked by several gates.


@lru_cache(maxsize=256)
def _of_margin(n: int, difference: float, discordance: float, margin: float, alpha: float) -> Chances:
    return chances.of_margin(n, difference, discordance, margin, alpha=alpha)


@lru_cache(maxsize=256)
def _drop_against(n: int, discordance: float, margin: float, alpha: float, wanted: float) -> float | None:
    return plan.drop_caught_by_margin(n, discordance, margin, alpha=alpha, wanted=wanted)


@lru_cache(maxsize=256)
def _drop_from(n: int, truth: float, floor: float, alpha: float, wanted: float) -> float | None:
    return plan.drop_caught_by_floor(n, truth, floor, alpha=alpha, wanted=wanted)


@lru_cache(maxsize=256)
def _items_for_floor(truth: float, floor: float, alpha: float) -> int | None:
    return plan.items_for_floor(truth, floor, alpha=alpha, wanted=WANTED)


@lru_cache(maxsize=256)
def _items_for_margin(difference: float, margin: float, discordance: float, alpha: float) -> int | None:
    return plan.items_for_margin(difference, margin, discordance, alpha=alpha, wanted=WANTED)


@lru_cache(maxsize=256)
def _margin_for(n: int, difference: float, discordance: float, margin: float, alpha: float) -> float | None:
    """The margin, to a tenth of a point and never too narrow, that so many items decide; None above 30 points."""
    low, high = math.floor(1000 * margin), 300
    if chances.of_margin(n, difference, discordance, high / 1000, alpha=alpha).passes < WANTED:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = chances.of_margin(n, difference, discordance, middle / 1000, alpha=alpha).passes >= WANTED
        low, high = (low, middle) if enough else (middle, high)
    return high / 1000
