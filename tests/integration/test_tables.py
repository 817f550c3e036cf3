"""What a run keeps beside its record: every answer and every timed request, from all of its processes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers, load_traces, metric_values

if TYPE_CHECKING:
    from tests.integration.conftest import Project


def test_every_answer_and_every_timed_request_is_kept(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(rounds=5, items=40)
    project.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.3
        def test_speed(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=2).throughput.ratio <= 100
    """)
    result = project.run("--llmperf-record", "record.json", "--llmperf-full")
    path = project.path / "record.json"
    record = read_record(path)
    [asked] = record.answers
    answers = load_answers(path, record)
    assert len(answers) == asked.items == 40, result.text
    assert Counter(row["outcome"] for row in answers) == {k: n for k, n in asked.outcomes.items() if n}
    one = answers[0]
    assert (one["row"], one["task"], one["sample"]) == ("distill", "embedded", 0)
    assert one["gold"] == one["answer"] or one["outcome"] != "correct"
    assert f"boxed{{{one['answer']}}}" in one["reply"]
    traces = load_traces(path, record)
    assert Counter((row["row"], row["round"]) for row in traces) == {
        (load.row, number): each.requests for load in record.load for number, each in enumerate(load.rounds)
    }
    assert min(row["intended_s"] for row in traces) == 0.0
    assert {(row["kind"], row["concurrency"]) for row in traces} == {("closed", 2)}
    of_distill = [
        metric_values(row, "ttft_s")[0] for row in traces if (row["row"], row["round"]) == ("distill", 0)
    ]
    [load] = [load for load in record.load if load.row == "distill"]
    assert of_distill == pytest.approx(load.rounds[0].ttft_s)


def test_workers_tell_of_their_answers_as_one_process_does(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(items=40)
    project.suite("""
        import pytest
        @pytest.mark.parametrize("floor", [0.3, 0.31, 0.32, 0.33])
        def test_floor(candidate, accuracy, floor):
            assert accuracy(candidate) >= floor
    """)
    path = project.path / "record.json"
    told = []
    for workers in (0, 2):
        arguments = ("--llmperf-record", "record.json", "--llmperf-full")
        result = project.run_with_workers(workers, *arguments) if workers else project.run(*arguments)
        assert result.noise == [], result.text
        record = read_record(path)
        rows = [(row["item"], row["reply"], row["outcome"]) for row in load_answers(path, record)]
        facts = [(entry.row, entry.task, entry.items, entry.requests) for entry in record.answers]
        told.append((rows, facts, [server.row for server in record.servers]))
    assert told[0] == told[1]
    assert len(told[0][0]) == 40
