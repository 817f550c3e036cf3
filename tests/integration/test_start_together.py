"""On one GPU, servers start at once when neither has to measure how much memory is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.played_gpu import beside_the_gpu, played_rows

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow
GIB = 2**30
MEASURED = 1.5
"""GiB of key-value cache that the fake engine finds."""
STARTS = 3
SPEED = """
    def test_speed(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=1).e2el.ratio <= 50
"""
READY = """
    def test_ready(candidate, baseline, startup):
        assert startup(candidate).ready <= 60
"""


def judged(project: Project, knob: str, *options: str, fraction: float = 0.3, suite: str = SPEED) -> Any:
    project.catalog(rows=played_rows(fraction=fraction, environment=knob))
    project.shrink(rounds=12, prompt_tokens=64, answer_tokens=8)
    project.suite(suite)
    keywords = beside_the_gpu(project)
    keywords["environment"]["XDG_CACHE_HOME"] = str(project.path / "cache")
    return project.judged("-p", "played", "--llmperf-profile", "played", *options, **keywords)


def sizes(project: Project) -> list[float | None]:
    """GiB that each start was told to take, in the order of the starts; None: it measured."""
    words = [line.split() for line in (project.path / "starts").read_text().splitlines()]
    option = "--kv-cache-memory-bytes"
    return [int(line[line.index(option) + 1]) / GIB if option in line else None for line in words]


def test_the_first_pair_measures_and_every_later_one_starts_at_once_with_what_it_measured(
    project: Project,
) -> None:
    # A start with a given size listens only while the other side's starts as well.
    knob = f'FAKE_ENGINE_PARTNERS = "{project.path / "partners"}"'
    result, (verdict,) = judged(project, knob, "--llmperf-starts", str(STARTS))
    assert verdict["status"] == "PASS", result.text
    given = sizes(project)
    assert given[:2] == [None, None]
    assert len(given) == 2 * STARTS
    assert all(size is not None and MEASURED - 0.01 < size < MEASURED for size in given[2:])
    assert {server["milestones"]["kv_cache_bytes"] for server in project.record()["servers"]} == {
        round(given[-1] or 0, 2) * GIB
    }
    # The next night knows it from the beginning.
    result, (verdict,) = judged(project, knob)
    assert verdict["status"] == "PASS", result.text
    assert sizes(project)[2 * STARTS :] == given[2:4]
    # Also where the first test asks for the candidate alone.
    result, (verdict,) = judged(project, knob, suite=READY)
    assert verdict["status"] == "PASS", result.text
    assert sizes(project)[2 * STARTS + 2 :] == given[2:4]
    # What the log says of CUDA graphs is the growth of the device's memory, and holds the other start's as well.
    assert [server["milestones"]["graphs_bytes"] for server in project.record()["servers"]] == [None, None]


def test_a_size_that_does_not_fit_any_more_is_told_and_measured_anew(project: Project) -> None:
    knob = 'FAKE_ENGINE_NO_ROOM = "1"'
    result, (verdict,) = judged(project, knob)
    assert (verdict["status"], sizes(project)) == ("PASS", [None, None]), result.text
    result, (verdict,) = judged(project, knob)
    assert verdict["status"] == "PASS", result.text
    given = sizes(project)[2:]
    assert None not in given[:2]
    assert given[2:] == [None, None]
    assert result.lines(
        "a start with the key-value cache of an earlier start's size failed", "measure it anew"
    )


def test_two_that_do_not_fit_together_are_not_started_at_once(project: Project) -> None:
    judged(project, "", fraction=0.6)
    result, (verdict,) = judged(project, "", fraction=0.6)
    assert verdict["status"] == "PASS", result.text
    assert sizes(project)[2:] == [None, None]
