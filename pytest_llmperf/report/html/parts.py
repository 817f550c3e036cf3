"""What a page is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plot:
    """A Vega-Lite specification, its heading, and in words what it shows (for those who do not see it)."""

    title: str
    alt: str
    spec: Mapping[str, Any]
    wide: bool = False
    """Whether it takes the whole width of the page."""


@dataclass(frozen=True)
class Table:
    """``rows`` of as many cells as there are ``columns``; those in ``numeric`` end at the same place.

    ``states`` names a status per row (it colours and filters the rows), or is empty. ``folded`` tables open when
    asked.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    states: Sequence[str] = ()
    folded: bool = False
    filtered: bool = False
    """Whether the reader can choose which rows are shown."""


@dataclass(frozen=True)
class Said:
    """One model's reply to an item. In an :class:`Exchange` that is shown, ``reply`` is markup."""

    row: str
    outcome: str
    about: str
    """Outcome, tokens and how it ended, in words."""
    answer: str
    """What was read as the final answer."""
    thinking: str
    reply: str

    @property
    def whole(self) -> str:
        return self.thinking + self.reply


@dataclass(frozen=True)
class Exchange:
    """An item that one of two models got right and the other did not."""

    item: str
    change: str
    question: str
    gold: str
    baseline: Said
    candidate: Said


@dataclass(frozen=True)
class Exchanges:
    """Of one gate."""

    caption: str
    several: Sequence[Exchange]


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; ``notes`` are sentences, ``code`` commands to copy."""

    key: str
    title: str
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    code: Sequence[tuple[str, str]] = ()
    """What each command does, and the command."""
    exchanges: Sequence[Exchanges] = ()
