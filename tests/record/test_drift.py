"""Series of like runs, and what a gate on them says."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record.drift import drift_verdicts
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.series import metric_series

PASSED = {"metric": "m", "status": "PASS", "n": 9, "why": "enough", "method": "exact"}
LEVELS = [100.0, 102.0, 98.0, 101.0, 99.0, 100.0, 103.0, 97.0, 100.0, 101.0]


def night(
    number: int, value: float | None, *, better: str = "lower", unit: str = "s", **changed: Any
) -> Record:
    measured = {
        "row": "distill",
        "metric": "ttft_p95",
        "of": "8 at once",
        "value": value,
        "n": 64,
        "unit": unit,
    }
    fields: dict[str, Any] = {
        "id": f"run-{number}",
        "written": f"2026-11-{number + 1:02}T03:00:00+00:00",
        "profile": "gpu",
        "device": {"class": "H100", "name": "NVIDIA H100"},
        "candidates": ["distill"],
        "baseline": "math",
        "rows": {"distill": "0" * 16},
        "servers": [{"row": "distill", "engine": "vllm 0.12"}],
        "suite": {"tests": ["suites/test_latency.py::test_it"]},
        "verdicts": [PASSED],
        "metrics": [] if value is None else [measured | {"better": better}],
    }
    return Record.of(fields | changed)


def nights(*values: float | None, **how: Any) -> list[Record]:
    return [night(number, value, **how) for number, value in enumerate(values)]


def judged(records: list[Record]) -> dict[str, Status]:
    return {verdict.metric: verdict.status for verdict in drift_verdicts(metric_series(records))}


ONE = "distill: ttft_p95, 8 at once"


def test_a_metric_that_has_become_worse_is_red_and_says_by_how_much() -> None:
    [verdict] = drift_verdicts(metric_series(nights(*LEVELS, 120.0, 121.0, 119.0)))
    assert verdict.status is Status.FAIL
    assert (
        "has drifted: 120 s over the last 3 nights to 2026-11-13, 100 s in 10 nights before (+19.9 %"
        in verdict.why
    )
    assert verdict.candidate == 120.0
    assert verdict.baseline == pytest.approx(100.1)
    assert verdict.bound is not None
    assert 100.1 < verdict.bound < 120.0


def test_a_night_that_only_a_waiver_let_through_is_no_yardstick_and_is_told() -> None:
    waived = {**PASSED, "status": "FAIL", "waived": "until 2026-12-31: slow disk"}
    let_through = [night(number, 150.0, verdicts=[PASSED, waived]) for number in range(10)]
    assert all(record.outcome.green for record in let_through)
    recent = [night(10 + number, 150.0) for number in range(3)]
    [verdict] = drift_verdicts(metric_series(let_through + recent))
    assert verdict.status is Status.INCONCLUSIVE
    assert "3 like runs" in verdict.why
    assert "left out: 10 that were green by a waiver" in verdict.why
    # Nor do they hide a drift.
    [verdict] = drift_verdicts(metric_series([*nights(*LEVELS), *(
        night(10 + number, 150.0, verdicts=[PASSED, waived]) for number in range(6)
    )]))  # fmt: skip
    assert verdict.status is Status.FAIL


def test_the_metric_knows_which_way_is_worse() -> None:
    assert judged(nights(*LEVELS, 80.0, 80.0, 80.0)) == {ONE: Status.PASS}
    assert judged(nights(*LEVELS, 80.0, 80.0, 80.0, better="higher")) == {ONE: Status.FAIL}


def test_what_is_beyond_chance_and_below_one_per_cent_is_green() -> None:
    still = [100.0, 100.001] * 6
    assert judged(nights(*still, 100.9, 100.9, 100.9)) == {ONE: Status.PASS}
    assert judged(nights(*still, 101.1, 101.1, 101.1)) == {ONE: Status.FAIL}


def test_a_short_history_is_undecided() -> None:
    [verdict] = drift_verdicts(metric_series(nights(*LEVELS)))
    assert (verdict.status, verdict.n_needed) == (Status.INCONCLUSIVE, 11)
    assert "10 like runs; 11 show how much the nights differ" in verdict.why


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"device": {"class": "H100", "name": "NVIDIA H100"}, "rows": {"distill": "1" * 16}},
            "way of serving",
        ),
        ({"servers": [{"row": "distill", "engine": "vllm 0.11"}]}, "engine"),
        ({"content": {"distill": "2" * 16}}, "set of files"),
        ({"environment": {"driver": "550.1"}}, "driver"),
        ({"sizes": {"rounds": 8}}, "size of the samples"),
    ],
)
def test_only_like_is_compared_with_like(changed: dict[str, Any], why: str) -> None:
    others = nights(*[50.0] * 10, **changed)
    now = [night(10 + number, 100.0) for number in range(3)]
    [series] = metric_series([*others, *now])
    assert (len(series.points), series.left_out) == (3, {f"another {why}": 10})
    [verdict] = drift_verdicts([series])
    assert verdict.status is Status.INCONCLUSIVE
    assert f"left out: 10 of another {why}" in verdict.why


def test_runs_on_another_device_are_a_series_of_their_own() -> None:
    elsewhere = nights(*LEVELS, device={"class": "A100", "name": "NVIDIA A100"})
    assert [len(series.points) for series in metric_series([*elsewhere, night(20, 300.0)])] == [10, 1]


def test_a_run_counts_once_and_partial_and_red_ones_are_no_yardstick() -> None:
    red: dict[str, Any] = {"verdicts": [PASSED | {"status": "FAIL"}]}
    records = nights(*LEVELS[:6])
    records += [records[0], night(7, 500.0, partial="killed"), night(8, 400.0, **red)]
    records += [night(9 + number, 100.0) for number in range(3)]
    [series] = metric_series(records)
    assert (len(series.points), series.left_out) == (9, {"were not green": 1})


def test_red_nights_count_among_the_last_ones() -> None:
    red: dict[str, Any] = {"verdicts": [PASSED | {"status": "FAIL"}]}
    worse = [night(10 + number, 130.0, **red) for number in range(3)]
    assert judged([*nights(*LEVELS), *worse]) == {ONE: Status.FAIL}


def test_a_metric_that_its_tests_no_longer_measure_is_invalid() -> None:
    assert judged([*nights(*LEVELS), night(10, None)]) == {ONE: Status.INVALID}


def test_a_run_of_other_tests_leaves_a_series_unjudged() -> None:
    other = night(10, None, suite={"tests": ["suites/test_memory.py::test_it"]})
    [series] = metric_series([*nights(*LEVELS), other])
    assert (series.missing, drift_verdicts([series])) == ("the newest run was of other tests", [])


def test_a_level_that_was_accepted_begins_a_new_history() -> None:
    records = [*nights(*LEVELS), *(night(10 + number, 130.0) for number in range(12))]
    [series] = metric_series(records, since="2026-11-11")
    assert [verdict.status for verdict in drift_verdicts([series])] == [Status.PASS]
    assert len(series.points) == 12


def test_a_series_is_corrected_for_all_the_others() -> None:
    last = [*LEVELS, 107.0, 107.0, 107.0]
    steady = [*LEVELS, 100.0, 100.0, 100.0]
    assert judged(nights(*last))[ONE] is Status.FAIL

    def with_others(number: int) -> list[dict[str, Any]]:
        alike = {"row": "distill", "of": "8 at once", "n": 64, "unit": "s", "better": "lower"}
        names = [("ttft_p95", last[number]), *((f"m{nth}", steady[number]) for nth in range(200))]
        return [{**alike, "metric": name, "value": value} for name, value in names]

    many = [night(number, None, metrics=with_others(number)) for number in range(len(last))]
    assert judged(many)[ONE] is Status.PASS


def test_shares_are_compared_in_points() -> None:
    def verdict(level: float, now: float) -> Verdict:
        [verdict] = drift_verdicts(
            metric_series(nights(*[level] * 10, now, now, now, better="higher", unit="share"))
        )
        return verdict

    assert verdict(0.02, 0.013).status is Status.PASS
    assert verdict(0.8, 0.7).status is Status.FAIL
    assert "−10.0 pts" in verdict(0.8, 0.7).why


def test_one_item_less_of_a_share_that_was_always_whole_is_no_drift() -> None:
    """With 64 items, 63 right: the nights before do not say that no item is ever lost."""
    assert judged(nights(*[1.0] * 10, 63 / 64, 63 / 64, 1.0, better="higher", unit="share")) == {
        ONE: Status.PASS
    }
    assert judged(nights(*[1.0] * 10, 56 / 64, 56 / 64, 56 / 64, better="higher", unit="share")) == {
        ONE: Status.FAIL
    }
