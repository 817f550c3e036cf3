"""Candidate and baseline on GPUs of their own: both start at once, and change places between starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.serving.gpu_leases import GpuLeases, holder_of
from tests.integration.played_gpu import beside_the_gpu, played_rows

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow
OPTIONS = ("-p", "played", "--llmperf-profile", "played")


def rows(project: Project) -> str:
    """Both sides take 90 % of a GPU; each listens only while the other starts as well."""
    knob = f'FAKE_ENGINE_PARTNERS = "{project.path / "partners"}"'
    return (
        played_rows(fraction=0.9, environment=knob)
        .replace("needs_cuda = true", 'needs_cuda = true\n        placement = "apart"')
        .replace('"--enforce-eager"', '"--enforce-eager", "--kv-cache-memory-bytes", "1000000"')
    )


def test_sides_apart_start_at_once_on_gpus_that_no_other_run_holds_and_change_them(project: Project) -> None:
    project.catalog(rows=rows(project))
    project.shrink(rounds=12, prompt_tokens=64, answer_tokens=8)
    project.suite("""
        def test_speed(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=1).e2el.ratio <= 50
    """)
    leases = project.path / "leases"
    other = GpuLeases("another-run", leases)
    assert other.take(["GPU-0"]) is None
    try:
        result, (verdict,) = project.judged(
            *OPTIONS, "--llmperf-starts", "3", **beside_the_gpu(project, gpus=3)
        )
    finally:
        other.close()
    assert verdict["status"] == "PASS", result.text
    assert "the sides changed places between starts" in verdict["detail"]
    assert result.lines("each on its own GPUs"), result.text
    record = project.record()
    assert record["placement"] == "apart"
    ours, theirs = (server["every_gpus"] for server in record["servers"])
    assert ours in ([["GPU-1"], ["GPU-2"], ["GPU-1"]], [["GPU-2"], ["GPU-1"], ["GPU-2"]])
    assert theirs == [*ours[1:], ours[1]]
    watched = {entry["device"].partition(",")[0] for entry in record["telemetry"]}
    assert watched == {"1", "2"}
    assert [holder_of(f"GPU-{index}", leases) for index in range(3)] == [None] * 3


def test_one_gpu_is_too_few_to_stand_apart_on(project: Project) -> None:
    project.catalog(rows=rows(project))
    project.suite("""
        def test_ready(candidate, baseline, startup):
            assert startup(candidate).ready <= startup(baseline).ready + 60
    """)
    result, (verdict,) = project.judged(*OPTIONS, **beside_the_gpu(project))
    assert verdict["status"] == "INVALID"
    says = 'placement = "apart" needs 2 GPUs of one kind, there are: 0: NVIDIA H100 80GB HBM3'
    assert result.lines(f"distill and math: {says}"), result.text


@pytest.mark.parametrize(
    ("starts", "says"),
    [("1", "keeps them in the only start"), ("3", "1/3 of what the GPUs differ by stays")],
)
def test_a_plan_says_what_the_places_leave_in_a_ratio_and_leases_no_gpu(
    project: Project, starts: str, says: str
) -> None:
    project.catalog(rows=rows(project))
    project.suite("""
        def test_speed(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=1).e2el.ratio <= 1.05
        def test_recall(candidate, baseline, recall):
            assert recall(candidate, tokens=256) >= 0.1
    """)
    result = project.run(
        *OPTIONS, "--llmperf-plan", "--llmperf-starts", starts, **beside_the_gpu(project, gpus=2)
    )
    assert result.lines("each side has its own GPUs and", says) or result.lines(
        "each side has its own GPUs, and", says
    ), result.text
    assert not (project.path / "leases").exists()
