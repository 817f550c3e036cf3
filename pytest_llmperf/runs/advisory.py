"""``@pytest.mark.llmperf_advisory("reason")``: a test whose verdicts are told everywhere and never make a run red."""

from __future__ import annotations

import pytest

from pytest_llmperf.hookspecs import ADVISORY_MARK


def advisory_reason(item: pytest.Item) -> str:
    """The reason of the nearest mark of ``item``; empty for a test that gates.

    Raises ``pytest.UsageError`` (exit code 4) for a mark without a reason.
    """
    mark = item.get_closest_marker(ADVISORY_MARK)
    if mark is None:
        return ""
    given = (*mark.args, *mark.kwargs.values())
    reason = given[0] if len(given) == 1 and set(mark.kwargs) <= {"reason"} else None
    if not isinstance(reason, str) or not reason.strip():
        raise pytest.UsageError(
            f'{item.nodeid}: write @pytest.mark.{ADVISORY_MARK}("why this test does not gate"), with a reason'
        )
    return " ".join(reason.split())
