from __future__ import annotations

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.terminal import counts, verdict_table

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
