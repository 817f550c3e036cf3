"""Base of every kind of gate: the gate with its data, its JSON, and the estimands that suites compare.

A kind of gate is one class. It holds its data and says how they are judged (``verdict``), pooled with an earlier look's
(``merge``), damaged for mutation tests (``mutate``) and what they will decide (``plan``)::

    @dataclass(frozen=True, kw_only=True)
    class Largest(Gate, kind="largest"):
        values: Sequence[float]

A comparison of an :class:`Estimand` makes a gate; the run collects its data, judges it and records it.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NoReturn, Self, TypedDict, TypeVar

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.bound import Points, bound_of
from pytest_llmperf.gates.decision import ALPHA, LOST, invalid
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.json_values import Json, JsonObject

Damage = Literal["points", "share"]
"""``points``: an absolute change of a share (0.05: five points); ``share``: a relative one (0.05: 5 % longer)."""

GATE_KINDS: dict[str, type[Gate]] = {}
"""Every kind of gate by the name that a record gives it."""

_LOOK_FIELDS = frozenset({"bound", "origin", "refused", "spent", "stands", "remark", "first_error"})
"""Fields of every gate that may differ between two looks at the same question."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One gate with its data: what an assert asked, kept so that it can be judged again.

    ``bound`` is None only where ``refused`` says why there is none. ``refused``: why these data are not judged,
    whatever they say (a warm cache, an overloaded client, no budget for this device). ``at_least``: high values are
    good. ``spent``: the error of each look so far, this one last (``early_stopping.spending``). ``stands``: the
    decision of an earlier look. ``remark``: a line below the verdict. ``first_error`` gives the first error among the
    data, for a verdict of too many lost; it is not recorded, as the verdict that tells it is.
    """

    metric: str
    bound: float | None
    origin: str = ""
    refused: str = ""
    at_least: bool = True
    spent: Sequence[float] = (ALPHA,)
    stands: Status | None = None
    remark: str = ""
    first_error: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    kind: ClassVar[str] = ""
    damage: ClassVar[Damage] = "share"
    """Unit of what :meth:`mutate` takes."""
    measured: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold data, and may differ between two looks at the same question."""
    data_noun: ClassVar[str] = "items"
    """Plural noun for the data that are measured only as far as a decision needs them."""
    unrecorded: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not recorded: handles that measure more data."""

    def __init_subclass__(cls, *, kind: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if not kind:
            return
        known = GATE_KINDS.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"two kinds of gate are called {kind!r}: {known.__module__}.{known.__qualname__} and "
                f"{cls.__module__}.{cls.__qualname__}; give one of them another name"
            )
        cls.kind = kind
        GATE_KINDS[kind] = cls

    # What a kind of gate defines

    @property
    def verdict_unit(self) -> str:
        """Unit of the bound and of what is observed: ``share``, ``points``, ``ratio``, ``s``, …"""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Number of data."""
        raise NotImplementedError

    def verdict(self, alpha: float) -> Verdict:
        """Judge the data against :attr:`threshold`, each wrong decision with probability ``alpha`` at most."""
        raise NotImplementedError

    def merge(self, earlier: Self) -> Self:
        """Return the gate with the data of ``earlier``, the same question, before its own."""
        raise NotImplementedError

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Return the gate with the candidate's data worse by ``by``, at places drawn from ``seed``."""
        raise NotImplementedError

    def plan(self, prior: Verdict | None) -> PlannedGate:
        """Forecast the gate; ``prior`` is its verdict in an earlier run. ``ValueError`` for an impossible bound."""
        del prior
        return replace(self.unplanned, remark="not planned: this kind of gate makes no forecast")

    @property
    def label(self) -> str:
        """The metric as the verdict names it."""
        return self.metric

    @property
    def target(self) -> float | None:
        """The value that ``observed`` must reach: the bound; for a margin below the baseline, minus the margin."""
        return self.bound

    @property
    def unasked(self) -> int:
        """Number of data that the run did not have to measure because the gate was decided early."""
        return 0

    def settled(self) -> Self:
        """Return the gate with as much data as its decision needs, measuring them if they are not there yet."""
        return self

    # What all kinds share

    def collected(
        self, sizes: Iterable[int], first: Callable[[int], Self], is_decided: Callable[[Self], bool]
    ) -> Self:
        """Return the gate with as many data as decide it, the last of ``sizes`` at most.

        ``first(n)`` gives the gate with the first ``n`` data, measuring those that are not there yet. A gate whose data
        cannot be measured is refused with the reason.
        """
        gate = self
        try:
            for size in sizes:
                gate = first(size)
                if is_decided(gate):
                    break
        except NotMeasured as error:
            return replace(gate, refused=str(error))
        return gate

    @property
    def threshold(self) -> float:
        """The bound, for code that runs only where there is one."""
        assert self.bound is not None, "a gate without a bound is refused before it is judged"
        return self.bound

    @property
    def alpha(self) -> float:
        """Probability of a wrong PASS, and of a wrong FAIL, of this look."""
        return self.spent[-1]

    def judge(self) -> Verdict:
        """Return the verdict on the data that are there. The same data always give the same verdict."""
        if self.refused or self.bound is None:
            why = self.refused or "there is no bound"
            verdict = invalid(self.label, why, bound=self.bound, n=self.size, unit=self.verdict_unit)
        else:
            verdict = _keep_decision(self.verdict(self.alpha), self.stands)
            lines = (verdict.detail, early_stopping.describe_looks(self.spent), self.remark)
            verdict = replace(verdict, detail="\n".join(filter(None, lines)))
            if LOST in verdict.why and self.first_error is not None and (error := self.first_error()):
                verdict = replace(verdict, why=f"{verdict.why}; the first: {error}")
        return replace(verdict, origin=self.origin)

    def same_question(self, other: Gate) -> bool:
        """Return whether both ask the same, apart from the bound."""
        return type(self) is type(other) and self._question() == other._question()

    def add_to(self, earlier: Gate, decided: Status, spent: Sequence[float]) -> Self:
        """Return the gate with the data of ``earlier`` pooled in, whose verdict was ``decided``.

        ``spent`` is the error of all looks, this one last. A decision of an earlier look stands. A gate that cannot be
        pooled is refused with the reason.
        """
        if not isinstance(earlier, type(self)) or not self.same_question(earlier):
            return replace(
                self, refused=f"an earlier look at {earlier.label} asked something else: start anew"
            )
        if earlier.bound != self.bound:
            was = "no bound" if earlier.bound is None else f"{earlier.bound:g}"
            return replace(
                self, refused=f"an earlier look judged by {was}, this one by {self.bound}: start anew"
            )
        if earlier.refused or decided is Status.INVALID:
            why = earlier.refused or "an earlier look was INVALID"
            return replace(self, refused=f"{why}: data that cannot be judged are not added to, start anew")
        if self.refused or self.bound is None:
            return replace(self, spent=tuple(spent))
        stands = decided if decided in (Status.PASS, Status.FAIL) else None
        return replace(self, spent=tuple(spent), stands=stands).merge(earlier)

    def forecast(self, prior: Verdict | None = None) -> PlannedGate:
        """Return the forecast of :meth:`plan`, or a warning if the gate will be INVALID whatever is measured."""
        if self.refused or self.bound is None:
            return replace(self.unplanned, warning=f"will be INVALID: {self.refused or 'there is no bound'}")
        return self.plan(prior)

    @property
    def unplanned(self) -> PlannedGate:
        """The gate without a forecast."""
        return PlannedGate(
            label=self.label,
            unit=self.verdict_unit,
            bound=self.target,
            at_least=self.at_least,
            n=self.size,
            noun="measurement",
            origin=self.origin,
        )

    def to_json(self) -> dict[str, Json]:
        """Return strings, finite numbers, lists, dictionaries and None. ``TypeError`` for a class without ``kind``."""
        if GATE_KINDS.get(self.kind) is not type(self):
            raise TypeError(
                f'{type(self).__name__} has no name in records: write class {type(self).__name__}(…, kind="…")'
            )
        names = [f.name for f in fields(self) if f.name not in {*self.unrecorded, "first_error"}]
        return {"kind": self.kind} | {name: _encode(getattr(self, name)) for name in names}

    def _question(self) -> dict[str, object]:
        apart = _LOOK_FIELDS | self.measured
        return {"label": self.label} | {name: v for name, v in vars(self).items() if name not in apart}


