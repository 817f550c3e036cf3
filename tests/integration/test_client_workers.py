"""How many processes send and read a load, when the profile says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project


def test_a_load_is_sent_by_as_many_processes_as_the_profile_says(project: Project) -> None:
    project.suite("""
        from pytest_llmperf import Slo
        def test_in_turn(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=4).throughput.ratio <= 100
        def test_alone(candidate, load):
            assert load(candidate, concurrency=3).throughput.p50 >= 0.1
        def test_on_a_schedule(candidate, load):
            assert load.open_loop(candidate, rate=40, requests=40).e2el.p50 <= 5
        def test_by_requests_in_flight(candidate, load):
            assert load.sweep(candidate, concurrency=[2, 3]).knee >= 1
        def test_by_rate(candidate, load):
            assert load.sweep(candidate, rate=[20.0], seconds=1).knee >= 1
        def test_the_highest_rate(candidate, load):
            assert load.max_rate(candidate, slo=Slo(e2el_s=30), lowest=20, highest=40, share=0.5, requests=40) >= 20
    """)
    for workers in (2, 1):
        project.shrink(rounds=5, answer_tokens=4, workers=workers)
        project.run("--llmperf-record", "record.json")
        record = project.record()
        loads = [*record["load"], *record["scheduled_load"]]
        assert {load["purpose"] for load in loads} == {"rounds", "open loop", "sweep", "max rate"}
        assert {load["workers"] for load in loads} == {workers} == {record["sizes"]["workers"]}
        assert not [one for load in loads for one in load["rounds"] if one["errors"]]


def test_a_number_of_processes_that_is_none_is_refused_before_anything_starts(project: Project) -> None:
    project.suite("def test_nothing(candidate): assert candidate.name")
    project.shrink(workers=0)
    result = project.run()
    assert result.code == 4, result.text
    assert result.lines("models.toml: [profile.test.sizes] workers = 0: must be at least 1"), result.text
    assert project.starts == []
