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
class Section:
    """A heading with what stands below it; ``notes`` are sentences, ``code`` commands to copy."""

    key: str
    title: str
    notes: Sequence[str] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    code: Sequence[tuple[str, str]] = ()
    """What each command does, and the command."""
