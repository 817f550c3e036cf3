"""The rules by which other tools let a model through, on the counts of paired answers.

Only nel gate knows INCONCLUSIVE; what the others do not fail passes.

* vLLM, ``tests/evals/gsm8k``: accuracy >= recorded − 0.08.
* vLLM, ``.buildkite/lm-eval-harness``: accuracy >= recorded × (1 − 0.08).
* sglang: accuracy >= a constant a little (here 2 points) below the recorded mean.
* TensorRT-LLM, ``tests/integration/defs/accuracy``: accuracy >= recorded − 1.645 × 50 × √(2/n) points.
* NeMo Evaluator, ``nel gate``: the normal 95 % interval of the paired difference lies above −margin; it fails below.
* lm-eval, ``scripts/model_comparator.py``: passes unless an unpaired two-sided z-test has p < 0.05.
* "not significant, so equal": exact one-sided McNemar test, passes unless p < 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.table import CODES, FAIL, INCONCLUSIVE, OURS, PASS, Decisions, decisions
from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import paired, paired_exact
from pytest_llmperf.stats.binomial import z_of

RECORDED = 0.78
"""Accuracy of the baseline, as a person wrote it down; its true accuracy as well."""
Z = z_of(0.95)
SURE = 2.4
"""Above it no critical value of ``paired_exact`` was ever found (n >= 50, margins of 1 to 10 points)."""
CHECKED = 8
"""Runs of each cell that also go through the gate itself."""


@dataclass(frozen=True)
class Counts:
    """Simulated runs of n items: right for the candidate only, for the baseline only, for both."""

    n: int
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]
    both: NDArray[np.int64]

    @property
    def candidate(self) -> NDArray[np.float64]:
        """Accuracy of the candidate."""
        return (self.both + self.gained) / self.n

    @property
    def baseline(self) -> NDArray[np.float64]:
        """Accuracy of the baseline on the same items."""
        return (self.both + self.lost) / self.n


def drawn(
    rng: np.random.Generator,
    runs: int,
    n: int,
    difference: float,
    discordance: float,
    level: float = RECORDED,
) -> Counts:
    """Runs of n items each when the truth is as stated and the baseline's accuracy is ``level``."""
    lost, gained = (discordance - difference) / 2.0, (discordance + difference) / 2.0
    both = max(0.0, level - lost)
    table = rng.multinomial(n, [gained, lost, both, max(0.0, 1.0 - gained - lost - both)], size=runs)
    return Counts(n, table[:, 0], table[:, 1], table[:, 2])


def ours(counts: Counts, margin: float, alpha: float = ALPHA) -> Decisions:
    """The gate's decision on every run; some of them are put to the gate itself, and must agree."""
    result = _each(counts, lambda gained, lost: _decide(counts.n, gained, lost, margin, alpha))
    for index in range(min(CHECKED, len(result))):
        gained, lost = int(counts.gained[index]), int(counts.lost[index])
        said = CODES[_gate(counts.n, gained, lost, margin, alpha)]
        if said != result[index]:
            raise AssertionError(
                f"the gate says {said} for {gained}, {lost} of {counts.n}, not {result[index]}"
            )
    return result


def tango(counts: Counts, margin: float) -> Decisions:
    """Tango's interval at the normal quantile, without the exact critical value."""
    z = _each_float(counts, lambda g, lost: paired.tango_z(g, lost, counts.n, -margin))
    return decisions(z > Z, z < -Z)


def wald(counts: Counts, margin: float) -> Decisions:
    """The textbook interval: difference ± z × standard error."""
    n = counts.n
    d = (counts.gained - counts.lost) / n
    error = np.sqrt(np.maximum(0.0, (counts.gained + counts.lost) / n - d * d) / n)
    return decisions(d - Z * error > -margin, d + Z * error < -margin)


def others(counts: Counts, margin: float) -> dict[str, Decisions]:
    """Decisions of the other tools, by tool; of those only nel gate is given the margin."""
    a, b, n = counts.candidate, counts.baseline, counts.n
    error = np.sqrt(a * (1.0 - a) / (n - 1) + b * (1.0 - b) / (n - 1))
    z = np.divide(b - a, error, out=np.zeros_like(a), where=error > 0)
    delta = (counts.gained - counts.lost) / n
    spread = np.sqrt(((counts.gained + counts.lost) / n - delta * delta) / (n - 1))
    mcnemar = _each_float(counts, paired.mcnemar_p_worse)
    return {
        "vLLM gsm8k (− 0.08)": decisions(a >= RECORDED - 0.08),
        "vLLM lm-eval (× 0.92)": decisions(a >= RECORDED * 0.92),
        "sglang (− 0.02)": decisions(a >= RECORDED - 0.02),
        "TensorRT-LLM (σ 50)": decisions(a >= RECORDED - Z * 0.5 * math.sqrt(2.0 / n)),
        "nel gate (normal 95 % interval)": decisions(
            delta - z_of(0.975) * spread >= -margin, delta + z_of(0.975) * spread < -margin
        ),
        "lm-eval comparator (z)": decisions(np.abs(z) < z_of(0.975)),
        "McNemar, p ≥ 0.05": decisions(mcnemar >= 0.05),
    }


def every_rule(counts: Counts, margin: float) -> dict[str, Decisions]:
    """Ours first, then the others."""
    return {OURS: ours(counts, margin), **others(counts, margin)}


@lru_cache(maxsize=200_000)
def _decide(n: int, gained: int, lost: int, margin: float, alpha: float) -> int:
    z, least = paired.tango_z(gained, lost, n, -margin), z_of(1.0 - alpha)
    if z > least:
        return PASS if z > SURE or _beyond(n, gained, lost, -margin, z, alpha) else INCONCLUSIVE
    if z < -least:
        return FAIL if z < -SURE or _beyond(n, lost, gained, margin, -z, alpha) else INCONCLUSIVE
    return INCONCLUSIVE


def _beyond(n: int, more: int, less: int, difference: float, z: float, alpha: float) -> bool:
    """True if z is above the critical value; unless it is close, the exact p-value tells at an eighth of the cost."""
    p = paired_exact.p_above(more, less, n, difference, alpha)
    if abs(p - alpha) > 0.001:
        return p < alpha
    return z > paired_exact.critical_z(n, more + less, difference, alpha)


def _gate(n: int, gained: int, lost: int, margin: float, alpha: float) -> Status:
    items = [f"{index}" for index in range(n)]
    candidate = {item: not gained <= index < gained + lost for index, item in enumerate(items)}
    baseline = {item: index >= gained for index, item in enumerate(items)}
    gate = PairedGate(
        metric="accuracy",
        candidate=candidate,
        baseline=baseline,
        bound=margin,
        at_least=True,
        spent=(alpha,),
    )
    return gate.judge().status


def _each(counts: Counts, decide: Callable[[int, int], int]) -> Decisions:
    return _each_float(counts, decide).astype(np.int8)


def _each_float(counts: Counts, function: Callable[[int, int], float]) -> NDArray[np.float64]:
    """``function`` of (gained, lost), once for each pair that occurs."""
    pairs, where = np.unique(np.stack([counts.gained, counts.lost], axis=1), axis=0, return_inverse=True)
    values = np.array([function(int(gained), int(lost)) for gained, lost in pairs], dtype=np.float64)
    return values[where.reshape(-1)]
