"""Sections about the run itself: costs and times, commands to reproduce it, models, engines and device."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.report.html.facts import Facts, known
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import fill_plot, label
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

if TYPE_CHECKING:
    from pytest_llmperf.record.model import MetricEntry, ServerEntry

_NAMES = """schema profile placement device candidates baseline servers answers load verdicts cases answers_file
traces_file tokens_file fidelity telemetry calibration metrics costs environment suite written partial promoted
order_seed"""
_PLACED = frozenset(_NAMES.split())
"""Keys of the record that have a place of their own on the page."""


_COSTS = "Costs and time"


def setting_section(facts: Facts) -> Section:
    """Return models, weights, engines and the device."""
    record = facts.record
    fields = record.as_json()
    overview = [
        ("candidate", ", ".join(facts.candidates) or "—"),
        ("baseline", facts.baseline or "—"),
        ("profile", record.profile or "—"),
        *((("placement", record.placement),) if record.placement else ()),
        ("device", record.device.name or "—"),
        ("written by", f"pytest-llmperf {_version()}"),
        ("record", facts.path.name),
        *((name, str(fields[name])) for name in ("written", "partial") if fields.get(name)),
        *(() if record.order_seed is None else (("--llmperf-order", str(record.order_seed)),)),
        *_flat("", fields.get("environment")),
        *_flat("suite", fields.get("suite")),
        *_flat("promoted", fields.get("promoted")),
    ]
    servers = [
        tuple(
            text or "—"
            for text in (
                server.row,
                _weights(server),
                server.revision,
                server.engine,
                differs,
                _places(server),
            )
        )
        for server, differs in zip(record.servers, _differences(record.servers), strict=True)
    ]
    tables = []
    if servers:
        columns = ("model", "weights", "revision", "engine", "differs by", "GPUs, by start")
        tables.append(Table(columns, servers, caption="Servers"))
    tables.append(Table(("what", "value"), overview, caption="The run", folded=True))
    if measured := [_measured(entry) for entry in record.metrics]:
        columns = ("metric", "of", "model", "value", "interval", "n")
        caption = "Everything that was measured, whether or not a gate asked for it"
        tables.append(Table(columns, measured, {3, 4, 5}, caption, folded=True))
    placed = _PLACED | (record.model_extra or {}).keys()
    if rows := [(key, _json(value)) for key, value in fields.items() if key not in placed]:
        tables.append(Table(("what", "value"), rows, caption="Further facts of this record", folded=True))
    notes = [] if servers else ["No server was started in this run, or none that the record knows of."]
    return Section("setting", "Setup", notes, (), tables)


def setup_line(facts: Facts) -> str:
    """Return engines, device, profile, date, time and commit of the run in one line."""
    record = facts.record
    environment = record.environment
    engines = " and ".join(dict.fromkeys(server.engine for server in record.servers if server.engine))
    device = record.device.name
    if environment and environment.cpu and record.device.class_ in {None, "CPU"}:
        device = f"{environment.cpu}, {environment.cpus} CPUs" if environment.cpus else environment.cpu
    seconds = math.fsum(test.seconds or 0.0 for test in record.tests)
    commit = environment.git.commit if environment and environment.git else None
    parts = (
        f"{engines} on {device}" if engines and device else engines or device,
        f"profile {record.profile}" if record.profile else "",
        f"{record.written[:16].replace('T', ' ')} UTC" if record.written else "",
        f"{duration(seconds)} of tests" if seconds else "",
        f"commit {commit[:10]}" if commit else "",
    )
    return " · ".join(part for part in parts if part)


def _differences(servers: Sequence[ServerEntry]) -> list[str]:
    """What sets each server apart from the others, where weights, revision and engine do not say it."""
    told = [_settings(server) for server in servers]
    common = set.intersection(*(set(settings.items()) for settings in told)) if told else set()
    return [
        ", ".join(
            value if name.startswith("--") else f"{name} {value}"
            for name, value in settings.items()
            if (name, value) not in common
        )
        for settings in told
    ]


def _settings(server: ServerEntry) -> dict[str, str]:
    """Settings of a server by name; an argument stands for itself, together with its value."""
    settings = {
        name: str(value)
        for name, value in (
            ("dtype", server.dtype),
            ("quantization", server.quantization),
            ("context", server.max_model_len),
            ("sampling seed", server.sampling_seed),
            ("template", (server.template_sha256 or "")[:8] or None),
        )
        if value is not None
    }
    argument = ""
    for part in server.arguments or ():
        argument = part if part.startswith("--") else argument
        settings[argument or part] = (
            part if part.startswith("--") else f"{settings.get(argument, '')} {part}".strip()
        )
    return settings


def _places(server: ServerEntry) -> str:
    """The GPUs of every start; those of starts that follow each other on the same ones are written once."""
    starts = [" and ".join(uuids) for uuids in server.every_gpus]
    return " → ".join(place for place, _ in groupby(starts))


def added_section(facts: Facts) -> Section | None:
    """Return what other plugins added to the record: a list of objects as a table of its own, anything else as JSON.

    None if they added nothing.
    """
    added = facts.record.model_extra or {}
    lists = {key: several for key, values in added.items() if (several := _objects(values))}
    tables = [Table(*_columns(several), caption=key) for key, several in lists.items()]
    if rows := [(key, _json(value)) for key, value in added.items() if key not in lists]:
        tables.append(Table(("what", "value"), rows, caption="Further facts", folded=True))
    notes = ["Not written by pytest-llmperf: see the hook pytest_llmperf_update_record."]
    return Section("added", "Added by other plugins", notes, (), tables) if tables else None


def _objects(value: object) -> list[JsonObject]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield name and text of everything in ``value`` that fits on a line; long lists are counted."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}".strip(), inner)
    elif isinstance(value, list):
        names = [str(entry.get("name") if isinstance(entry, Mapping) else entry) for entry in value]
        yield name, ", ".join(names) if len(names) <= 8 else f"{len(names):,}"
    elif value is not None:
        yield (
            name,
            {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value),
        )


def _columns(several: list[JsonObject]) -> tuple[list[str], list[list[str]]]:
    """Return names and rows of the plain values of ``several``; nested ones are left to the record."""
    plain = str | int | float
    names = list(
        dict.fromkeys(key for entry in several for key, value in entry.items() if isinstance(value, plain))
    )
    return names, [[_cell(entry.get(name)) for name in names] for entry in several]


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "—" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _measured(entry: MetricEntry) -> tuple[str, ...]:
    low, high = entry.interval
    return (
        entry.metric,
        entry.of,
        entry.row,
        format_value(entry.value, entry.unit),
        "—"
        if low is None and high is None
        else f"{format_value(low, entry.unit)} … {format_value(high, entry.unit)}",
        f"{entry.n:,}",
    )


def costs_section(facts: Facts) -> Section | None:
    """Return the tokens, time and energy that each model took, and how long starts, answers and loads took."""
    starts = [
        (server.row, seconds)
        for server in facts.record.servers
        for seconds in known(server.every_ready_s) or known([server.ready_s])
    ]
    spent = [("start until ready", row, seconds) for row, seconds in starts]
    spent += [
        (f"answers: {entry.task}, {entry.variant}", entry.row, entry.seconds)
        for entry in facts.record.answers
        if entry.seconds is not None
    ]
    spent += [(f"load at {load.concurrency}", load.row, load.seconds) for load in facts.load if load.seconds]
    costs = [
        (
            entry.row,
            f"{entry.answers:,}",
            f"{entry.requests:,}",
            "—" if entry.completion_tokens is None else f"{entry.completion_tokens:,}",
            format_value(entry.seconds, "s"),
            format_value(entry.joules, "J"),
        )
        for entry in facts.record.costs
    ]
    columns = ("model", "answers", "timed requests", "tokens written", "time", "energy")
    tables = [Table(columns, costs, range(1, 6), "Costs of each model")] if costs else []
    if not spent:
        return Section("costs", _COSTS, tables=tables) if tables else None
    values = _bars([(label(f"{row}: {what}"), seconds) for what, row, seconds in spent])
    plot = Plot(
        "Seconds",
        f"{len(spent)} parts of the run and how long each took. The numbers are in the table.",
        fill_plot("bars", values, axis="seconds", height=24 * len(values)),
        folded=True,
    )
    rows = [(what, row, format_value(seconds, "s")) for what, row, seconds in spent]
    tables.append(Table(("what", "model", "time"), rows, {2}, "Where the time went", folded=len(rows) > 8))
    notes = ["Loading and waiting between the parts are not in these times."]
    return Section("costs", _COSTS, notes, [plot], tables)


def again_section(facts: Facts) -> Section:
    """Return commands: the run again, its gates without a server, and each server by hand."""
    files = dict.fromkeys(kept.test.partition("::")[0] for kept in facts.gates)
    profile = facts.record.profile or ""
    parts = ["pytest", *files]
    for candidate in facts.candidates:
        parts += ["--model", candidate]
    parts += ["--baseline", facts.baseline] if facts.baseline else []
    parts += ["--llmperf-profile", profile] if profile else []
    parts += ["--llmperf-record", facts.path.name]
    code = [("The same gates on servers of your own", shlex.join(parts))]
    notes = []
    if facts.no_gates:
        notes.append(f"Which tests ran is not known: {facts.no_gates}")
    else:
        mutation = shlex.join(["pytest", *files, f"--llmperf-mutation-test={facts.path.name}"])
        code.append(("What each gate catches, from this record and without a server", mutation))
    code += [
        (f"The server of {server.row} ({server.engine or 'engine unknown'})", server.command)
        for server in facts.record.servers
        if server.command and server.server_of is None
    ]
    return Section("again", "How to reproduce", notes, code=code)


def _weights(server: ServerEntry) -> str | None:
    """The weights; of an adapter or an alias also the row whose server serves them."""
    if server.server_of is None:
        return server.weights
    adapter = f"adapter {server.adapter} on " if server.adapter else ""
    return f"{adapter}{server.weights}, on the server of {server.server_of}"


def _bars(named: Sequence[tuple[str, float]]) -> list[JsonObject]:
    """Number bars of the same name, which are several starts of a server."""
    seen: Counter[str] = Counter()
    bars: list[JsonObject] = []
    for name, value in named:
        seen[name] += 1
        bars.append({"name": name if seen[name] == 1 else f"{name} ({seen[name]})", "value": value})
    return bars


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _version() -> str:
    try:
        return metadata.version("pytest-llmperf")
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"
