"""Give the rows of one record the names that another record has for them, so that the two can be compared. Pure.

Tonight's candidate may be called ``distill-int8`` and last month's ``distill``; a comparison of the two runs means
these two. By default rows are paired by their role: the candidate with the candidate, the baseline with the baseline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pytest_llmperf.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record
    from pytest_llmperf.record.tables import AnswerRow

# Keys under which a record names rows. `baseline` is a number where it is the level of a gate.
_NAMES = frozenset({"row", "baseline", "candidates"})
_TESTS = frozenset({"test", "tests"})
_KEYED_BY_NAME = frozenset({"rows", "content"})


def by_role(before: Record, now: Record) -> dict[str, str]:
    """Map rows of ``now`` to the rows of ``before`` that have the same role there; rows of one name are left out.

    Candidates are paired by name first; what is left is paired only if each run has one.
    """
    pairs: dict[str, str] = {}
    left = [name for name in before.candidates if name not in now.candidates]
    new = [name for name in now.candidates if name not in before.candidates]
    if len(left) == len(new) == 1:
        pairs[new[0]] = left[0]
    if pairs and before.baseline and now.baseline and before.baseline != now.baseline:
        pairs[now.baseline] = before.baseline
    return pairs


def given_pairs(texts: Sequence[str], before: Record, now: Record) -> dict[str, str]:
    """Read ``OLD=NEW`` as a map from rows of ``now`` to rows of ``before``.

    Raises :class:`UsageError` for a row that its run does not have, and for one that is named twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        if not equals:
            raise UsageError(f"--rows {text!r} is not of the form OLD=NEW, like distill=distill-int8")
        for name, record, which in ((old, before, "first"), (new, now, "second")):
            if name not in (known := row_names(record)):
                raise UsageError(
                    f"--rows {text}: the {which} run has no row {name!r}, but {', '.join(known)}"
                )
        if new in pairs or old in pairs.values():
            raise UsageError(f"--rows {text}: a row can be compared with one other only")
        pairs[new] = old
    return pairs


def row_names(record: Record) -> list[str]:
    """The rows of a run, candidates first."""
    servers = (server.row for server in record.servers)
    return list(dict.fromkeys(name for name in (*record.candidates, record.baseline, *servers) if name))


def renamed(record: Record, pairs: Mapping[str, str]) -> Record:
    """``record`` with other names of its rows, in test ids too.

    A row that is not in ``pairs``, but has a name that another row gets, becomes ``NAME (second run)``.
    """
    pairs = _without_clashes(pairs, row_names(record))
    return type(record).parse(json.dumps(_renamed(record.as_json(), pairs)))


def renamed_answers(record: Record, rows: Iterable[AnswerRow], pairs: Mapping[str, str]) -> list[AnswerRow]:
    """The rows of the record's table of answers, likewise."""
    pairs = _without_clashes(pairs, row_names(record))
    return [cast("AnswerRow", {**row, "row": pairs.get(row["row"], row["row"])}) for row in rows]


def _without_clashes(pairs: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    taken = set(pairs.values())
    return {name: f"{name} (second run)" for name in names if name in taken} | dict(pairs)


def _renamed(value: Any, pairs: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        own = pairs if key in _KEYED_BY_NAME else {}
        return {own.get(name, name): _renamed(part, pairs, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, pairs, key) for part in value]
    if isinstance(value, str) and key in _NAMES:
        return pairs.get(value, value)
    if isinstance(value, str) and key in _TESTS:
        return _renamed_test(value, pairs)
    return value


def _renamed_test(test: str, pairs: Mapping[str, str]) -> str:
    """``t.py::test[distill-int8-8]`` with the row's other name; the longest name that fits is the one meant."""
    head, bracket, rest = test.partition("[")
    values = rest.removesuffix("]")
    for name in sorted(pairs, key=len, reverse=True):
        if values == name:
            return f"{head}[{pairs[name]}]"
        if values.startswith(f"{name}-"):
            return f"{head}[{pairs[name]}{values.removeprefix(name)}]"
        if values.endswith(f"-{name}"):
            return f"{head}[{values.removesuffix(name)}{pairs[name]}]"
    return test if bracket else head
