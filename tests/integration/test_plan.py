"""``--llmperf-plan``: what the gates are worth, before anything is started."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.prompts.variants import model_default
from pytest_llmperf.stats import operating_characteristics

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

ROOT = Path(__file__).parents[2]
EVERYTHING = """
    import pytest
    from pytest_llmperf import points
    each = pytest.mark.parametrize
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5
    def test_temperature(candidate, accuracy, rules):
        assert accuracy(candidate, rules.at_temperature(0.5)) >= 0.5
    def test_few(candidate, accuracy):
        assert accuracy(candidate, items=40) >= 0.4
    def test_margin(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(10)
    @each("name", ["boxed", "thinking_skipped", "unfinished", "loops"])
    def test_answers(candidate, answers, rules, name):
        assert getattr(answers(candidate, rules.chinese), name) <= 0.5
    @each("name", ["facts_kept", "unfinished"])
    def test_summaries(candidate, summaries, name):
        assert getattr(summaries(candidate), name) <= 0.9
    def test_recall(candidate, recall):
        assert recall(candidate, tokens=256) >= 0.1
    @each("name", ["peak", "weights"])
    def test_memory(candidate, memory, name):
        assert getattr(memory(candidate), name) <= 1e12
    def test_memory_ratio(candidate, baseline, memory):
        assert memory(candidate).peak <= memory(baseline).peak * 9.0
    def test_ready(candidate, startup):
        assert startup(candidate).ready <= 100
    @each("name", ["ttft", "ttfat", "itl", "tpot", "stall", "e2el", "throughput"])
    def test_load(candidate, load, name):
        assert getattr(load(candidate, concurrency=2), name).p50 <= 1e9
    @each("name", ["ttft", "itl", "tpot", "e2el", "throughput"])
    def test_pair(candidate, baseline, load, name):
        assert getattr(load.interleaved(candidate, baseline, concurrency=2), name).ratio <= 100
"""


def rows(result: Result) -> list[list[str]]:
    """Cells of the plan's table."""
    lines = result.text[result.text.index("llmperf plan") :].splitlines()[2:]
    table = [line for line in lines if not line.startswith(("llmperf:", "="))]
    return [re.split(r"\s{2,}", line) for line in table if line.strip()]


def assert_nothing_ran(project: Project, result: Result) -> None:
    assert result.code == 0, result.text
    assert project.starts == []
    assert result.noise == []
    assert re.search(r"= (no tests ran|\d+ deselected) in ", result.text)
    assert not re.search(r"\b\d+ (passed|failed|skipped|error)|\bPASSED\b|\bverdicts\b", result.text)


def test_a_plan_starts_nothing_and_reports_no_test(project: Project) -> None:
    project.suite(EVERYTHING)
    result = project.run("--llmperf-plan", "-v")
    assert_nothing_ran(project, result)
    assert result.lines("llmperf: 27 gates; 0 tests without a statistical gate")
    assert list((project.path / "tmp").glob("llmperf-*")) == [], "the run's directory is gone"


def test_what_is_planned_is_what_a_run_judges(project: Project) -> None:
    """Names, bounds and sizes of every gate: planned ones beside those of a run's verdicts."""
    project.shrink(items=60, variant_items=30, quality_items=20, rounds=6, answer_tokens=4)
    project.suite(EVERYTHING)
    planned = rows(project.run("--llmperf-plan"))
    _, verdicts = project.judged("--llmperf-full", "--llmperf-inconclusive", "warn", timeout_s=120.0)
    judged = [one for one in verdicts if one["method"] != "not measured"]
    assert [row[0] for row in planned] == [one["metric"] for one in judged]
    for row, one in zip(planned, judged, strict=True):
        if one["unit"] == "share":
            assert int(row[2].removeprefix("≤ ").split()[0]) == one["n"], row
        if one["unit"] == "ratio" and "peak" not in one["metric"]:
            assert row[2] == "1 start", "whose 6 rounds are no sample of starts"


def test_a_narrow_margin_is_warned_of_with_the_items_that_would_do(project: Project) -> None:
    project.suite("""
        from pytest_llmperf import points
        def test_narrow(candidate, baseline, accuracy):
            assert accuracy(candidate, items=600) >= accuracy(baseline, items=600) - points(4)
        def test_wide(candidate, baseline, accuracy):
            assert accuracy(candidate, items=600) >= accuracy(baseline, items=600) - points(9)
    """)
    result = project.run("--llmperf-plan")
    assert_nothing_ran(project, result)
    [warning] = result.lines("WARNING")
    passes = operating_characteristics.of_margin(600, 0.0, 0.2, 0.04, alpha=0.04).passes
    [shown] = re.findall(r"embedded accuracy ≥ baseline − 4 pts: passes in only ([\d.]+) % of runs", warning)
    assert float(shown) == pytest.approx(100 * passes, abs=0.1)
    assert "(equal models, 20 % answered differently)" in warning
    assert re.search(r"about 1,[4-6]\d\d items, or a margin of [56]\.?\d? pts would give 95 %", warning)


def test_tests_without_a_gate_are_counted_and_those_that_break_are_named(project: Project) -> None:
    project.suite("""
        import pytest
        def test_stream(candidate, stream):
            assert stream(candidate, "1 + 1?").ok
        def test_client(candidate, openai_client):
            assert openai_client(candidate).models.list()
        def test_server(candidate, accuracy):
            assert candidate.server.pid
        def test_log(candidate, startup):
            assert startup(candidate).milestones.weights_loaded_s
        def test_value(candidate, memory):
            assert memory(candidate).peak.value < 3
        def test_plain():
            open("ran", "w")
        def test_prompts(candidate, prompts):
            open("ran", "w")
        def test_asked_for_late(candidate, request):
            assert request.getfixturevalue("accuracy")(candidate) >= 0.7
        def test_gate_then_server(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
            assert candidate.server.pid
        def test_task(candidate, accuracy):
            assert accuracy(candidate, "no such task") >= 0.5
        def test_skipped(candidate, accuracy):
            pytest.skip("not today")
        def test_unasserted(candidate, accuracy):
            accuracy(candidate) >= 0.6
        def test_budget(candidate, load, budget):
            assert load(candidate, concurrency=8).ttft.p95 <= budget.latency.ttft_p95[8]
        def test_bug(candidate, accuracy):
            assert accuracy(candidate) >= 0.6
            assert 1 == 2
    """)
    result = project.run("--llmperf-plan")
    assert_nothing_ran(project, result)
    assert not (project.path / "ran").exists()
    assert [row[0] for row in rows(result)] == [
        "embedded accuracy",
        "embedded accuracy",
        "TTFT at 8 p95",
        "embedded accuracy",
    ]
    assert result.lines("llmperf: 4 gates; 7 tests without a statistical gate"), result.text
    assert result.lines("not planned: test_gate.py::test_task[distill]: no task 'no such task'")
    assert result.lines("not planned:", "test_skipped[distill]: skipped", "not today")
    assert result.lines("not planned:", "test_unasserted[distill]", "a comparison was made and not asserted")
    assert result.lines("not planned:", "test_bug[distill]: AssertionError")
    assert len(result.lines("not planned:")) == 4
    assert result.lines("WARNING: TTFT at 8 p95 —: will be INVALID: no budget for device CPU")


def test_a_record_changes_what_is_assumed_and_gives_minutes(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}, "math": {"ANSWERS": solver}})
    project.shrink(items=200, rounds=8, answer_tokens=4)
    project.suite("""
        from pytest_llmperf import points
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
        def test_pair(candidate, baseline, accuracy, load):
            assert accuracy(candidate) >= accuracy(baseline) - points(10)
            assert load.interleaved(candidate, baseline, concurrency=2).ttft.ratio <= 100
        def test_more(candidate, recall):
            assert recall(candidate, tokens=256) >= 0.5
    """)
    without = project.run("--llmperf-plan")
    assert without.lines("minutes: give --llmperf-plan=RECORD")
    assert "half-way from the bound" in rows(without)[0][-1]
    project.judged("-k", "not test_more", "--llmperf-full")
    starts = list(project.starts)
    result = project.run("--llmperf-plan=record.json")
    assert result.code == 0, result.text
    assert project.starts == starts, "the second plan started nothing"
    floor, margin, ratio, recall = rows(result)
    assert re.fullmatch(r"\d\d(\.\d)? % as recorded", floor[-1])
    # both give the same answers: the recorded discordance is none
    assert margin[-1] == "0.0 pts as recorded, 0 % answered differently as recorded"
    assert ratio[-1].endswith("noise a round, as recorded")
    assert "half-way from the bound" in recall[-1], "this gate was not in the record"
    [known, unknown] = result.lines("llmperf: minutes:")
    assert re.search(
        r"at most \d+\.\d \(starts \d+\.\d, answers \d+\.\d, load \d+\.\d\), by record.json", known
    )
    assert unknown.endswith("not in that record: distill conversations 256 tokens")


