"""Distance of a candidate's next-token distribution from the baseline's: a mean per token, by answer.

The tokens are the baseline's own answers, and both models say how likely they find them (``measure.fidelity``). Answers
are the sample; the bounds are those of ``stats.per_token``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import ClassVar, NoReturn, Protocol, Self

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import Asked, Damage, Estimand
from pytest_llmperf.gates.bound import bound_of
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.mean import ByItemGate
from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.stats.per_token import LIMIT_SHARE, PerToken
from pytest_llmperf.units import format_bound, format_value

Amounts = Mapping[str, Sequence[float] | None]
"""By answer: its number of tokens, and the sum over them; None: an infrastructure error."""

LEAST_ANSWERS = 30
LOOKS = (0.3, 0.5, 0.75)
"""Shares of the planned answers. A candidate far from its bound fails at the first one; one that does not differ at all
passes when 72 % are asked, whatever their number."""
METHOD = "betting bounds by answer, truncated"


@dataclass(frozen=True, kw_only=True)
class PerTokenGate(ByItemGate):
    """Is the mean per token of what ``candidate`` sums up at most the bound?

    With ``baseline``, the baseline's distance from itself on the same answers, ``factor`` times that is allowed beside
    the bound.
    """

    item_noun: ClassVar[str] = "answer"
    measured: ClassVar[frozenset[str]] = ByItemGate.measured | {"planned", "more"}
    unrecorded: ClassVar[frozenset[str]] = frozenset({"more"})
    at_least: bool = False
    factor: float = 0.0
    planned: int | None = None
    more: Callable[[int], tuple[Amounts, Amounts | None]] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def unasked(self) -> int:
        return 0 if self.planned is None or self.refused else max(0, self.planned - self.size)

    def settled(self) -> Self:
        if self.more is None or self.planned is None or self.refused or self.bound is None:
            return self
        gate = self
        try:
            for asked in looks(self.planned):
                candidate, baseline = self.more(asked)
                gate = replace(self, candidate=candidate, baseline=baseline)
                if gate.verdict(gate.alpha).status in (Status.PASS, Status.FAIL):
                    break
        except NotMeasured as error:
            return replace(gate, refused=str(error))
        return gate

    @property
    def allowed(self) -> float:
        """The most that the mean of the sums may be."""
        return self.threshold

    def shown(self, mean: float) -> float:
        """A mean of the sums as the verdict's unit has it."""
        return mean

    def verdict(self, alpha: float) -> Verdict:
        unit = self.verdict_unit
        if not 0.0 < self.allowed < math.inf:
            why = (
                f"the bound is {format_bound(self.bound, unit)}: no number of answers can show that nothing at all "
                "differs; write what is still acceptable"
            )
            return invalid(self.label, why, bound=self.bound, n=self.size, unit=unit)
        names = self.common
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "answer")
        tokens = [float(self.candidate[name][0]) for name in names]
        if len(names) < LEAST_ANSWERS:
            trouble = f"{len(names)} answers were scored, {LEAST_ANSWERS} at least are needed"
        elif not any(tokens):
            trouble = "no answer has a token"
        elif self.baseline and (other := self._of_other_answers(names)):
            trouble = other
        if trouble:
            return invalid(self.label, trouble, bound=self.bound, n=len(names), unit=unit)
        amounts = [float(self.candidate[name][1]) for name in names]
        noise = [self.factor * self.baseline[name][1] for name in names] if self.baseline else None
        data = PerToken(amounts, tokens, self.allowed, noise, self.planned)
        low, high = data.bounds(1.0 - alpha)
        # Truncation must not make a PASS of a mean that is seen above the bound.
        low, high = min(low, data.estimate), max(high, data.estimate)
        low, high = sorted((self.shown(low), self.shown(high)))
        total = math.fsum(tokens)
        detail = [f"{total:,.0f} tokens"]
        if self.planned is not None and self.size < self.planned:
            detail.append(f"stopped early of {plural(self.planned, 'answer')}")
        if truncated := data.truncated(self.allowed):
            most = (
                f"{LIMIT_SHARE * max(len(names), self.planned or 0):.0f} times what the bound allows to one"
            )
            detail.append(f"{plural(truncated, 'answer')} above {most}, counted as that")
        if not any(amounts) and self.kind == "divergence":
            detail.append("every log probability is the same to the last bit")
        if lost:
            detail.append(f"{plural(lost, 'answer')} lost")
        return verdict_of(
            Estimate(self.label, unit, self.shown(data.estimate), low, high, len(names), "answer", METHOD),
            self.threshold,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "limit",
            alpha=alpha,
            p_value=None,
            n_needed=self._needed(data, len(names), alpha),
            candidate=None if noise is None else math.fsum(amounts) / total,
            baseline=None if noise is None else math.fsum(noise) / self.factor / total,
            level_unit="" if noise is None else unit,
            detail="; ".join(detail),
        )

    def _of_other_answers(self, names: Sequence[str]) -> str:
        """Say why the noise cannot be taken off: it was measured on answers of another length."""
        assert self.baseline is not None
        for name in names:
            own, other = self.candidate[name], self.baseline[name]
            if own and other and own[0] != other[0]:
                return (
                    f"the answer to {name} has {own[0]:g} tokens in the divergence and {other[0]:g} in the noise; "
                    "both must be of the baseline's answers to the same task: fidelity.noise(baseline), or "
                    "consistency(baseline)"
                )
        return ""

    def _needed(self, data: PerToken, n: int, alpha: float) -> int | None:
        """Answers that would decide: the evidence grows by a factor an answer."""
        evidence = math.log(data.e_value(self.allowed, below=data.estimate < self.allowed))
        return math.ceil(n * math.log(1.0 / alpha) / evidence) if evidence > 0.1 else None

    def plan(self, prior: Verdict | None) -> PlannedGate:
        """Say what the number of answers is worth where the two sides do not differ at all."""
        del prior
        size = self.planned or self.size
        gate = replace(self.unplanned, n=size, noun=self.item_noun, at_most=self.planned is not None)
        if not 0.0 < self.allowed < math.inf:
            return replace(gate, warning="can never pass: no number of answers shows that nothing differs")
        needed = _answers_needed(self.allowed, self.alpha)
        if size < needed:
            return replace(
                gate,
                warning=f"cannot pass: {needed} answers are needed where nothing differs, {size} are asked",
            )
        limit = format_value(self.shown(2.0 * self.allowed), self.verdict_unit)
        return replace(
            gate,
            assumed="nothing differs",
            remark=f"passes where nothing differs ({needed} answers would do); {limit}, spread evenly over the "
            f"answers, fails",
        )


