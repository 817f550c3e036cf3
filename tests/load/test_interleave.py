"""Two sides in turn: order, equal work, and the ratio that was planted."""

from __future__ import annotations

from statistics import geometric_mean

import pytest

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.interleave import Round, interleaved, turns
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.load.workload import Workload

SHAPE = Workload(input_tokens=32, output_tokens=16)


def test_a_coin_decides_who_leads_and_the_other_side_leads_next() -> None:
    order = "".join(side[0] for _, side in turns(400, 7))
    blocks = [order[at : at + 4] for at in range(0, len(order), 4)]
    assert set(blocks) == {"cbbc", "bccb"}
    assert 70 <= blocks.count("cbbc") <= 130, "200 fair coins"
    assert order == "".join(side[0] for _, side in turns(400, 7))
    assert [number for number, _ in turns(3, 1)] == [0, 0, 1, 1, 2, 2]


def test_a_planted_slowdown_is_found_in_every_round() -> None:
    seen: list[Round] = []
    slow, base = ReferenceOptions(ttft_ms=30, gap_ms=6.5), ReferenceOptions(ttft_ms=30, gap_ms=5)
    with running(slow) as a, running(base) as b:
        rounds = interleaved(a.server, b.server, SHAPE, ClosedLoop(2, 4), rounds=3, on_round=seen.append)
        asked = [len(side.truth().requests) for side in (a, b)]
    assert [(one.number, one.side) for one in seen] == list(turns(3, 0))
    assert tuple(one.metrics for one in seen if one.side == "candidate") == rounds.candidate
    assert asked == [2 + 3 * 4] * 2
    assert rounds.problems == ()
    assert len(rounds.candidate) == len(rounds.baseline) == 3

    def ratio(name: str) -> float:
        pairs = zip(rounds.candidate, rounds.baseline, strict=True)
        return geometric_mean(a.value(name) / b.value(name) for a, b in pairs)

    assert ratio("tpot") == pytest.approx(1.3, rel=0.12)
    assert ratio("ttft") == pytest.approx(1.0, rel=0.2)
    assert ratio("throughput") < 0.95


def test_a_side_that_only_fails_is_not_measured_and_named() -> None:
    with (
        running(ReferenceOptions(ttft_ms=2, gap_ms=1)) as a,
        running(ReferenceOptions(http_500_share=1)) as b,
    ):
        with pytest.raises(NotMeasured, match=r"all 1 requests of the warm-up of reference failed.*HTTP 500"):
            interleaved(a.server, b.server, SHAPE, ClosedLoop(1, 2), rounds=1)
        with pytest.raises(NotMeasured, match=r"round 0 of reference: none of 2"):
            interleaved(a.server, b.server, SHAPE, ClosedLoop(1, 2), rounds=1, options=SendOptions(warmup=0))
