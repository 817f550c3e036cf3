"""``history RECORD…``: a metric over several runs."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.cli.parts import command, interval_cell, tell
from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.drift import drift_verdicts
from pytest_llmperf.record.series import OTHER_TESTS, MetricSeries, metric_series
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.html.change_points import change_points
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.terminal import verdict_table
from pytest_llmperf.units import format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import MetricEntry, Record

_COLUMNS = ("written", "device", "commit", "value", "95 % bounds", "run")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "history",
        "how the metrics of several runs have moved, the oldest run first",
        "With --gate, exit code 1 if a metric has drifted for the worse: its last three nights against the nights "
        "before, like with like, at most 5 % false alarms a night over all metrics together.",
    )
    parser.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD|DIR", help="records, or directories of records"
    )
    parser.add_argument("--metric", default="", metavar="TEXT", help="only metrics whose name has this in it")
    parser.add_argument("--gate", action="store_true", help="turn red where a metric has drifted")
    parser.add_argument(
        "--since",
        type=_day,
        metavar="DATE",
        help="with --gate, only runs since that day: a level that a person has accepted begins there",
    )
    parser.add_argument(
        "--inconclusive",
        choices=["fail", "warn"],
        default="fail",
        help="with --gate, what a history that is too short does (default: fail)",
    )
    parser.set_defaults(run=run)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-12-31") from None


def run(asked: argparse.Namespace) -> int:
    records, skipped = _read(asked.records)
    if not records:
        raise UsageError(f"no record of a run in {', '.join(map(str, asked.records))}")
    if asked.gate:
        return _gate(records, skipped, asked)
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


def _gate(records: list[Record], skipped: list[str], asked: argparse.Namespace) -> int:
    every = [series for series in metric_series(records, asked.since or "") if asked.metric in series.name]
    if not every:
        raise UsageError("none of these runs is whole and has such a metric: nothing can be judged")
    verdicts = drift_verdicts(every)
    whole = run_verdict(verdicts, inconclusive=asked.inconclusive)
    told = [line.text for line in verdict_table(verdicts)]
    told += [
        "",
        *(
            f"{verdict.status.value}: {verdict.why}"
            for verdict in verdicts
            if verdict.status is not Status.PASS
        ),
    ]
    told += [f"{series.name}: {since}" for series in every if (since := _changed(series))]
    told += [f"{series.name}: not judged, {OTHER_TESTS}" for series in every if series.missing == OTHER_TESTS]
    partial = [record for record in records if record.partial]
    skipped = skipped + [
        f"the run of {each.written[:10] or '?'} is partial: {each.partial}" for each in partial
    ]
    tell([*told, *(f"left out: {line}" for line in skipped), f"{whole.status.value}: {whole.why}"])
    return 0 if whole.green else 1


def _changed(series: MetricSeries) -> str:
    """The run since which the series is at another level, where ruptures is installed and finds one."""
    found = change_points(series.values)
    if not found:
        return ""
    record = series.points[found[-1]].record
    return f"at another level since the run of {record.written[:10] or '?'} (commit {_commit(record)})"


def _over(records: list[Record], name: str) -> list[tuple[str, ...]]:
    return [
        (
            record.written[:16].replace("T", " ") or "?",
            record.device.name or "?",
            _commit(record),
            format_value(metric.value, metric.unit),
            interval_cell(metric),
            _state(record),
        )
        for record in records
        for metric in record.metrics
        if _name(metric) == name
    ]


def _state(record: Record) -> str:
    """``partial``, ``red``, ``2 waived``; empty for a run that was green by itself."""
    if record.partial:
        return "partial"
    if not record.outcome.green:
        return "red"
    return f"{record.outcome.waived} waived" if record.outcome.waived else ""


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
