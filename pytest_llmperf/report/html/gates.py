"""Sections about gates: every gate against its bound, accuracy with its flips, and prompt rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from pytest_llmperf.config.bounds import suite_of
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import WORST_FIRST, Verdict
from pytest_llmperf.gates.wording import excuse, status_words
from pytest_llmperf.record.gate_files import RecordedGate
from pytest_llmperf.record.summary import accuracy_interval
from pytest_llmperf.report.gate_cells import NUMBERS, gate_cells
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.html.reference import reference_cells
from pytest_llmperf.report.html.replies import exchanges, flips_of
from pytest_llmperf.report.overview import named
from pytest_llmperf.report.plots import fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_bound, format_interval, format_value

LONGEST_LIST = 500
"""Maximum of flipped items listed for a gate."""

_AXES = {
    "share": ("share", ".0%", 1.0),
    "points": ("difference, percentage points", "+~f", 100.0),
    "ratio": ("candidate / baseline", "~f", 1.0),
    "s": ("seconds, logarithmic", "~g", 1.0),
    "tok/s": ("tokens per second, logarithmic", "~s", 1.0),
    "bytes": ("bytes, logarithmic", "~s", 1.0),
    "J/tok": ("joules per token, logarithmic", "~s", 1.0),
    "J": ("joules, logarithmic", "~s", 1.0),
    "nat/tok": ("nats per token", "~g", 1.0),
    "tok/step": ("tokens per verification step", "~g", 1.0),
}
"""By unit: title and number format of the axis, and the factor of its values."""

_SCALES = {"share": {"type": "linear", "domain": [0.0, 1.0]}}
_DEFAULT_SCALE = {"type": "linear", "zero": False, "padding": 10}
_SPANS_DECADES = {"s", "tok/s", "bytes", "J/tok", "J"}


def gates_section(facts: Facts) -> Section:
    """Return every verdict: a plot per unit, and the table."""
    notes = ["A bar is the interval that decided the verdict, the upright mark is the bound."]
    if facts.no_gates:
        notes.append(f"The test of each gate is not known: {facts.no_gates}")
    if not facts.verdicts:
        notes = ["No gate was judged in this run, so nothing is known about the candidate."]
    then = reference_cells(facts)
    if then is not None:
        notes.append(f"Beside the candidate stands the promoted reference {facts.reference}.")
    entries = facts.record.verdicts
    order = sorted(range(len(entries)), key=lambda at: WORST_FIRST.index(entries[at].verdict.status))
    several = len(facts.candidates) > 1
    sides = [(candidate_of(facts, entry.test) or "—",) if several else () for entry in entries]
    rows = [_cells(entries[at].verdict, () if then is None else (then[at],), sides[at]) for at in order]
    told = () if then is None else ("reference",)
    side = ("row",) if several else ()
    # A line of a plot is named by its metric alone: with several candidates all would be called alike.
    drawn = [named(v.verdict, candidate_of(facts, v.test) if several else "") for v in entries]
    columns = ("verdict", "metric", *side, NUMBERS[0], *told, *NUMBERS[1:], "of bound", "n")
    table = Table(
        columns,
        rows,
        range(2 + len(side), len(columns)),
        "Every gate",
        [entries[at].verdict.status.value for at in order],
        filtered=True,
        details=[_why(entries[at].verdict, entries[at].test) for at in order],
        anchors=[gate_anchor(at) for at in order],
    )
    return Section("gates", "Gates", notes, interval_plots(drawn), [table] if rows else [], tables_first=True)


def candidate_of(facts: Facts, test: str) -> str:
    """Return the candidate that a test is about; empty for a test that is not repeated for each."""
    side = facts.side(test)
    return side if side in facts.candidates else ""


def gate_anchor(place: int) -> str:
    """Return the ``id`` of the row of the gate at ``place`` of the record."""
    return f"gate-{place + 1}"


def first_look(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield what to look at first, with the ``id`` of its gate's row; empty for what is about no single gate."""
    places = {
        f"{v.status.value}: {v.why}": gate_anchor(at) for at, v in reversed([*enumerate(facts.verdicts)])
    }
    for line in facts.whole.look_first:
        yield line, places.get(line, "")


