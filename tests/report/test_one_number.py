"""One number has one value and one interval, wherever a record is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.summary import MetricSummary
from pytest_llmperf.units import format_interval, format_value

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun


def test_an_accuracy_is_the_same_on_the_page_in_show_and_in_history(
    run: RecordedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 400 planned items of one side were asked; the other side stopped after 235 and has no interval of its own."""
    answers = [run.answer_facts("distill", 400, 400, 340), run.answer_facts("math", 235, 400, 200)]
    metrics = MetricSummary().of(Record.of({"answers": answers}))
    path = run.write(answers=answers, metrics=metrics)
    page = run.page_of(path)
    main(["show", str(path)])
    shown = capsys.readouterr().out.splitlines()
    main(["history", str(path)])
    over = capsys.readouterr().out.splitlines()
    for metric, row in zip(metrics, ("distill", "math"), strict=True):
        ends = metric["interval"]
        assert isinstance(ends, list)
        value = format_value(float(str(metric["value"])), "share")
        interval = format_interval((ends[0], ends[1]), "share")
        assert (interval == "—") == (row == "math")
        # In the table of answers, and in that of everything that was measured.
        assert [value, interval] == page.row(row, "embedded")[4:6]
        assert [value, interval] == page.row("accuracy", "embedded, as promised", row)[3:5]
        [line] = [one for one in shown if f"{row} " in one and "accuracy" in one and value in one]
        assert f"{value}  " in line
        assert interval in line
        assert any(value in one and interval in one for one in over), over
