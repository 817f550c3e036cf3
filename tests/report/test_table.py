"""One table for terminals, Markdown and pages."""

from __future__ import annotations

from pytest_llmperf.report.table import Table

TABLE = Table(("name", "n"), [("a|b", "1"), ("<c>", "22")], {1}, "Counts & more", ("PASS", "FAIL"))


def test_text_columns_are_aligned_and_nothing_trails() -> None:
    table = Table(("a", "1", "x"), [("bcd", "22", "")], {1})
    assert table.to_text() == ["a     1  x", "bcd  22"]


def test_a_table_without_rows_is_no_text() -> None:
    assert Table(("a", "b"), []).to_text() == []


def test_markdown_shows_every_cell_as_text() -> None:
    assert TABLE.to_markdown() == "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| &lt;c&gt; | 22 |"


def test_html_escapes_cells_and_names_the_status_of_each_row() -> None:
    html = TABLE.to_html()
    assert "<caption><bdi>Counts &amp; more</bdi></caption>" in html
    assert (
        '<tr data-state="FAIL"><th scope="row"><bdi>&lt;c&gt;</bdi></th><td data-column="n" class="number">'
        "<bdi>22</bdi></td>" in html
    )


def test_a_long_cell_of_a_page_is_folded() -> None:
    html = Table(("a",), [("first\nsecond",)]).to_html()
    assert "<summary><bdi>first</bdi> …</summary><bdi>first\nsecond</bdi>" in html
