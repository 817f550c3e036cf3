"""Every link of a page to another page leads to a file that exists, and to one of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The ids of the page's headings, as GitHub and MyST make them."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    headings = (inline for opening, inline in pairwise(tokens) if opening.type == "heading_open")
    texts = ("".join(child.content for child in heading.children or ()) for heading in headings)
    return frozenset(re.sub(r"[^\w\s-]", "", text.lower()).strip().replace(" ", "-") for text in texts)


def links(page: Path) -> Iterator[str]:
    """The addresses of the page's links, those to other sites left out."""
    # As Sphinx does, tables included.
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            address = child.attrs.get("href")
            if isinstance(address, str) and not re.match(r"[a-z]+:", address):
                yield unquote(address)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for address in links(page):
        path, _, anchor = address.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{address}: there is no {target.relative_to(ROOT)}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{address}: {target.name} has no such heading"
