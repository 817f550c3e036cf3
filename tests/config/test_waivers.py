"""Waivers of budgets.toml: a reason and a last day, or one line that says what is missing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pytest_llmperf.config.budgets import load_budgets
from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.errors import CatalogError

TEST = "suites/test_x.py::test_y[distill-32]"
HEAD = f'[waive."{TEST}"]\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_waiver_has_a_last_day_and_a_reason(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + 'until = 2026-12-31\nreason = "fixed\\n by vllm#1"\n')
    assert load_budgets(path).waivers == {TEST: Waiver(TEST, date(2026, 12, 31), "fixed by vllm#1")}


def test_a_waiver_stands_beside_budgets(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[gpu.any.accuracy]\nfloor = "70 %"\ninconclusive = { floor = "warn" }\n'
        + HEAD
        + 'until = 2026-12-31\nreason = "r"\ninvalid = true\n',
    )
    budgets = load_budgets(path)
    assert budgets.waivers[TEST].invalid
    [bound] = budgets.bounds.values()
    assert budgets.inconclusive_of(bound.origin) == "warn"
    assert budgets.inconclusive_of("elsewhere") == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("until = 2026-12-31", 'reason: missing; a waiver needs the reason, as in reason = "fixed by'),
        ('reason = "r"', "until: missing; a waiver needs a last day, as in until = 2026-12-31"),
        ('until = "2026-12-31"\nreason = "r"', 'until = "2026-12-31": must be a date without quotes'),
        ('until = 2026-12-31T10:00:00\nreason = "r"', "must be a date without quotes and without a time"),
        ('until = 20261231\nreason = "r"', "until = 20261231: must be a date"),
        ('until = 2026-12-31\nreason = " "', "must be a text that says why"),
        ("until = 2026-12-31\nreason = true", "must be a text that says why"),
        ('until = 2026-12-31\nreason = "r"\ninvalid = "yes"', 'invalid = "yes": must be true or false'),
        ('until = 2026-12-31\nreason = "r"\nuntli = 1', "unknown key; did you mean until?"),
        ('until = 2026-02-30\nreason = "r"', "not valid TOML"),
    ],
)
def test_a_mistake_in_a_waiver_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_budgets(write(tmp_path, HEAD + text + "\n"))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('waive = "x"', 'waive = "x": must be a table'),
        ('[waive]\nuntil = 2026-12-31\nreason = "r"', "must be a table"),
        ('[gpu.any.accuracy]\nfloor = "70 %"\ninconclusive = { flor = "warn" }', "did you mean floor?"),
        ('[gpu.any.accuracy]\nfloor = "70 %"\ninconclusive = { floor = "exit" }', 'must be "fail" or "warn"'),
        ('[gpu.any.accuracy]\nfloor = "70 %"\ninconclusive = "warn"', "must be a table"),
        ('[gpu.any.accuracy]\nfloor = "70 %"\ninconclusive = {}', 'holds nothing; needs "fail" or "warn"'),
    ],
)
def test_a_mistake_in_a_policy_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_budgets(write(tmp_path, text + "\n"))
    assert why in str(caught.value)
