"""Calls of tools: when one counts, when it is valid, when it is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.grading.tool_calls import expected_calls, grade_tool_calls
from pytest_llmperf.tasks.request import ReplyMessage
from pytest_llmperf.tasks.task import Item, Task, load_items
from pytest_llmperf.tasks.tool_calls import FAMILIES, FORCED_TOOL_CALLS, TOOL_CALLS, TOOLS

WEATHER = TOOLS["get_weather"]
PARIS = {"city": "Paris", "unit": "celsius"}


def item(*expected: dict[str, Any], **more: Any) -> Item:
    calls = [{"name": "get_weather", "arguments": arguments} for arguments in expected]
    return Item("one", "Weather?", json.dumps(calls), **{"tools": [WEATHER, TOOLS["set_timer"]], **more})


def call(arguments: Any = PARIS, name: str = "get_weather") -> ToolCall:
    return ToolCall(name, arguments if isinstance(arguments, str) else json.dumps(arguments), "a")


def graded(
    asked: Item, *calls: ToolCall, text: str = "", finish: str = "tool_calls"
) -> tuple[Outcome, str, set[str]]:
    grade = grade_tool_calls(ReplyMessage(text, "", calls, finish), asked, thinking=True)
    return grade.outcome, grade.detail, {name for name, passed in grade.checks.items() if passed}


@pytest.mark.parametrize("finish", ["tool_calls", "stop"])
def test_the_right_call_passes_every_check(finish: str) -> None:
    right = (Outcome.CORRECT, "", {"called", "valid_arguments", "exact"})
    assert graded(item(PARIS), call(), finish=finish, text="Let me look.") == right


def test_parallel_calls_are_right_in_any_order_and_each_as_often_as_needed() -> None:
    oslo = {**PARIS, "city": "Oslo"}
    both = item(PARIS, oslo)
    assert graded(both, call(oslo), call())[0] is Outcome.CORRECT
    assert graded(both, call())[:2] == (Outcome.WRONG, "other")
    assert graded(both, call(), call(oslo), call())[:2] == (Outcome.WRONG, "other")


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (call('{"city": "Paris"'), "malformed call: the arguments of get_weather are not JSON"),
        (call(""), "malformed call: the arguments of get_weather are not JSON: the reply is empty"),
        (call("[1]"), "malformed call: the arguments of get_weather are [1], which is no JSON object"),
        (call(json.dumps(json.dumps(PARIS))), "malformed call: the arguments of get_weather are"),
        (call(PARIS, "weather"), "malformed call: no tool 'weather' was offered"),
        (call(PARIS, ""), "malformed call: no tool '' was offered"),
    ],
)
def test_a_malformed_call_never_scores(made: ToolCall, detail: str) -> None:
    for asked in (item(PARIS), item()):
        outcome, said, passed = graded(asked, made)
        assert (outcome, passed) == (Outcome.WRONG, {"malformed"})
        assert said.startswith(detail)


@pytest.mark.parametrize(
    "arguments",
    [
        {"city": "Paris"},
        {"town": "Paris", "unit": "celsius"},
        {**PARIS, "unit": "kelvin"},
        {**PARIS, "city": 7},
        {**PARIS, "day": 1},
    ],
)
def test_arguments_that_do_not_follow_the_tools_schema_are_named(arguments: dict[str, Any]) -> None:
    outcome, detail, passed = graded(item(PARIS), call(arguments))
    assert (outcome, passed) == (Outcome.WRONG, {"called"})
    assert detail.startswith("arguments: get_weather: $")


def test_valid_arguments_that_are_not_the_right_ones_are_valid_and_not_exact() -> None:
    made = call({**PARIS, "city": "Rome"})
    assert graded(item(PARIS), made) == (Outcome.WRONG, "other", {"called", "valid_arguments"})


def test_no_call_and_a_needless_call_are_told_apart() -> None:
    assert graded(item(PARIS), text="It rains.", finish="stop") == (Outcome.WRONG, "no call", set())
    assert graded(item(), call()) == (Outcome.WRONG, "needless call", {"called"})
    assert graded(item(), text="Hello!", finish="stop") == (Outcome.CORRECT, "", {"exact"})


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather"}',
        "[TOOL_CALLS] [{",
        "<function=get_weather>",
        "<seed:tool_call>",
        "<TOOLCALL>[{",
        '<invoke name="get_weather">',
        '{"name": "get_weather", "parameters": {"city": "Paris"}}',
        '[get_weather(city="Paris")]',
        "commentary to=functions.get_weather <|message|>{}",
        "✿FUNCTION✿: get_weather",
        "Action: get_weather\nAction Input: {}",
        "<think>No <tool_call> yet.</think><tool_call>",
    ],
)
def test_a_call_that_the_server_left_in_the_text_is_none_and_no_right_silence(text: str) -> None:
    for asked in (item(PARIS), item()):
        assert graded(asked, text=text, finish="stop")[2] == {"malformed"}


@pytest.mark.parametrize(
    "text",
    [
        "<think>Do I need <tool_call> or get_weather? No.</think>Hello!",
        "I could call get_weather, but a spider has 8 legs.",
        '{"name": "Paris"}',
    ],
)
def test_words_about_a_call_are_none(text: str) -> None:
    assert graded(item(), text=text, finish="stop") == (Outcome.CORRECT, "", {"exact"})


def test_a_reply_that_was_cut_off_is_incomplete() -> None:
    assert graded(item(PARIS), call('{"ci'), finish="length")[:2] == (Outcome.INCOMPLETE, "length")
    assert graded(item(), finish="length") == (Outcome.INCOMPLETE, "length", set())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (item(PARIS, tools=()), "the item has no tools"),
        (item({"city": "Paris"}), "the expected arguments of get_weather do not follow its schema"),
        (item(PARIS, tools=[TOOLS["set_timer"]]), "the expected call is of 'get_weather'"),
        (item(PARIS, tools=[WEATHER, WEATHER]), "two tools are called 'get_weather'"),
        (item(PARIS, tools=[{"name": "x"}]), "tool 1 is"),
        (item(PARIS, tools=WEATHER), "tools is dict, needs a list"),
        (item(PARIS, tool_choice="always"), "tool_choice is 'always', needs one of auto, none, required"),
        (item(PARIS, tool_choice="none"), "which forbids them"),
        (item(tool_choice="required"), "tool_choice is 'required', which forces one"),
        (item(PARIS, messages=[{"role": "robot", "content": "?"}]), "message 1 has the role 'robot'"),
        (item(PARIS, messages=[{"role": "user", "content": None}]), "the content of message 1 is NoneType"),
        (item(PARIS, messages=[{"role": "assistant", "content": "?"}]), "needs user or tool"),
        (Item("one", "?", "{}", tools=[WEATHER]), "needs a JSON list of calls"),
        (Item("one", "?", None, tools=[WEATHER]), "needs a JSON list of calls"),  # type: ignore[arg-type]
    ],
)
def test_items_that_no_reply_could_satisfy_are_refused(asked: Item, says: str) -> None:
    class Source:
        sha256 = None

        def items(self, data_dir: object) -> list[Item]:
            return [asked]

        def describe(self) -> str:
            return "one item"

    with pytest.raises(DataError, match=says):
        load_items(Task("mine", Source(), message_grader=grade_tool_calls))


@pytest.mark.parametrize("task", [TOOL_CALLS, FORCED_TOOL_CALLS], ids=lambda task: task.name)
def test_generated_requests_are_answered_by_their_own_calls(task: Task) -> None:
    items = load_items(task)
    assert items == load_items(task)
    forced = task is FORCED_TOOL_CALLS
    assert {one.meta["family"] for one in items} == ({"single", "nested"} if forced else set(FAMILIES))
    assert len(items) >= 400
    for one in items:
        calls = [ToolCall(name, json.dumps(arguments)) for name, arguments in expected_calls(one)]
        assert graded(one, *calls)[0] is Outcome.CORRECT
        assert (one.tool_choice is not None) is forced