def gate_from_json(values: JsonObject) -> Gate:
    """Return the gate of :meth:`Gate.to_json`, with tuples for lists.

    Raises ``KeyError`` for a kind that neither this package nor an imported module defines, ``TypeError`` or
    ``ValueError`` for other fields than the kind has.
    """
    read = {name: _decode(value) for name, value in values.items()}
    if read.get("stands") is not None:
        read["stands"] = Status(read["stands"])
    kind = read.pop("kind")
    if kind not in GATE_KINDS:
        # A process that reads a record and judges nothing has imported no kind.
        for module in pkgutil.iter_modules([str(Path(__file__).parent)], f"{__package__}."):
            importlib.import_module(module.name)
    if kind not in GATE_KINDS:
        raise KeyError(f"no imported module defines a gate of the kind {kind!r}")
    return GATE_KINDS[kind](**read)


def _encode(value: Any) -> Any:
    """Make JSON of a value; it has no NaN and no infinity, and a dictionary's keys would be redacted by their names."""
    if isinstance(value, Mapping):
        return {"items": [[str(key), _encode(entry)] for key, entry in value.items()]}
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if type(value).__name__ in ("bool_", "bool"):  # numpy's
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, Sequence):
        return [_encode(entry) for entry in value]
    # No gate can judge it; it must stay something that no gate can judge.
    return repr(value)