def test_minutes_are_those_that_the_record_holds(project: Project) -> None:
    project.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate, items=400) >= 0.5
    """)
    asked = {"row": "distill", "task": "embedded", "variant": model_default.name}
    record = {
        "schema": "llmperf-record/1",
        "profile": "test",
        "device": {"name": "CPU"},
        "servers": [{"row": "distill", "ready_s": 90.0}],
        "answers": [{**asked, "items": 100, "seconds": 60.0}],
        "verdicts": [],
    }
    project.write("record.json", json.dumps(record))
    result = project.run("--llmperf-plan=record.json")
    assert result.lines("minutes: at most 5.5 (starts 1.5, answers 4.0), by record.json"), result.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--llmperf-plan", "test_gate.py"], "not the record of a run"),
        (["--llmperf-plan=none.json"], "none.json: no such file"),
        (["--llmperf-plan", "--model", "distil"], "distill"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_four(
    project: Project, arguments: list[str], says: str
) -> None:
    project.suite(EVERYTHING)
    result = project.run(*arguments)
    assert result.code == 4, result.text
    assert result.lines("ERROR", says)
    assert result.noise == []
    assert project.starts == []


def test_workers_are_refused_in_one_line(project: Project) -> None:
    project.suite(EVERYTHING)
    result = project.run_with_workers(2, "--llmperf-plan")
    assert result.code == 4, result.text
    assert result.lines(
        "ERROR", "--llmperf-plan measures nothing and needs no workers: leave -n out, or give -n 0"
    )
    assert project.run_with_workers(0, "--llmperf-plan").code == 0
    assert project.starts == []


def test_no_record_is_written_and_that_is_said(project: Project) -> None:
    project.suite(EVERYTHING)
    result = project.run("--llmperf-record", "record.json", "--llmperf-plan")
    assert_nothing_ran(project, result)
    assert result.lines("no record is written, nothing was measured")
    assert not (project.path / "record.json").exists()


def test_a_suite_that_cannot_be_collected_is_no_plan(project: Project) -> None:
    project.suite("import nothing_of_that_name")
    result = project.run("--llmperf-plan")
    assert result.code == 2, result.text
    assert result.lines("1 error")


def test_the_suites_of_this_repository_are_planned_without_a_start(project: Project) -> None:
    result = project.run(
        str(ROOT / "suites"), f"--rootdir={ROOT}", "-c", str(ROOT / "pyproject.toml"), "--llmperf-plan",
        "--llmperf-profile", "embedded",
    )  # fmt: skip
    assert_nothing_ran(project, result)
    unplanned = [re.split(r"\s{2,}", line)[0] for line in result.lines("not planned:")]
    assert sorted(unplanned) == [
        "ROUGE-L of summaries",
        "ROUGE-L of summaries difference",
        "embedded perplexity ratio",
        "seconds per correct embedded answer ratio",
        "tokens per correct embedded answer ratio",
    ], "only a run shows how they differ from text to text, or from answer to answer"
    names = {row[0] for row in rows(result)}
    assert {
        "embedded accuracy", "boxed answers", "recall over 1024 tokens", "TTFT at 32 p95", "TPOT at 8 ratio",
        "throughput at 1 p50", "peak resident memory ratio", "time to ready",
    } <= names  # fmt: skip
    assert result.lines("tests without a statistical gate")


def test_several_starts_are_planned_with_the_start_as_the_sample(project: Project) -> None:
    project.suite("""
        def test_pair(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1.1
    """)
    result = project.run("--llmperf-plan", "--llmperf-starts", "5")
    assert_nothing_ran(project, result)
    [row] = [row for row in rows(result) if row[0] == "TPOT at 2 ratio"]
    assert row[2] == "≤ 5 starts"
    assert "3 % from start to start" in row[-1]
    assert all("%" in cell for cell in row[3:7]), "what it catches, and how often it errs"
