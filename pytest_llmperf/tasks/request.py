"""What an item may send besides a question: a conversation, tools, the form of the reply; and the reply to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of

_ROLES = ("system", "developer", "user", "assistant", "tool")
_CHOICES = ("auto", "none", "required")
_FORMATS = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class ReplyMessage:
    """A whole reply, as a message grader sees it."""

    text: str
    """The content; ``<think>…</think>`` in it stays in it."""
    reasoning: str
    """Thinking that the server sent apart from the content."""
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str | None


@dataclass(frozen=True)
class Generation:
    """How an item's reply ends, where the item says so itself.

    ``stop``: texts that end it; a row that thinks is not sent them, for its thinking would end at the first.
    ``max_tokens``: its longest, of a row that does not think; None: the row's. ``text``: what a row with
    ``protocol = "few-shot"`` continues, in place of the item's ``messages``.
    """

    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    text: str = ""


class MessageRequest(Protocol):
    """What a message grader needs to know of the item."""

    @property
    def answer(self) -> str: ...

    @property
    def tools(self) -> Sequence[JsonObject]: ...

    @property
    def tool_choice(self) -> Json: ...

    @property
    def response_format(self) -> JsonObject | None: ...


def function_of(tool: JsonObject) -> JsonObject:
    """The function that a tool offers: its name, description and the schema of its parameters."""
    return object_of(tool.get("function"))


def offered(tools: Sequence[JsonObject]) -> dict[str, JsonObject]:
    """By name of the function, the schema of its parameters; one without parameters takes none."""
    none: JsonObject = {"type": "object", "properties": {}, "additionalProperties": False}
    functions = [function_of(tool) for tool in tools]
    return {
        str(function.get("name")): object_of(function.get("parameters")) or none for function in functions
    }


def schema_of(response_format: JsonObject | None) -> JsonObject | None:
    """The schema that a reply has to follow; None where none is asked for."""
    if not response_format or response_format.get("type") != "json_schema":
        return None
    return object_of(object_of(response_format.get("json_schema")).get("schema"))


def check_request(
    messages: Sequence[JsonObject],
    tools: Sequence[JsonObject],
    tool_choice: Json,
    response_format: JsonObject | None,
) -> None:
    """Raises :class:`ValueError` for what a server would refuse, or ignore without a word."""
    for number, message in enumerate(_listed(messages, "messages"), start=1):
        _check_message(message, number)
    if messages and messages[-1].get("role") not in ("user", "tool"):
        raise ValueError(f"the last message is of the role {messages[-1].get('role')!r}, needs user or tool")
    names = [_check_tool(tool, number) for number, tool in enumerate(_listed(tools, "tools"), start=1)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two tools are called {min(repeated)!r}; their names must differ")
    _check_choice(tool_choice, names)
    _check_format(response_format)


def _listed(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ValueError(f"{what} is {type(value).__name__}, needs a list")
    return value


def _check_message(message: Any, number: int) -> None:
    if not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        role = message.get("role") if isinstance(message, Mapping) else message
        raise ValueError(f"message {number} has the role {role!r:.60}, needs one of {', '.join(_ROLES)}")
    calls = message.get("role") == "assistant" and list_of(message.get("tool_calls"))
    if not isinstance(message.get("content"), str) and not (calls and message.get("content") is None):
        raise ValueError(
            f"the content of message {number} is {type(message.get('content')).__name__}, needs a text"
        )


def _check_tool(tool: Any, number: int) -> str:
    from pytest_llmperf.tasks.grading.json_schema import check_schema

    name = function_of(tool).get("name") if isinstance(tool, Mapping) else None
    if not isinstance(name, str) or not name or tool.get("type") != "function":
        raise ValueError(
            f"tool {number} is {tool!r:.80}, needs "
            '{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}'
        )
    parameters = function_of(tool).get("parameters")
    if parameters is not None:
        check_schema(parameters, f"the parameters of tool {name!r}")
    return name


def _check_choice(choice: Json, names: Sequence[str]) -> None:
    if choice is None:
        return
    if not names:
        raise ValueError(f"tool_choice is {choice!r:.60}, but the item has no tools")
    if isinstance(choice, str) and choice in _CHOICES:
        return
    named = function_of(choice).get("name") if isinstance(choice, Mapping) else None
    if named not in names:
        raise ValueError(
            f"tool_choice is {choice!r:.80}, needs one of {', '.join(_CHOICES)}, or "
            f'{{"type": "function", "function": {{"name": …}}}} with one of {", ".join(names)}'
        )


def _check_format(response_format: Any) -> None:
    from pytest_llmperf.tasks.grading.json_schema import check_schema

    if response_format is None:
        return
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind not in _FORMATS:
        raise ValueError(f"response_format is {response_format!r:.80}, needs a type of {', '.join(_FORMATS)}")
    if kind == "json_schema":
        named = object_of(response_format.get("json_schema"))
        if not isinstance(named.get("name"), str) or "schema" not in named:
            raise ValueError(
                'response_format of type json_schema needs {"json_schema": {"name": …, "schema": {…}}}'
            )
        check_schema(named["schema"], "the schema of response_format")
