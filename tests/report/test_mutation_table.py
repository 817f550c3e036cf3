"""The table of a mutation test: what each gate catches, and in words what is wrong."""

from __future__ import annotations

import dataclasses
import re

from pytest_llmperf.gates.mutation import mutation_test
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.report.mutation_table import MutatedGate, complaints, mutation_table, result_counts

FLOOR = ProportionGate(
    metric="accuracy",
    bound=0.6,
    origin="b.toml [a.any.accuracy] floor",
    candidate={f"i{k}": k % 5 != 0 for k in range(400)},
    at_least=True,
)
PEAK = ScalarGate(metric="peak", bound=1e14, value=1e9, unit="bytes", at_least=False)
CAUGHT = MutatedGate("t.py::test_floor", mutation_test(FLOOR, Status.PASS, claim=0.3))
MISSED = MutatedGate("t.py::test_peak", mutation_test(PEAK, Status.PASS, claim=0.5))
EARLY = MutatedGate("t.py::test_early", mutation_test(dataclasses.replace(FLOOR, planned=1500), Status.PASS))
FAILED = MutatedGate("t.py::test_much", mutation_test(dataclasses.replace(FLOOR, bound=0.95), Status.FAIL))


def test_nothing_is_no_table() -> None:
    assert mutation_table([]) == []
    assert result_counts([]) == ""


def test_a_line_says_what_is_caught_claimed_and_proved() -> None:
    _, *lines = mutation_table([CAUGHT, MISSED, EARLY, FAILED])
    tested, missed, early, failed = (re.split(r"\s{2,}", line.text) for line in lines)
    assert tested == ["accuracy", "400", "PASS", "30 pts", "30 pts", "caught", "t.py::test_floor"]
    assert missed == ["peak", "1", "PASS", "none", "50 %", "MISSED", "t.py::test_peak"]
    assert (early[1], early[5]) == ("400 of 1,500", "no claim")
    assert failed == ["accuracy", "400", "FAIL", "—", "—", "no claim", "t.py::test_much"]
    assert [line.status for line in lines] == [Status.PASS, Status.FAIL, None, None]


def test_only_what_is_wrong_gets_a_sentence_and_it_names_the_bound() -> None:
    [sentence] = complaints([CAUGHT, MISSED, EARLY, FAILED])
    assert sentence.startswith("MISSED: peak in t.py::test_peak: claims 50 %; 50 %: FAIL in 0 % of plantings")
    loud = MutatedGate("t.py::test_floor", mutation_test(FLOOR, Status.PASS, claim=0.01))
    assert complaints([loud])[0].endswith("[b.toml [a.any.accuracy] floor]")


def test_results_are_counted() -> None:
    assert result_counts([FAILED, MISSED, EARLY, CAUGHT]) == "1 caught, 2 no claim, 1 MISSED"
