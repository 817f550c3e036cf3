"""Nights are draws: items, their order and their samples are new in each run, and one can be repeated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ITEMS = 40
SUITE = """
    from pytest_llmperf import points
    def test_not_worse(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(60)
"""


@pytest.fixture
def drawing(project: Project, solver: str) -> Project:
    """A project whose runs draw their seed, as a user's do."""
    answers = {"ANSWERS": solver, "RIGHT_PERCENT": 100}
    project.catalog(
        {"distill": answers, "math": answers},
        rows="[profile.test.model.distill.sampling]\ntemperature = 0.6\n",
    )
    project.suite(SUITE)
    project.shrink(items=ITEMS)
    project.drawn = True
    return project


def night(project: Project, name: str, *options: str, workers: int = 0) -> dict[str, Any]:
    """The record of a run; its answers are in ``items_of``."""
    given = ("--llmperf-record", f"{name}.json", "--llmperf-reuse", "none", *options)
    result = project.run_with_workers(workers, *given) if workers else project.run(*given)
    record: dict[str, Any] = json.loads((project.path / f"{name}.json").read_text(encoding="utf-8"))
    assert result.code == 0, result.text
    assert result.lines(f"--llmperf-order {record['order_seed']} repeats this run's draws"), result.text
    return record


def items_of(project: Project, name: str, row: str) -> list[tuple[str, int | None]]:
    """Item and sampling seed of each answer, in the order in which they were asked."""
    path = project.path / f"{name}.json"
    return [(a["item"], a["seed"]) for a in load_answers(path, read_record(path)) if a["row"] == row]


def test_two_runs_draw_other_items_and_samples_and_a_given_seed_repeats_them(drawing: Project) -> None:
    first, second = night(drawing, "first"), night(drawing, "second")
    assert first["order_seed"] != second["order_seed"]
    asked, other = (items_of(drawing, name, "distill") for name in ("first", "second"))
    assert {item for item, _ in asked} != {item for item, _ in other}
    assert {seed for _, seed in asked}.isdisjoint({seed for _, seed in other})
    again = night(drawing, "again", "--llmperf-order", str(first["order_seed"]))
    assert again["order_seed"] == first["order_seed"]
    assert items_of(drawing, "again", "distill") == asked
    assert [item for item, _ in items_of(drawing, "again", "math")] == [item for item, _ in asked]


def test_all_processes_of_a_run_have_one_seed(drawing: Project) -> None:
    drawing.suite("""
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_floor(candidate, accuracy, n):
            assert accuracy(candidate) >= 0.2
    """)
    record = night(drawing, "record", workers=2)
    assert {entry["order_seed"] for entry in record["answers"]} == {record["order_seed"]}


def test_a_further_look_draws_from_the_seed_of_the_first(drawing: Project) -> None:
    drawing.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.97
    """)
    options = ("--llmperf-inconclusive", "warn")
    first = night(drawing, "first", *options)
    drawing.shrink(items=4 * ITEMS)
    second = night(drawing, "second", "--llmperf-add", "first.json", *options)
    assert second["order_seed"] == first["order_seed"]
    asked, added = ({item for item, _ in items_of(drawing, name, "distill")} for name in ("first", "second"))
    assert added
    assert asked.isdisjoint(added)