def looks(planned: int) -> list[int]:
    """Return the numbers of answers after which a gate looks whether it is decided, last ``planned``.

    A look costs no error: the evidence (``PerToken.e_value``) is a bet on one hypothesis, the same at every look but
    for the length of the answers that are still to come, and exceeds 1/α at any time with probability α at most.
    """
    early = (max(LEAST_ANSWERS, round(share * planned)) for share in LOOKS)
    return [*sorted({n for n in early if n < planned}), planned]


def _answers_needed(allowed: float, alpha: float) -> int:
    """Answers of one length that pass where nothing differs."""
    n = LEAST_ANSWERS
    while PerToken([0.0] * n, [1.0] * n, allowed).e_value(allowed, below=True) < 1.0 / alpha:
        n += 1
    return n


class GrowingAmounts(Protocol):
    """Amounts of the first n answers, measured when a gate looks."""

    @property
    def planned(self) -> int:
        """The most answers there may be."""
        ...

    def first(self, n: int) -> Amounts:
        """Raise :class:`NotMeasured` for what must not be judged."""
        ...


@dataclass(frozen=True, eq=False)
class PerTokenEstimand(Estimand):
    """A mean over tokens; ``amounts`` holds, of each answer, its tokens and their sum."""

    metric: str
    amounts: Amounts = field(repr=False)
    growing: GrowingAmounts | None = field(default=None, repr=False)
    """Amounts that the gate measures only as far as it needs them; ``amounts`` is empty then."""

    @property
    def label(self) -> str:
        return self.metric

    @property
    def size(self) -> int:
        return self.growing.planned if self.growing else len(self.amounts)


# Divergence


