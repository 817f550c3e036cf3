"""An advisory or waived gate is told by every exporter, with its reason, and as nothing that makes the run red."""

from __future__ import annotations

import dataclasses

from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.exporters.base import LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.github import commands
from pytest_llmperf.report.exporters.junit import gate_properties, run_properties
from pytest_llmperf.report.exporters.markdown import summary
from pytest_llmperf.report.exporters.prometheus import metrics
from pytest_llmperf.report.terminal import verdict_table

FAIL = Verdict(Status.FAIL, "tpot", 1.2, (1.1, 1.3), 1.05, 64, None, "m", "tpot is above the budget", "ratio")
PASS = dataclasses.replace(FAIL, status=Status.PASS, metric="ttft", why="ttft stays within the budget")
WAIVED = dataclasses.replace(FAIL, waived="until 2026-12-31: a known fault")
ADVISORY = dataclasses.replace(FAIL, metric="itl", advisory="on trial")
VERDICTS = [PASS, WAIVED, ADVISORY]
RESULTS = RunResults(
    gates=[LocatedVerdict(verdict, f"t.py::test_{verdict.metric}", "t.py", 3) for verdict in VERDICTS],
    verdict=run_verdict(VERDICTS),
    about={"candidate": "distill", "baseline": "math", "profile": "gpu", "device": "H100"},
    notes=["the waiver of t.py::test_tpot ends in 3 days, after 2026-12-31 (a known fault)"],
)


def test_markdown_says_it_in_the_title_in_a_list_and_in_the_table() -> None:
    text = summary(RESULTS)
    assert text.startswith("## ✅ PASS, 1 waived, 1 advisory failed: distill against math")
    assert "* waived until 2026-12-31: a known fault — FAIL: tpot is above the budget" in text
    assert "* advisory: on trial — FAIL: tpot is above the budget" in text
    assert "ends in 3 days" in text
    assert "| ❌ FAIL (waived) | tpot |" in text
    assert "| ❌ FAIL (advisory) | itl |" in text


def test_github_warns_and_does_not_fail() -> None:
    lines = commands(RESULTS.gates, "fail", (), RESULTS.notes)
    assert [line.partition(" ")[0] for line in lines] == ["::warning"] * 3
    assert "title=FAIL (waived)%3A tpot::tpot is above the budget (t.py::test_tpot); waived until" in lines[0]


def test_junit_has_the_reasons() -> None:
    assert dict(gate_properties(WAIVED))["tpot: waived"] == "until 2026-12-31: a known fault"
    assert dict(gate_properties(ADVISORY))["itl: advisory"] == "on trial"
    run = dict(run_properties(RESULTS))
    assert (run["llmperf: verdict"], run["llmperf: green"]) == ("PASS", "yes")
    assert run["llmperf: let through 1"].startswith("waived until 2026-12-31")
    assert "ends in 3 days" in run["llmperf: let through 3"]


def test_metrics_count_them() -> None:
    text = metrics(RESULTS)
    assert "llmperf_run_green 1.0" in text
    assert "llmperf_run_waived 1.0" in text
    assert "llmperf_run_advisory_failed 1.0" in text
    assert 'llmperf_gate_excused{metric="tpot",test="t.py::test_tpot",by="waiver"} 1.0' in text
    assert 'llmperf_gate_excused{metric="itl",test="t.py::test_itl",by="advisory"} 1.0' in text


def test_the_terminal_marks_them_and_gives_the_reason_where_it_is_asked_for_more() -> None:
    lines = [line.text for line in verdict_table(VERDICTS)]
    assert lines[2].endswith("FAIL (waived)")
    assert lines[3].endswith("FAIL (advisory)")
    more = "\n".join(line.text for line in verdict_table(VERDICTS, verbosity=1))
    assert "waived until 2026-12-31: a known fault" in more
    assert "advisory: on trial" in more
