"""How the pages of this directory become a site: ``tox run -e docs``. Nothing here needs the network."""

from __future__ import annotations

project = "pytest-llmperf"
author = copyright = "The pytest-llmperf authors"  # noqa: A001

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "pytest-llmperf"
html_show_sphinx = False
html_copy_source = False

# The pages are read on GitHub as often as here: plain Markdown, links between files, anchors as GitHub makes them.
myst_heading_anchors = 4
# A reference that leads nowhere is an error (-W), and so is a page that no table of contents names.
nitpicky = True
# Console blocks hold output too, which no lexer can be sure of.
suppress_warnings = ["misc.highlighting_failure"]
