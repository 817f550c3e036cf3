"""Requests, devices and earlier runs on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.html.parts import Section
from pytest_llmperf.report.html.telemetry import telemetry_section
from pytest_llmperf.report.html.timeline import MOST_REQUESTS, timeline_section
from pytest_llmperf.report.plots import TIMELINE_FIELDS

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun


def requests_of(section: Any) -> list[dict[str, Any]]:
    (plot,) = section.plots
    return [dict(zip(TIMELINE_FIELDS, one, strict=True)) for one in plot.spec["data"]["values"]]


def shown(run: RecordedRun) -> Section:
    section = timeline_section(read_facts(run.write()))
    assert section is not None
    return section


def test_every_request_is_a_line_of_its_round_with_its_three_times(run: RecordedRun) -> None:
    run.keep_traces()
    section = shown(run)
    lines = requests_of(section)
    assert len(lines) == len(run.traces) == 2 * 2 * 12 * 8
    trace = next(
        one for one in run.traces if (one["row"], one["concurrency"], one["round"]) == ("math", 8, 2)
    )
    line = next(one for one in lines if (one["row"], one["load"], one["round"]) == ("math", "8 at a time", 3))
    times = [1000 * (trace[name] - trace["sent_s"]) for name in ("sent_s", "first_s", "end_s")]
    assert [line["sent"], line["first"], line["end"]] == [round(one, 1) for one in times]


def test_the_median_round_is_shown_first_and_the_table_names_the_slowest(run: RecordedRun) -> None:
    run.facts["load"] = [run.load_facts("distill", 8, 5, 8, 1)]
    run.keep_traces()
    for trace in run.traces:
        # Rounds of the table count from 1: the median of these lengths is that of the third.
        trace["end_s"] = trace["sent_s"] + (7.0, 100.0, 8.0, 9.0, 6.0)[trace["round"]]
    section = shown(run)
    (plot,) = section.plots
    assert [one["value"] for one in plot.spec["params"]] == ["8 at a time", 3]
    assert section.tables[0].rows[0][5:] == ("100 s", "2")


def test_what_failed_is_counted_and_marked(run: RecordedRun) -> None:
    run.keep_traces()
    section = shown(run)
    assert {row[4] for row in section.tables[0].rows} == {"12"}
    assert len([one for one in requests_of(section) if one["outcome"] == "cut"]) == 4 * 12


def test_more_requests_than_are_drawn_leave_the_slowest_rounds(run: RecordedRun) -> None:
    run.facts["load"] = [run.load_facts("distill", 8, 20, 1000, 1)]
    run.keep_traces()
    section = shown(run)
    assert len(requests_of(section)) <= MOST_REQUESTS
    assert any("8 quickest rounds of 20 are not drawn" in note for note in section.notes)


def test_gaps_of_both_sides_are_distributed_where_the_requests_are_kept(run: RecordedRun) -> None:
    run.keep_traces()
    page = run.page_of(run.write())
    assert page.row("ITL at 8", "distill")[2] == page.row("ITL at 8", "math")[2] == f"{12 * 8 * 31:,}"


def test_memory_power_and_clocks_are_drawn_over_the_time_of_the_run(run: RecordedRun) -> None:
    times = [0.1 * i for i in range(50)]
    readings = {"time_s": times, "used_bytes": [5_000_000_000] * 50, "power_w": [None, *[300.5] * 49]}
    entry = {
        "row": "distill",
        "rows": ["distill", "math"],
        "what": "load",
        "concurrency": 8,
        "device": "0, H100",
        "energy_j": 1470.0,
    }
    entry |= {"mean_power_w": 300.5, "peak_bytes": 5_000_000_000, "lowered": {"power cap": 0.25}}
    section = telemetry_section(read_facts(run.write(telemetry=[{**entry, "readings": readings}])))
    assert section is not None
    memory, power = section.plots
    assert {one["value"] for one in memory.spec["data"]["values"]} == {5.0}
    assert len(power.spec["data"]["values"]) == 49
    assert section.tables[0].rows[0][3:] == ("1,470 J", "300 W", "5.00 GB", "power cap 25.0 %")


def test_without_readings_there_is_no_section_of_the_devices(run: RecordedRun) -> None:
    assert telemetry_section(read_facts(run.write(telemetry=[{"row": "distill"}]))) is None
