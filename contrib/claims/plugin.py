"""pytest plugin: each claim of a sheet is a test; a table at the end and a list in the record say what came of it.

Load it with ``-p contrib.claims.plugin``. A test that uses ``decision`` and ``settle`` runs once for every claim in the
``*.toml`` files beside it. A claim gates only with ``--llmperf-claims=gate``. Otherwise its test passes if the claim is
confirmed, is an expected failure if it is refuted or impossible, and is skipped, with what is missing, if nothing
decides it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contrib.claims.claim import Decision, Outcome
from contrib.claims.deciding import decide_all, device_at_hand
from contrib.claims.measured import Evidence, load_evidence
from contrib.claims.reading import read_claims
from contrib.claims.table import claim_lines, decision_to_json
from pytest_llmperf.config.options import anchored
from pytest_llmperf.errors import UsageError
from pytest_llmperf.report.encoding import write_all

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

PROPERTY = "llmperf_claim"
"""Key of a decided claim (JSON) among a report's ``user_properties``: crosses from a worker to the controller."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("llmperf-claims", "published claims")
    group.addoption(
        "--llmperf-claims",
        choices=["gate"],
        help="let published claims fail the run unless they are confirmed (default: they are only told)",
    )
    group.addoption(
        "--llmperf-claims-record", metavar="RECORD", help="judge published claims by this run's record"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ClaimsReport(), "llmperf_claims_report")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each claim of each sheet beside the test's file, on the device at hand or the record's."""
    if "decision" not in metafunc.fixturenames:
        return
    evidence = _evidence(metafunc.config)
    device = evidence.device if evidence else _device()
    rows = [
        pytest.param(decision, id=f"{path.stem}: {decision.name}")
        for path in sorted(metafunc.definition.path.parent.glob("*.toml"))
        for decision in decide_all(read_claims(path), device, evidence)
    ]
    metafunc.parametrize("decision", rows)


def _evidence(config: pytest.Config) -> Evidence | None:
    option = "--llmperf-claims-record"
    if not (value := config.getoption(option)):
        return None
    path = Path(anchored(option, value, config.invocation_params.dir))
    return load_evidence(path)


def _device() -> str:
    """The device at hand; where it cannot be read, a name of which nothing is known, so that it decides nothing."""
    try:
        return device_at_hand()
    except UsageError:
        return "unreadable GPU"


@pytest.fixture
def settle(decision: Decision, request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """Pass, fail, skip or expect the failure of this test by the claim's outcome, and note it for the table."""
    gate = request.config.getoption("--llmperf-claims") == "gate"
    note(request.node, decision)

    def by(outcome: Outcome) -> None:
        sentence = f"{decision.claim.words}: {outcome}: {decision.why}"
        if outcome is Outcome.CONFIRMED:
            return
        if gate:
            pytest.fail(sentence, pytrace=False)
        if outcome.decided:
            pytest.xfail(sentence)
        pytest.skip(sentence)

    return by


def note(item: pytest.Item, decision: Decision) -> None:
    """Add the decision to the properties of the test, from which :class:`ClaimsReport` reads it."""
    item.user_properties.append((PROPERTY, json.dumps(decision_to_json(decision), ensure_ascii=False)))


class ClaimsReport:
    """Gathers the decisions of a session, in the order in which their tests ended; also under xdist."""

    def __init__(self) -> None:
        self.decided: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Every phase's report carries all properties so far: the last phase has them all, once.
        if report.when == "teardown":
            self.decided += [
                json.loads(str(value)) for key, value in report.user_properties if key == PROPERTY
            ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_llmperf_update_record(self, config: pytest.Config, record: dict[str, Any]) -> None:
        del config
        if self.decided:
            record["claims"] = self.decided

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter, config: pytest.Config) -> None:
        if not self.decided or hasattr(config, "workerinput"):
            return
        write_all(sys.__stdout__)
        terminalreporter.section("llmperf claims")
        width = config.get_terminal_writer().fullwidth
        for line in claim_lines(self.decided, reasons=config.get_verbosity() > 0, width=width):
            terminalreporter.write_line(line)
