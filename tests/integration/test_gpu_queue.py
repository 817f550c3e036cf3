"""More runs than a machine has GPUs for: each waits for its turn, as long as it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.serving.gpu_leases import GpuLeases
from tests.integration.played_gpu import beside_the_gpu, played_rows

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ROWS = ("first", "second", "third")
SUITE = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.0

    def test_flips(candidate, baseline, flips):
        assert flips(candidate, baseline) <= 0.2
"""


def prepare(project: Project) -> None:
    more = "".join(f'        [profile.played.model.{row}]\n        extends = "distill"\n' for row in ROWS)
    project.catalog(rows=played_rows() + more)
    project.shrink(items=20)
    project.suite(SUITE)


def test_three_runs_that_are_started_at_once_share_one_gpu_one_after_the_other(project: Project) -> None:
    prepare(project)
    keywords = beside_the_gpu(project)
    options = ("-p", "played", "--llmperf-profile", "played", "--llmperf-gpu-wait", "5min")
    runs = [project.start(*options, "--model", row, **keywords) for row in ROWS]
    results = [run.wait() for run in runs]
    assert [result.code for result in results] == [0, 0, 0], [result.text for result in results]
    pairs = [set(project.starts[at : at + 2]) for at in range(0, len(project.starts), 2)]
    assert sorted(map(sorted, pairs)) == [sorted([row, "math"]) for row in ROWS]


def test_a_run_that_shall_not_wait_is_refused_and_told_how_to(project: Project) -> None:
    prepare(project)
    keywords = beside_the_gpu(project)
    other = GpuLeases("another-run", project.path / "leases")
    assert other.take(["GPU-0"]) is None
    try:
        result, verdicts = project.judged(
            "-p", "played", "--llmperf-profile", "played", "--llmperf-gpu-wait", "0s", **keywords
        )
    finally:
        other.close()
    assert {verdict["status"] for verdict in verdicts} == {"INVALID"}
    assert result.lines("no GPU is free", "0 s were waited for it"), result.text
    assert result.lines("--llmperf-gpu-wait 8h"), result.text
    assert project.starts == []
