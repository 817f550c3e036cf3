"""``history RECORD…``: a metric over several runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.cli.parts import command, tell
from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import MetricEntry, Record

_COLUMNS = ("written", "device", "commit", "value", "95 % bounds", "run")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(commands, "history", "how the metrics of several runs have moved, the oldest run first")
    parser.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD|DIR", help="records, or directories of records"
    )
    parser.add_argument("--metric", default="", metavar="TEXT", help="only metrics whose name has this in it")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    records, skipped = _read(asked.records)
    if not records:
        raise UsageError(f"no record of a run in {', '.join(map(str, asked.records))}")
    names = dict.fromkeys(_name(metric) for record in records for metric in record.metrics)
    told = []
    for name in (name for name in names if asked.metric in name):
        told += [name, *(f"  {line}" for line in Table(_COLUMNS, _over(records, name), {3}).to_text()), ""]
    if not told:
        raise UsageError(
            f"no metric with {asked.metric!r} in its name; there are {'; '.join(names) or 'none'}"
        )
    tell([*told, *(f"left out: {line}" for line in skipped)])
    return 0


def _over(records: list[Record], name: str) -> list[tuple[str, ...]]:
    return [
        (
            record.written[:16].replace("T", " ") or "?",
            record.device.name or "?",
            _commit(record),
            format_value(metric.value, metric.unit),
            " … ".join("?" if end is None else format_value(end, metric.unit) for end in metric.interval),
            "partial" if record.partial else "" if record.outcome.green else "red",
        )
        for record in records
        for metric in record.metrics
        if _name(metric) == name
    ]


def _commit(record: Record) -> str:
    git = record.environment.git
    return "—" if git is None or not git.commit else git.commit[:9] + ("+" if git.changed else "")


def _name(metric: MetricEntry) -> str:
    return f"{metric.row}: {metric.metric}, {metric.of}"


def _read(paths: list[Path]) -> tuple[list[Record], list[str]]:
    """Records in the order of time; a file that is named must be a record, a directory may hold others."""
    found, skipped = [], []
    for path in paths:
        if not path.is_dir():
            found.append(read_record(path))
            continue
        for file in sorted(path.rglob("*.json")):
            try:
                found.append(read_record(file))
            except LlmperfError as error:
                skipped.append(first_line(error))
    return sorted(found, key=lambda record: record.written), skipped
