"""Measured series in pytest-benchmark's hands: exact in its JSON, read by its own comparer, and never a gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.quantile import Series
from pytest_llmperf.runs.benchmark_bridge import ReplayClock, durations

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

SUITE = """
    import pytest

    @pytest.mark.parametrize("metric", ["ttft", "tpot", "throughput"])
    def test_series(candidate, load, to_benchmark, metric):
        to_benchmark(getattr(load(candidate, concurrency=4), metric))
"""
PACE = {"distill": {"TPOT_S": 0.006}}
"""Slow enough that a busy machine sees most tokens apart, as those of a real server are."""
BENCHMARK = (
    "-p",
    "llmperf",
    "-p",
    "llmperf_model",
    "-p",
    "no:cacheprovider",
    "-p",
    "pytest_benchmark.plugin",
)


def test_a_clock_shows_exactly_what_it_was_wound_forward_by() -> None:
    clock = ReplayClock()
    for value in (0.1, 1e-9, 3.3333333333333335):
        clock.rewind()
        began = clock()
        clock.elapse(value)
        assert clock() - began == value


def test_a_rate_becomes_seconds_per_token_and_what_must_not_be_judged_is_not_handed_over() -> None:
    assert durations(Series("TTFT", [0.1, None, 0.2], "s", errors=1)) == [0.1, 0.2]
    assert durations(Series("throughput", [50.0, 100.0], "tok/s")) == [0.02, 0.01]
    with pytest.raises(UsageError, match="J/tok"):
        durations(Series("energy", [1.0], "J/tok"))
    with pytest.raises(NotMeasured, match="warm prefix cache"):
        durations(Series("TTFT", [0.1], "s", unusable="warm prefix cache"))
    with pytest.raises(NotMeasured, match="nothing was measured"):
        durations(Series("TTFT", [None, None], "s"))


def exported(project: Project, name: str) -> tuple[Result, dict[str, Any]]:
    result = project.run(
        *("--model", "distill", "--benchmark-json", f"{name}.json", "--llmperf-record", "record.json"),
        options=BENCHMARK,
    )
    assert result.code == 0, result.text
    return result, json.loads((project.path / f"{name}.json").read_text())


@pytest.mark.slow
def test_each_series_is_one_benchmark_and_its_own_comparer_reads_it(project: Project) -> None:
    project.catalog(PACE)
    project.shrink(rounds=5)
    project.suite(SUITE)
    result, first = exported(project, "first")
    assert not result.noise
    load = project.record()["load"][0]
    _, second = exported(project, "second")

    by_metric = {one["params"]["metric"]: one for one in first["benchmarks"]}
    assert list(by_metric) == ["ttft", "tpot", "throughput"]
    ttft = [value for one in load["rounds"] for value in one["ttft_s"]]
    assert by_metric["ttft"]["stats"]["data"] == ttft
    assert by_metric["ttft"]["stats"]["median"] == pytest.approx(median(ttft))
    assert by_metric["ttft"]["extra_info"]["metric"] == "TTFT at 4"
    assert by_metric["ttft"]["extra_info"]["unit"] == "seconds"
    rates = [one["output_tokens"] / one["window_s"] for one in load["rounds"]]
    assert by_metric["throughput"]["stats"]["data"] == pytest.approx([1 / rate for rate in rates])
    assert first["machine_info"]["llmperf"] == {"device": "CPU", "profile": "test"}
    # What github-action-benchmark reads of each.
    for one in second["benchmarks"]:
        assert one["group"] == "llmperf"
        assert isinstance(one["fullname"], str)
        assert all(one["stats"][key] is not None for key in ("mean", "stddev", "ops", "rounds"))

    comparer = str(Path(sys.executable).with_name("pytest-benchmark"))
    command = [comparer, "compare", "first.json", "second.json"]
    done = subprocess.run([*command, "--group-by=name"], cwd=project.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for metric in by_metric:
        assert (
            f"test_series[distill-{metric}]" in done.stdout or f"test_series[{metric}-distill]" in done.stdout
        )


@pytest.mark.slow
def test_where_pytest_benchmark_is_switched_off_the_load_is_measured_all_the_same(project: Project) -> None:
    project.catalog(PACE)
    project.shrink(rounds=5)
    project.suite(SUITE)
    result = project.run("--benchmark-disable", "--llmperf-record", "record.json", options=BENCHMARK)
    assert result.code == 0, result.text
    assert len(project.record()["load"]) == 1
