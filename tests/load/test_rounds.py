"""Two sides in turn: order, equal work, and the ratio that was planted."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.rounds import Round, abba, interleaved
from pytest_llmperf.load.truth_options import TruthOptions
from pytest_llmperf.load.truth_process import running
from pytest_llmperf.load.workload import Workload

SHAPE = Workload(input_tokens=32, output_tokens=16)


def test_each_side_leads_every_other_round() -> None:
    assert "".join(side for _, side in abba(4)) == "abbaabba"


def test_a_planted_slowdown_is_found_in_every_round() -> None:
    seen: list[Round] = []
    slow, base = TruthOptions(ttft_ms=30, gap_ms=6.5), TruthOptions(ttft_ms=30, gap_ms=5)
    with running(slow) as a, running(base) as b:
        rounds = interleaved(
            a.server, b.server, SHAPE, concurrency=2, rounds=3, requests_per_round=4, on_round=seen.append
        )
        asked = [len(side.truth().requests) for side in (a, b)]
    assert rounds.order == "abbaab"
    assert [one.side for one in seen] == list(rounds.order)
    assert asked == [2 + 3 * 4] * 2
    assert rounds.problems == ()
    ratios = rounds.log_ratios("tpot")
    assert len(ratios) == 3
    assert math.exp(fmean(ratios)) == pytest.approx(1.3, rel=0.12)
    assert math.exp(fmean(rounds.log_ratios("ttft"))) == pytest.approx(1.0, rel=0.2)
    assert math.exp(fmean(rounds.log_ratios("throughput"))) < 0.95


def test_a_side_that_only_fails_is_not_measured_and_named() -> None:
    with (
        running(TruthOptions(ttft_ms=2, gap_ms=1)) as a,
        running(TruthOptions(http_500_share=1)) as b,
    ):
        with pytest.raises(
            NotMeasured, match=r"all 1 requests of the warm-up of known-truth failed.*HTTP 500"
        ):
            interleaved(a.server, b.server, SHAPE, concurrency=1, rounds=1, requests_per_round=2)
        with pytest.raises(NotMeasured, match=r"round 0 of known-truth: none of 2"):
            interleaved(a.server, b.server, SHAPE, concurrency=1, rounds=1, requests_per_round=2, warmup=0)
