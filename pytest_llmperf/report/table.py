"""The one table: rows of text cells, drawn for a terminal, as Markdown and as HTML."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pytest_llmperf.report.text import html_text, markdown_text

_LONGEST_CELL = 240
"""Characters of a cell that a page shows unfolded."""


@dataclass(frozen=True)
class Table:
    """``rows`` have as many cells as there are ``columns``; the ``numeric`` columns (by number) are aligned right.

    The fields from ``states`` on matter to pages only.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Collection[int] = frozenset()
    caption: str = ""
    states: Sequence[str] = ()
    """A status for each row, by which it is coloured and filtered; or empty."""
    folded: bool = False
    """The reader has to open it."""
    filtered: bool = False
    """The reader can choose which rows are shown, and by which column they are sorted."""
    details: Sequence[str] = ()
    """A text for each row, in a fold at its end; or empty."""
    anchors: Sequence[str] = ()
    """The ``id`` of each row, for links to it; or empty."""

    def to_text(self) -> list[str]:
        """Return a line of aligned cells for the columns and for each row; no line at all without rows."""
        if not self.rows:
            return []
        every = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*every, strict=True)]
        return [
            "  ".join(
                cell.rjust(width) if i in self.numeric else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in every
        ]

    def to_markdown(self) -> str:
        """Return a table of GitHub's Markdown; whatever a cell contains is shown as text."""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.columns))]
        rows = [self.columns, rule, *([*map(markdown_text, row)] for row in self.rows)]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def to_html(self) -> str:
        """Return a ``<table>``; whatever a cell contains is shown as text, and a long one is folded.

        Each cell but the first has its column's name, which a narrow screen shows beside it.
        """
        numeric = [i in self.numeric for i in range(len(self.columns))]
        kinds = [_kind(number, "") for number in numeric]
        head = "".join(
            f'<th scope="col"{kind}>{html_text(name)}</th>'
            for name, kind in zip(self.columns, kinds, strict=True)
        )
        if self.details:
            head += '<th scope="col">why</th>'
        names = [html_text(name) for name in self.columns]
        lines = [
            f"<table{' data-filtered' if self.filtered else ''}>",
            f"<caption><bdi>{html_text(self.caption)}</bdi></caption>",
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
        ]
        for place, (_, *others) in enumerate(self.rows):
            state = f' data-state="{html_text(self.states[place])}"' if self.states else ""
            anchor = f' id="{html_text(self.anchors[place])}"' if self.anchors else ""
            cells = [f'<th scope="row">{self.cell_html(place, 0)}</th>']
            cells += [
                f'<td data-column="{name}"{_kind(number, cell)}>{self.cell_html(place, column)}</td>'
                for column, (cell, name, number) in enumerate(
                    zip(others, names[1:], numeric[1:], strict=True), 1
                )
            ]
            if self.details:
                why = html_text(self.details[place])
                cells.append(
                    f'<td class="why"><details><summary>why</summary><div><bdi>{why}</bdi></div></details></td>'
                )
            lines.append(f"<tr{anchor}{state}>{''.join(cells)}</tr>")
        return "\n".join([*lines, "</tbody>", "</table>"])

    def cell_html(self, row: int, column: int) -> str:
        """Return what a page shows in a cell, both counted from 0."""
        return foldable(self.rows[row][column])


def _kind(numeric: bool, cell: str) -> str:
    """Return the class of a cell: a narrow screen leaves out what has no value."""
    classes = [name for name, has in (("number", numeric), ("none", cell == "—")) if has]
    return f' class="{" ".join(classes)}"' if classes else ""


def foldable(text: str) -> str:
    """Return ``text`` as HTML; a long one shows its beginning, and the rest when it is opened."""
    if len(text) <= _LONGEST_CELL and "\n" not in text:
        return f"<bdi>{html_text(text)}</bdi>"
    start = html_text(text.partition("\n")[0][:120])
    return f"<details><summary><bdi>{start}</bdi> …</summary><bdi>{html_text(text)}</bdi></details>"
