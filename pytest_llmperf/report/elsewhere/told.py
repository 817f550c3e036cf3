"""A verdict and the place in the suite that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.gates.verdict import Verdict


@dataclass(frozen=True)
class Told:
    """``test`` is pytest's node id, ``file`` relative to the repository, ``line`` counted from 1 (0: not known)."""

    verdict: Verdict
    test: str
    file: str = ""
    line: int = 0
