"""Sections about the run itself: what ran on what, how long it took, how to have it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from pytest_llmperf.report.html import specs
from pytest_llmperf.report.html.facts import Facts, number, numbers
from pytest_llmperf.report.html.parts import Plot, Section, Table
from pytest_llmperf.report.numbers import show

_NAMES = """schema profile device candidates baseline servers answers load verdicts cases answers_file traces_file
telemetry calibration metrics costs environment suite written partial promoted"""
_KNOWN = frozenset(_NAMES.split())
"""What has a place on the page, or is said by what has one."""


def setting_section(facts: Facts) -> Section:
    """Models, weights, engines and the device."""
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
        *((name, str(record[name])) for name in ("written", "partial") if record.get(name)),
        *_flat("", record.get("environment")),
        *_flat("suite", record.get("suite")),
        *_flat("promoted", record.get("promoted")),
    ]
    servers = [
        tuple(str(one.get(key) or "—") for key in ("row", "weights", "revision", "engine"))
        for one in facts.dicts("servers")
    ]
    tables = [Table("The run", ("what", "value"), overview)]
    if servers:
        tables.append(Table("Servers", ("model", "weights", "revision", "engine"), servers))
    tables += [
        Table(caption, *_columns(several), numeric=frozenset(range(1, 20)), folded=len(several) > 12)
        for caption, key in (("Costs", "costs"), ("The client's own error", "calibration"))
        if (several := list(facts.dicts(key)))
    ]
    if measured := [_measured(one) for one in facts.dicts("metrics")]:
        columns = ("metric", "of", "model", "value", "interval", "n")
        caption = "Everything that was measured, whether or not a gate asked for it"
        tables.append(Table(caption, columns, measured, frozenset({3, 4, 5}), folded=True))
    notes = [] if servers else ["No server was started in this run, or none that the record knows of."]
    return Section("setting", "What ran on what", notes, (), tables)


def added_section(facts: Facts) -> Section | None:
    """What other plugins added to the record: a list of objects as a table of its own, anything else as JSON.

    None if they added nothing.
    """
    added = {key: value for key, value in facts.record.items() if key not in _KNOWN}
    lists = {key: several for key in added if (several := list(facts.dicts(key)))}
    tables = [Table(key, *_columns(several)) for key, several in lists.items()]
    if rows := [(str(key), _json(value)) for key, value in added.items() if key not in lists]:
        tables.append(Table("Further facts", ("what", "value"), rows, folded=True))
    notes = ["Not written by pytest-llmperf: see the hook pytest_llmperf_update_record."]
    return Section("added", "Added by other plugins", notes, (), tables) if tables else None


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Name and text of everything in ``value`` that can be said in a line; long lists are counted."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}".strip(), inner)
    elif isinstance(value, list):
        names = [str(one.get("name") if isinstance(one, Mapping) else one) for one in value]
        yield name, ", ".join(names) if len(names) <= 8 else f"{len(names):,}"
    elif value is not None:
        yield (
            name,
            {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value),
        )


def _columns(several: list[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Names and rows of the numbers and words of ``several``; what has parts of its own is left to the record."""
    plain = str | int | float
    names = list(
        dict.fromkeys(key for one in several for key, value in one.items() if isinstance(value, plain))
    )
    return names, [[_cell(one.get(name)) for name in names] for one in several]


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _measured(fields: Mapping[str, Any]) -> tuple[str, ...]:
    unit = str(fields.get("unit") or "")
    ends = [number(end) for end in fields["interval"]] if isinstance(fields.get("interval"), list) else []
    low, high = ends if len(ends) == 2 else (None, None)
    return (
        *(str(fields.get(key) or "—") for key in ("metric", "of", "row")),
        show(number(fields.get("value")), unit),
        "—" if low is None and high is None else f"{show(low, unit)} … {show(high, unit)}",
        f"{int(number(fields.get('n')) or 0):,}",
    )


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
