"""The verdicts at the end of a run: a table where the terminal is wide enough, else a block per gate."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.columns import aligned
from pytest_llmperf.report.gate_cells import NUMBERS, gate_cells

_HEADER = ("metric", *NUMBERS, "n", "verdict")
_BLOCK = "    "
_KEPT = "\N{NO-BREAK SPACE}"
"""Keeps a number, its unit and its name on one line."""

MARKUP: dict[Status, dict[str, bool]] = {
    Status.PASS: {"green": True},
    Status.FAIL: {"red": True, "bold": True},
    Status.INCONCLUSIVE: {"yellow": True},
    Status.INVALID: {"purple": True, "bold": True},
}


@dataclass(frozen=True)
class Line:
    """One line of the table; ``status`` colours it, None for what belongs to no verdict."""

    text: str
    status: Status | None = None


def verdict_table(
    verdicts: Sequence[Verdict], *, width: int = 200, verbosity: int = 0, tests: Sequence[str] = ()
) -> list[Line]:
    """The verdicts in the order of the run, in lines of ``width`` characters at most.

    ``verbosity`` is pytest's: with ``-q`` what passed is left out, with ``-v`` each gate is followed by its test (of
    ``tests``, one per verdict, where they are known), its method and the place of its bound.
    """
    places = [*tests] if tests else [""] * len(verdicts)
    shown = [
        (verdict, test)
        for verdict, test in zip(verdicts, places, strict=True)
        if verbosity >= 0 or verdict.status is not Status.PASS
    ]
    if not shown:
        return []
    rows = [(v.metric, *gate_cells(v), str(v.n), _outcome(v)) for v, _ in shown]
    head, *lines = aligned([_HEADER, *rows], right=range(1, len(_HEADER) - 1))
    fits = max(map(len, lines)) <= width
    blocks = [[line] for line in lines] if fits else [_block(verdict, width) for verdict, _ in shown]
    told = [Line(head)] if fits else []
    for (verdict, test), block in zip(shown, blocks, strict=True):
        told += [Line(text, verdict.status) for text in block]
        if verbosity > 0:
            told += [Line(text) for more in _more(verdict, test) for text in _wrapped(more, width)]
    return told


def first_lines(lines: Sequence[str], width: int) -> Iterator[str]:
    """Where to look first: numbered, and wrapped below their number."""
    for number, line in enumerate(lines, 1):
        yield from textwrap.wrap(
            line, max(width, 20), initial_indent=f"  {number}. ", subsequent_indent="     "
        )


def counts(verdicts: Sequence[Verdict]) -> str:
    """``19 PASS, 1 FAIL``: in the order of severity, zeros left out."""
    seen = Counter(verdict.status for verdict in verdicts)
    return ", ".join(f"{seen[status]} {status.value}" for status in Status if seen[status])


def _outcome(verdict: Verdict) -> str:
    needed = (
        f" (n needed {verdict.n_needed})" if verdict.n_needed and verdict.status is not Status.PASS else ""
    )
    return f"{verdict.status.value}{needed}"


def _block(verdict: Verdict, width: int) -> list[str]:
    """The name under the verdict, and the numbers below it as a sentence."""
    known = [(name, cell) for name, cell in zip(NUMBERS, gate_cells(verdict), strict=True) if cell != "—"]
    said = [f"{name} {cell}".replace(" ", _KEPT) for name, cell in known]
    needed = (
        f" of {verdict.n_needed} needed" if verdict.n_needed and verdict.status is not Status.PASS else ""
    )
    name = f"{verdict.status.value}  {verdict.metric}"
    return [
        *textwrap.wrap(name, max(width, 20), subsequent_indent=_BLOCK),
        *_wrapped(", ".join([*said, f"n {verdict.n}{needed}".replace(" ", _KEPT)]), width),
    ]


def _more(verdict: Verdict, test: str) -> Iterator[str]:
    origin = f"bound from {verdict.origin}" if verdict.origin else ""
    if said := "; ".join(part for part in (verdict.method, origin) if part):
        yield said
    if test:
        yield test


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(text, max(width, 20), initial_indent=_BLOCK, subsequent_indent=_BLOCK)
    return [line.replace(_KEPT, " ") for line in lines]
