"""Structured output and tool calls through a whole run: a sound server is green, each planted fault red by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

SUITE = """
    from pytest_llmperf import points

    def test_json(candidate, structured, budget):
        assert structured(candidate).valid_json >= budget.structured.valid_json
    def test_schema(candidate, structured, budget):
        assert structured(candidate).valid_schema >= budget.structured.valid_schema
    def test_forms_not_worse(candidate, baseline, structured, budget):
        assert structured(candidate).exact >= structured(baseline).exact - budget.structured.margin
    def test_arguments(candidate, tool_calls, budget):
        assert tool_calls(candidate).valid_arguments >= budget.tools.valid_arguments
    def test_calls_not_worse(candidate, baseline, tool_calls):
        assert tool_calls(candidate).exact >= tool_calls(baseline).exact - points(10)
    def test_trigger(candidate, tool_calls, budget):
        assert tool_calls(candidate).trigger_f1 >= budget.tools.trigger_f1
    def test_trigger_not_worse(candidate, baseline, tool_calls):
        assert tool_calls(candidate).trigger_f1 >= tool_calls(baseline).trigger_f1 - points(10)
"""
BUDGETS = """
[test.any.structured]
valid_json = "85 %"
valid_schema = "85 %"
margin = "10 points"
catches = { valid_schema = "30 points" }

[test.any.tools]
valid_arguments = "85 %"
trigger_f1 = "85 %"
"""
SOLVER = """
import json, os, pathlib
SOLUTIONS = json.loads(pathlib.Path({path!r}).read_text())
FORM = os.environ.get("FAKE_ENGINE_FORM", "")
CALL = os.environ.get("FAKE_ENGINE_CALL", "")

def answer(request):
    question = request.get("messages", [{{"content": ""}}])[-1]["content"]
    solution = SOLUTIONS.get(question, "[]")
    if "tools" not in request:
        if FORM == "form ignored" and "response_format" in request:
            return "Certainly! Here is the form."
        if FORM == "renamed":
            return "{{" + solution[1:].replace('"', '"x_', 1)
        if FORM == "fence":
            return "```json\\n" + solution + "\\n```"
        if FORM == "truncated":
            return solution[:-2]
        return solution
    if CALL == "refused":
        return {{"status": 400}}
    calls = [(call["name"], json.dumps(call["arguments"])) for call in json.loads(solution)]
    if CALL == "ignored":
        return "I cannot call anything."
    if CALL == "unparsed" and calls:
        return "<tool_call>" + calls[0][1] + "</tool_call>"
    if CALL == "never stops calling" and not calls:
        return {{"tool_calls": [(request["tools"][0]["function"]["name"], "{{}}")], "finish_reason": "tool_calls"}}
    if CALL == "dropped argument":
        calls = [(name, json.dumps(dict(list(json.loads(text).items())[1:]))) for name, text in calls]
    if CALL == "malformed":
        calls = [(name, text[:-1]) for name, text in calls]
    if not calls:
        return "That needs no tool."
    return {{"text": "", "tool_calls": calls, "finish_reason": "tool_calls"}}
"""
EVERY = {"json", "schema", "forms_not_worse", "arguments", "calls_not_worse", "trigger", "trigger_not_worse"}
FORMS = {"json", "schema", "forms_not_worse"}
CALLS = EVERY - FORMS
FAULTS: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    ("", ""): (set(), set()),
    ("renamed", "dropped argument"): (
        {"schema", "forms_not_worse", "arguments", "calls_not_worse"},
        set(),
    ),
    ("fence", "ignored"): (FORMS, CALLS),
    ("truncated", "unparsed"): (FORMS, CALLS),
    ("form ignored", "never stops calling"): (
        {*FORMS, "calls_not_worse", "trigger", "trigger_not_worse"},
        set(),
    ),
    ("", "malformed"): (CALLS, set()),
    ("", "refused"): (set(), CALLS),
}
"""A fault of forms and one of calls → the tests that FAIL, and those that are INVALID; all others PASS."""


@pytest.fixture(scope="module")
def messages_solver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For the knob ``ANSWERS``: right on every generated form and request, apart from the knob ``FAULT``."""
    from pytest_llmperf.tasks.structured_output import Forms
    from pytest_llmperf.tasks.tool_calls import ToolRequests

    directory = tmp_path_factory.mktemp("messages")
    items = [*Forms().items(None), *ToolRequests().items(None)]
    solutions = directory / "solutions.json"
    solutions.write_text(json.dumps({item.prompt: item.answer for item in items}), encoding="utf-8")
    script = directory / "answers.py"
    script.write_text(SOLVER.format(path=str(solutions)), encoding="utf-8")
    return str(script)


