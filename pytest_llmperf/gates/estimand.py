"""What suites write on the two sides of a comparison, under one name.

``Share`` (accuracy, behaviour rates), ``Series`` and its ``Quantile`` (latencies), ``Ratio`` (interleaved
rounds), ``Scalar`` (measured once) and ``Bracketed`` (searched for) hold data that is already there; comparing one
with a bound makes a verdict, hands it to the estimand's judge, and gives a ``Judgement`` to assert.
"""

from __future__ import annotations

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.bound import Points, points
from pytest_llmperf.gates.bracketed import Bracketed
from pytest_llmperf.gates.comparable import Estimand
from pytest_llmperf.gates.judgement import (
    GateError,
    GateFailed,
    GateInconclusive,
    GateInvalid,
    Judge,
    Judgement,
    Policy,
    strict,
)
from pytest_llmperf.gates.macro_f1 import MacroF1
from pytest_llmperf.gates.mean_score import MeanScore
from pytest_llmperf.gates.per_correct import PerCorrect
from pytest_llmperf.gates.perplexity import Perplexity
from pytest_llmperf.gates.ratio import Ratio
from pytest_llmperf.gates.scalar import Scalar, ScaledScalar
from pytest_llmperf.gates.series import Quantile, Series
from pytest_llmperf.gates.share import Share, ShiftedShare

__all__ = [
    "Bound",
    "Bracketed",
    "Estimand",
    "GateError",
    "GateFailed",
    "GateInconclusive",
    "GateInvalid",
    "Incomparable",
    "Judge",
    "Judgement",
    "MacroF1",
    "MeanScore",
    "PerCorrect",
    "Perplexity",
    "Points",
    "Policy",
    "Quantile",
    "Ratio",
    "Scalar",
    "ScaledScalar",
    "Series",
    "Share",
    "ShiftedShare",
    "points",
    "strict",
]