def accuracy_section(facts: Facts) -> Section | None:
    """Return shares and differences of shares (other than prompt rules), the counts of answers, and the flips."""
    about = [
        verdict for verdict in facts.verdicts if verdict.unit in {"share", "points"} and not is_rule(verdict)
    ]
    answers = _answers(facts)
    flips = [_flips(kept) for kept in facts.gates if isinstance(kept.gate, PairedGate)]
    if not about and not answers.rows and not flips:
        return None
    notes = []
    if not flips:
        if facts.no_gates:
            notes.append(f"No flips are known: {facts.no_gates}")
    else:
        notes += [f"{table.caption}." for table in flips if not table.rows]
    read = exchanges(facts)
    if read:
        notes.append("Long replies are cut; the table of answers beside the record has them whole.")
    elif flips:
        notes.append(
            f"The text of the answers is not known: {facts.no_tables or 'this record has no table of them'}."
        )
    if answers.rows:
        notes.append(
            "A model's own interval is given where every planned item was asked (each end holds with 95 %): "
            "for a count that was stopped when it looked clear, only the gate's interval holds."
        )
    tables = [table for table in (answers, *flips) if table.rows]
    return Section("accuracy", "Accuracy and flips", notes, _folded(about), tables, exchanges=read)


def rules_section(facts: Facts) -> Section | None:
    """Return how often the candidate kept to each prompt rule."""
    about = [verdict for verdict in facts.verdicts if is_rule(verdict)]
    if not about:
        return None
    rows = [
        (
            v.metric,
            format_value(v.observed, v.unit),
            format_interval(v.interval, v.unit),
            format_bound(v.bound, v.unit),
            f"{v.n:,}",
            v.status.value,
        )
        for v in about
    ]
    columns = ("rule", "rate", "interval", "bound", "n", "verdict")
    table = Table(columns, rows, range(1, 5), "Rates", [verdict.status.value for verdict in about])
    return Section("rules", "Prompt rules", (), _folded(about), [table])


def _folded(verdicts: Sequence[Verdict]) -> list[Plot]:
    """The plots that stand among all gates already, of these verdicts alone."""
    return [replace(plot, folded=True) for plot in interval_plots(verdicts)]


def is_rule(verdict: Verdict) -> bool:
    """Return whether the bound is a budget of the suite ``rules``."""
    return suite_of(verdict.origin) == "rules" and verdict.unit in {"share", "points"}


def interval_plots(verdicts: Sequence[Verdict]) -> list[Plot]:
    """Return a plot per unit, of the verdicts that have a value."""
    units = dict.fromkeys(verdict.unit for verdict in verdicts if verdict.observed is not None)
    return [_interval_plot(unit, [verdict for verdict in verdicts if verdict.unit == unit]) for unit in units]


def _interval_plot(unit: str, verdicts: Sequence[Verdict]) -> Plot:
    axis, format_, times = _AXES.get(unit, (unit or "value", "~g", 1.0))
    drawn = [verdict for verdict in verdicts if verdict.observed is not None]
    known = [
        value
        for verdict in drawn
        for value in (verdict.observed, verdict.bound, *(verdict.interval or ()))
        if value is not None and math.isfinite(value)
    ]
    log = unit in _SPANS_DECADES and all(value > 0 for value in known)
    name = _namer()
    values = [
        {
            "gate": name(verdict.metric),
            "status": verdict.status.value,
            "observed": _scaled(verdict.observed, times),
            "low": _end(verdict, 0, times),
            "high": _end(verdict, 1, times),
            "bound": _scaled(verdict.bound, times),
            "shown": f"{format_value(verdict.observed, unit)} ({format_interval(verdict.interval, unit)}), "
            f"bound {format_bound(verdict.bound, unit)}",
        }
        for verdict in drawn
    ]
    missing = len(verdicts) - len(drawn)
    aside = (
        f"; {missing} without a value {'is' if missing == 1 else 'are'} only in the table" if missing else ""
    )
    alt = f"{len(drawn)} gates in {axis}: value, interval and bound of each{aside}. The numbers are in the table."
    return Plot(
        f"{axis.split(',')[0].capitalize()}{aside}",
        alt,
        fill_plot(
            "intervals",
            values,
            axis=axis,
            format=format_,
            height=22 * len(values),
            scale={"type": "log"} if log else _SCALES.get(unit, _DEFAULT_SCALE),
        ),
    )


