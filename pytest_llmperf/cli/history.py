"""``history RECORD…``: a metric over several runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.cli.parts import command, tell
from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.wire import whole_run_of
from pytest_llmperf.report.columns import aligned
from pytest_llmperf.report.numbers import show


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
    names = dict.fromkeys(_name(one) for record in records for one in record.get("metrics", ()))
    told = []
    for name in (name for name in names if asked.metric in name):
        told += [name, *(f"  {line}" for line in aligned(_over(records, name), right=(3,))), ""]
    if not told:
        raise UsageError(
            f"no metric with {asked.metric!r} in its name; there are {'; '.join(names) or 'none'}"
        )
    tell([*told, *(f"left out: {line}" for line in skipped)])
    return 0


def _over(records: list[dict[str, Any]], name: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for record in records:
        for one in record.get("metrics", ()):
            if _name(one) == name:
                ends = [
                    "?" if end is None else show(end, one["unit"])
                    for end in one.get("interval") or (None, None)
                ]
                rows.append(
                    (
                        str(record.get("written", "?"))[:16].replace("T", " "),
                        str(record.get("device", {}).get("name", "?")),
                        _commit(record),
                        show(one["value"], one["unit"]),
                        f"{ends[0]} … {ends[1]}",
                        "partial" if record.get("partial") else "" if whole_run_of(record).green else "red",
                    )
                )
    return rows


def _commit(record: Mapping[str, Any]) -> str:
    git = record.get("environment", {}).get("git") or {}
    return str(git.get("commit") or "—")[:9] + ("+" if git.get("changed") else "")


def _name(one: Mapping[str, Any]) -> str:
    return f"{one['row']}: {one['metric']}, {one['of']}"


def _read(paths: list[Path]) -> tuple[list[dict[str, Any]], list[str]]:
    """Records by their time; a file that is named must be one, in a directory others may lie."""
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
    return sorted(found, key=lambda record: str(record.get("written", ""))), skipped
