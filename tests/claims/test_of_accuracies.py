"""Claims about accuracies that are not one share: what is left of another's, and how far an average can be trusted."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from contrib.claims.averaging import of_answers, without_answers
from contrib.claims.claim import Claim, Outcome
from contrib.claims.deciding import decide_all
from contrib.claims.measured import Evidence
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.record.store import read_record, write_record
from pytest_llmperf.record.tables import ANSWERS, store_table

from .conftest import SheetOf, gpu_run

RETENTION = """kind = "ratio"
of = "accuracy"
task = "gsm8k"
model = "distill"
against = "math"
holds = "at least"
value = 0.85
"""
FIVE = """kind = "averaging"
task = "gsm8k"
model = "distill"
against = "math"
figures = ["76.3 %", "78.1 %"]
holds = "at most"
value = "1.8 points"
protocol = { items = 1319, samples = 5 }
"""


def answered(row: str, right: int, wrong: int, **more: Any) -> dict[str, Any]:
    outcomes = {"correct": right, "wrong": wrong, "infra": 0}
    return {"row": row, "task": "gsm8k", "variant": "as promised", "outcomes": outcomes, **more}


@pytest.mark.parametrize(
    ("right", "outcome"),
    [(1000, Outcome.CONFIRMED), (700, Outcome.REFUTED), (860, Outcome.UNDECIDED)],
)
def test_what_is_kept_is_a_quotient_of_two_accuracies(
    sheet_of: SheetOf, right: int, outcome: Outcome
) -> None:
    evidence = gpu_run(answers=[answered("distill", right, 1319 - right), answered("math", 1000, 319)])
    [decision] = decide_all(sheet_of(RETENTION), "ignored", evidence)
    assert (decision.outcome, decision.device) == (outcome, "any")
    assert f"{100 * right / 1319:.1f} % against 75.8 %" in decision.measured


def test_nothing_is_kept_of_random_weights_nor_of_one_side(sheet_of: SheetOf) -> None:
    both = [answered("distill", 1000, 319), answered("math", 1000, 319)]
    noise = {"row": "math", "ready_s": 1.0, "command": "--load-format dummy"}
    for evidence in (gpu_run(answers=both[:1]), gpu_run(answers=both, servers=[noise])):
        [decision] = decide_all(sheet_of(RETENTION), "ignored", evidence)
        assert decision.outcome is Outcome.NOT_TESTABLE


def test_a_ratio_of_accuracies_names_its_task_and_no_other_does(sheet_of: SheetOf) -> None:
    with pytest.raises(CatalogError, match="task: belongs to a ratio of accuracies"):
        sheet_of(RETENTION.replace('task = "gsm8k"\n', ""))
    with pytest.raises(CatalogError, match="belongs to a ratio of accuracies"):
        sheet_of(RETENTION.replace('of = "accuracy"', 'of = "speed"'))


def test_several_answers_to_an_item_are_not_taken_for_several_items(sheet_of: SheetOf) -> None:
    claim = 'kind = "accuracy"\nmodel = "distill"\ntask = "gsm8k"\nholds = "at least"\nvalue = "74 %"'
    one = gpu_run(answers=[answered("distill", 1540, 460, items=2000, samples=1)])
    several = gpu_run(answers=[answered("distill", 1540, 460, items=200, samples=10)])
    assert decide_all(sheet_of(claim), "ignored", one)[0].outcome is Outcome.CONFIRMED
    [decision] = decide_all(sheet_of(claim), "ignored", several)
    assert (decision.outcome, "1,540 of 2,000 answers to 200 items" in decision.why) == (
        Outcome.UNDECIDED,
        True,
    )


def averaging(sheet_of: SheetOf) -> Claim:
    return sheet_of(FIVE).claims[0]


def answers(right: list[list[bool]]) -> list[dict[str, Any]]:
    """By item and sample."""
    return [
        {"row": "distill", "task": "gsm8k", "variant": "as promised", "item": str(i), "sample": k}
        | {"outcome": "correct" if one else "wrong"}
        for i, item in enumerate(right)
        for k, one in enumerate(item)
    ]


def by_chance() -> list[list[bool]]:
    """Five answers to each of 1,000 items, none of which is harder than another."""
    random = Random(1)
    return [[random.random() < 0.77 for _ in range(5)] for _ in range(1000)]


def test_arithmetic_leaves_open_what_answers_to_one_item_have_in_common(sheet_of: SheetOf) -> None:
    open_ = without_answers(averaging(sheet_of))
    # sqrt((.763 x .237 + .781 x .219) / 1319) = .01633; x 1.96, and that over sqrt(5)
    assert open_.low == pytest.approx(0.01432, abs=2e-5)
    assert open_.high == pytest.approx(0.03201, abs=2e-5)
    always = answers([[True] * 5] * 770 + [[False] * 5] * 230)
    independent = answers(by_chance())
    same, apart = (of_answers(averaging(sheet_of), one) for one in (always, independent))
    assert same is not None
    assert apart is not None
    assert same.value == pytest.approx(0.0321, abs=3e-4)
    assert apart.value == pytest.approx(0.0144, abs=2e-3)


def test_answers_in_a_record_decide_what_an_average_is_worth(sheet_of: SheetOf, tmp_path: Path) -> None:
    path = tmp_path / "record.json"

    def decided(right: list[list[bool]]) -> Outcome:
        rows = [dict.fromkeys(ANSWERS.columns) | one for one in answers(right)]
        write_record(path, dict(gpu_run().record) | {ANSWERS.key: store_table(path, ANSWERS, rows)})
        [decision] = decide_all(sheet_of(FIVE), "ignored", Evidence(read_record(path).as_json(), path))
        return decision.outcome

    assert decided([[True] * 5] * 770 + [[False] * 5] * 230) is Outcome.REFUTED
    assert decided(by_chance()) is Outcome.CONFIRMED
    assert decided([[True] * 4] * 770 + [[False] * 4] * 230) is Outcome.UNDECIDED, "too few to each"
