"""The section about fidelity: how divergence spreads over tokens and positions, and the worst tokens in context."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.record.tables import TokenRow
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Plot, Section
from pytest_llmperf.report.plots import by_row, fill_plot, label
from pytest_llmperf.report.table import Table
from pytest_llmperf.stats.per_token import k3
from pytest_llmperf.units import format_value, percent

WORST = 20
"""Tokens of a comparison that are shown in their context."""
_DRAWN = 150
_CONTEXT = 60
_POSITIONS = (16, 32, 64, 128, 256, 512, 1024)
"""First position of each group but the first."""


@dataclass(frozen=True)
class _Token:
    item: str
    position: int
    before: str
    text: str
    baseline: float
    candidate: float
    rank: int
    divergence: float


@dataclass(frozen=True)
class _Comparison:
    """All tokens of answers at T = 1 that two builds scored."""

    name: str
    tokens: Sequence[_Token] = field(repr=False)


def fidelity_section(facts: Facts) -> Section | None:
    """Return the section; None where the run compared no two builds of a model."""
    entries = facts.record.fidelity
    if not entries:
        return None
    found = [comparison for comparison in _comparisons(facts.tokens) if comparison.tokens]
    notes = [
        "The baseline's own answers, scored by both sides. Gates judge k3; k1, the mean log ratio, is noisier.",
    ]
    if not found:
        notes.append(
            f"Single tokens are not known: {facts.no_tables or 'no answer at T = 1 was scored by both sides'}."
        )
    names = [comparison.name for comparison in found]
    plots = [_distribution(found, names)] if any(_above_zero(one) for one in found) else []
    plots += [_by_position(comparison) for comparison in found if _above_zero(comparison)]
    figures = Table(
        (
            "model",
            "answers",
            "tokens",
            "k3",
            "k1",
            "RMS change of probability",
            "same to the last bit",
            "rank 1",
        ),
        [
            (
                _name(entry.row, entry.baseline, entry.look),
                f"{entry.task}, {entry.sampling}",
                f"{entry.tokens or 0:,}",
                format_value(entry.k3, "nat/tok"),
                format_value(entry.k1, "nat/tok"),
                format_value(entry.rms_probability_change, "share"),
                format_value(entry.identical_share, "share"),
                format_value(entry.rank_1_share, "share"),
            )
            for entry in entries
        ],
        range(2, 8),
        "Figures",
    )
    return Section("fidelity", "Fidelity", notes, plots, [figures, *map(_worst, filter(_above_zero, found))])


def _comparisons(rows: Sequence[TokenRow]) -> Iterator[_Comparison]:
    sampled = [row for row in rows if row["sampling"] != "greedy"]
    # What other looks are compared with; a warm prefix cache with a cold one.
    own = {
        (row["look"] == "cold", row["baseline"], row["task"], row["item"]): row
        for row in sampled
        if row["row"] == row["baseline"] and row["look"] in {"first", "cold"}
    }
    groups: dict[str, list[_Token]] = {}
    for row in sampled:
        if row["row"] == row["baseline"] and row["look"] in {"first", "cold"}:
            continue
        first = own.get((row["look"] == "warm", row["baseline"], row["task"], row["item"]))
        if first is not None:
            name = f"{_name(row['row'], row['baseline'], row['look'])}, {row['task']}"
            # Tokens that were told as they were decoded are drawn from that distribution.
            sides = (row, first) if row["look"] == "decoded" else (first, row)
            groups.setdefault(name, []).extend(_tokens(*sides, first["texts"]))
    return (_Comparison(name, tokens) for name, tokens in groups.items())


def _tokens(own: TokenRow, other: TokenRow, texts: Sequence[str]) -> Iterator[_Token]:
    before = ""
    each = k3(own["log_probabilities"], other["log_probabilities"])
    for place, divergence in enumerate(each):
        text = texts[place] if texts else ""
        yield _Token(
            own["item"],
            place,
            before[-_CONTEXT:],
            text,
            own["log_probabilities"][place],
            other["log_probabilities"][place],
            other["ranks"][place] if other["ranks"] else 0,
            divergence,
        )
        before += text


def _name(row: str, baseline: str, look: str) -> str:
    return f"{row} against {baseline}" if look == "first" else f"{row}, {look}"


def _above_zero(comparison: _Comparison) -> bool:
    return any(token.divergence > 0.0 for token in comparison.tokens)


def _distribution(found: Sequence[_Comparison], names: Sequence[str]) -> Plot:
    values = []
    for comparison in found:
        ordered = sorted(token.divergence for token in comparison.tokens)
        places = sorted({round(at * (len(ordered) - 1) / (_DRAWN - 1)) for at in range(_DRAWN)})
        values += [
            {
                "value": max(ordered[at], 1e-12),
                "share": (at + 1) / len(ordered),
                "row": label(comparison.name),
            }
            for at in places
            if ordered[at] > 0.0
        ]
    spec = fill_plot("shares_below", values, axis="nats, logarithmic", **by_row(names))
    alt = "Share of tokens whose divergence is at or below a value; those without any are not drawn."
    return Plot("Divergence of a token", alt, spec)


def _by_position(comparison: _Comparison) -> Plot:
    ends = (*_POSITIONS, math.inf)
    values = []
    for begin, end in zip((0, *_POSITIONS), ends, strict=True):
        here = [token.divergence for token in comparison.tokens if begin <= token.position < end]
        if here:
            last = f"{end:g}" if end < math.inf else "on"
            values.append({"name": f"{begin + 1} to {last}", "value": math.fsum(here) / len(here)})
    alt = f"{comparison.name}: mean divergence of the tokens by their position in the answer."
    spec = fill_plot("bars", values, axis="nats per token", height=24 * len(values))
    return Plot(f"Divergence by position in the answer, {comparison.name}", alt, spec)


def _worst(comparison: _Comparison) -> Table:
    ordered = sorted(comparison.tokens, key=lambda token: token.divergence, reverse=True)
    total = math.fsum(token.divergence for token in ordered)
    rows = [
        (
            token.item,
            f"{token.position + 1:,}",
            f"…{token.before}",
            token.text,
            format_value(math.exp(token.baseline), "share"),
            format_value(math.exp(token.candidate), "share"),
            f"{token.rank}" if token.rank else "—",
            percent(token.divergence / total),
        )
        for token in ordered[:WORST]
        if token.divergence > 0.0
    ]
    columns = ("answer to", "position", "text before", "token", "baseline", "candidate", "rank", "of all")
    return Table(columns, rows, (1, 4, 5, 6, 7), f"Worst tokens, {comparison.name}", folded=True)
