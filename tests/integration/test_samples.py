"""Several answers to one item, the order of the items, and how many are asked at a time."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.gates.answers import AnswersGate
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    from pytest_llmperf.gates.bound import points

    def test_not_worse(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(45)
"""
# Right with an even seed.
BY_SEED = """
    def answer(request):
        right = request.get("seed", 0) % 2 == 0
        with open({log!r}, "a") as file:
            file.write(f"{{request['model']}} {{request.get('seed')}}\\n")
        return {solver}(request) if right else "\\\\boxed{{-1}}"
"""


def by_item(record: dict[str, Any], row: str) -> dict[str, Any]:
    return next(one for one in record["answers"] if one["row"] == row)


@pytest.fixture
def sampled(project: Project, solver: str) -> Project:
    source = BY_SEED.format(log=str(project.path / "asked"), solver="SOLVER")
    shared = f"import runpy\nSOLVER = runpy.run_path({solver!r})['answer']\n"
    answers = str(project.write("answers.py", textwrap.dedent(source) + shared))
    project.catalog(
        {
            "distill": {"ANSWERS": answers, "RIGHT_PERCENT": 100},
            "math": {"ANSWERS": answers, "RIGHT_PERCENT": 100},
        },
        rows="[profile.test.model.distill.sampling]\ntemperature = 0.6\nsamples = 4\n",
    )
    project.suite(SUITE)
    project.shrink(items=40)
    return project


def test_a_sampled_row_is_asked_k_times_and_a_greedy_one_once(sampled: Project) -> None:
    result, verdicts = sampled.judged("--llmperf-full")
    assert result.code != 0, "half of the answers are wrong: that is 50 points"
    record = sampled.record()
    ours, theirs = by_item(record, "distill"), by_item(record, "math")
    assert (ours["items"], ours["samples"], ours["seeds"]) == (40, 4, [0, 1, 2, 3])
    assert (theirs["items"], theirs["samples"], theirs["seeds"]) == (40, 1, [0])
    assert ours["outcomes"]["correct"] == 80, "with seeds 0 and 2"
    asked = (sampled.path / "asked").read_text().split("\n")
    assert (asked.count("distill 3"), asked.count("math 0")) == (40, 40)
    (gate,) = sampled.gates()
    assert isinstance(gate.gate, AnswersGate)
    assert list(gate.gate.candidate.values()) == [(True, False, True, False)] * 40
    path = sampled.path / "record.json"
    rows = [one for one in load_answers(path, read_record(path)) if one["row"] == "distill"]
    first = rows[0]["item"]
    kept = [(one["sample"], one["seed"], one["outcome"]) for one in rows if one["item"] == first]
    assert kept == [(0, 0, "correct"), (1, 1, "wrong"), (2, 2, "correct"), (3, 3, "wrong")]
    assert len({(one["item"], one["gold"]) for one in rows}) == 40
    (verdict,) = verdicts
    assert (verdict["candidate"], verdict["n"]) == (0.5, 40), "the items are the sample, not the answers"


def test_both_sides_are_asked_the_same_items_in_an_order_that_a_number_draws(sampled: Project) -> None:
    catalogue = sampled.path / "models.toml"
    catalogue.write_text(catalogue.read_text().replace("samples = 4", "samples = 1"))
    orders = []
    for seed in ("0", "1"):
        sampled.judged("--llmperf-full", "--llmperf-order", seed)
        record = sampled.record()
        ours, theirs = by_item(record, "distill"), by_item(record, "math")
        assert ours["items_sha256"] == theirs["items_sha256"]
        assert ours["order_seed"] == int(seed)
        orders.append(ours["items_sha256"])
    assert orders[0] != orders[1]
