"""All kinds of gates and estimands under one name; importing this module registers every kind that the plugin has.

``Share`` (accuracy, behaviour rates), ``Series`` and its ``Quantile`` (latencies), ``Ratio`` (interleaved
rounds), ``Scalar`` (measured once), ``Bracketed`` (searched for), means and their ratios hold data that is already
there; comparing one with a bound makes a gate, hands it to the estimand's judge, and gives a ``Judgement`` to assert.
"""

from __future__ import annotations

from pytest_llmperf.config.bounds import Bound, Incomparable
from pytest_llmperf.gates.base import Estimand, Gate, Judge, gate_from_json, strict
from pytest_llmperf.gates.bound import Points, points
from pytest_llmperf.gates.bracket import Bracketed
from pytest_llmperf.gates.judgement import (
    GateError,
    GateFailed,
    GateInconclusive,
    GateInvalid,
    Judgement,
    Policy,
)
from pytest_llmperf.gates.mean import MacroF1, MeanScore
from pytest_llmperf.gates.mean_ratio import PerCorrect, Perplexity
from pytest_llmperf.gates.per_token import AboveNoise, Agreement, Divergence
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.quantile import Quantile, Series
from pytest_llmperf.gates.ratio import Ratio
from pytest_llmperf.gates.scalar import Scalar

__all__ = [
    "AboveNoise",
    "Agreement",
    "Bound",
    "Bracketed",
    "Divergence",
    "Estimand",
    "Gate",
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
    "Series",
    "Share",
    "gate_from_json",
    "points",
    "strict",
]
