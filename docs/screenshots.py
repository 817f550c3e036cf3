"""Pictures of two runs' pages for the README and docs/reports.md: ``python docs/screenshots.py GREEN RED``.

Writes docs/images/*.png from the two records. Needs Chromium and playwright (``pip install playwright``). Those in the
repository are of ``pytest suites/ --model distill`` (all of it) and of ``--model distill-damaged -k accuracy``, on vLLM
0.32.0 on two CPU cores, 2026-11-30.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.report.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = Path(__file__).with_name("images")
_DRAWN = (
    "document.querySelectorAll('[data-plot]').length === document.querySelectorAll('[data-drawn=yes]').length"
)


def main(green: Path, red: Path) -> None:
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as driver:
        whole, out = (Path(directory) / name for name in ("green.html", "red.html"))
        write_page(green, whole)
        write_page(red, out)
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            for name, file in (("green.png", whole), ("page.png", out)):
                page = _opened(browser.new_page(viewport={"width": 1200, "height": 900}), file)
                page.locator("#setting").evaluate("section => section.remove()")
                page.screenshot(path=IMAGES / name)
            dark = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="dark")
            page = _opened(dark, out)
            page.locator(".exchange > summary").first.click()
            page.locator(".exchange .thinking summary").first.click()
            page.locator(".exchanges").first.evaluate("group => group.scrollIntoView()")
            page.screenshot(path=IMAGES / "replies.png", clip={"x": 0, "y": 0, "width": 1200, "height": 640})
        finally:
            browser.close()


def _opened(page: Page, file: Path) -> Page:
    page.goto(file.as_uri())
    page.wait_for_function(_DRAWN)
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