def _decode(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "float" in value:
            return float(value["float"])
        return {key: _decode(entry) for key, entry in value["items"]}
    return tuple(map(_decode, value)) if isinstance(value, list) else value


def _keep_decision(verdict: Verdict, stands: Status | None) -> Verdict:
    """Keep the decision of an earlier look, whose error is spent; only a PASS yields to a FAIL."""
    if stands is None or verdict.status in (Status.INVALID, Status.FAIL, stands):
        return verdict
    why = f"{verdict.why}; the {stands.value} of an earlier look stands"
    return replace(verdict, status=stands, n_needed=None, why=why)


# Who judges


Judge = Callable[[Gate], Judgement]
"""Receives every gate that a comparison makes; the plugin's collects, judges and records it under the run's policy."""

Side = Literal["", "candidate", "baseline"]
"""Which of the two models of a run something was measured of; empty where it is neither, or both."""


@dataclass(frozen=True)
class SidedJudge:
    """A judge of what was measured of one side."""

    judge: Judge
    side: Side

    def __call__(self, gate: Gate) -> Judgement:
        return self.judge(gate)


def side_of(judge: Judge) -> Side:
    """Return the side of what ``judge`` judges."""
    return judge.side if isinstance(judge, SidedJudge) else ""


def strict(gate: Gate) -> Judgement:
    """Judge without a plugin: INCONCLUSIVE fails."""
    return Judgement(gate.settled().judge(), "fail")


# What suites compare


class Asked(TypedDict):
    """The fields of a gate that come from the right side of a comparison."""

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
    """Why these data must not be judged whatever they say (a warm cache, an overloaded client)."""
    first_error: Callable[[], str] | None = field(default=None, repr=False)
    """Gives the first error among the requests that these data come from; empty if there is none."""

    what: ClassVar[str] = "estimand"
    """The noun for it in error messages."""

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
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        """Judge ``self >= other`` if ``at_least``, else ``self <= other``."""
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
        """Number of data."""
        raise NotImplementedError

    def judge_against(self, other: object, unit: str, gate: Callable[[Asked], Gate]) -> Judgement:
        """Judge the gate with ``other``, a number or budget in ``unit``, as its bound."""
        if isinstance(other, Estimand):
            raise TypeError(
                f"{self.label} is compared with {other.label} without a margin: write {self.example}"
            )
        return self.judge_by(bound_of(other, unit, metric=self.label), gate)

    def judge_by(
        self,
        bound: Bound | Points | Incomparable,
        gate: Callable[[Asked], Gate],
        *,
        baseline: Estimand | None = None,
    ) -> Judgement:
        """Judge the gate with ``bound``; ``baseline`` is the estimand on the right of the comparison, if any."""
        value = None
        if not isinstance(bound, Incomparable):
            value = bound.share if isinstance(bound, Points) else float(bound.value)
        missing = bound.why if isinstance(bound, Incomparable) else ""
        unusable = self.unusable or (self._unusable_beside(baseline) if baseline is not None else "")
        made = gate({"bound": value, "origin": bound.origin, "refused": unusable or missing})
        if not made.refused and (turned := _turned_round(bound, made)):
            made = replace(made, refused=turned)
        return self.judge(replace(made, first_error=_first_error(self, baseline)))

    def _unusable_beside(self, baseline: Estimand) -> str:
        """Return why this is not judged against ``baseline``; empty if it is."""
        if side_of(self.judge) == "baseline" and side_of(baseline.judge) == "candidate":
            return (
                f"the baseline stands in the candidate's place: write the candidate's {self.label} on the left of the "
                "comparison, and the baseline's with its margin or factor on the right"
            )
        return f"baseline: {baseline.unusable}" if baseline.unusable else ""


def _first_error(estimand: Estimand, baseline: Estimand | None) -> Callable[[], str] | None:
    """Return what gives the first error of either side."""
    sides = {"": estimand} if baseline is None else {"candidate: ": estimand, "baseline: ": baseline}
    asked = {side: given.first_error for side, given in sides.items() if given.first_error is not None}
    if not asked:
        return None
    return lambda: "; ".join(f"{side}{error}" for side, first in asked.items() if (error := first()))


def _turned_round(bound: Bound | Points | Incomparable, gate: Gate) -> str:
    """Return why a comparison goes against the sense of its budget; empty if it does not."""
    sense = bound.sense if isinstance(bound, Bound) else ""
    asked = "at least" if gate.at_least else "at most"
    if not sense or sense == asked:
        return ""
    right, name = (">=", "a floor") if sense == "at least" else ("<=", "a limit")
    return f"the budget is {name} ({bound.origin}) and was compared the wrong way round: write {right}"


E = TypeVar("E", bound=Estimand)


@dataclass(frozen=True, eq=False)
class Relative(Generic[E]):
    """``estimand - points(3)`` or ``estimand * 1.05``: the right side of a comparison with another of its kind."""

    base: E
    by: Points | Bound | Incomparable
    how: Literal["with a margin", "times a factor"]

    def __le__(self, other: object) -> Judgement:
        return self._same_kind(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return self._same_kind(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> NoReturn:
        what = self.base.what
        raise TypeError(f"{self.base.label} {self.how} is not true or false: compare another {what} with it")

    def _same_kind(self, other: object) -> E:
        if not isinstance(other, type(self.base)):
            what = self.base.what
            raise TypeError(f"a {what} {self.how} is compared with another {what}, not with {other!r}")
        return other


@dataclass(frozen=True, eq=False)
class Scalable(Estimand):
    """An estimand that is compared with another of its kind times a factor: ``a <= b * 1.05``."""

    metric: str

    @property
    def label(self) -> str:
        return self.metric

    def __mul__(self, factor: object) -> Relative[Self]:
        return Relative(self, bound_of(factor, "ratio", metric=f"{self.metric} ratio"), "times a factor")

    __rmul__ = __mul__
