"""Sections about gates: every gate against its bound, accuracy with its flips, and prompt rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count

from pytest_llmperf.config.bounds import suite_of
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import excuse, status_words
from pytest_llmperf.record.gate_files import RecordedGate
from pytest_llmperf.record.summary import accuracy_interval
from pytest_llmperf.report.gate_cells import NUMBERS, gate_cells
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.html.reference import reference_cells
from pytest_llmperf.report.html.replies import exchanges, flips_of
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
    rows = [
        _cells(entry.verdict, entry.test, () if then is None else (then[at],))
        for at, entry in enumerate(facts.record.verdicts)
    ]
    told = () if then is None else ("reference",)
    columns = ("verdict", "metric", NUMBERS[0], *told, *NUMBERS[1:], "n", "says", "more")
    states = [verdict.status.value for verdict in facts.verdicts]
    table = Table(columns, rows, range(2, len(columns) - 2), "Every gate", states, filtered=True)
    return Section("gates", "Gates", notes, interval_plots(facts.verdicts), [table] if rows else [])


def accuracy_section(facts: Facts) -> Section:
    """Return shares and differences of shares (other than prompt rules), the counts of answers, and the flips."""
    about = [
        verdict for verdict in facts.verdicts if verdict.unit in {"share", "points"} and not is_rule(verdict)
    ]
    answers = _answers(facts)
    flips = [_flips(kept) for kept in facts.gates if isinstance(kept.gate, PairedGate)]
    notes = []
    if not about and not answers.rows:
        notes.append("This record holds no accuracy: no gate asked for answers.")
    if not flips:
        notes.append(
            f"No flips are known: {facts.no_gates}"
            if facts.no_gates
            else "No flips are known: no gate of this run compared the answers to the same items."
        )
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
    return Section("accuracy", "Accuracy and flips", notes, interval_plots(about), tables, exchanges=read)


def rules_section(facts: Facts) -> Section:
    """Return how often the candidate kept to each prompt rule."""
    about = [verdict for verdict in facts.verdicts if is_rule(verdict)]
    if not about:
        return Section("rules", "Prompt rules", ["This record holds no rate of a prompt rule."])
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
    return Section("rules", "Prompt rules", (), interval_plots(about), [table])


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


def _cells(verdict: Verdict, test: str, then: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row of the table; ``then`` is the cell of the reference, if there is a reference."""
    more = [excuse(verdict), verdict.method, verdict.origin, test, verdict.detail]
    candidate, *others = gate_cells(verdict)
    return (
        status_words(verdict),
        verdict.metric,
        candidate,
        *then,
        *others,
        f"{verdict.n:,}" + (f" ({verdict.n_needed:,} needed)" if verdict.n_needed else ""),
        verdict.why,
        "\n".join(part for part in more if part),
    )


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
