"""Keys of the plugin's state in pytest's stash, where nested sessions never share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.runs.session import Run

RUN: pytest.StashKey[Run] = pytest.StashKey()
"""Set in ``pytest_configure`` when a catalogue is configured; absent in projects that don't use the plugin."""
UNSUPPORTED: pytest.StashKey[str] = pytest.StashKey()
"""Set in place of ``RUN`` on a platform on which no model can be tested: the line that says so."""
