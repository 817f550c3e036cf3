"""The timeline of a round: each request as a line from its sending to its first and its last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.record.tables import TraceRow
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import TIMELINE_FIELDS, by_row, fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

MOST_REQUESTS = 12_000
"""Maximum drawn, of the slowest rounds; the page needs some forty bytes for a request."""

_Round = tuple[str, int]
"""The load of a round, and its number within that load."""


def timeline_section(facts: Facts) -> Section | None:
    """Return a plot of the round that the reader chooses, both sides below each other."""
    title = "Timeline of the requests"
    rounds = _rounds(facts.traces)
    if not rounds:
        why = facts.no_tables
        return Section("timeline", title, [f"Single requests are not known: {why}."]) if why else None
    slowest_first = sorted(rounds, key=lambda key: -_longest(rounds[key]))
    medians = _medians(slowest_first)
    drawn: list[_Round] = []
    total = 0
    for key in dict.fromkeys([*medians.values(), *slowest_first]):
        if total + len(rounds[key]) <= MOST_REQUESTS or not drawn:
            drawn.append(key)
            total += len(rounds[key])
    values = [line for key in sorted(drawn) for line in _lines(key, rounds[key], facts.rows)]
    load, number_of_round = max(medians.values(), key=lambda key: len(rounds[key]))
    plot = Plot(
        "Requests of a round",
        f"{len(drawn):,} rounds with {total:,} requests; the median round by its longest request is shown first: "
        f"{load}, round {number_of_round}. The quantiles of all are in the table of distributions.",
        fill_plot(
            "timeline",
            values,
            loads=list(dict.fromkeys(load for load, _ in sorted(drawn))),
            load=load,
            round=number_of_round,
            rounds=max(2, *(nth for _, nth in drawn)),
            color=by_row(facts.rows, str(TIMELINE_FIELDS.index("row")))["color"],
        ),
        wide=True,
    )
    notes = [
        "Pale: waiting for the first token. Solid: streaming. Each side begins at its own first request.",
        "The round that is shown first is the median one by its longest request; the table names the slowest.",
    ]
    left_out = len(rounds) - len(drawn)
    if left_out:
        notes.append(f"The {left_out:,} quickest rounds of {len(rounds):,} are not drawn.")
    columns = ("load", "model", "rounds", "requests", "failed", "longest", "in round")
    table = Table(columns, _counts(rounds), range(2, 7), "Requests", folded=True)
    return Section("timeline", title, notes, [plot], [table])


def _rounds(traces: Sequence[TraceRow]) -> dict[_Round, list[TraceRow]]:
    """Return the requests by load and number of the round; numbers continue over the starts of the servers."""
    numbers: dict[str, dict[tuple[int, int], int]] = {}
    found: dict[_Round, list[TraceRow]] = {}
    for trace in traces:
        if trace["sent_s"] is None or trace["end_s"] is None:
            continue
        load = _load(trace)
        of_start = (trace["start"] or 0, trace["round"] or 0)
        known = numbers.setdefault(load, {})
        found.setdefault((load, known.setdefault(of_start, len(known) + 1)), []).append(trace)
    return found


def _load(trace: TraceRow) -> str:
    if trace["rate"] is not None and trace["kind"] == "open":
        return f"open, {trace['rate']:g}/s"
    return f"{trace['concurrency'] or 0} at a time"


def _lines(key: _Round, traces: Sequence[TraceRow], rows: Sequence[str]) -> list[list[Any]]:
    """Return arrays in the order of ``TIMELINE_FIELDS``; objects would repeat the names for every request."""
    load, nth = key
    lines: list[list[Any]] = []
    for row in dict.fromkeys([*rows, *(trace["row"] for trace in traces)]):
        mine = sorted((trace for trace in traces if trace["row"] == row), key=lambda trace: trace["sent_s"])
        began = mine[0]["sent_s"] if mine else 0.0
        for trace in mine:
            sent, end = trace["sent_s"] - began, trace["end_s"] - began
            first = trace["first_s"]
            shown = end if first is None else first - began
            times = [round(1000 * value, 1) for value in (sent, shown, end)]
            outcome = trace["outcome"] or ""
            lines.append([label(row), load, nth, len(lines) + 1, *times, outcome])
    return lines


def _counts(rounds: Mapping[_Round, Sequence[TraceRow]]) -> list[tuple[str, ...]]:
    sides: dict[tuple[str, str], list[tuple[int, TraceRow]]] = {}
    for (load, nth), traces in rounds.items():
        for trace in traces:
            sides.setdefault((load, trace["row"]), []).append((nth, trace))
    return [
        (
            load,
            row,
            f"{len({nth for nth, _ in many}):,}",
            f"{len(many):,}",
            f"{sum(1 for _, trace in many if trace['error']):,}",
            format_value(max(_length(trace) for _, trace in many), "s"),
            f"{max(many, key=lambda numbered: _length(numbered[1]))[0]:,}",
        )
        for (load, row), many in sides.items()
    ]


def _medians(slowest_first: Sequence[_Round]) -> dict[str, _Round]:
    """The median round of each load; of an even number the slower one of the middle two."""
    by_load: dict[str, list[_Round]] = {}
    for key in slowest_first:
        by_load.setdefault(key[0], []).append(key)
    return {load: keys[(len(keys) - 1) // 2] for load, keys in by_load.items()}


def _longest(traces: Sequence[TraceRow]) -> float:
    return max(_length(trace) for trace in traces)


def _length(trace: TraceRow) -> float:
    return float(trace["end_s"] - trace["sent_s"])
