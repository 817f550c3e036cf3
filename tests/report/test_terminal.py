from __future__ import annotations

import dataclasses

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.terminal import counts, first_lines, verdict_table

PASS = Verdict(
    Status.PASS, "accuracy", 0.79, (0.75, 0.83), 0.7, 400, None, "Wilson", "why", "share", candidate=0.79
)
UNDECIDED = Verdict(
    Status.INCONCLUSIVE,
    "tpot ratio",
    1.04,
    (0.98, 1.11),
    1.1,
    10,
    22,
    "HL",
    "why",
    "ratio",
    candidate=8.1,
    baseline=7.8,
    level_unit="s",
)


def test_every_verdict_has_its_line_with_its_numbers() -> None:
    head, first, second = verdict_table([PASS, UNDECIDED])
    assert head.text.split() == [
        "metric",
        "candidate",
        "baseline",
        "compared",
        "interval",
        "bound",
        "n",
        "verdict",
    ]
    assert "79.0 %" in first.text
    assert first.text.endswith("PASS")
    assert "0.98" in second.text
    assert second.text.endswith("INCONCLUSIVE (n needed 22)")
    assert second.status is Status.INCONCLUSIVE


def test_no_verdict_means_no_table() -> None:
    assert verdict_table([]) == []


def test_counts_name_only_what_happened() -> None:
    assert counts([PASS, UNDECIDED, PASS]) == "2 PASS, 1 INCONCLUSIVE"


def test_a_terminal_of_eighty_columns_gets_a_block_per_gate_and_no_longer_line() -> None:
    lines = verdict_table([PASS, UNDECIDED], width=80)
    assert max(len(line.text) for line in lines) <= 80
    assert [line.text for line in lines if not line.text.startswith(" ")] == [
        "PASS  accuracy",
        "INCONCLUSIVE  tpot ratio",
    ]
    assert "    candidate 79.0 %, interval 75.0 % … 83.0 %, bound 70 %, n 400" in [one.text for one in lines]
    assert lines[-1].text.endswith("n 10 of 22 needed")
    assert lines[-1].status is Status.INCONCLUSIVE


def test_a_number_is_never_parted_from_its_unit() -> None:
    for width in range(20, 80):
        text = "\n".join(line.text for line in verdict_table([PASS], width=width))
        assert "79.0 %" in text
        assert "\N{NO-BREAK SPACE}" not in text


def test_quiet_leaves_out_what_passed() -> None:
    _, only = verdict_table([PASS, UNDECIDED], verbosity=-1)
    assert only.status is Status.INCONCLUSIVE
    assert verdict_table([PASS], verbosity=-1) == []


def test_verbose_names_the_test_the_method_and_where_the_bound_is_from() -> None:
    told = dataclasses.replace(PASS, origin="budgets.toml [any] floor")
    _, gate, *more = verdict_table([told], verbosity=1, tests=["suites/a.py::test_b"])
    assert gate.status is Status.PASS
    assert [one.text.strip() for one in more] == [
        "Wilson; bound from budgets.toml [any] floor",
        "suites/a.py::test_b",
    ]


def test_where_to_look_first_is_numbered_and_wrapped_under_its_number() -> None:
    first, second, third = first_lines(["FAIL: " + "word " * 10, "b"], 40)
    assert first.startswith("  1. FAIL: word")
    assert second.startswith("     word")
    assert third == "  2. b"
    assert max(map(len, (first, second, third))) <= 40
