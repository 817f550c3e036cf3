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
        "INVALID test_gate.py::test_dies", "the server of distill died during the run (exit code 1)"
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
    told = result.lines(
        "INVALID test_gate.py", "the server of distill died during the run (killed by SIGKILL)"
    )
    assert len(told) == 2, "tests that share a measurement share its failure"
    assert [verdict["status"] for verdict in verdicts] == ["INVALID", "INVALID"]
    assert project.starts.count("distill") == 1


def test_nothing_of_a_whole_life_is_judged_after_a_restart(project: Project) -> None:
    """The peak of a fresh server would be far below that of the one that died: a green that was not measured."""
    project.catalog({"distill": {"MB": 60}})
    project.suite(
        ORDER
        + """
    def test_before(candidate, memory):
        assert memory(candidate).peak <= 1e12
        order(candidate.server, "die")
        assert candidate.death(wait_s=5)
    def test_memory(candidate, memory):
        assert memory(candidate).peak <= 1e12
    def test_startup(candidate, startup):
        assert startup(candidate).ready <= 1000
    def test_answers(candidate, stream):
        assert stream(candidate, "1 + 1?").ok
    """
    )
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert result.noise == []
    assert [verdict["status"] for verdict in verdicts] == ["PASS", "INVALID", "INVALID"]
    assert all("was started again" in verdict["why"] for verdict in verdicts[1:])
    texts = [event["text"] for event in project.record()["events"]]
    assert len(texts) == 2, texts
    assert "the server of distill died during the run (killed by SIGKILL)" in texts[0]
    assert "the server of distill was started again" in texts[1]
    assert all(result.lines(f"llmperf: {text}") for text in texts), "what is recorded is shown"
    assert [server["crashes"] for server in project.record()["servers"]] == [1]


def test_a_death_after_the_last_question_is_told(project: Project) -> None:
    project.suite(
        ORDER
        + """
    def test_last(candidate):
        order(candidate.server, "die")
        candidate.death(wait_s=5)
    """
    )
    result, _ = project.judged()
    [event] = project.record()["events"]
    assert event["text"].startswith("the server of distill died during the run (killed by SIGKILL)")
    assert result.lines("llmperf: the server of distill died during the run")
    assert project.starts == ["distill"]


@pytest.mark.parametrize("victim", ["root_pid", "keeper_pid"])
def test_a_killed_api_process_or_keeper_is_noticed_in_seconds(project: Project, victim: str) -> None:
    # Only the questions of the task are answered late. Requests that the run makes before have 8 tokens at most.
    asked = project.path / "asked"
    answers = project.answers(f"""
        import pathlib
        def answer(request):
            if request["max_tokens"] <= 8:
                return "A"
            pathlib.Path({str(asked)!r}).touch()
            return {{"text": "A", "ttft_s": 20}}
    """)
    project.catalog({"distill": {"ANSWERS": answers}})
    project.suite(f"""
    import os, pathlib, signal, threading, time
    killed = []
    def kill_when_asked(server):
        while not pathlib.Path({str(asked)!r}).exists():
            time.sleep(0.01)
        os.kill(server.{victim}, signal.SIGKILL)
        killed.append(time.monotonic())
    def test_dies(candidate, accuracy):
        threading.Thread(target=kill_when_asked, args=[candidate.server]).start()
        try:
            assert accuracy(candidate) >= 0.01
        finally:
            print("NOTICED", time.monotonic() - killed[0] < 10)
    """)
    result, verdicts = project.judged("-s")
    assert result.code == 1, result.text
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"]
    assert result.lines("the server of distill")
    assert result.lines("NOTICED True"), result.text


def test_a_frozen_server_is_declared_dead_once_for_all_tests(project: Project) -> None:
    catalogue = project.path / "models.toml"
    catalogue.write_text(
        catalogue.read_text().replace("[profile.test]\n", '[profile.test]\nsilence_limit = "2 s"\n', 1)
    )
    project.suite("""
    import os, signal
    def test_freezes(candidate, stream):
        os.kill(candidate.server.root_pid, signal.SIGSTOP)
        assert stream(candidate, "1 + 1?").ok
    def test_answers(candidate, accuracy):
        assert accuracy(candidate) >= 0.01
    def test_load(candidate, load):
        assert load(candidate, concurrency=2).ttft.p50 <= 1000
    """)
    result, verdicts = project.judged(timeout_s=45)
    assert result.code == 1, result.text
    assert result.noise == []
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"] * 3
    told = result.lines("INVALID test_gate.py", "the server of distill died during the run: ")
    assert len(told) == 3
    assert project.starts == ["distill"]
