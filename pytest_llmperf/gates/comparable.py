"""What all estimands share: they carry a judge, and refuse every use that would not be a gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn, TypedDict

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import Points, bound_of
from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.judgement import Judge, Judgement, side_of, strict


class Asked(TypedDict):
    """What the right side of a comparison gives to a case."""

    bound: float | None
    origin: str
    refused: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimand:
    """Something measured that can be compared with a bound; the comparison is the gate.

    ``<`` means ``<=`` and ``>`` means ``>=``: no data tell the two apart. ``a <= x <= b`` is two gates, and
    both must pass. Truth value and ``==`` raise ``TypeError``, since neither is a gate.
    """

    judge: Judge = field(default=strict, repr=False)
    unusable: str = ""
    """Why these data must not be judged whatever they say (a warm cache, a client that could not keep up)."""

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.label} is not true or false: compare it, e.g. {self.example}")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(
            f"{self.label} cannot be equal to a number, it has an interval: write e.g. {self.example}"
        )

    def __ne__(self, other: object) -> NoReturn:
        raise TypeError(
            f"{self.label} cannot differ from a number, it has an interval: write e.g. {self.example}"
        )

    __hash__ = object.__hash__

    def __lt__(self, other: object) -> Judgement:
        return self.__le__(other)

    def __gt__(self, other: object) -> Judgement:
        return self.__ge__(other)

    def __le__(self, other: object) -> Judgement:
        raise NotImplementedError

    def __ge__(self, other: object) -> Judgement:
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The metric's name."""
        raise NotImplementedError

    @property
    def example(self) -> str:
        """A comparison that works, for error messages."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """How many data there are."""
        raise NotImplementedError

    def _against(self, other: object, unit: str, case: Callable[[Asked], Case]) -> Judgement:
        """Judge ``case`` with the value of ``other`` as its bound."""
        if isinstance(other, Estimand):
            raise TypeError(
                f"{self.label} is compared with {other.label} without a margin: write {self.example}"
            )
        return self._judged(bound_of(other, unit, metric=self.label), case)

    def _judged(
        self,
        bound: Bound | Points | Incomparable,
        case: Callable[[Asked], Case],
        *,
        other: Estimand | None = None,
    ) -> Judgement:
        """Judge ``case`` with the value of ``bound``; ``other`` is what stands in the baseline's place."""
        value = None
        if not isinstance(bound, Incomparable):
            value = bound.share if isinstance(bound, Points) else float(bound.value)
        missing = bound.why if isinstance(bound, Incomparable) else ""
        also = self._beside(other) if other is not None else ""
        refused = self.unusable or also or missing
        made = case({"bound": value, "origin": bound.origin, "refused": refused})
        if not refused and (turned := self._turned_round(bound, made)):
            made = replace(made, refused=turned)
        return self.judge(made)

    def _beside(self, other: Estimand) -> str:
        """Why nothing is to be judged of this beside ``other``; empty if something is."""
        if side_of(self.judge) == "baseline" and side_of(other.judge) == "candidate":
            return (
                f"the baseline stands in the candidate's place: write the candidate's {self.label} on the left of the "
                "comparison, and the baseline's with its margin or factor on the right"
            )
        return f"baseline: {other.unusable}" if other.unusable else ""

    def _turned_round(self, bound: Bound | Points | Incomparable, case: Case) -> str:
        """Why a comparison goes against the sense of its budget; empty if it does not."""
        sense = bound.sense if isinstance(bound, Bound) else ""
        asked = "at least" if getattr(case, "at_least", True) else "at most"
        if not sense or sense == asked:
            return ""
        right, name = (">=", "a floor") if sense == "at least" else ("<=", "a limit")
        return f"the budget is {name} ({bound.origin}) and was compared the wrong way round: write {right}"