def _namer() -> Callable[[str], str]:
    """Return a function that numbers equal names: gates of one name would share a line of the axis."""
    seen: dict[str, count[int]] = {}

    def name(text: str) -> str:
        short = label(text)
        nth = next(seen.setdefault(short, count(1)))
        return short if nth == 1 else f"{short} ({nth})"

    return name


def _end(verdict: Verdict, side: int, times: float) -> float | None:
    """Return an end of the interval; None for both ends of a one-sided interval, which cannot be drawn."""
    if verdict.interval is None or not all(map(math.isfinite, verdict.interval)):
        return None
    return verdict.interval[side] * times


def _scaled(value: float | None, times: float) -> float | None:
    return None if value is None else value * times


def _cells(verdict: Verdict, then: tuple[str, ...], side: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row of the table; ``then`` is the cell of the reference, if there is a reference, and ``side`` that of
    the candidate, if there are several."""
    candidate, *others = gate_cells(verdict)
    return (
        status_words(verdict),
        verdict.metric,
        *side,
        candidate,
        *then,
        *others,
        share_of_bound(verdict),
        f"{verdict.n:,}" + (f" ({verdict.n_needed:,} needed)" if verdict.n_needed else ""),
    )


def _why(verdict: Verdict, test: str) -> str:
    parts = (verdict.why, excuse(verdict), verdict.method, verdict.origin, test, verdict.detail)
    return "\n".join(part for part in parts if part)


def share_of_bound(verdict: Verdict) -> str:
    """Return the value as a share of its bound, ``94 %``; of a difference, how much of what is allowed was used.

    A difference in the good direction uses nothing.
    """
    value, bound = verdict.observed, verdict.bound
    if value is None or not bound or not (math.isfinite(value) and math.isfinite(bound)):
        return "—"
    share = value / bound
    return f"{100 * (max(0.0, share) if verdict.unit == 'points' else share):,.0f} %"


def _answers(facts: Facts) -> Table:
    columns = (
        "model",
        "task",
        "asked",
        "items",
        "correct",
        "interval",
        "wrong",
        "incomplete",
        "ungraded",
        "lost",
        "tokens",
    )
    rows = []
    for entry in facts.record.answers:
        counts, items, planned = entry.outcomes, entry.items, entry.planned
        judged = sum(counts.values()) - counts.get("infra", 0)
        right = counts.get("correct", 0)
        interval = accuracy_interval(entry)
        rows.append(
            (
                entry.row,
                entry.task,
                entry.variant,
                f"{items:,} of {planned:,}",
                format_value(right / judged if judged else None, "share"),
                format_interval(interval, "share"),
                *(f"{counts.get(name, 0):,}" for name in ("wrong", "incomplete", "ungraded", "infra")),
                "—" if entry.completion_tokens is None else f"{entry.completion_tokens:,}",
            )
        )
    return Table(columns, rows, range(3, len(columns)), "Answers")


def _flips(kept: RecordedGate) -> Table:
    """Return the items whose outcome differs between the two sides of a comparison, those that got worse first."""
    case = kept.gate
    assert isinstance(case, PairedGate)
    flips, same = flips_of(case)
    rows = [
        (flip.change, flip.item, format_value(flip.was, "share"), format_value(flip.now, "share"))
        for change in ("worse", "better")
        for flip in [each for each in flips if each.change == change][:LONGEST_LIST]
    ]
    worse = sum(flip.change == "worse" for flip in flips)
    left_out = len(flips) - len(rows)
    caption = f"{case.metric}: {worse:,} worse, {len(flips) - worse:,} better, {same:,} the same"
    if left_out:
        caption += f" ({left_out:,} of the changed are not listed)"
    return Table(("change", "item", "baseline", "candidate"), rows, {2, 3}, caption, folded=True)
