"""A metric of loads that somebody else wrote in one file is gated, planned, recorded and calibrated like our own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf import Metric, read_record, register_metric
from pytest_llmperf.load.metrics import BUILT_IN
from pytest_llmperf.record.tables import load_traces, metric_values

if TYPE_CHECKING:
    from tests.integration.conftest import Project

METRIC = """
    from pytest_llmperf import Metric, register_metric

    register_metric(
        Metric(
            name="second_token",
            title="second token",
            description="time to the second token",
            from_trace=lambda trace: [a.time_s - trace.intended_s for a in trace.arrivals[1:2]],
            from_truth=lambda request: [t - request.received_s for t in request.tokens_s[1:2]],
            needs="arrivals",
            from_intended=True,
        )
    )
"""
SUITE = """
    def test_second_token(candidate, load, budget):
        assert load(candidate, concurrency=2).second_token.p50 <= budget.mine.second_token
    def test_second_token_not_slower(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).second_token.ratio <= 3.0
"""


@pytest.fixture(scope="module")
def stranger(shared_project: Project) -> Project:
    shared_project.catalog({row: {"TPOT_S": 0.005} for row in ("distill", "math")})
    shared_project.shrink(rounds=12)
    shared_project.suite(METRIC, "elsewhere/second_token.py")
    shared_project.suite(SUITE)
    shared_project.write("budgets.toml", '[test.any.mine]\nsecond_token = "2 s"\n')
    return shared_project


def with_the_metric(project: Project) -> dict[str, Any]:
    path = os.pathsep.join(filter(None, [str(project.path / "elsewhere"), os.environ.get("PYTHONPATH")]))
    return {"environment": {"PYTHONPATH": path}}


def test_it_is_planned(stranger: Project) -> None:
    planned = stranger.run("--llmperf-plan", "-p", "second_token", **with_the_metric(stranger))
    assert planned.lines("second token at 2 p50"), planned.text
    assert planned.lines("second token at 2 ratio"), planned.text


def test_it_is_gated_with_a_budget_and_recorded(stranger: Project) -> None:
    result, verdicts = stranger.judged("-p", "second_token", **with_the_metric(stranger))
    assert result.code == 0, result.text
    assert {verdict["metric"] for verdict in verdicts} == {"second token at 2 p50", "second token at 2 ratio"}
    record = stranger.record()
    for load in record["load"]:
        tails = load["tails"]
        assert (
            tails["ttft"]["p50"]["value"]
            < tails["second_token"]["p50"]["value"]
            < tails["e2el"]["p50"]["value"]
        )
    for calibration in record["calibration"]:
        assert "p50" in calibration["error"]["errors_s"]["second_token"]
    path = stranger.path / "record.json"
    traces = load_traces(path, read_record(path))
    assert traces
    for row in traces:
        [ttft_s], [second_s], [e2el_s] = (
            metric_values(row, f"{name}_s") for name in ("ttft", "second_token", "e2el")
        )
        assert ttft_s <= second_s <= e2el_s


def test_a_metric_whose_client_error_would_be_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="need from_truth, error_of or client_only"):
        Metric("mine", "mine", "", from_trace=lambda _: [1.0])


@pytest.mark.parametrize("name", [metric.name for metric in BUILT_IN])
def test_a_built_in_metric_is_not_replaced(name: str) -> None:
    with pytest.raises(ValueError, match="built in"):
        register_metric(Metric(name, name, "", from_trace=lambda _: [], client_only=True))


@pytest.mark.parametrize("name", ["TTFT", "time to first token", "ttft_p95", ""])
def test_a_name_that_is_no_attribute_or_ends_like_a_quantile_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="identifier"):
        Metric(name, "", "", from_trace=lambda _: [], client_only=True)
