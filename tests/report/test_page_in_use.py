"""The page in the hands of a reader: a real headless Chromium, driven; skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.record.references import promote
from tests.report.reader import CHROMIUM, NO_CHROMIUM, REPLIES

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.report.conftest import RecordedRun
    from tests.report.reader import Reader

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


def test_every_plot_of_every_section_is_drawn_and_nothing_is_complained_of_or_fetched(
    whole: RecordedRun, reader: Reader
) -> None:
    page = reader.open(whole.write())
    for section in (
        "gates",
        "accuracy",
        "rules",
        "concurrency",
        "distributions",
        "timeline",
        "telemetry",
        "costs",
    ):
        assert page.locator(f"#{section} .plot svg").count() >= 1, section
    assert page.locator("#timeline .plot svg .mark-rect path").count() >= 2 * 2 * 8
    for said in ("It is fast", "143 tok/s", "refuted", "102 is less"):
        assert page.locator("#added :is(td, th)", has_text=said).first.is_visible()
    assert reader.complaints == []
    assert [url for url in reader.requests if not url.startswith("file:")] == []


def test_gates_are_filtered_by_verdict_and_by_text(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    form = page.locator("#gates form.filter")
    rows = page.locator("#gates tbody tr:visible")
    assert rows.count() == 6
    form.locator("select").select_option("!PASS")
    assert rows.count() == 3
    form.locator("input").fill("boxed")
    assert rows.count() == 1
    assert form.locator("output").inner_text() == "1 of 6 gates"


def test_replies_fold_open_and_their_thinking_separately(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    first = page.locator("#accuracy .exchange").first
    assert not first.is_visible()
    page.locator(REPLIES).click()
    said = first.get_by_text("says distill.")
    assert not said.is_visible()
    first.locator("> summary").click()
    assert said.is_visible()
    assert first.locator("math").first.is_visible()
    thinking = first.get_by_text("distill thinks of 0", exact=True)
    assert not thinking.is_visible()
    first.locator(".thinking summary").last.press("Enter")
    assert thinking.is_visible()


def test_replies_are_filtered_and_opened_together(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    page.locator(REPLIES).click()
    form = page.locator("#accuracy form.filter")
    form.locator("select").select_option("better")
    assert page.locator("#accuracy .exchange:visible").count() == 2
    form.get_by_role("button").click()
    assert page.locator("#accuracy .exchange[open]").count() == 2
    form.locator("input").fill("says math")
    assert form.locator("output").inner_text() == "2 of 9 items"
    form.locator("input").fill("no such words")
    assert page.locator("#accuracy .exchange:visible").count() == 0


def test_another_round_is_drawn_when_the_reader_chooses_it(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    marks = page.locator("#timeline .plot svg")
    before = marks.inner_html()
    page.locator("#timeline .bind select").select_option("1 at a time")
    page.locator("#timeline .bind input[type=range]").press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('#timeline .plot svg').innerHTML !== before", arg=before
    )
    assert reader.complaints == []


def test_the_value_of_the_reference_is_a_line_through_the_history(
    whole: RecordedRun, reader: Reader, tmp_path: Path
) -> None:
    earlier = whole.write(written="2026-11-24T03:00:00+00:00")
    promote(earlier, tmp_path / "references")
    whole.cases.pop()
    page = reader.open(whole.write(written="2026-11-25T03:00:00+00:00"), references=tmp_path / "references")
    lines = page.locator("#history .plot svg .mark-line path[stroke-dasharray='2,4']")
    assert lines.count() == 1
    box = lines.bounding_box()
    assert box is not None
    assert box["width"] > 100
    assert page.locator("#gates thead th", has_text="reference").is_visible()
    assert page.locator("#reference tbody tr").count() > 0
    assert reader.complaints == []


def test_the_whole_page_can_be_gone_through_with_the_keyboard(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(120):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "document.activeElement.closest('section, nav, header')?.id || document.activeElement.tagName"
            )
        )
    assert {"gates", "accuracy", "timeline"} <= seen


def to(page: Page, selector: str) -> None:
    """Go on with the Tab key until what is focused fits."""
    for _ in range(200):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"the Tab key never comes to {selector}")


def test_filters_and_folds_are_used_with_the_keyboard_alone(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    rows = page.locator("#gates tbody tr:visible")
    to(page, "#gates select")
    page.keyboard.type("FAIL")
    assert rows.count() == 1
    page.keyboard.press("Home")
    assert rows.count() == 6
    page.keyboard.press("Tab")
    page.keyboard.type("boxed")
    assert rows.count() == 1
    replies = page.locator("#accuracy .exchange[open]")
    to(page, REPLIES)
    page.keyboard.press("Enter")
    to(page, "#accuracy .exchange > summary")
    page.keyboard.press("Enter")
    assert replies.count() == 1
    to(page, ".thinking > summary")
    page.keyboard.press("Space")
    assert replies.locator(".thinking[open]").count() == 1
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert replies.count() == 0
    to(page, "details.table > summary")
    page.keyboard.press("Enter")
    assert page.locator("details.table[open]").count() == 1


def test_no_two_elements_have_one_id_once_the_plots_are_drawn(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) > 10
    assert sorted(ids) == sorted(set(ids))


def test_a_screen_reader_is_told_of_headings_plots_and_controls(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write())
    assert page.get_by_role("heading", level=1).count() == 1
    page.locator("details.more").evaluate_all("folds => folds.forEach(fold => { fold.open = true; })")
    plots = page.get_by_role("img")
    assert plots.count() == page.locator("[data-plot]").count()
    assert all(
        len(name) > 40 for name in plots.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    )
    named = "all => all.every(e => e.labels && e.labels.length && e.labels[0].textContent.trim())"
    assert page.locator("select:visible, input:visible").evaluate_all(named)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_background(whole: RecordedRun, reader: Reader, scheme: str) -> None:
    page = reader.open(whole.write(), scheme)
    colours = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const read = (name) => {
            const probe = document.createElement("i");
            probe.style.color = style.getPropertyValue(name);
            document.body.append(probe);
            return getComputedStyle(probe).color.match(/[0-9]+/g).slice(0, 3).map(Number);
          };
          const names = ["ink", "soft", "link", "pass", "fail", "inconclusive", "invalid", "c0", "c1"];
          return { paper: read("--paper"), all: names.map((name) => [name, read(`--${name}`)]) };
        }"""
    )

    def light(rgb: list[int]) -> float:
        parts = [v / 255 for v in rgb]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper = light(colours["paper"])
    assert (paper < 0.05) == (scheme == "dark")
    for name, rgb in colours["all"]:
        high, low = sorted((light(rgb), paper), reverse=True)
        # WCAG 2.2, 1.4.3: text needs 4.5 to 1.
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_nothing_sticks_out_of_a_narrow_window(whole: RecordedRun, reader: Reader) -> None:
    page = reader.open(whole.write(), width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_hostile_replies_run_nothing_and_are_shown(run: RecordedRun, reader: Reader) -> None:
    run.keep_answers(lambda row, item: f"<think>{run.hostile}</think>{run.hostile} $\\text{{{run.hostile}}}$")
    page = reader.open(run.write())
    page.locator(REPLIES).click()
    page.locator("#accuracy form.filter").get_by_role("button").click()
    assert page.evaluate("document.documentElement.dataset.taken") is None
    assert page.locator("#accuracy .reply:visible", has_text="dataset.taken='yes'").count() == 18
    assert reader.complaints == []
