"""Sections about the run itself: what ran on what, how long it took, how to have it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from pytest_llmperf.report.html import specs
from pytest_llmperf.report.html.facts import Facts, number, numbers
from pytest_llmperf.report.html.parts import Plot, Section, Table
from pytest_llmperf.report.numbers import show

_NAMES = """schema profile device candidates baseline servers answers load verdicts cases answers_file traces_file
telemetry claims calibration metrics costs tests environment suite written partial promoted reference"""
_KNOWN = frozenset(_NAMES.split())
"""What has a place on the page, or is said by what has one."""


def setting_section(facts: Facts) -> Section:
    """Models, weights, engines and the device; and what a plugin added to the record."""
    record = facts.record
    device = record.get("device")
    name = device.get("name") if isinstance(device, Mapping) else None
    overview = [
        ("candidate", ", ".join(facts.candidates) or "—"),
        ("baseline", facts.baseline or "—"),
        ("profile", str(record.get("profile") or "—")),
        ("device", str(name or "—")),
        ("written by", f"pytest-llmperf {_version()}"),
        ("record", facts.path.name),
    ]
    servers = [
        tuple(str(one.get(key) or "—") for key in ("row", "weights", "revision", "engine"))
        for one in facts.dicts("servers")
    ]
    tables = [Table("The run", ("what", "value"), overview)]
    if servers:
        tables.append(Table("Servers", ("model", "weights", "revision", "engine"), servers))
    more = {key: value for key, value in record.items() if key not in _KNOWN}
    if more:
        rows = [(str(key), _json(value)) for key, value in more.items()]
        tables.append(Table("Further facts of this record", ("what", "value"), rows, folded=True))
    notes = [] if servers else ["No server was started in this run, or none that the record knows of."]
    return Section("setting", "What ran on what", notes, (), tables)


def timings_section(facts: Facts) -> Section:
    """How long starts, answers and load took."""
    starts = [
        (str(one.get("row", "")), seconds)
        for one in facts.dicts("servers")
        for seconds in numbers(one.get("every_ready_s")) or numbers([one.get("ready_s")])
    ]
    spent = [("start until ready", row, seconds) for row, seconds in starts]
    for one in facts.dicts("answers"):
        what = f"answers: {one.get('task', '')}, {one.get('variant', '')}"
        if (seconds := number(one.get("seconds"))) is not None:
            spent.append((what, str(one.get("row", "")), seconds))
    spent += [(f"load at {one.concurrency}", one.row, one.seconds) for one in facts.load if one.seconds]
    if not spent:
        return Section(
            "timings", "Where the time went", ["This record holds no times of servers or answers."]
        )
    values = [{"name": specs.label(f"{row}: {what}"), "value": seconds} for what, row, seconds in spent]
    plot = Plot(
        "Seconds",
        f"{len(spent)} parts of the run and how long each took. The numbers are in the table.",
        specs.bars(_numbered(values), "seconds"),
    )
    rows = [(what, row, show(seconds, "s")) for what, row, seconds in spent]
    table = Table("Parts of the run", ("what", "model", "time"), rows, frozenset({2}))
    notes = ["Loading and waiting between the parts are not in these times."]
    return Section("timings", "Where the time went", notes, [plot], [table])


def again_section(facts: Facts) -> Section:
    """Commands: the run again, its gates judged again without a server, and each server by hand."""
    files = dict.fromkeys(kept.test.partition("::")[0] for kept in facts.cases)
    profile = str(facts.record.get("profile") or "")
    parts = ["pytest", *files]
    for candidate in facts.candidates:
        parts += ["--model", candidate]
    parts += ["--baseline", facts.baseline] if facts.baseline else []
    parts += ["--llmperf-profile", profile] if profile else []
    parts += ["--llmperf-record", facts.path.name]
    code = [("The same gates on servers of your own", shlex.join(parts))]
    notes = []
    if facts.no_cases:
        notes.append(f"Which tests ran is not known: {facts.no_cases}")
    else:
        prove = shlex.join(["pytest", *files, f"--llmperf-prove={facts.path.name}"])
        code.append(("What each gate catches, from this record and without a server", prove))
    code += [
        (f"The server of {one.get('row', '')} ({one.get('engine') or 'engine unknown'})", str(one["command"]))
        for one in facts.dicts("servers")
        if one.get("command")
    ]
    return Section("again", "How to reproduce", notes, code=code)


def _numbered(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bars of the same name are several starts of one server: they stand below each other."""
    seen: dict[str, int] = {}
    for one in values:
        seen[one["name"]] = nth = seen.get(one["name"], 0) + 1
        if nth > 1:
            one["name"] += f" ({nth})"
    return values


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _version() -> str:
    try:
        return metadata.version("pytest-llmperf")
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"
