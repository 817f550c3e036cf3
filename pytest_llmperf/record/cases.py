"""Gates with their data as plain JSON values, so that a recorded run can be judged again.

Judged again, what returns gives the verdict that the original gave: also with NaN among its samples, which a verdict
may leave out and data may not.
"""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.measured_cases import KINDS
from pytest_llmperf.gates.verdict import Status

_NAMES = {kind: name for name, kind in KINDS.items()}
_NOT_KEPT = {"more", "ended"}  # what asks a server for more


def case_to_json(case: Case) -> dict[str, Any]:
    """A dictionary of strings, finite numbers, lists and None. ``KeyError`` for a kind that is not in ``KINDS``."""
    fields = {f.name: getattr(case, f.name) for f in dataclasses.fields(case) if f.name not in _NOT_KEPT}
    return {"kind": _NAMES[type(case)]} | {
        name: None if value is None else _WRITERS.get(name, _plain)(value) for name, value in fields.items()
    }


def case_from_json(fields: Mapping[str, Any]) -> Case:
    """The inverse of :func:`case_to_json`.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything that is not a case.
    """
    values = dict(fields)
    kind = KINDS[values.pop("kind")]
    read: dict[str, Any] = {
        name: None if value is None else _READERS.get(name, _value)(value) for name, value in values.items()
    }
    return kind(**read)


def _plain(value: Any) -> Any:
    """One value: JSON has no NaN and no infinity, and knows neither numpy nor what else a test may have counted."""
    if value is None or isinstance(value, str | bool):
        return value
    if type(value).__name__ in ("bool_", "bool"):  # numpy's
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    # No gate can judge it; it must stay something that no gate can judge.
    return repr(value)


def _value(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, Mapping) else value


def _several(values: Iterable[Any]) -> list[Any]:
    return [_plain(value) for value in values]


def _outcomes(given: Any) -> Any:
    """Pairs of item and outcome, one or K of them; a value that was measured once goes by the same name elsewhere."""
    return (
        [[str(item), _outcome(one)] for item, one in given.items()]
        if isinstance(given, Mapping)
        else _plain(given)
    )


def _outcome(given: Any) -> Any:
    return (
        _several(given)
        if isinstance(given, Sequence) and not isinstance(given, str | bytes)
        else _plain(given)
    )


def _outcomes_back(given: Any) -> Any:
    return {item: _outcome_back(one) for item, one in given} if isinstance(given, list) else _value(given)


def _outcome_back(given: Any) -> Any:
    return [_value(value) for value in given] if isinstance(given, list) else _value(given)


def _numbered(groups: Iterable[Hashable]) -> list[int]:
    """What is the same stays the same; what it was called does not matter to a gate."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def _endings(sides: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    return {str(side): {str(k): int(n) for k, n in counts.items()} for side, counts in sides.items()}


def _classes_back(given: Any) -> tuple[str, ...]:
    """Records made until November 2026 hold the ``repr`` of the tuple."""
    return tuple(ast.literal_eval(given) if isinstance(given, str) else given)


_WRITERS: Mapping[str, Callable[[Any], Any]] = {
    "candidate": _outcomes,
    "baseline": _outcomes,
    "samples": _several,
    "groups": _numbered,
    "starts": lambda starts: [[_several(pair) for pair in rounds] for rounds in starts],
    "spent": _several,
    "endings": _endings,
    "classes": _several,
}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "candidate": _outcomes_back,
    "baseline": _outcomes_back,
    "samples": lambda samples: [_value(value) for value in samples],
    "groups": list,
    "spent": tuple,
    "endings": _endings,
    "classes": _classes_back,
    "stands": Status,
    "starts": lambda starts: [[tuple(map(_value, pair)) for pair in rounds] for rounds in starts],
}
