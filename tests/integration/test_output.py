"""What an engineer reads: the header, the verdicts, a failed gate as a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result


@pytest.fixture(scope="module")
def result(shared_project: Project) -> Result:
    shared_project.suite("""
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
        def test_baseline(candidate, baseline, accuracy, budget):
            assert accuracy(candidate) >= accuracy(baseline) - budget.accuracy.margin
        def test_stream(candidate, stream):
            assert stream(candidate, "hi").ok
    """)
    return shared_project.run("--junitxml", "junit.xml", "--llmperf-record", "record.json")


def test_x(result):
    print(result.text)
    assert 0
