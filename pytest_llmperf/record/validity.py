"""Whether a record is what its schema says: ``schema-1.json`` beside this file, a JSON Schema (draft 2020-12)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

_LONGEST_VALUE = 60


def schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    text = resources.files("pytest_llmperf.record").joinpath("schema-1.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def first_problem(record: Mapping[str, Any]) -> str:
    """Where the record does not fit, what stands there, and what should; empty if it fits."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator().iter_errors(record))
    if error is None:
        return ""
    where = error.json_path.removeprefix("$").removeprefix(".") or "the record"
    return f"{where}: {_shortened(error.message)}"


def undescribed(record: Mapping[str, Any]) -> list[str]:
    """Paths of all that the schema says nothing of, as ``load[].mine``: what hooks and later versions have added."""
    return list(dict.fromkeys(_undescribed(record, schema(), "")))


def _undescribed(value: object, about: Mapping[str, Any], path: str) -> Iterator[str]:
    if "$ref" in about:
        about = _pointed_at(about["$ref"])
    if isinstance(value, Mapping):
        named, others = about.get("properties", {}), about.get("additionalProperties", False)
        for key, inner in value.items():
            where = f"{path}.{key}".removeprefix(".")
            if key in named:
                yield from _undescribed(inner, named[key], where)
            elif isinstance(others, Mapping):
                yield from _undescribed(inner, others, f"{path}.*".removeprefix("."))
            elif not others:
                yield where
    elif isinstance(value, list) and "items" in about:
        for inner in value:
            yield from _undescribed(inner, about["items"], f"{path}[]")
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        yield f"{path}[]"


def _pointed_at(reference: str) -> Mapping[str, Any]:
    """A part of the schema, by its JSON pointer."""
    found: Any = schema()
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    part: Mapping[str, Any] = found
    return part


def _shortened(message: str) -> str:
    """The message without most of a long value, which stands at its beginning."""
    line = " ".join(message.split())
    return line if len(line) <= 2 * _LONGEST_VALUE else f"{line[:_LONGEST_VALUE]}…{line[-_LONGEST_VALUE:]}"


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())
