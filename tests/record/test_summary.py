"""What was measured becomes metrics with intervals, and costs; worked out by hand here."""

from __future__ import annotations

import pytest

from pytest_llmperf.record.model import Record
from pytest_llmperf.record.summary import MetricSummary, costs

ANSWERS = {
    "row": "distill",
    "task": "gsm8k",
    "variant": "as promised",
    "items": 110,
    "outcomes": {"correct": 80, "wrong": 15, "incomplete": 5, "infra": 10},
    "completion_tokens": 5000,
    "seconds": 12.5,
}


def load(row: str, ttft: float, tokens: int) -> dict[str, object]:
    one = {"requests": 40, "window_s": 2.0, "ttft_s": [ttft + 0.001 * n for n in range(40)]}
    rounds = [one | {"output_tokens": tokens + n, "tpot_s": [], "e2el_s": []} for n in range(12)]
    workload = {"input_tokens": 64, "output_tokens": 128}
    return {"row": row, "concurrency": 8, "workload": workload, "rounds": rounds}


def test_an_accuracy_counts_what_was_learned_and_has_its_interval() -> None:
    [one] = MetricSummary().of(Record.of({"answers": [ANSWERS]}))
    assert (one["metric"], one["value"], one["n"], one["better"]) == ("accuracy", 0.8, 100, "higher")
    assert one["interval"] == pytest.approx([0.7228, 0.8631], abs=1e-3)


def test_several_answers_an_item_are_worth_no_more_than_items() -> None:
    several = ANSWERS | {"items": 25, "samples": 4, "outcomes": {"correct": 80, "wrong": 20}}
    [one] = MetricSummary().of(Record.of({"answers": [several]}))
    assert (one["value"], one["n"]) == (0.8, 25)
    assert one["interval"] == pytest.approx([0.6246, 0.9177], abs=1e-3)
    assert costs(Record.of({"answers": [several]}))[0]["answers"] == 100, "and cost what all of them cost"


def test_times_and_throughput_of_a_load_over_all_starts() -> None:
    found = {
        one["metric"]: one
        for one in MetricSummary().of(
            Record.of({"load": [load("distill", 0.1, 800), load("distill", 0.1, 800)]})
        )
    }
    assert set(found) == {"ttft_p50", "ttft_p95", "throughput"}, "what was not measured is not there"
    assert found["ttft_p50"]["n"] == 24 * 40
    [ttft] = Record.of({"metrics": [found["ttft_p50"]]}).metrics
    low, _ = ttft.interval
    assert low is not None
    assert low <= ttft.value == pytest.approx(0.119)
    assert found["throughput"]["value"] == pytest.approx(402.75)
    assert found["throughput"]["of"] == "8 at a time, 64 → 128 tokens"


def test_costs_add_up_answers_loads_and_energy() -> None:
    facts = {
        "answers": [ANSWERS],
        "load": [load("distill", 0.1, 1000)],
        "telemetry": [{"row": "distill", "energy_j": 200.0}, {"row": "distill", "energy_j": 50.0}],
    }
    [cost] = costs(Record.of(facts))
    assert cost == {
        "row": "distill",
        "answers": 110,
        "requests": 480,
        "completion_tokens": 5000 + 12 * 1000 + sum(range(12)),
        "seconds": 36.5,
        "joules": 250.0,
    }
    assert costs(Record.of({})) == []
