"""The page as Chromium prints it, read back from the PDF; skipped where there is no Chromium."""

from __future__ import annotations

import io
import unicodedata
from typing import TYPE_CHECKING

import pytest
from pypdf import PdfReader

from tests.report.reader import CHROMIUM, NO_CHROMIUM, REPLIES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.report.conftest import RecordedRun
    from tests.report.reader import Reader

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


def printed(page: Page) -> str:
    """The words on the paper, in one line."""
    pdf = PdfReader(io.BytesIO(page.pdf(format="A4")))
    words = " ".join(" ".join(sheet.extract_text() for sheet in pdf.pages).split())
    return unicodedata.normalize("NFKC", words)  # "fi" is one letter in some fonts


def test_all_gates_sections_and_folded_tables_are_on_paper_and_no_controls(
    whole: RecordedRun, reader: Reader
) -> None:
    page = reader.open(whole.write())
    folded = page.locator("details.table:not([open])").count()
    assert folded
    paper = printed(page)
    for said in (
        "INVALID: distill against math",
        "boxed answers",
        "TPOT at 8",
        "time to ready",
        "It is fast",
    ):
        assert said in paper
    for heading in page.locator("h2").all_inner_texts():
        assert " ".join(heading.split()) in paper
    folds = page.locator("details.table")
    for column in {text for fold in folds.all() for text in fold.locator("thead th").all_text_contents()}:
        assert column in paper
    assert "Open all" not in paper
    assert "Printed with a filter" not in paper
    assert page.locator("details.table:not([open])").count() == folded, "the screen is as it was"


def test_a_filtered_page_says_on_paper_that_it_is(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    note = page.get_by_text("Printed with a filter: 1 of 6 gates.")
    page.locator("#gates form.filter select").select_option("FAIL")
    assert not note.is_visible(), "on the screen stands the filter itself"
    paper = printed(page)
    assert "Printed with a filter: 1 of 6 gates." in paper
    table = paper[paper.index("Printed with a filter") : paper.index("Accuracy")]
    assert "boxed answers" in table
    assert "time to ready" not in table
    page.locator("#gates form.filter select").select_option("")
    assert "Printed with a filter" not in printed(page)


def test_a_reply_that_was_opened_is_printed_and_the_others_are_not(
    whole: RecordedRun, reader: Reader
) -> None:
    page = reader.open(whole.write())
    assert "says distill." not in printed(page)
    page.locator(REPLIES).click()
    page.locator("#accuracy .exchange > summary").first.click()
    assert printed(page).count("says distill.") == 1
