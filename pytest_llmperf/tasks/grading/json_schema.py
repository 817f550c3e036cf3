"""JSON as RFC 8259 has it, and JSON Schema with its formats checked (``jsonschema``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NoReturn

from pytest_llmperf.json_values import Json

STANDARD_FORMATS = frozenset({
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer", "relative-json-pointer", "regex",
})  # fmt: skip
"""Formats of draft 2020-12. Any other name is an annotation, which nothing has to check."""
_LITERAL = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are data and no schemas."""
_WHITE = " \t\n\r"
"""White space as JSON has it: a parser refuses a no-break space, which Python strips."""


def strict_json(text: str) -> Json:
    """The value that ``text`` is, and nothing but it. Raises :class:`ValueError` with the reason.

    Python's reader also takes ``NaN``, ``Infinity`` and a key that stands twice; clients of a server do not.
    """
    stripped = text.strip(_WHITE)
    if not stripped:
        raise ValueError("the reply is empty")
    if stripped.startswith("```"):
        raise ValueError("the reply is wrapped in a code fence")
    try:
        value: Json = json.loads(stripped, parse_constant=_refuse_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None
    return value


def same_json(one: Json, other: Json) -> bool:
    """Equality as JSON Schema has it: 1 is 1.0 and not true, arrays keep their order, objects have none."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return one == other


def problem_of(value: Json, schema: Mapping[str, Any]) -> str:
    """The first reason why ``value`` does not follow ``schema``; empty if it does."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(_validator(_key(schema)).iter_errors(value))
    except RecursionError:
        return "it is nested too deeply to be checked"
    except OverflowError as error:  # of 1e999 in a multipleOf, or a{99999999999} as a regex
        return f"a number in it is too large to be checked ({error})"
    return "" if error is None else f"{error.json_path}: {' '.join(error.message.split())[:160]}"


def check_schema(schema: object, what: str) -> None:
    """Raises :class:`ValueError` for a schema that is wrong, or that could not be checked in full."""
    from jsonschema.exceptions import SchemaError

    if not isinstance(schema, Mapping):
        raise ValueError(f"{what} is {type(schema).__name__}, needs a JSON Schema (an object)")
    try:
        _check(_key(schema))
    except SchemaError as error:
        raise ValueError(f"{what} is no JSON Schema: {error.json_path}: {error.message[:160]}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what}: {error}") from None


@lru_cache(maxsize=4096)
def _check(key: str) -> None:
    from referencing.exceptions import Unresolvable

    schema = json.loads(key)
    validator = _validator(key)
    validator.check_schema(schema)
    checked = validator.format_checker.checkers
    for keyword, value in _keywords(schema):
        if keyword == "format" and value in STANDARD_FORMATS and value not in checked:
            raise ValueError(
                f"the format {value!r} cannot be checked here, and every text would pass it; "
                "pip install 'jsonschema[format-nongpl]'"
            )
        if keyword in ("$ref", "$dynamicRef"):
            if not isinstance(value, str) or not value.startswith("#"):
                raise ValueError(
                    f"{keyword} is {value!r}; only references into the schema itself (#…) are read"
                )
            try:
                validator._resolver.lookup(value)
            except Unresolvable:
                raise ValueError(f"{keyword} is {value!r}, which the schema does not have") from None


@lru_cache(maxsize=4096)
def _validator(key: str) -> Any:
    """Nothing is fetched: a registry without a way to retrieve knows the schema itself only."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(key)
    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, format_checker=kind.FORMAT_CHECKER, registry=Registry())


def _key(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True, default=dict)


def _keywords(schema: object) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, Mapping):
        for keyword, value in schema.items():
            if keyword in _LITERAL:
                continue
            if isinstance(value, str):
                yield keyword, value
            elif keyword in ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"):
                for inner in value.values() if isinstance(value, Mapping) else ():
                    yield from _keywords(inner)
            else:
                yield from _keywords(value)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _keywords(inner)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r:.60} stands twice in one object")
        found[name] = value
    return found
