"""Perplexity: how surprised a model is by texts, alone or against another on the same texts.

Weighted by tokens, and paired by document: the log of the ratio of two perplexities is the sum of what the documents'
log probabilities differ by, over their tokens (``stats.ratio_of_sums``). That needs the same tokens on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from pytest_llmperf.gates.comparable import Asked
from pytest_llmperf.gates.decision import MAX_LOST_SHARE, invalid, too_many_lost
from pytest_llmperf.gates.factor import Factor, FactorCase
from pytest_llmperf.gates.level import ByItem
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.stats.ratio_of_sums import ratio_of_sums

Documents = Mapping[str, Sequence[float] | None]
"""By document: tokens that were scored, the sum of their log probabilities, and that of the first; None: an error."""
_LEAST = 10


@dataclass(frozen=True, kw_only=True)
class PerplexityCase(FactorCase):
    """Is the perplexity, or its ratio to the baseline's where there are documents of one, at most the bound?"""

    unplanned: ClassVar[Mapping[str, Any]] = {
        "noun": "document",
        "remark": "not planned: texts differ by what only a run shows",
    }
    noun: ClassVar[str] = "document"
    method: ClassVar[str] = "ratio of sums by document, Student's t"

    @property
    def _unit(self) -> str:
        return ""

    @property
    def _level_unit(self) -> str:
        return "ppl"

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
        names = self._known(bound)
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
        sums = ratio_of_sums([pair[1] for pair in scored], tokens)
        low, high = sums.bounds(1.0 - self.alpha)
        levels = [math.exp(-math.fsum(p[side] for p in scored) / math.fsum(tokens)) for side in (2, 3)]
        detail = f"{math.fsum(tokens):,.0f} tokens" + (f"; {lost} documents were lost" if lost else "")
        found = math.exp(sums.estimate), math.exp(low), math.exp(high)
        return self._told(bound, found, len(names), levels, detail)

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
class Perplexity(Factor):
    """Of one model over documents. ``perplexity(a) <= perplexity(b) * 1.05``, or against a number."""

    kind: ClassVar[str] = "perplexity"
    documents: Documents = field(repr=False)

    @property
    def example(self) -> str:
        return f"{self.metric} <= other * 1.05, or {self.metric} <= 12.5"

    @property
    def value(self) -> float | None:
        """The perplexity, for printing; None when nothing was scored."""
        scored = [one for one in self.documents.values() if one]
        tokens = sum(one[0] for one in scored)
        return math.exp(-math.fsum(one[1] for one in scored) / tokens) if tokens else None

    @property
    def _data(self) -> ByItem:
        return self.documents

    @property
    def _unit(self) -> str:
        return ""

    def _case(self, asked: Asked, baseline: ByItem | None, *, at_least: bool) -> PerplexityCase:
        return PerplexityCase(
            metric=self.metric, candidate=self.documents, baseline=baseline, at_least=at_least, **asked
        )
