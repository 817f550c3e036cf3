"""Every trap that today's load tools fall into (knowledge: role chunks, several tokens a chunk, freezes,
failures).

The reference server sets the trap, and its own record is the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import pytest

from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import GroundTruth, ReferenceServer
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

TTFT_MS, GAP_MS = 40.0, 5.0
SHAPE = Workload(input_tokens=32, output_tokens=16)
SLACK_S = 0.03
"""What a noisy machine may add; every trap here is wrong by more, or downwards."""


def measured(
    truth: Truth, options: ReferenceOptions, workload: Workload = SHAPE, requests: int = 6
) -> tuple[LoadRun, Metrics, GroundTruth]:
    known = truth(options)
    run = run_load(
        known.server, workload, ClosedLoop(2, requests), SendOptions(warmup=0, timeout_s=5, request_ids=True)
    )
    told = known.truth()
    return run, of_run(run), told


def trap(**options: object) -> ReferenceOptions:
    return ReferenceOptions(ttft_ms=TTFT_MS, gap_ms=GAP_MS, **options)  # type: ignore[arg-type]


def true_ttft_s(told: GroundTruth) -> float:
    return fmean(request.ttft_s for request in told.requests)


@pytest.mark.parametrize(
    "options",
    [
        trap(role_chunk="early"),
        trap(role_chunk="none"),
        trap(empty_deltas=True, role_chunk="early"),
        trap(reasoning_field="reasoning_content"),
        trap(reasoning_field="reasoning"),
        trap(crlf=True),
        trap(no_space=True, comments=True),
        trap(split_utf8=True),
        trap(no_done=True),
    ],
    ids=lambda options: " ".join(options.argv()[2:]),
)
def test_the_first_token_is_the_first_visible_one_in_every_dialect(
    truth: Truth, options: ReferenceOptions
) -> None:
    run, metrics, told = measured(truth, options)
    assert metrics.succeeded == 6, [trace.error for trace in run.traces]
    error_s = fmean(metrics.samples["ttft"]) - true_ttft_s(told)
    assert -0.0001 <= error_s < SLACK_S
    assert fmean(metrics.samples["itl"]) == pytest.approx(GAP_MS / 1e3, rel=0.25)
    assert fmean(metrics.samples["tpot"]) == pytest.approx(GAP_MS / 1e3, rel=0.25)
    assert len(metrics.samples["itl"]) == 6 * 15
    assert metrics.output_tokens == 6 * 16


def test_no_token_is_ever_seen_before_it_was_sent(truth: Truth) -> None:
    run, _, told = measured(truth, trap(split_utf8=True))
    by_id = {request.request_id: request for request in told.requests}
    for trace in run.traces:
        handed = by_id[f"llmperf-{trace.index}"].tokens_s
        assert len(trace.arrivals) == len(handed)
        assert all(seen.time_s >= sent for seen, sent in zip(trace.arrivals, handed, strict=True))


def test_several_tokens_a_chunk_are_spread_and_flagged(truth: Truth) -> None:
    _, metrics, _ = measured(truth, trap(tokens_per_chunk=4))
    assert fmean(metrics.samples["itl"]) == pytest.approx(GAP_MS / 1e3, rel=0.2)
    # Dividing by completion_tokens − 1 would give 12/15 of it: the first chunk's four tokens cost no time.
    assert fmean(metrics.samples["tpot"]) == pytest.approx(GAP_MS / 1e3, rel=0.15)
    assert fmean(metrics.samples["stall"]) == pytest.approx(4 * GAP_MS / 1e3, rel=0.5)
    assert len(metrics.samples["itl"]) == 6 * 12


def test_chunks_whose_tokens_are_not_counted_are_flagged_as_chunks(truth: Truth) -> None:
    workload = Workload(input_tokens=32, output_tokens=16, usage_per_chunk=False)
    _, metrics, _ = measured(truth, trap(tokens_per_chunk=4), workload)
    assert "chunks came for" in metrics.missing["itl"]
    _, plain, _ = measured(truth, trap(), workload)
    assert "itl" not in plain.missing


def test_a_freeze_in_every_stream_is_the_stall_and_the_tail(truth: Truth) -> None:
    _, metrics, _ = measured(truth, trap(freeze_ms=300, freeze_at=8))
    assert metrics.value("stall") == pytest.approx(0.305, abs=SLACK_S)
    assert metrics.value("itl_p50") == pytest.approx(GAP_MS / 1e3, rel=0.25)
    assert metrics.value("itl_p99") > 0.25


def test_when_all_fail_nothing_was_measured(truth: Truth) -> None:
    with pytest.raises(NotMeasured, match=r"none of [45] requests succeeded.*HTTP 500"):
        measured(truth, trap(http_500_share=1))


def test_when_half_fail_the_run_is_invalid_and_says_why(truth: Truth) -> None:
    run, metrics, _ = measured(truth, trap(http_500_share=0.5))
    assert dict(metrics.errors) == {"http_error": 3}
    assert metrics.succeeded == 3
    assert any("3 of 6 requests failed" in problem and "HTTP 500" in problem for problem in run.problems)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        (trap(error_after=5), RequestOutcome.STREAM_ERROR),
        (trap(cut_after=5), RequestOutcome.CUT),
        (trap(no_done=True, no_finish_reason=True), RequestOutcome.CUT),
    ],
)
def test_an_answer_that_broke_off_is_a_counted_error(
    truth: Truth, options: ReferenceOptions, outcome: RequestOutcome
) -> None:
    known = truth(options)
    run = run_load(known.server, SHAPE, ClosedLoop(2, 2), SendOptions(warmup=0))
    assert [trace.outcome for trace in run.traces] == [outcome] * 2
    assert run.problems


def test_a_request_that_hangs_is_a_time_out_and_the_others_are_measured(truth: Truth) -> None:
    known = truth(trap(hang_share=0.5))
    run = run_load(known.server, SHAPE, ClosedLoop(2, 4), SendOptions(warmup=0, timeout_s=0.5))
    assert sorted(trace.outcome.value for trace in run.traces) == ["ok", "ok", "timeout", "timeout"]


def test_without_usage_token_metrics_are_not_measured_and_ttft_is(truth: Truth) -> None:
    _, metrics, _ = measured(truth, trap(no_usage=True))
    assert metrics.value("ttft") > TTFT_MS / 1e3
    for name in ("throughput", "tpot", "itl", "itl_p95"):
        with pytest.raises(NotMeasured, match="usage"):
            metrics.value(name)


def test_an_early_end_of_text_counts_its_own_tokens(truth: Truth) -> None:
    workload = Workload(input_tokens=32, output_tokens=16, fixed_output=False)
    run, metrics, _ = measured(truth, trap(eos_after=5), workload)
    assert metrics.output_tokens == 6 * 5
    assert {trace.finish_reason for trace in run.traces} == {"stop"}


def test_queueing_shows_in_ttft_and_not_in_itl(truth: Truth) -> None:
    _, metrics, _ = measured(truth, trap(slots=1))
    service_s = (TTFT_MS + 15 * GAP_MS) / 1e3
    # Two workers share one slot: every request but the first waits for nearly a whole service time.
    assert metrics.value("ttft") == pytest.approx(TTFT_MS / 1e3 + service_s, rel=0.3)
    assert metrics.value("itl") == pytest.approx(GAP_MS / 1e3, rel=0.25)


def test_time_to_the_first_answer_token_is_after_the_thinking(truth: Truth) -> None:
    _, tags, _ = measured(truth, trap(think_tokens=8))
    assert tags.value("ttft") < TTFT_MS / 1e3 + SLACK_S
    assert tags.value("ttfat") == pytest.approx((TTFT_MS + 8 * GAP_MS) / 1e3, abs=SLACK_S)
    _, apart, _ = measured(truth, trap(reasoning_field="reasoning", reasoning_tokens=8))
    assert apart.value("ttfat") == pytest.approx((TTFT_MS + 8 * GAP_MS) / 1e3, abs=SLACK_S)
