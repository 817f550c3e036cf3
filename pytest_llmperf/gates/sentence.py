"""The sentence of a verdict, as a person would say it: what was seen, what is allowed, and how sure that is.

``single-stream throughput is 33.6 % below the baseline (136 against 208 tok/s); at most 18 % is allowed (…)``
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.units import format_bound, format_distinct, format_size, format_value, percent

_AT_CONCURRENCY = re.compile(
    r"(?P<what>[^,]+?) at (?P<n>\d+)(?P<rest>,.*?)?(?: (?P<quantile>p\d+(?:\.\d+)?))?"
)


def spoken(metric: str) -> str:
    """Return the metric of a closed loop as it is said; others as they are.

    >>> spoken("throughput at 1"), spoken("TTFT at 8 p95")
    ('single-stream throughput', 'p95 TTFT (8 concurrent requests)')
    """
    match = _AT_CONCURRENCY.fullmatch(metric)
    if match is None:
        return metric
    what = " ".join(filter(None, (match["quantile"], match["what"])))
    rest = match["rest"] or ""
    if match["n"] == "1":
        return f"single-stream {what}{rest}"
    return f"{what} ({match['n']} concurrent requests){rest}"


def count_words(n: int, noun: str, planned: int | None = None) -> str:
    """Return ``n = 400 items``, or where ``planned`` were not all needed ``decided after 235 of 1,500 items``."""
    if planned is None:
        return f"n = {plural(n, noun)}"
    return f"decided after {n:,} of {planned:,} {noun}s"


@dataclass(frozen=True)
class Told:
    """What a sentence tells; values in ``unit``. ``counted``: how many data there were (:func:`count_words`).

    ``turn``: what an INCONCLUSIVE sentence ends with (how many data would decide).
    """

    metric: str
    unit: str
    status: Status
    observed: float
    low: float
    high: float
    bound: float
    at_least: bool
    alpha: float
    counted: str
    turn: str = ""

    @property
    def _confidence(self) -> str:
        return percent(1.0 - self.alpha)

    @property
    def _shows_high(self) -> bool:
        """True if the upper end is the one that decided."""
        return self.at_least == (self.status is Status.FAIL)

    def against_bound(self, bound_name: str) -> str:
        """``accuracy 61.7 % is below the floor of 72 % (at most 71.3 % with 95 % confidence, n = 235 items)``."""
        low, high = (format_distinct(end, self.bound, self.unit) for end in (self.low, self.high))
        goal = f"the {bound_name} of {format_bound(self.bound, self.unit)}"
        seen = f"{spoken(self.metric)} {format_value(self.observed, self.unit)}"
        if self.status is Status.INCONCLUSIVE:
            bounds = f"{self._confidence} bounds {low} and {high}"
            return f"{seen} cannot be told from {goal} ({bounds}, {self.counted}){self.turn}"
        if self.status is Status.PASS:
            relation = "reaches" if self.at_least else "stays within"
        else:
            relation = "is below" if self.at_least else "is above"
        end = f"at most {high}" if self._shows_high else f"at least {low}"
        return f"{seen} {relation} {goal} ({end} with {self._confidence} confidence, {self.counted})"

    def against_baseline(self, candidate: float, baseline: float, level_unit: str) -> str:
        """``accuracy is 16.7 points below the baseline (62.7 against 79.3 %); at most 4 points are allowed (…)``.

        A ratio is told as the difference from 1 in percent.
        """
        metric = spoken(self.metric.removesuffix(" ratio"))
        levels = _pair(format_value(candidate, level_unit), format_value(baseline, level_unit))
        seen, bound = self._off(self.observed), self._off(self.bound)
        distance = format_distinct(abs(seen), abs(bound), "share").removesuffix(" %")
        if not distance.strip("0."):
            where = "is level with the baseline"
        else:
            where = f"is {self._size(distance)} {_side(seen)} the baseline"
        rule = self._rule(bound, seen)
        if self.status is Status.INCONCLUSIVE:
            ends = f"{self._confidence} bounds: {self._end(self.low)} and {self._end(self.high)}"
            return (
                f"{metric} {where} ({levels}); {rule}, and these data do not decide it "
                f"({ends}, {self.counted}){self.turn}"
            )
        end, most = (self.high, "at most") if self._shows_high else (self.low, "at least")
        if self._off(end) < 0.0:
            most = "at least" if most == "at most" else "at most"
        evidence = f"{most} {self._end(end)} with {self._confidence} confidence"
        return f"{metric} {where} ({levels}); {rule} ({evidence}, {self.counted})"

    def _off(self, value: float) -> float:
        """Distance from a baseline: a ratio's from 1, a difference itself."""
        return value - 1.0 if self.unit == "ratio" else value

    def _size(self, number: str) -> str:
        return f"{number} %" if self.unit == "ratio" else f"{number} point{'' if number == '1' else 's'}"

    def _end(self, end: float) -> str:
        off = self._off(end)
        number = format_distinct(abs(off), abs(self._off(self.bound)), "share").removesuffix(" %")
        return f"{self._size(number)} {_side(off)}"

    def _rule(self, bound: float, seen: float) -> str:
        """Return what is allowed or needed; the direction is left out where the sentence has just told it."""
        bad = "below" if self.at_least else "above"
        # A hair off what was written, 0.82 − 1, is no digit of it.
        size = self._size(format_size(abs(round(bound, 9)), "share").removesuffix(" %"))
        verb = "is" if self.unit == "ratio" else "are"
        if abs(bound) < 1e-9:
            return f"nothing {bad} it is allowed"
        if (bound < 0.0) == self.at_least:
            return f"at most {size}{'' if _side(seen) == bad else f' {bad}'} {verb} allowed"
        return f"at least {size} {_side(bound)} {verb} needed"


def _side(off: float) -> str:
    return "below" if off < 0.0 else "above"


def _pair(ours: str, theirs: str) -> str:
    """Return ``136 against 208 tok/s``, with one unit where both have the same."""
    number, _, unit = ours.rpartition(" ")
    same = number and theirs.endswith(f" {unit}")
    return f"{number if same else ours} against {theirs}"
