"""The metrics file, read by Prometheus' own readers."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text_format

from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.exporters.base import LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.prometheus import metrics

HOSTILE = 'a "quoted" \\ back\nslash {x="y"} \udcff # EOF'
ABOUT = {"candidate": "distill", "baseline": "math", "device": "CPU"}


def verdict(status: Status = Status.PASS, metric: str = "embedded accuracy", **fields: object) -> Verdict:
    given = {"observed": 0.79, "interval": (0.75, 0.83), "bound": 0.7, "unit": "share", **fields}
    return Verdict(status, metric, n=400, n_needed=None, method="m", why="w", **given)  # type: ignore[arg-type]


TOLD = [
    LocatedVerdict(verdict(), "suites/a.py::test_floor[distill]"),
    LocatedVerdict(
        verdict(Status.FAIL, "TPOT at 8", unit="ratio", candidate=0.009, baseline=0.008, level_unit="s"),
        "t2",
    ),
    LocatedVerdict(verdict(Status.INVALID, "memory", observed=None, interval=None, bound=None), "t3"),
    LocatedVerdict(verdict(interval=(-math.inf, 0.83)), "suites/a.py::test_floor[distill]"),
    LocatedVerdict(verdict(Status.INVALID, HOSTILE, observed=math.nan), HOSTILE),
]


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """From both readers, which must agree."""
    found = [
        [(one.name, one.labels, one.value) for family in read(text) for one in family.samples]
        for read in (read_openmetrics, read_text_format)
    ]
    assert found[0] == found[1]
    return iter(found[0])


def written(gates: list[LocatedVerdict], about: dict[str, str], finished_s: float) -> str:
    whole = run_verdict([gate.verdict for gate in gates])
    return metrics(RunResults(gates, whole, about, finished_s=finished_s))


def test_both_readers_of_prometheus_find_every_gate_with_its_numbers() -> None:
    text = written(TOLD, ABOUT, 1_800_000_000.5)
    values = {(name, labels.get("test"), labels.get("nth")): v for name, labels, v in samples(text)}
    assert values["llmperf_gate_observed", "suites/a.py::test_floor[distill]", None] == 0.79
    assert values["llmperf_gate_bound", "suites/a.py::test_floor[distill]", None] == 0.7
    assert values["llmperf_gate_interval_low", "suites/a.py::test_floor[distill]", "2"] == -math.inf
    assert values["llmperf_run_finished_timestamp_seconds", None, None] == 1_800_000_000.5
    assert values["llmperf_run_green", None, None] == 0.0
    sides = {labels["side"]: v for name, labels, v in samples(text) if name == "llmperf_gate_side"}
    assert sides == {"candidate": 0.009, "baseline": 0.008}


def test_one_verdict_of_each_gate_is_set_and_what_is_not_known_has_no_sample() -> None:
    found = list(samples(written(TOLD, ABOUT, 1.0)))
    chosen = [
        labels["verdict"] for name, labels, value in found if name == "llmperf_gate_verdict" and value == 1.0
    ]
    assert chosen == ["PASS", "FAIL", "INVALID", "PASS", "INVALID"]
    assert len([1 for name, _, _ in found if name == "llmperf_gate_observed"]) == 3
    assert not [1 for name, labels, _ in found if name == "llmperf_gate_bound" and labels["test"] == "t3"]


def test_hostile_text_stays_within_its_label() -> None:
    found = [labels for _, labels, _ in samples(written(TOLD, ABOUT, 1.0))]
    assert {one["metric"] for one in found if "metric" in one} >= {HOSTILE.replace("\udcff", "?")}


def test_a_green_run_is_said_to_be_green() -> None:
    found = {name: value for name, _, value in samples(written(TOLD[:1], ABOUT, 1.0))}
    assert found["llmperf_run_green"] == 1.0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (Debian's package prometheus)")
def test_promtool_has_nothing_to_say_about_it() -> None:
    text = written(TOLD, ABOUT, 1.0)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
