"""Perplexity: how surprised a model is by texts, alone or against another on the same texts.

Weighted by tokens, and paired by document: the log of the ratio of two perplexities is the sum of what the documents'
log probabilities differ by, over their tokens (``stats.ratio_of_sums``). That needs the same tokens on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import bound_of
from pytest_llmperf.gates.case import Case, Damage
from pytest_llmperf.gates.comparable import Asked, Estimand
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.ratio_of_sums import ratio_of_sums

Documents = Mapping[str, Sequence[float] | None]
"""By document: tokens that were scored, the sum of their log probabilities, and that of the first; None: an error."""
METHOD = "ratio of sums by document, Student's t"
_LEAST = 10


@dataclass(frozen=True, kw_only=True)
class PerplexityCase(Case):
    """Is the perplexity, or its ratio to the baseline's where there are documents of one, at most the bound?"""

    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "document",
        "remark": "not planned: texts differ by what only a run shows",
    }
    candidate: Documents = field(repr=False)
    baseline: Documents | None = field(default=None, repr=False)
    at_least: bool = False

    @property
    def label(self) -> str:
        return self.metric if self.baseline is None else f"{self.metric} ratio"

    @property
    def verdict_unit(self) -> str:
        return "" if self.baseline is None else "ratio"

    @property
    def size(self) -> int:
        return len(self.candidate)

    @property
    def damage(self) -> Damage:
        return "share"

    def damaged(self, by: float, seed: int = 0) -> Self:
        """Every text more surprising by the same factor: a perplexity higher by ``by``."""
        del seed
        worse = math.log1p(by)
        return replace(
            self,
            candidate={
                name: None if one is None else (one[0], one[1] - worse * one[0], one[2] - worse)
                for name, one in self.candidate.items()
            },
        )

    def _verdict(self, bound: float) -> Verdict:
        if not (math.isfinite(bound) and bound > 0.0):
            raise ValueError(f"{self.label}: the bound is {bound}, a number above zero is needed")
        names = [
            name
            for name, one in self.candidate.items()
            if one and (self.baseline is None or self.baseline.get(name))
        ]
        lost = self.size - len(names)
        trouble = too_many_lost(lost, self.size, MAX_LOST_SHARE, "document")
        if len(names) < _LEAST:
            trouble = f"{len(names)} documents were scored, {_LEAST} at least are needed"
        pairs = [self._pair(name) for name in names]
        if not trouble and (
            unequal := next((n for n, p in zip(names, pairs, strict=True) if p is None), None)
        ):
            trouble = self._other_tokens(unequal)
        if trouble:
            n_needed = _LEAST if len(names) < _LEAST else None
            return invalid(
                self.label, trouble, bound=bound, n=len(names), n_needed=n_needed, unit=self.verdict_unit
            )
        scored = [pair for pair in pairs if pair is not None]
        tokens = [pair[0] for pair in scored]
        found = ratio_of_sums([pair[1] for pair in scored], tokens)
        low, high = found.bounds(1.0 - self.alpha)
        observed = math.exp(found.estimate)
        estimate = Estimate(
            self.label,
            self.verdict_unit,
            observed,
            math.exp(low),
            math.exp(high),
            len(names),
            "document",
            METHOD,
        )
        distance = abs(found.estimate - math.log(bound))
        width = high - found.estimate
        levels = [math.exp(-math.fsum(p[side] for p in scored) / math.fsum(tokens)) for side in (2, 3)]
        return verdict_of(
            estimate,
            bound,
            at_least=self.at_least,
            bound_name="floor" if self.at_least else "budget",
            alpha=self.alpha,
            p_value=None,
            n_needed=math.ceil(len(names) * (width / distance) ** 2) if distance else None,
            candidate=levels[0] if self.baseline is not None else None,
            baseline=levels[1] if self.baseline is not None else None,
            level_unit="ppl" if self.baseline is not None else "",
            detail=f"{math.fsum(tokens):,.0f} tokens" + (f"; {lost} documents were lost" if lost else ""),
        )

    def _pair(self, name: str) -> tuple[float, float, float, float] | None:
        """Tokens, what is summed, and the log probability of each side; None where the tokens are not the same."""
        ours = self.candidate[name]
        assert ours is not None
        if self.baseline is None:
            return float(ours[0]), -float(ours[1]), float(ours[1]), 0.0
        theirs = self.baseline[name]
        assert theirs is not None
        # A tokenizer that begins with a token of its own gives the first of the text a probability, another does not.
        if ours[0] == theirs[0] + 1:
            ours = (ours[0] - 1, ours[1] - ours[2])
        elif theirs[0] == ours[0] + 1:
            theirs = (theirs[0] - 1, theirs[1] - theirs[2])
        if ours[0] != theirs[0] or ours[0] < 1:
            return None
        return float(ours[0]), float(theirs[1] - ours[1]), float(ours[1]), float(theirs[1])

    def _other_tokens(self, name: str) -> str:
        ours, theirs = self.candidate[name], (self.baseline or {}).get(name)
        return (
            f"the tokenizers cut the texts differently ({name}: {ours and ours[0]:g} tokens and "
            f"{theirs and theirs[0]:g}): perplexities per token cannot be compared"
        )


@dataclass(frozen=True, eq=False)
class Perplexity(Estimand):
    """Of one model over documents. ``perplexity(a) <= perplexity(b) * 1.05``, or against a number."""

    metric: str
    documents: Documents = field(repr=False)

    @property
    def label(self) -> str:
        return self.metric

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.05, or {self.metric} <= 12.5"

    @property
    def size(self) -> int:
        return len(self.documents)

    @property
    def value(self) -> float | None:
        """The perplexity, for printing; None when nothing was scored."""
        scored = [one for one in self.documents.values() if one]
        tokens = sum(one[0] for one in scored)
        return math.exp(-math.fsum(one[1] for one in scored) / tokens) if tokens else None

    def __mul__(self, factor: object) -> ScaledPerplexity:
        return ScaledPerplexity(self, bound_of(factor, "ratio", metric=f"{self.metric} ratio"))

    __rmul__ = __mul__

    def __le__(self, other: object) -> Judgement:
        return self._compare(other, at_least=False)

    def __ge__(self, other: object) -> Judgement:
        return self._compare(other, at_least=True)

    def _compare(self, other: object, *, at_least: bool) -> Judgement:
        if isinstance(other, ScaledPerplexity):
            base = other.perplexity
            return self._judged(
                other.factor,
                lambda asked: self._case(asked, base.documents, at_least=at_least),
                also=f"baseline: {base.unusable}" if base.unusable else "",
            )
        return self._against(other, "", lambda asked: self._case(asked, None, at_least=at_least))

    def _case(self, asked: Asked, baseline: Documents | None, *, at_least: bool) -> PerplexityCase:
        return PerplexityCase(
            metric=self.metric, candidate=self.documents, baseline=baseline, at_least=at_least, **asked
        )


@dataclass(frozen=True, eq=False)
class ScaledPerplexity:
    """``perplexity * 1.05``: another model's and how far above it one may be. Only there to be compared with."""

    perplexity: Perplexity
    factor: Bound | Incomparable

    def __le__(self, other: object) -> Judgement:
        return _perplexity(other) >= self

    def __ge__(self, other: object) -> Judgement:
        return _perplexity(other) <= self

    __lt__ = __le__
    __gt__ = __ge__

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self.perplexity.label} times a factor is not true or false: compare a perplexity with it"
        )


def _perplexity(other: object) -> Perplexity:
    if not isinstance(other, Perplexity):
        raise TypeError(f"a scaled perplexity is compared with another perplexity, not with {other!r}")
    return other