def _project(project: Project, solver: str) -> Project:
    """A row for each fault, and a sound baseline."""
    rows = {_row(fault): {"ANSWERS": solver, "FORM": fault[0], "CALL": fault[1]} for fault in FAULTS}
    project.catalog({"math": {"ANSWERS": solver}, **rows})
    project.suite(SUITE)
    project.write("budgets.toml", BUDGETS)
    project.shrink(items=120)
    return project


def _row(fault: tuple[str, str]) -> str:
    return "-".join(filter(None, fault)).replace(" ", "-") or "distill"


@pytest.fixture(scope="module")
def run(
    shared_project: Project, messages_solver: str
) -> tuple[Result, dict[tuple[str, str], dict[str, Any]]]:
    """All faults in one run: each is a candidate."""
    models = [part for fault in FAULTS for part in ("--model", _row(fault))]
    result, verdicts = _project(shared_project, messages_solver).judged(
        "--baseline", "math", *models, timeout_s=180
    )
    found = {}
    for verdict in verdicts:
        test, _, row = verdict["test"].rpartition("::test_")[2].rstrip("]").partition("[")
        found[row, test] = verdict
    assert not result.noise
    return result, found


@pytest.mark.parametrize("fault", FAULTS, ids=_row)
def test_each_fault_is_red_by_name_and_nothing_else_is(
    run: tuple[Result, dict[tuple[str, str], dict[str, Any]]], fault: tuple[str, str]
) -> None:
    (failed, invalid), (result, found) = FAULTS[fault], run
    seen = {name: verdict["status"] for (row, name), verdict in found.items() if row == _row(fault)}
    assert seen == {
        name: "FAIL" if name in failed else "INVALID" if name in invalid else "PASS" for name in EVERY
    }, result.text


def test_a_server_without_tools_is_told_as_that(
    run: tuple[Result, dict[tuple[str, str], dict[str, Any]]],
) -> None:
    _, found = run
    assert "--tool-call-parser" in found["fence-ignored", "arguments"]["why"]
    assert "did not parse" in found["truncated-unparsed", "arguments"]["why"]
    assert "did not parse" not in found["fence-ignored", "arguments"]["why"]
    assert "HTTP 400" in found["refused", "arguments"]["why"]


def test_plan_mutation_test_and_page_follow(project: Project, messages_solver: str) -> None:
    _project(project, messages_solver)
    models = ("--model", "renamed-dropped-argument", "--baseline", "math")
    plan = project.run("--llmperf-plan", *models)
    for metric in ("structured_output valid by schema", "tool_calls valid arguments", "tool_calls exact"):
        assert plan.lines(metric), plan.text
    assert not plan.noise
    project.judged(*models)
    page = (project.path / "record.html").read_text(encoding="utf-8")
    assert "get_weather({" in page, "the raw call is shown"
    assert "arguments: get_weather: $" in page, "and what is wrong with it"
    proof = project.run("--llmperf-mutation-test", "record.json", *models)
    assert proof.lines("structured_output valid by schema"), proof.text
    assert not proof.noise


def test_a_few_shot_row_is_told_that_it_has_no_place_for_tools(
    project: Project, messages_solver: str
) -> None:
    project.catalog(
        {"distill": {"ANSWERS": messages_solver}},
        rows='[profile.test.model.distill.rules]\nprotocol = "few-shot"\n',
    )
    project.suite(
        "def test_arguments(candidate, tool_calls):\n    assert tool_calls(candidate).valid_arguments >= 0.5\n"
    )
    result = project.run()
    assert result.code != 0
    assert "few-shot" in result.text
    assert not result.noise


def test_a_task_of_another_kind_is_refused(project: Project) -> None:
    project.suite(
        "def test_it(candidate, tool_calls):\n    assert tool_calls(candidate, 'embedded').exact >= 0.5\n"
    )
    result = project.run()
    assert result.code != 0
    assert "'embedded' has another grader" in result.text
