"""Workflow commands as GitHub's runner reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.exporters.base import LocatedVerdict
from pytest_llmperf.report.exporters.github import commands, in_repository


def told(status: Status, metric: str = "accuracy", why: str = "why", line: int = 12) -> LocatedVerdict:
    verdict = Verdict(status, metric, 0.7, (0.6, 0.8), 0.74, 100, None, "m", why, "share")
    return LocatedVerdict(verdict, "suites/test_a.py::test_b[distill]", "suites/test_a.py", line)


def read(command: str) -> tuple[str, dict[str, str], str]:
    """As actions/runner does (ActionCommand.TryParseV2): the name, the properties, the message, unescaped."""
    assert "\n" not in command
    assert command.startswith("::")
    head, _, message = command[2:].partition("::")
    name, _, given = head.partition(" ")
    properties = dict(one.split("=", 1) for one in given.split(","))

    def plain(text: str) -> str:
        for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            text = text.replace(code, character)
        return text

    return name, {key: plain(value) for key, value in properties.items()}, plain(message)


def test_a_failed_gate_is_an_error_at_its_line_of_the_suite() -> None:
    [command] = commands([told(Status.FAIL, why="0.70 is below 0.74"), told(Status.PASS)], "fail")
    name, properties, message = read(command)
    assert name == "error"
    assert properties == {"file": "suites/test_a.py", "line": "12", "title": "FAIL: accuracy"}
    assert message == "0.70 is below 0.74 (suites/test_a.py::test_b[distill])"


def test_the_policy_decides_whether_undecided_is_an_error_or_a_warning() -> None:
    undecided = [told(Status.INCONCLUSIVE)]
    assert read(*commands(undecided, "fail"))[0] == "error"
    assert read(*commands(undecided, "warn"))[0] == "warning"


def test_regressions_come_before_what_github_may_leave_out() -> None:
    many = [told(Status.INCONCLUSIVE)] * 3 + [told(Status.INVALID), told(Status.FAIL)]
    titles = [read(command)[1]["title"] for command in commands(many, "fail")]
    assert titles == ["FAIL: accuracy", "INVALID: accuracy", *["INCONCLUSIVE: accuracy"] * 3]


@pytest.mark.parametrize(
    "text", ["one\ntwo", "90 %: a, b", "%0A::error::x", "::endgroup::\r\n::error::", "a=b"]
)
def test_text_of_a_metric_or_a_sentence_comes_back_as_it_was_and_starts_no_command(text: str) -> None:
    _, properties, message = read(*commands([told(Status.FAIL, metric=text, why=text)], "fail"))
    assert properties["title"] == f"FAIL: {text}"
    assert message.startswith(f"{text} (suites/")


def test_a_line_that_is_not_known_is_left_out() -> None:
    assert "line" not in read(*commands([told(Status.INVALID, line=0)], "fail"))[1]


def test_files_are_named_from_the_repository_not_from_where_pytest_runs() -> None:
    file = Path("/w/repository/gates/suites/test_a.py")
    root = Path("/w/repository/gates")
    assert in_repository(file, {"GITHUB_WORKSPACE": "/w/repository"}, root) == "gates/suites/test_a.py"
    assert in_repository(file, {}, root) == "suites/test_a.py"
    assert in_repository(file, {"GITHUB_WORKSPACE": "/other"}, root) == "suites/test_a.py"
    assert in_repository(file, {}, Path("/other")) == "test_a.py"