@dataclass(frozen=True, kw_only=True)
class DivergenceGate(PerTokenGate, kind="divergence"):
    """Is the divergence per token (k3, nats) at most the bound, or at most that above the baseline's own noise?"""

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} above noise"

    @property
    def verdict_unit(self) -> str:
        return "nat/tok"

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Add ``by`` times the bound to the divergence of every token."""
        del seed
        more = by * self.threshold
        changed = {
            name: None if found is None else (found[0], found[1] + more * found[0])
            for name, found in self.candidate.items()
        }
        return replace(self, candidate=changed)


@dataclass(frozen=True, eq=False)
class Divergence(PerTokenEstimand):
    """``fidelity(a, b).divergence <= 1e-5``, or ``<= fidelity.noise(b) + 1e-5``."""

    what: ClassVar[str] = "divergence"

    @property
    def example(self) -> str:
        return f"{self.metric} <= 1e-5, or {self.metric} <= fidelity.noise(baseline) + 1e-5"

    @property
    def value(self) -> float | None:
        """The divergence per token, for printing; None when nothing was scored."""
        amounts = self.growing.first(self.growing.planned) if self.growing else self.amounts
        scored = [found for found in amounts.values() if found]
        tokens = math.fsum(found[0] for found in scored)
        return math.fsum(found[1] for found in scored) / tokens if tokens else None

    def __add__(self, more: object) -> AboveNoise:
        return AboveNoise(self, 1.0) + more

    def __mul__(self, factor: object) -> AboveNoise:
        return AboveNoise(self, _factor(factor))

    __rmul__ = __mul__

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if at_least:
            raise TypeError(f"{self.label} is good when it is low: write {self.example}")
        if isinstance(other, AboveNoise):
            if other.more is None:
                raise TypeError(f"{self.label}: noise may be exactly zero, add to it: write {self.example}")
            base, factor = other.base, other.factor
            return self.judge_by(other.more, lambda asked: self._gate(asked, base, factor), baseline=base)
        return self.judge_against(other, "nat/tok", lambda asked: self._gate(asked, None, 0.0))

    def _gate(self, asked: Asked, noise: Divergence | None, factor: float) -> DivergenceGate:
        gate = DivergenceGate(
            metric=self.metric,
            candidate=self.amounts,
            baseline=None if noise is None else noise.amounts,
            factor=factor,
            **asked,
        )
        growing = self.growing or (None if noise is None else noise.growing)
        if growing is None:
            return gate

        def more(n: int) -> tuple[Amounts, Amounts | None]:
            asked_for = growing.first(n)
            return self._first(n, asked_for), None if noise is None else noise._first(n, asked_for)

        return replace(gate, planned=growing.planned, more=more)

    def _first(self, n: int, answers: Iterable[str]) -> Amounts:
        """The amounts of the first ``n`` answers; where all were measured at once, those of ``answers``."""
        if self.growing is not None:
            return self.growing.first(n)
        return {name: self.amounts.get(name) for name in answers}


@dataclass(frozen=True, eq=False)
class AboveNoise:
    """``fidelity.noise(baseline) * 2 + 1e-5``: the right side of a comparison with a divergence."""

    base: Divergence
    factor: float
    more: Bound | Incomparable | None = None

    def __add__(self, more: object) -> AboveNoise:
        if self.more is not None:
            raise TypeError("two things are added to the noise: add one number or budget")
        return replace(self, more=bound_of(more, "nat/tok", metric=f"{self.base.label} above noise"))

    def __bool__(self) -> NoReturn:
        raise TypeError("noise is not true or false: compare a divergence with it")


def _factor(value: object) -> float:
    found = bound_of(value, "ratio", metric="a multiple of the noise")
    if isinstance(found, Incomparable) or found.value <= 0.0:
        raise TypeError(f"noise is multiplied by a number above zero, not by {value!r}")
    return float(found.value)


# Agreement


@dataclass(frozen=True, kw_only=True)
class AgreementGate(PerTokenGate, kind="agreement"):
    """Is the share of tokens that are the candidate's most likely ones at least the bound?

    The amounts are tokens that are not.
    """

    damage: ClassVar[Damage] = "points"
    at_least: bool = True

    @property
    def verdict_unit(self) -> str:
        return "share"

    @property
    def allowed(self) -> float:
        return 1.0 - self.threshold

    def shown(self, mean: float) -> float:
        return min(1.0, max(0.0, 1.0 - mean))

    def mutate(self, by: float, seed: int = 0) -> Self:
        """Turn a share ``by`` of all tokens into such that the candidate would not have chosen."""
        random = Random(seed)
        changed = {
            name: None
            if found is None
            else (
                found[0],
                found[1] + sum(random.random() < by for _ in range(int(found[0] - found[1]))),
            )
            for name, found in self.candidate.items()
        }
        return replace(self, candidate=changed)


@dataclass(frozen=True, eq=False)
class Agreement(PerTokenEstimand):
    """``fidelity(a, b).top_token_agreement >= 0.995``."""

    what: ClassVar[str] = "agreement"

    @property
    def example(self) -> str:
        return f"{self.metric} >= 0.995"

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if not at_least:
            raise TypeError(f"{self.label} is good when it is high: write {self.example}")
        growing = self.growing
        return self.judge_against(
            other,
            "share",
            lambda asked: AgreementGate(
                metric=self.metric,
                candidate=self.amounts,
                planned=growing.planned if growing else None,
                more=(lambda n: (growing.first(n), None)) if growing else None,
                **asked,
            ),
        )
