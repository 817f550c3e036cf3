"""Grading of tool calls: was a tool called where one is needed, are the arguments valid, are they the right ones.

A call counts only if it names an offered tool and its arguments are a JSON object; a call that does not is never worth
anything, neither as a call nor as the absence of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence

from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.json_values import JsonObject, list_of, object_of
from pytest_llmperf.tasks.grading import Grade, Outcome, not_ended
from pytest_llmperf.tasks.grading.json_schema import problem_of, same_json, strict_json
from pytest_llmperf.tasks.request import MessageRequest, ReplyMessage, offered
from pytest_llmperf.tasks.thinking import after_thinking

CHECKS = ("called", "malformed", "valid_arguments", "exact")
"""``called``: a well-formed call was made. ``malformed``: a call that is none, or one that the server left in the text.
``valid_arguments``: calls were made, and the arguments of all of them follow their tools' schemas."""
CALL, NO_CALL = "call", "no call"
"""The two classes of :attr:`trigger_f1`."""
_UNPARSED = re.compile(
    r"<\|?(?:\w+:)?tool_?call|<function[=_ ]|<invoke name=|<｜tool|\[TOOL_CALLS\]|<\|python_tag\|>|<\|action_start\|>"
    r"|functools\[",
    re.IGNORECASE,
)
"""Marks of a call that a server without a matching tool parser leaves in the text."""
_UNMARKED = (
    r'"name"\s*:\s*"(?:{0})"|\[\s*(?:{0})\(|functions\.(?:{0})\b|(?:>>>|✿FUNCTION✿:|\bAction:)\s*(?:{0})\b'
)
"""Calls of offered tools in dialects without marks: Llama's JSON, pythonic lists, Functionary, Qwen-Agent, ReAct."""


def grade_tool_calls(message: ReplyMessage, item: MessageRequest, *, thinking: bool = False) -> Grade:
    """Grade the calls of a reply against the JSON list of expected calls in ``item.answer``.

    ``[{"name": "get_weather", "arguments": {"city": "Paris"}}]``, in any order; ``[]``: none is needed, and what the
    reply says does not matter. ``Grade.detail`` of a wrong one begins with ``no call``, ``needless call``,
    ``malformed call``, ``arguments`` or ``other``.
    """
    del thinking
    expected = expected_calls(item)
    calls = message.tool_calls
    said = "; ".join(map(str, calls)) or None
    if (ended := not_ended(message.finish_reason)) is not None:
        return _graded(ended.outcome, ended.detail, said, malformed=bool(calls))
    tools = offered(item.tools)
    if not calls and _left_in_text(message.text, tools):
        detail = "malformed call: the server left it in the text"
        return _graded(Outcome.WRONG, detail, malformed=True)
    read: list[tuple[str, JsonObject]] = []
    for call in calls:
        try:
            read.append((call.name, _arguments(call, tools)))
        except ValueError as error:
            return _graded(Outcome.WRONG, f"malformed call: {error}", said, malformed=True)
    if not expected:
        right = not read
        detail = "" if right else "needless call"
        return _graded(
            Outcome.CORRECT if right else Outcome.WRONG, detail, said, called=bool(read), exact=right
        )
    if not read:
        return _graded(Outcome.WRONG, "no call", said)
    problems = [f"{name}: {problem}" for name, values in read if (problem := problem_of(values, tools[name]))]
    if problems:
        return _graded(Outcome.WRONG, f"arguments: {problems[0]}", said, called=True)
    right = same_calls(read, expected)
    return _graded(
        Outcome.CORRECT if right else Outcome.WRONG,
        "" if right else "other",
        said,
        called=True,
        valid_arguments=True,
        exact=right,
    )


def expected_calls(item: MessageRequest) -> list[tuple[str, JsonObject]]:
    """Name and arguments of every call that is right. Raises :class:`ValueError` for an answer that is no such list."""
    calls = strict_json(item.answer)
    if not isinstance(calls, list):
        raise ValueError(
            f"the expected answer is {item.answer!r:.60}, needs a JSON list of calls, [] for none"
        )
    return [(str(object_of(call).get("name")), object_of(object_of(call).get("arguments"))) for call in calls]


def check_tool_calls(item: MessageRequest) -> None:
    """Raises :class:`ValueError` for an item whose expected calls no reply could make."""
    if not list_of(item.tools):
        raise ValueError("the item has no tools; grade_tool_calls needs at least one")
    tools = offered(item.tools)
    try:
        calls = expected_calls(item)
    except AttributeError:
        raise ValueError(f"the expected answer is {item.answer!r:.60}, needs a JSON list of calls") from None
    if calls and item.tool_choice == "none":
        raise ValueError("calls are expected, and tool_choice is 'none', which forbids them")
    if not calls and item.tool_choice not in (None, "auto", "none"):
        raise ValueError(
            f"no call is expected, and tool_choice is {item.tool_choice!r:.80}, which forces one"
        )
    for name, arguments in calls:
        if name not in tools:
            raise ValueError(f"the expected call is of {name!r}, the item offers {', '.join(tools)}")
        if problem := problem_of(arguments, tools[name]):
            raise ValueError(f"the expected arguments of {name} do not follow its schema: {problem}")


def needs_call(item: MessageRequest) -> bool:
    """Whether a right reply to the item calls a tool."""
    return bool(expected_calls(item))


def same_calls(ours: Sequence[tuple[str, JsonObject]], theirs: Sequence[tuple[str, JsonObject]]) -> bool:
    """True for the same calls, each as often, in any order."""
    left = list(theirs)
    for name, arguments in ours:
        match = next((one for one in left if one[0] == name and same_json(one[1], arguments)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _left_in_text(text: str, tools: Collection[str]) -> bool:
    """Whether the text behind the thinking, which may weigh a call and make none, has a call in it."""
    said = after_thinking(text)
    said = text if said is None else said
    unmarked = _UNMARKED.format("|".join(map(re.escape, tools)))
    return _UNPARSED.search(said) is not None or re.search(unmarked, said) is not None


def _arguments(call: ToolCall, tools: Mapping[str, JsonObject]) -> JsonObject:
    if call.name not in tools:
        raise ValueError(f"no tool {call.name!r:.60} was offered")
    try:
        value = strict_json(call.arguments)
    except ValueError as error:
        raise ValueError(f"the arguments of {call.name} are not JSON: {error}") from None
    if not isinstance(value, dict):
        kind = json.dumps(value)[:40]
        raise ValueError(f"the arguments of {call.name} are {kind}, which is no JSON object")
    return value


def _graded(outcome: Outcome, detail: str, said: str | None = None, **shown: bool) -> Grade:
    return Grade(outcome, detail, said, checks={name: shown.get(name, False) for name in CHECKS})
