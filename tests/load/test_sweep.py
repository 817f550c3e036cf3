"""Rising load, and the level from which only the queue grows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.sweep import Level, ramp, sweep, sweep_concurrency, sweep_rate
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

SHAPE = Workload(input_tokens=32, output_tokens=16)


def test_the_knee_of_a_server_with_slots_is_their_number_and_the_sweep_ends_soon_after(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=4, slots=4))
    seen: list[Level] = []
    found = sweep_concurrency(known.server, SHAPE, [1, 2, 4, 8, 16, 32], waves=3, on_level=seen.append)
    assert found.knee.level == 4
    assert found.reached
    assert [one.level for one in found.levels] == [1, 2, 4, 8, 16]
    assert tuple(seen) == found.levels
    throughput = dict(found.series("throughput"))
    # Four slots are four times one; more workers get no more out of them.
    assert throughput[4] == pytest.approx(4 * throughput[1], rel=0.25)
    assert throughput[16] < 1.25 * throughput[4]
    assert dict(found.series("ttft"))[16] > 3 * dict(found.series("ttft"))[4]


def test_a_server_without_limit_has_no_knee_among_the_levels(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=4))
    found = sweep_concurrency(known.server, SHAPE, [1, 2, 4], waves=2)
    assert found.knee.level == 4
    assert not found.reached


def test_a_sweep_of_rates_finds_the_queue(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=2, slots=2))  # 40 requests/s at most
    found = sweep_rate(known.server, SHAPE, [20, 30, 160], seconds=0.5, to_the_knee=False)
    assert [one.level for one in found.levels] == [20, 30, 160]
    assert [len(one.run.traces) for one in found.levels] == [11, 16, 81]
    assert found.knee.level in (20, 30)
    ttft = dict(found.series("ttft"))
    assert ttft[160] > 5 * ttft[20]
    assert dict(found.series("requests_per_s"))[160] < 45


def test_half_a_request_in_flight_is_refused(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    with pytest.raises(ValueError, match=r"1\.5"):
        sweep_concurrency(known.server, SHAPE, [1, 1.5])


def test_problems_name_their_level(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1, http_500_share=0.5))
    found = sweep_concurrency(known.server, SHAPE, [2], waves=2)
    assert [problem[:16] for problem in found.problems] == ["concurrency 2: 2"]


def test_where_everything_fails_the_sweep_ends_unless_it_is_the_first_level(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=2, gap_ms=1))
    good = run_load(known.server, SHAPE, ClosedLoop(1, 2))
    known = truth(ReferenceOptions(http_500_share=1))
    bad = run_load(known.server, SHAPE, ClosedLoop(1, 2), SendOptions(warmup=0))

    def failing_from(limit: float) -> Callable[[float], LoadRun]:
        return lambda level: bad if level >= limit else good

    assert [one.level for one in sweep("rate", [1, 2, 3], failing_from(3)).levels] == [1, 2]
    with pytest.raises(NotMeasured, match="rate 1: none of 2"):
        sweep("rate", [1, 2, 3], failing_from(1))


@pytest.mark.parametrize("levels", [[], [1, 1], [2, 1]])
def test_levels_that_do_not_rise_are_refused(levels: list[float]) -> None:
    def never(level: float) -> LoadRun:
        raise AssertionError(level)

    with pytest.raises(ValueError, match="levels"):
        sweep("rate", levels, never)


@pytest.mark.parametrize(
    ("lowest", "highest", "factor", "levels"),
    [
        (1, 8, 2, [1, 2, 4, 8]),
        (1, 10, 2, [1, 2, 4, 10]),
        (1, 13, 2, [1, 2, 4, 8, 13]),
        (3, 3, 2, [3]),
        (1, 1.2, 2, [1, 1.2]),
    ],
)
def test_a_ramp_ends_at_its_highest_level(
    lowest: float, highest: float, factor: float, levels: list[float]
) -> None:
    assert ramp(lowest, highest, factor=factor) == levels


@pytest.mark.parametrize(
    ("lowest", "highest", "factor"), [(0, 1, 2), (2, 1, 2), (1, 2, 1), (1, float("inf"), 2)]
)
def test_a_ramp_that_never_ends_is_refused(lowest: float, highest: float, factor: float) -> None:
    with pytest.raises(ValueError, match="need"):
        ramp(lowest, highest, factor=factor)
