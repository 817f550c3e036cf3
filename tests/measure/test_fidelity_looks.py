"""A further run (``--llmperf-add``) takes all its answers: one that stops early would leave the first run's out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.measure.looks import ItemSlice
from pytest_llmperf.measure.measurements import Measurements

ITEMS = cast(Any, range(50))


@pytest.mark.parametrize(
    ("earlier", "full", "may_stop"), [(None, False, True), (None, True, False), ("a record", False, False)]
)
def test_only_a_first_run_may_stop_asking(earlier: str | None, full: bool, may_stop: bool) -> None:
    looks = SimpleNamespace(earlier=earlier, items_for=lambda task, variant, items: ItemSlice(items, items))
    run: Any = SimpleNamespace(
        looks=looks,
        items=lambda task: ITEMS,
        sizes=SimpleNamespace(fidelity_answers=40),
        settings=SimpleNamespace(full=full),
    )
    side: Any = None
    assert Measurements.plan_tokens(run, side, side, side, 1.0) == (40, may_stop)
