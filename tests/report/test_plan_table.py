from __future__ import annotations

from pathlib import Path

from pytest_llmperf.gates.plan import PlannedGate
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.prior import Duration, Phase, PlanningRecord
from pytest_llmperf.report.plan_table import duration_lines, plan_table, warnings
from pytest_llmperf.stats.operating_characteristics import Chances

SHARE = PlannedGate(
    label="accuracy",
    unit="share",
    bound=0.7,
    at_least=True,
    n=600,
    noun="item",
    at_most=True,
    chances=Chances(passes=0.6895, fails=0.00001),
    caught_often=0.123,
    caught_unit="points",
    assumed="85 %",
    warning="passes in only 68.9 % of runs",
    origin="budgets.toml",
)
LIMIT = PlannedGate(
    label="loops",
    unit="share",
    bound=0.05,
    at_least=False,
    n=1,
    noun="answer",
    caught=0.02,
    caught_unit="points",
)
MARGIN = PlannedGate(
    label="accuracy", unit="points", bound=-0.03, at_least=True, n=9, noun="item", remark="why not"
)
RATIO = PlannedGate(
    label="TPOT ratio",
    unit="ratio",
    bound=1.05,
    at_least=False,
    n=64,
    noun="round",
    caught=0.081,
    caught_unit="slower",
)


def cells(gate: PlannedGate) -> list[str]:
    return [cell for cell in plan_table([gate])[1].split("  ") if cell.strip()]


def test_a_line_says_bound_data_damage_chances_and_what_was_assumed() -> None:
    assert [cell.strip() for cell in cells(SHARE)] == [
        "accuracy", "≥ 70 %", "≤ 600 items", "−12.3 pts", "—", "< 0.1 %", "31.1 %", "85 %",
    ]  # fmt: skip


def test_bounds_and_damage_are_written_in_their_units() -> None:
    assert [cell.strip() for cell in cells(LIMIT)][1:5] == ["≤ 5 %", "1 answer", "—", "+2.0 pts"]
    assert [cell.strip() for cell in cells(MARGIN)][1] == "≥ baseline − 3 pts"
    assert cells(MARGIN)[-1].strip() == "why not"
    assert [cell.strip() for cell in cells(RATIO)][1:5] == ["≤ ×1.05", "64 rounds", "—", "8.1 % slower"]


def test_columns_are_aligned_and_no_gates_are_no_table() -> None:
    head, *rows = plan_table([SHARE, LIMIT, RATIO])
    assert {row.index("pts") + 3 for row in rows if "pts" in row} <= {
        head.index("80 %") + 4,
        head.index("95 %") + 4,
    }
    assert all(row.startswith(gate.label) for row, gate in zip(rows, (SHARE, LIMIT, RATIO), strict=True))
    assert plan_table([]) == []


def test_a_warning_names_gate_and_bound_and_is_said_once() -> None:
    assert warnings([SHARE, LIMIT, SHARE]) == [
        "accuracy ≥ 70 %: passes in only 68.9 % of runs [budgets.toml]"
    ]


def test_minutes_name_their_source_and_what_it_does_not_hold() -> None:
    earlier = PlanningRecord(Path("last.json"), Record.of({"device": {"name": "CPU"}}), [])
    duration = Duration(
        {"starts": 30.0, "load": 120.0}, [Phase("long answers", "a", ("summaries",)), Phase("starts", "b")]
    )
    assert duration_lines(duration, earlier, "CPU") == [
        "minutes: at most 2.5 (starts 0.5, load 2.0), by last.json",
        "minutes: not in that record: a summaries, starts of b",
    ]
    long = Phase("long answers", "a", ("needles", "8192 tokens"))
    assert duration_lines(Duration({}, [], [(long, 12_345.6)]), earlier, "CPU") == [
        "minutes: a needles 8192 tokens is estimated from 12,346 prompt tokens a second of other lengths in that record"
    ]
    [line] = duration_lines(duration, earlier, "NVIDIA H100")
    assert line.startswith("minutes: unknown, last.json is of CPU and this is NVIDIA H100")
