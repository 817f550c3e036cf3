"""``--llmperf-add``: a run that was INCONCLUSIVE is run again, and its data are added to and not replaced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.gates.verdict import Status

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

SUITE = """
    from pytest_llmperf import points
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.87
    def test_not_worse(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(3)
    def test_too_much(candidate, accuracy):
        assert accuracy(candidate) >= 0.98
    def test_speed(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=1).e2el.ratio <= 3.0
"""


def named(project: Project, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.path / name).read_text(encoding="utf-8"))
    return found


def gate(project: Project, record: str, test: str) -> tuple[Status, Any]:
    """Status and data of the gate of a test beside a record."""
    [kept] = [kept for kept in project.gates(record) if kept.test.endswith(f"::{test}[distill]")]
    return kept.status, kept.gate


@pytest.fixture(scope="module")
def looked_twice(shared_project: Project, solver: str) -> tuple[Project, Result, Result]:
    """A project, its first run of 150 items, and the second that adds to it."""
    # Slow enough beside the client's own error for a busy machine: see test_a_third_look_adds_to_the_second.
    answers = {"ANSWERS": solver, "RIGHT_PERCENT": 90, "TTFT_S": 0.1}
    shared_project.catalog({"distill": answers, "math": answers})
    shared_project.suite(SUITE)
    shared_project.shrink(items=150, rounds=8, answer_tokens=4)
    first = shared_project.run("--llmperf-record", "first.json")
    shared_project.shrink(items=900)
    second = shared_project.run("--llmperf-record", "second.json", "--llmperf-add", "first.json")
    return shared_project, first, second


def test_an_inconclusive_gate_is_decided_by_the_data_of_both_runs(
    looked_twice: tuple[Project, Result, Result],
) -> None:
    project, first, second = looked_twice
    status, before = gate(project, "first", "test_floor")
    assert status == "INCONCLUSIVE", first.text
    status, now = gate(project, "second", "test_floor")
    assert status == "PASS", second.text
    assert list(now.candidate.items())[:150] == list(before.candidate.items())
    assert len(now.candidate) > 150, "other items than those of the first run"
    assert second.lines("look 2", "first.json", "added to")
    [verdict] = [v for v in named(project, "second.json")["verdicts"] if v["bound"] == 0.87]
    assert "all looks together err in at most 7.5 %" in verdict["detail"]


def test_pairs_are_of_the_same_items_in_both_runs(looked_twice: tuple[Project, Result, Result]) -> None:
    project, _, _ = looked_twice
    _, pairs = gate(project, "second", "test_not_worse")
    assert list(pairs.candidate) == list(pairs.baseline)


def test_what_the_first_run_decided_stands_and_is_not_asked_again(
    looked_twice: tuple[Project, Result, Result],
) -> None:
    project, _, second = looked_twice
    (then, before), (status, now) = (gate(project, name, "test_too_much") for name in ("first", "second"))
    assert (then, status) == ("FAIL", "FAIL")
    assert now.candidate == before.candidate
    assert second.code == 1


def test_a_further_run_is_a_further_start_of_both_servers(
    looked_twice: tuple[Project, Result, Result],
) -> None:
    project, _, _ = looked_twice
    before, now = (gate(project, name, "test_speed")[1].starts for name in ("first", "second"))
    assert [len(rounds) for rounds in now] == [8, 8]
    assert now[:1] == before


def test_the_record_remembers_its_looks(looked_twice: tuple[Project, Result, Result]) -> None:
    project, _, _ = looked_twice
    first, second = named(project, "first.json"), named(project, "second.json")
    assert (first["look"], first["adds_to"]) == (1, [])
    assert (second["look"], [one["file"] for one in second["adds_to"]]) == (2, ["first.json"])
    asked = {one["row"]: (one["before"], one["items"]) for one in second["answers"]}
    assert asked["distill"][0] == 150


def test_a_third_look_adds_to_the_second(looked_twice: tuple[Project, Result, Result]) -> None:
    project, _, _ = looked_twice
    third = project.run("-k", "speed", "--llmperf-record", "third.json", "--llmperf-add", "second.json")
    assert third.code == 0, third.text
    record = named(project, "third.json")
    assert (record["look"], len(record["adds_to"])) == (3, 2)
    assert "8.75 %" in record["verdicts"][0]["detail"]
    assert (record["verdicts"][0]["n"], record["verdicts"][0]["starts"]) == (3, 3)


def test_a_joined_record_can_be_proved(looked_twice: tuple[Project, Result, Result]) -> None:
    project, _, _ = looked_twice
    result = project.run("--llmperf-mutation-test", "second.json", "-k", "speed")
    assert not result.lines("NOT REPRODUCED"), result.text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--llmperf-add", "none.json"], "none.json cannot be read: No such file"),
        (["--llmperf-add", "second.json", "--model", "math"], "did not judge math"),
        (["--llmperf-add", "second.json", "--llmperf-looks", "2"], "belongs to the first look"),
        (["--llmperf-looks", "many"], "whole number"),
    ],
)
def test_what_cannot_be_added_to_is_refused_in_one_line(
    looked_twice: tuple[Project, Result, Result], arguments: list[str], why: str
) -> None:
    project, _, _ = looked_twice
    started = len(project.starts)
    result = project.run(*arguments)
    assert result.code == 4
    assert len(result.lines("ERROR:", why)) == 1, result.text
    assert result.noise == []
    assert len(project.starts) == started


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ({"device": {"class": "H100", "name": "NVIDIA H100"}}, "device was NVIDIA H100 then and is CPU now"),
        (
            {"rows": {"distill": "0" * 16, "math": "0" * 16}},
            "row distill of the catalogue is not what it was",
        ),
        ({"looks": 2}, "the last of the 2 looks"),
        ({"profile": "gpu"}, "profile was gpu"),
    ],
)
def test_a_run_of_something_else_is_not_added_to(
    looked_twice: tuple[Project, Result, Result], edit: dict[str, Any], why: str
) -> None:
    project, _, _ = looked_twice
    record = named(project, "second.json") | edit
    project.write("other.json", json.dumps(record))
    result = project.run("--llmperf-add", "other.json")
    assert result.code == 4
    assert result.lines("ERROR:", why), result.text


def test_greedy_answers_to_the_same_items_add_nothing(project: Project, solver: str) -> None:
    answers = {"ANSWERS": solver, "RIGHT_PERCENT": 80}
    project.catalog({"distill": answers, "math": answers})
    project.suite("""
        import dataclasses, pytest
        from pytest_llmperf.tasks import embedded
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.79
    """)
    project.write(
        "conftest.py",
        (project.path / "conftest.py").read_text()
        + "\nfrom pytest_llmperf.measure import measurements\n"
        + "load = measurements.load_items\n"
        + "measurements.load_items = lambda *given, **named: load(*given, **named)[:200]\n",
    )
    assert project.run("--llmperf-record", "first.json").code == 1
    second = project.run("--llmperf-record", "second.json", "--llmperf-add", "first.json")
    assert second.code == 1
    [verdict] = named(project, "second.json")["verdicts"]
    assert (verdict["status"], verdict["n"]) == ("INCONCLUSIVE", 200)
    assert "this look added nothing" in verdict["detail"]
