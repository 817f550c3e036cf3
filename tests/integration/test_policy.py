"""Advisory gates, waivers and the exit code of an undecided run, through whole runs."""

from __future__ import annotations

import xml.etree.ElementTree
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.cli import main

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    import pytest

    @pytest.mark.llmperf_advisory("on trial until the new driver")
    def test_advisory(candidate, startup):
        assert startup(candidate).ready <= 0.001

    def test_waived(candidate, startup, baseline):
        assert startup(candidate).ready <= 0.002
        assert startup(baseline).ready <= 0.003

    def test_gate(candidate, startup):
        assert startup(candidate).ready <= 100
"""
BUDGETS = """
    [waive."test_gate.py::test_waived[distill]"]
    until = 9999-12-31
    reason = "the disk is slow until May"
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_let_through_is_told_and_leaves_the_run_green(
    project: Project, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    project.suite(SUITE)
    project.write("budgets.toml", BUDGETS)
    arguments = ("--llmperf-record=record.json", "--junitxml=junit.xml")
    run = project.run_with_workers(workers, *arguments) if workers else project.run(*arguments)
    assert run.code == 0, run.text
    assert run.lines("llmperf: the run: PASS, 2 waived, 1 advisory failed"), run.text
    assert run.lines("advisory: on trial until the new driver", "FAIL: time to ready"), run.text
    assert run.lines("waived until 9999-12-31: the disk is slow until May", "FAIL"), run.text
    assert run.lines("1 passed, 2 xfailed"), run.text
    record = project.record()
    assert record["run"]["status"] == "PASS"
    # A waived gate does not end its test: the gate after it is judged as well.
    assert sorted(bool(verdict["waived"]) for verdict in record["verdicts"]) == [False, False, True, True]
    skipped = list(xml.etree.ElementTree.parse(project.path / "junit.xml").iter("skipped"))
    assert all("FAIL: time to ready" in (element.get("message") or "") for element in skipped)
    assert len(skipped) == 2
    if not workers:
        assert main(["comment", str(project.path / "record.json")]) == 0
        comment = capsys.readouterr().out
        assert comment.startswith(
            "<!-- pytest-llmperf: test CPU distill vs math -->\n## ✅ PASS, 2 waived, 1 advisory"
        )
        assert "waived until 9999-12-31: the disk is slow until May — FAIL: time to ready" in comment
        planned = project.run("--llmperf-plan")
        assert planned.lines("test_advisory[distill] never makes a run red, advisory: on trial"), planned.text
        assert planned.lines("test_waived[distill] is waived until 9999-12-31"), planned.text


def test_an_advisory_mark_without_a_reason_is_a_mistake(project: Project) -> None:
    project.suite(SUITE.replace('("on trial until the new driver")', ""))
    run = project.run()
    assert run.code == 4, run.text
    assert run.lines("test_advisory[distill]: write @pytest.mark.llmperf_advisory"), run.text
    run = project.run_with_workers(2)
    assert run.code == 1, run.text
    assert run.lines("INVALID as a whole: ", "test_advisory[distill]: write @pytest.mark.llmperf_advisory"), (
        run.text
    )
    assert run.noise == []


def test_a_waiver_for_another_model_of_the_catalogue_is_not_told_as_one_of_no_test(project: Project) -> None:
    project.catalog({"other": {}})
    project.suite(SUITE)
    project.write("budgets.toml", BUDGETS + BUDGETS.replace("[distill]", "[distil]"))
    run = project.run("--model", "other", "-k", "test_gate")
    assert not run.lines("test_waived[distill] matches no test"), run.text
    assert run.lines("the waiver of test_gate.py::test_waived[distil] matches no test"), run.text


def test_no_text_of_a_user_s_file_steers_the_terminal(project: Project) -> None:
    project.suite(SUITE.replace("on trial", "on \\x1b[31m\\u202etrial"))
    project.write("budgets.toml", BUDGETS.replace("the disk", "the \\u001b[2J\\u009b1Adisk"))
    run = project.run()
    planned = project.run("--llmperf-plan")
    for text in (run.text, planned.text):
        assert "the ␛[2J[U+009B]1Adisk is slow" in text
        assert "on ␛[31m[U+202E]trial until" in text
        assert not set("\x1b\x9b\u202e") & set(text)


def test_a_waiver_without_a_reason_is_a_mistake(project: Project) -> None:
    project.suite(SUITE)
    project.write("budgets.toml", BUDGETS.replace("reason", "# reason"))
    run = project.run()
    assert run.code == 4, run.text
    assert run.lines("budgets.toml: [waive.", "reason: missing; a waiver needs the reason"), run.text


UNDECIDED = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.9

    def test_gate(candidate, startup):
        assert startup(candidate).ready <= 100
"""


@pytest.mark.parametrize(
    ("more", "policy", "code"),
    [
        ("", "exit", 10),
        ("", "fail", 1),
        ("", "warn", 0),
        (
            "    def test_fails(candidate, startup):\n        assert startup(candidate).ready <= 0.001",
            "exit",
            1,
        ),
        ("    def test_of_something_else():\n        assert False", "exit", 1),
        ("    def test_raises(candidate, startup):\n        {}['x']", "exit", 1),
    ],
)
def test_a_run_that_is_undecided_and_nothing_worse_has_an_exit_code_of_its_own(
    project: Project, solver: str, more: str, policy: str, code: int
) -> None:
    project.catalog({"distill": {"ANSWERS": solver, "RIGHT_PERCENT": 80}})
    project.shrink(items=20)
    project.suite(UNDECIDED + "\n" + more)
    run = project.run(f"--llmperf-inconclusive={policy}")
    assert run.code == code, run.text


def test_a_budget_decides_for_its_own_gate_what_undecided_does(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver, "RIGHT_PERCENT": 80}})
    project.shrink(items=20)
    project.suite(UNDECIDED.replace("0.9", "budget.accuracy.floor").replace("accuracy)", "accuracy, budget)"))
    budgets = '[test.any.accuracy]\nfloor = "90 %"\ninconclusive = { floor = "warn" }\n'
    project.write("budgets.toml", budgets)
    run, verdicts = project.judged()
    assert run.code == 0, run.text
    assert [(each["status"], each["inconclusive"]) for each in verdicts] == [
        ("INCONCLUSIVE", "warn"),
        ("PASS", ""),
    ]
    project.write("budgets.toml", budgets.replace("warn", "fail"))
    assert project.run("--llmperf-inconclusive=warn").code == 1
