"""ROUGE-L: the longest common subsequence of words of a summary and its reference (Lin 2004), by ``rouge-score``.

The package is Google Research's own, and what published figures were made with. It is an extra of this one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pytest_llmperf.errors import UsageError

INSTALL = "pip install 'pytest-llmperf[summaries]'"


def rouge_l(summary: str, reference: str) -> float:
    """F1 of the subsequence, 0 to 1: words in lower case and stemmed (Porter), as CNN/DailyMail is reported.

    Raises :class:`UsageError` where ``rouge-score`` can't be imported.
    """
    return float(scorer()(reference, summary)["rougeL"].fmeasure)


@cache
def scorer() -> Callable[[str, str], Any]:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise UsageError(
            f"ROUGE-L needs rouge-score, which can't be imported ({error}): {INSTALL}"
        ) from error
    score: Callable[[str, str], Any] = RougeScorer(["rougeL"], use_stemmer=True).score
    return score
