"""Whether a record is what its schema says: ``schema-1.json`` beside this file, a JSON Schema (draft 2020-12)."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def _shortened(message: str) -> str:
    """The message without most of a long value, which stands at its beginning."""
    line = " ".join(message.split())
    return line if len(line) <= 2 * _LONGEST_VALUE else f"{line[:_LONGEST_VALUE]}…{line[-_LONGEST_VALUE:]}"


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())
