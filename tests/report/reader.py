"""Somebody who reads pages in a real headless Chromium."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.report.page import write_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), None)
NO_CHROMIUM = f"no headless Chromium here (none of {', '.join(_NAMES)})"

ALL_DRAWN = (
    "document.querySelectorAll('[data-plot]').length === document.querySelectorAll('[data-drawn=yes]').length"
)


@dataclass
class Reader:
    """Opens pages, and keeps what they complain of and what they ask the network for."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(
        self, record: Path, scheme: str = "light", width: int = 1280, references: Path | None = None
    ) -> Page:
        out = record.with_suffix(".html")
        write_page(record, out, (), references)
        page = self.browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(out.as_uri())
        page.wait_for_function(ALL_DRAWN, timeout=60_000)
        return page


REPLIES = "#accuracy details.more:has(.exchanges) > summary"
"""The fold with the replies to what changed."""
