"""The elements of a page: sections of plots, tables, sentences, commands and pairs of replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.report.table import Table


@dataclass(frozen=True)
class Plot:
    """A Vega-Lite specification, its heading, and in words what it shows (for those who do not see it)."""

    title: str
    alt: str
    spec: Mapping[str, Any]
    wide: bool = False
    """Take the whole width of the page."""
    folded: bool = False
    """The reader has to open it, together with the other folded plots of its section."""


@dataclass(frozen=True)
class Said:
    """One model's reply to an item. In an :class:`Exchange` that is shown, ``reply`` is markup."""

    row: str
    outcome: str
    about: str
    """Outcome, number of tokens, and whether it was cut off."""
    answer: str
    """The final answer that the grader extracted."""
    thinking: str
    reply: str

    @property
    def whole(self) -> str:
        return self.thinking + self.reply


@dataclass(frozen=True)
class Exchange:
    """An item that only one of two models got right, with both replies."""

    item: str
    change: str
    asked: str
    """Beginning of the question, as plain text."""
    question: str
    gold: str
    baseline: Said
    candidate: Said


@dataclass(frozen=True)
class Exchanges:
    """The exchanges of one gate."""

    caption: str
    several: Sequence[Exchange]


@dataclass(frozen=True)
class LoadToTry:
    """A load on which the reader can try an SLO: times of each request that was answered, in milliseconds."""

    name: str
    row: str
    rate: float | None
    """Requests a second that were meant to be sent; None where none was set."""
    sent: int
    ttft_ms: str
    tpot_ms: str


@dataclass(frozen=True)
class Section:
    """A heading with its content; ``notes`` are sentences, ``code`` commands to copy."""

    key: str
    title: str
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    code: Sequence[tuple[str, str]] = ()
    """Pairs of a description and a command."""
    exchanges: Sequence[Exchanges] = ()
    tables_first: bool = False
    """The tables stand above the plots."""
    loads_to_try: Sequence[LoadToTry] = ()

    @property
    def open_plots(self) -> Sequence[Plot]:
        return [plot for plot in self.plots if not plot.folded]

    @property
    def folded_plots(self) -> Sequence[Plot]:
        return [plot for plot in self.plots if plot.folded]
