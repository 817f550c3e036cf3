"""Series of one metric over recorded runs, each of runs that differ in nothing but their night."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmperf.record.references import identity
from pytest_llmperf.stats.drift import RECENT

if TYPE_CHECKING:
    from pytest_llmperf.record.model import MetricEntry, Record

Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Point:
    """The value of one run, of ``n`` items, requests or rounds."""

    record: Record = field(repr=False)
    value: float
    n: int


@dataclass(frozen=True)
class MetricSeries:
    """``points`` of like runs, the oldest first; the last is of the newest run that measured it."""

    name: str
    unit: str
    higher_is_worse: bool
    points: Sequence[Point]
    left_out: Mapping[str, int] = field(default_factory=dict)
    """By reason, how many values of the same metric are of other runs."""
    missing: str = ""
    """Why the series does not end with the newest run; empty if it does."""

    @property
    def values(self) -> list[float]:
        return [point.value for point in self.points]


def metric_series(records: Iterable[Record], since: str = "") -> list[MetricSeries]:
    """Every metric of ``records`` (the oldest first), compared with the newest run that has it, like with like.

    A run counts once, however often it was copied; partial ones do not count. Runs before ``since`` (ISO 8601) are of a
    level that a person has taken leave of. A run that was not green is no yardstick, nor is one that only a waiver let
    through: of the nights before the last :data:`RECENT` only those count that were green by themselves.
    """
    runs: dict[str, Record] = {}
    for record in records:
        if not record.partial and record.written >= since:
            runs.setdefault(identity(record), record)
    return list(_all_series(list(runs.values())))


def _all_series(runs: Sequence[Record]) -> Iterator[MetricSeries]:
    found: dict[Key, list[tuple[Record, MetricEntry]]] = {}
    for record in runs:
        for metric in record.metrics:
            key = (_subject(record), metric.row, metric.metric, metric.of, metric.unit, metric.better)
            found.setdefault(key, []).append((record, metric))
    newest = {_subject(record): record for record in runs}
    for (subject, *_), measured in found.items():
        last, metric = measured[-1]
        alike: list[Point] = []
        left_out: dict[str, int] = {}
        for record, entry in measured:
            if why := _unlike(record, last, metric.row):
                left_out[why] = left_out.get(why, 0) + 1
            else:
                alike.append(Point(record, entry.value, entry.n))
        before = []
        for point in alike[:-RECENT]:
            if why := _no_yardstick(point.record):
                left_out[why] = left_out.get(why, 0) + 1
            else:
                before.append(point)
        alike = [*before, *alike[-RECENT:]]
        yield MetricSeries(
            f"{metric.row}: {metric.metric}, {metric.of}",
            metric.unit,
            metric.better == "lower",
            alike,
            left_out,
            _missing(last, newest[subject]),
        )


def _no_yardstick(record: Record) -> str:
    """What the values of a run are not to be compared with for; empty for a run that was green by itself."""
    if not record.outcome.green:
        return "were not green"
    return "were green by a waiver" if record.outcome.waived else ""


def _subject(record: Record) -> Hashable:
    return record.profile, record.device.name, record.candidates, record.baseline


def _unlike(record: Record, other: Record, row: str) -> str:
    """What makes the values of ``row`` in two runs no series; empty if nothing does."""
    ours, theirs = _identity(record, row), _identity(other, row)
    return next((f"another {what}" for what in ours if ours[what] != theirs[what]), "")


def _identity(record: Record, row: str) -> dict[str, object]:
    """What like runs have in common, by its name in a sentence."""
    return {
        "device": record.device,
        "way of serving": record.rows.get(row),
        "set of files": record.content.get(row),
        "engine": next((server.engine for server in record.servers if server.row == row), None),
        "driver": record.environment.driver,
        "size of the samples": record.sizes,
    }


def _missing(last: Record, newest: Record) -> str:
    """Why a series that ``last`` ends is not judged, or INVALID; empty where ``last`` is the newest run."""
    if last is newest:
        return ""
    ran = set(newest.suite.tests)
    if last.suite.tests and set(last.suite.tests) <= ran:
        return "the newest run has its tests, and did not measure it"
    return OTHER_TESTS


OTHER_TESTS = "the newest run was of other tests"
