"""Loads without a fixed concurrency on the page: one line each, curves of sweeps, and an SLO to try."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.report.conftest import Page, RecordedRun
from tests.report.reader import CHROMIUM, NO_CHROMIUM

if TYPE_CHECKING:
    from tests.report.reader import Reader


def load(purpose: str, row: str = "distill", failed: int = 0, **own: Any) -> dict[str, Any]:
    """Ten requests in two seconds: TTFT 10, 20, … 100 ms, TPOT 1, 2, … 10 ms."""
    answered = 10 - failed
    tail = {"value": 0.095, "low": 0.09, "high": None, "n": answered}
    return {
        "row": row,
        "purpose": purpose,
        "tails": {"ttft": {"p50": {**tail, "value": 0.05}, "p95": tail}, "schedule_delay": {"p95": tail}},
        "rounds": [
            {
                "requests": 10,
                "errors": {"timeout": failed} if failed else {},
                "window_s": 2.0,
                "ttft_s": [0.01 * (n + 1) for n in range(answered)],
                "tpot_s": [0.001 * (n + 1) for n in range(answered)],
                "e2el_s": [1.0] * answered,
                "output_tokens": 200,
            }
        ],
    } | own


LOADS = [
    load("open loop", rate=80.0, schedule="Poisson, 80 requests/s, seed 0"),
    load("open loop", rate=100.0, schedule="Poisson, 100 requests/s, seed 0", failed=2),
    *(load("sweep", row=row, concurrency=level) for row in ("distill", "math") for level in (1, 4, 16)),
    load("max rate", rate=40.0, schedule="Poisson, 40 requests/s, seed 0"),
    load("max rate", rate=48.0, schedule="Poisson, 48 requests/s, seed 1"),
]


@pytest.fixture
def page(run: RecordedRun) -> Path:
    run.facts["scheduled_load"] = LOADS
    return run.write()


def test_each_load_is_a_line_under_its_kind(page: Path) -> None:
    shown = RecordedRun.page_of(page)
    kinds = ["Open loops and replays", "Sweeps, level by level", "Search for the highest rate"]
    assert [caption for caption in shown.captions if caption in kinds] == kinds
    first, lossy = (shown.rows[at] for at in _places(shown, "Poisson, 80 requests/s, seed 0", "Poisson, 100"))
    assert [cell.strip() for cell in first][:7] == [
        "Poisson, 80 requests/s, seed 0", "distill", "10", "0", "5 of 80", "100 tok/s", "50.0 ms",
    ]  # fmt: skip
    assert first[7].strip() == "95.0 ms (90.0 ms … —)"
    assert [cell.strip() for cell in lossy][2:5] == ["10", "2 (20 %)", "4 of 100"]


def _places(shown: Page, *starts: str) -> list[int]:
    return [
        next(at for at, row in enumerate(shown.rows) if row[0].strip().startswith(start)) for start in starts
    ]


def test_curves_lead_through_the_levels_of_a_sweep_and_through_no_two_loads_of_one_rate(
    run: RecordedRun,
) -> None:
    run.facts["scheduled_load"] = [*LOADS, LOADS[0]]
    shown = RecordedRun.page_of(run.write())
    told = [each["aria-label"] for each in shown.all("div") if "data-plot" in each]
    assert [alt.partition(".")[0] for alt in told if " against " in alt] == [
        "Time to first token, p95 of each model against concurrent requests",
        "Output throughput of each model against concurrent requests",
        "Time to first token, p95 of each model against requests a second",
        "Output throughput of each model against requests a second",
    ]


def test_a_run_without_such_loads_has_no_section(run: RecordedRun) -> None:
    assert 'id="scheduled"' not in RecordedRun.page_of(run.write()).html


def test_requests_whose_times_cannot_be_paired_are_not_offered_for_an_slo(run: RecordedRun) -> None:
    short = load("open loop", rate=5.0, schedule="Poisson, 5 requests/s, seed 0")
    short["rounds"][0]["tpot_s"].pop()
    run.facts["scheduled_load"] = [short]
    html = RecordedRun.page_of(run.write()).html
    assert 'id="scheduled"' in html
    assert "Try an SLO" not in html


@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_an_slo_that_is_typed_shows_which_loads_keep_it_and_the_highest_rate(
    page: Path, reader: Reader
) -> None:
    shown = reader.open(page)
    form = shown.locator("form.slo")
    kept = shown.locator("table.slo tbody tr td output")
    assert set(kept.all_inner_texts()) == {"—"}
    form.locator("[name=ttft]").fill("80")
    form.locator("[name=share]").fill("80")
    assert set(kept.all_inner_texts()) == {"✓ 80.0 %"}
    assert "distill: 100 requests/s" in form.locator("output").inner_text()
    form.locator("[name=ttft]").fill("90")
    form.locator("[name=share]").fill("90")
    lossy = shown.locator("table.slo tr", has_text="Poisson, 100 requests/s")
    assert lossy.locator("output").inner_text() == "80.0 %", "a request that failed keeps no SLO"
    assert "distill: 80 requests/s; math: no rate of this run" in form.locator("output").inner_text()
    form.locator("[name=tpot]").fill("3.5")
    assert set(kept.all_inner_texts()) == {"30.0 %"}
    assert reader.complaints == []
