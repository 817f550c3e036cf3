"""Replies in a form: what is JSON, what follows a schema, what is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.grading import Outcome, json_schema
from pytest_llmperf.tasks.grading.json_schema import check_schema, problem_of, same_json, strict_json
from pytest_llmperf.tasks.grading.structured import grade_structured
from pytest_llmperf.tasks.request import ReplyMessage
from pytest_llmperf.tasks.structured_output import FAMILIES, STRUCTURED_OUTPUT, Forms
from pytest_llmperf.tasks.task import Item, Task, load_items

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"day": {"type": "string", "format": "date"}, "count": {"type": "integer"}},
    "required": ["day"],
    "additionalProperties": False,
}
ITEM = Item(
    "one",
    "Which day?",
    '{"day": "2026-11-30", "count": 2}',
    response_format={"type": "json_schema", "json_schema": {"name": "day", "schema": SCHEMA}},
)
RIGHT = ITEM.answer


def graded(text: str, finish: str = "stop", item: Item = ITEM) -> tuple[Outcome, str, set[str]]:
    grade = grade_structured(ReplyMessage(text, "", (), finish), item, thinking=True)
    return grade.outcome, grade.detail, {name for name, passed in grade.checks.items() if passed}


@pytest.mark.parametrize(
    "text",
    [RIGHT, f"\n {RIGHT}\n", f"<think>Which day?</think>\n{RIGHT}", '{"count": 2.0, "day": "2026-11-30"}'],
)
def test_a_right_reply_passes_every_check(text: str) -> None:
    assert graded(text) == (Outcome.CORRECT, "", {"valid_json", "valid_schema", "exact"})


@pytest.mark.parametrize(
    ("text", "detail", "passed"),
    [
        (f"```json\n{RIGHT}\n```", "not JSON: the reply is wrapped in a code fence", set()),
        (f"Here it is: {RIGHT}", "not JSON: Expecting value", set()),
        (RIGHT[:-4], "not JSON: Expecting", set()),
        (RIGHT + RIGHT, "not JSON: Extra data", set()),
        ('{"day": NaN}', "not JSON: NaN is no JSON", set()),
        ('{"day": "2026-11-30", "day": "2026-11-30"}', "not JSON: the key 'day' stands twice", set()),
        (f"\u00a0{RIGHT}", "not JSON: Expecting value", set()),
        ("[" * 100_000, "not JSON: it is nested too deeply", set()),
        ("", "empty", set()),
        ('{"day": "tomorrow"}', "schema: $.day: 'tomorrow' is not a 'date'", {"valid_json"}),
        ('{"date": "2026-11-30"}', "schema: $: ", {"valid_json"}),
        (
            '{"day": "2026-11-30", "count": true}',
            "schema: $.count: True is not of type 'integer'",
            {"valid_json"},
        ),
        ('{"day": "2026-11-30", "count": "2"}', "schema: $.count", {"valid_json"}),
        ("null", "schema: $: None is not of type 'object'", {"valid_json"}),
        ('{"day": "2026-11-30"}', "other", {"valid_json", "valid_schema"}),
    ],
)
def test_a_wrong_reply_says_what_is_wrong(text: str, detail: str, passed: set[str]) -> None:
    outcome, said, checks = graded(text)
    assert outcome is Outcome.WRONG
    assert said.startswith(detail)
    assert checks == passed


def test_a_reply_that_was_cut_off_passes_nothing_even_if_it_is_valid() -> None:
    assert graded(RIGHT, "length") == (Outcome.INCOMPLETE, "length", set())
    assert graded(RIGHT, "what?")[0] is Outcome.INFRA


def test_json_object_asks_for_json_only() -> None:
    item = Item("one", "?", "[1]", response_format={"type": "json_object"})
    assert graded("[1]", item=item) == (Outcome.CORRECT, "", {"valid_json", "exact"})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (None, 0, False),
    ],
)
def test_values_are_equal_as_json_has_it(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("ana@example.org", "email"),
        ("2026-11-30T10:00:00Z", "date-time"),
        ("12345678-1234-4234-8234-123456789012", "uuid"),
    ],
)
def test_formats_are_checked(value: str, kind: str) -> None:
    schema = {"type": "string", "format": kind}
    assert problem_of(value, schema) == ""
    assert problem_of(value[:3], schema)


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("1e999", {"type": "number", "multipleOf": 0.01}),
        ("1" * 400, {"type": "number", "multipleOf": 0.01}),
        ('"a{99999999999}"', {"type": "string", "format": "regex"}),
    ],
)
def test_a_value_that_is_too_large_to_be_checked_does_not_follow_its_schema(
    text: str, schema: dict[str, Any]
) -> None:
    named: dict[str, Any] = {"name": "any", "schema": schema}
    item = Item("one", "?", "1", response_format={"type": "json_schema", "json_schema": named})
    outcome, detail, passed = graded(text, item=item)
    assert (outcome, passed) == (Outcome.WRONG, {"valid_json"})
    assert detail.startswith("schema: a number in it is too large to be checked")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "objekt"}, "is no JSON Schema"),
        ([], "needs a JSON Schema"),
        ({"$ref": "https://example.org/schema.json"}, "only references into the schema itself"),
        ({"$ref": "#/$defs/missing"}, "which the schema does not have"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_before_anything_is_asked(schema: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        check_schema(schema, "the schema")


def test_a_format_that_nothing_checks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "STANDARD_FORMATS", frozenset({"of-another-package"}))
    with pytest.raises(ValueError, match="every text would pass it"):
        check_schema({"type": "string", "format": "of-another-package"}, "the schema")


def test_a_recursive_schema_is_checked() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    check_schema(tree, "the tree")
    assert problem_of({"next": {"next": {}}}, tree) == ""
    assert problem_of({"next": {"more": 1}}, tree)


@pytest.mark.parametrize(
    ("answer", "response_format", "says"),
    [
        ('{"day": "2026-11-31"}', ITEM.response_format, "does not follow the item's own schema"),
        ("{day}", ITEM.response_format, "is not JSON"),
        ("{}", None, "response_format is missing"),
        ("{}", {"type": "json"}, "needs a type of"),
        ("{}", {"type": "json_schema"}, "needs"),
        (7, ITEM.response_format, "is not JSON"),
    ],
)
def test_items_that_no_reply_could_satisfy_are_refused(answer: Any, response_format: Any, says: str) -> None:
    class Source:
        sha256 = None

        def items(self, data_dir: object) -> list[Item]:
            return [Item("one", "?", answer, response_format=response_format)]

        def describe(self) -> str:
            return "one item"

    with pytest.raises(DataError, match=says):
        load_items(Task("mine", Source(), message_grader=grade_structured))


def test_generated_forms_are_the_same_everywhere_and_answered_by_their_own_answers() -> None:
    items = load_items(STRUCTURED_OUTPUT)
    assert Forms().items(None) == Forms().items(None)
    assert {item.meta["family"] for item in items} == set(FAMILIES)
    assert len({item.prompt for item in items}) == len(items) >= 400
    assert all(graded(item.answer, item=item)[0] is Outcome.CORRECT for item in items)


def test_no_generated_form_is_answered_by_the_answer_to_another_one() -> None:
    first, second = (Forms().items(None)[place] for place in (1, 7))
    assert first.meta["family"] == second.meta["family"]
    assert graded(first.answer, item=second)[:2] == (Outcome.WRONG, "other")
    assert strict_json(first.answer) != json.loads(second.answer)
