"""Grading of structured output: is the reply JSON, does it follow the schema that was asked for, does it say what is
right.

The content must be the JSON value and nothing else: a code fence or a sentence before it breaks whoever parses it.
"""

from __future__ import annotations

import json

from pytest_llmperf.json_values import Json
from pytest_llmperf.tasks.grading import Grade, Outcome, answer_proper
from pytest_llmperf.tasks.grading.json_schema import problem_of, same_json, strict_json
from pytest_llmperf.tasks.request import MessageRequest, ReplyMessage, schema_of

CHECKS = ("valid_json", "valid_schema", "exact")
"""``exact``: valid, and equal to the expected answer."""


def grade_structured(message: ReplyMessage, item: MessageRequest, *, thinking: bool = False) -> Grade:
    """Grade a reply against the schema in ``item.response_format`` and the JSON text ``item.answer``.

    ``thinking`` changes nothing: where the server forces the form, the reply has no thinking to end.
    ``Grade.detail`` of a wrong one is ``not JSON: …``, ``schema: …`` with the place, or ``other``.
    """
    del thinking
    body = answer_proper(message.text, finish_reason=message.finish_reason, thinking=False)
    if isinstance(body, Grade):
        return _failed(body.outcome, body.detail)
    try:
        value = strict_json(body)
    except ValueError as error:
        return _failed(Outcome.WRONG, f"not JSON: {error}")
    said = json.dumps(value, ensure_ascii=False)
    schema = schema_of(item.response_format)
    if schema is not None and (problem := problem_of(value, schema)):
        return _failed(Outcome.WRONG, f"schema: {problem}", said, valid_json=True)
    exact = same_json(value, strict_json(item.answer))
    checks = {"valid_json": True, "valid_schema": schema is not None, "exact": exact}
    return Grade(Outcome.CORRECT if exact else Outcome.WRONG, "" if exact else "other", said, checks=checks)


def check_structured(item: MessageRequest) -> None:
    """Raises :class:`ValueError` for an item whose expected answer no reply could give."""
    if item.response_format is None or item.response_format.get("type") == "text":
        raise ValueError("response_format is missing; grade_structured needs json_schema or json_object")
    try:
        expected: Json = strict_json(item.answer)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"the expected answer {item.answer!r:.60} is not JSON: {error}") from None
    schema = schema_of(item.response_format)
    if schema is not None and (problem := problem_of(expected, schema)):
        raise ValueError(f"the expected answer does not follow the item's own schema: {problem}")


def _failed(outcome: Outcome, detail: str, said: str | None = None, *, valid_json: bool = False) -> Grade:
    checks = {"valid_json": valid_json, "valid_schema": False, "exact": False}
    return Grade(outcome, detail, said, checks=checks)
