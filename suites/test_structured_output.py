"""Replies follow the form that was asked for: a server that ignores the schema breaks every client that parses them."""

from __future__ import annotations

import pytest


@pytest.mark.llmperf_profile("embedded")  # not run with the gpu profile's models: docs/how-to/tool-calls.md
def test_replies_follow_their_schema(candidate, structured, budget):
    assert structured(candidate).valid_schema >= budget.structured.valid_schema
