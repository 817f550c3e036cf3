"""A server that dies: its test fails as infrastructure, with its last words, and the next test has a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# In the inner suite: what the fake engine obeys.
ORDER = """
    import urllib.request
    def order(server, word):
        request = urllib.request.Request(
            f"{server.base_url}/fake/{word}", data=b"{}", headers={"Authorization": f"Bearer {server.api_key}"}
        )
        urllib.request.urlopen(request).close()
"""


def test_a_death_during_a_test_fails_it_as_infrastructure_and_the_next_has_a_new_server(
    project: Project,
) -> None:
    project.catalog({"distill": {"TPOT_S": 0.05}})
    project.suite(
        ORDER
        + """
    import threading
    def test_dies(candidate, stream):
        threading.Timer(0.3, order, [candidate.server, "exit"]).start()
        assert stream(candidate, "1 + 1?", max_tokens=1000, ignore_eos=True).ok
    def test_lives(candidate, stream):
        assert stream(candidate, "1 + 1?").ok
    """
    )
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert result.noise == []
    assert result.lines("1 failed, 1 passed")
    assert result.lines(
        "FAILED test_gate.py::test_dies", "the server of distill died during the run (exit code 1)"
    )
    assert result.lines("last words of the server:")
    assert result.lines("RuntimeError: planted engine failure")
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"]
    assert project.starts == ["distill", "distill"]


def test_a_server_that_dies_again_stays_dead(project: Project) -> None:
    project.suite(
        ORDER
        + """
    import pytest
    @pytest.mark.parametrize("number", range(4))
    def test_dies(candidate, number):
        order(candidate.server, "die")
        assert candidate.death(wait_s=5)
    """
    )
    result = project.run()
    assert result.code == 1, result.text
    assert result.noise == []
    assert project.starts == ["distill", "distill"]
    assert result.lines("it had been restarted already, so it stays dead for this run")
    assert result.lines("2 failed, 2 passed")


@pytest.mark.parametrize(
    "question",
    [
        "assert accuracy(candidate) >= 0.0001",
        "assert load(candidate, concurrency=2).ttft.p50 <= 1000",
        "assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1000",
    ],
    ids=["answers", "load", "interleaved"],
)
def test_a_death_while_measuring_is_called_by_its_name(project: Project, question: str) -> None:
    # DIE_AFTER: the API process kills itself in the middle of the measurement.
    project.catalog({"distill": {"DIE_AFTER": 20}})
    project.shrink(items=60)
    project.suite(f"""
        def test_measure(candidate, baseline, accuracy, load):
            {question}
        def test_again(candidate, baseline, accuracy, load):
            {question}
    """)
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert result.noise == []
    told = result.lines("FAILED", "the server of distill died during the run (killed by SIGKILL)")
    assert len(told) == 2, "tests that share a measurement share its failure"
    assert [verdict["status"] for verdict in verdicts] == ["INVALID", "INVALID"]
    assert project.starts.count("distill") == 1
