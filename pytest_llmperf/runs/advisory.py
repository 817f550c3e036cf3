"""``@pytest.mark.llmperf_advisory("reason")``: a test whose verdicts are told everywhere and never make a run red."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_llmperf.hookspecs import ADVISORY_MARK
from pytest_llmperf.runs.ledger import Ledger
from pytest_llmperf.runs.mistaken_marks import refuse


def advisory_reason(item: pytest.Item) -> str:
    """The reason of the nearest mark of ``item``; empty for a test that gates, and for a mark without a reason."""
    mark = item.get_closest_marker(ADVISORY_MARK)
    given = (*mark.args, *mark.kwargs.values()) if mark else ()
    if mark is None or len(given) != 1 or not set(mark.kwargs) <= {"reason"} or not isinstance(given[0], str):
        return ""
    return " ".join(given[0].split())


def check_marks(items: Sequence[pytest.Item], ledger: Ledger) -> None:
    """Refuse every mark without a reason, also on a test that asks about no model."""
    for item in items:
        if item.get_closest_marker(ADVISORY_MARK) is None or advisory_reason(item):
            continue
        why = (
            f'{item.nodeid}: write @pytest.mark.{ADVISORY_MARK}("why this test does not gate"), with a reason'
        )
        refuse(item.config, ledger, why)
