"""A run that ends before its end: what was measured is kept and marked, and no file is ever half of one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers, load_traces

if TYPE_CHECKING:
    from tests.integration.conftest import Project


def interrupted(
    project: Project, solver: str, then: str, number: signal.Signals | None = None
) -> tuple[int, str]:
    """Exit code and output of a run of three tests, of which the second does ``then`` or is sent a signal."""
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(items=40)
    project.suite(f"""
        import pytest
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.3
        def test_then(candidate, halt):
            {then}
        def test_never(candidate, accuracy):
            assert accuracy(candidate) >= 0.31
    """)
    running = project.start("--llmperf-record", "record.json", "-x")
    if number is not None:
        project.servers(running)
        running.send(number)
    result = running.wait()
    return result.code, result.text


@pytest.mark.parametrize(
    ("then", "number", "why"),
    [
        ("halt(candidate)", signal.SIGINT, "the run was interrupted; 2 of 3 tests were not run"),
        (
            "pytest.exit('enough', returncode=7)",
            None,
            "the run was interrupted by pytest.exit: enough; 2 of 3 tests were not run",
        ),
        ("assert False", None, "1 of 3 tests were not run"),
    ],
    ids=["Ctrl-C", "pytest.exit", "-x"],
)
def test_what_was_measured_before_an_orderly_end_is_kept_and_marked(
    project: Project, solver: str, then: str, number: signal.Signals | None, why: str
) -> None:
    code, text = interrupted(project, solver, then, number)
    path = project.path / "record.json"
    record = read_record(path)
    assert code != 0
    assert record.partial == why, text
    first = record.verdicts[0]
    assert (first.test, first.status) == ("test_gate.py::test_floor[distill]", "PASS")
    assert record.suite.tests[-1] == "test_gate.py::test_never[distill]"
    assert len(load_answers(path, record)) == record.answers[0].items > 0
    assert record.cases is not None
    assert record.cases.count == 1
    if code != 7:  # pytest tells nothing at the end of a run with an exit code of its own
        assert "partial" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_at_once_leaves_what_its_tests_had_measured(
    project: Project, solver: str, number: signal.Signals
) -> None:
    interrupted(project, solver, "halt(candidate)", number)
    record = read_record(project.path / "record.json")
    assert record.partial == "the run has not ended: 1 tests of 3 have"
    assert [entry.status for entry in record.verdicts] == ["PASS"]
    assert record.metrics[0].metric == "accuracy"


def test_a_run_that_is_complete_is_not_partial(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.3
    """)
    project.run("--llmperf-record", "record.json")
    assert project.record()["partial"] is None


KILLED = """
import os, signal, sys, time
from pathlib import Path

import pytest_llmperf.runs.recording as recording
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.runs.ledger import Ledger

class Measured:
    # What a run of some seconds has measured after each of its tests, without a server.
    def __init__(self): self.asked = 0
    def events(self): return []
    def facts(self):
        outcomes = {"correct": self.asked, "wrong": 0}
        asked = {"row": "distill", "task": "t", "variant": "v", "items": self.asked, "outcomes": outcomes}
        return {"profile": "test", "device": {"name": "CPU"}, "answers": [asked]}
    def events(self): return []
    def take_answers(self):
        from tests.record.test_tables import ANSWER
        for n in range(40):
            yield ANSWER | {"task": "t", "variant": "v", "item": f"{self.asked}-{n}", "reply": "x" * 300}
        self.asked += 40
    def take_traces(self):
        from tests.record.test_tables import TRACE
        return (TRACE | {"index": n} for n in range(20))
    def take_tokens(self): return ()

def run(path, state):
    tests = {f"test_{n}": Path(__file__) for n in range(4)}
    ledger = Ledger("fail")
    one = recording.Recording(path, state, "main", path.parent, Measured(), ledger, lambda record: None)
    one.expect(tests, [])
    for test in tests:
        ledger.enter(test, needs="accuracy")
    for test in tests:
        ledger.begin(test)
        _, _, asserted = ledger.judged(Verdict(Status.PASS, "m", 1.0, None, 1.0, 1, None, "x", "y"))
        asserted()
        ledger.end(test)
        ledger.leave()
        one.keep(test, [])
        one.update()
        print("t", flush=True)
    assert one.finish("") is not None
    print("e", flush=True)

recording.Recording._with_page = lambda self, *beside: {}

def nights(path, scratch):
    for night in range(1000):
        state = scratch / f"{os.getpid()}-{night}"
        state.mkdir(parents=True)
        run(path, state)

path, scratch = Path(sys.argv[1]), Path(sys.argv[2])
# One run before the forks imports all that a run needs; each of fifty interpreters would take a second for it.
(scratch / "first").mkdir(parents=True)

out, sys.stdout = sys.stdout, open(os.devnull, "w")
run(scratch / "first.json", scratch / "first")
sys.stdout = out
for line in sys.stdin:
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(tells, 1)
        nights(path, scratch)
    marks, delay = line.split()
    for _ in range(int(marks)):
        while os.read(told, 1) != b"\\n":
            pass
    time.sleep(float(delay))  # the moment is what is drawn
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
"""


def test_a_run_killed_at_any_of_fifty_moments_leaves_a_readable_record(tmp_path: Path) -> None:
    """The very code that records, night after night into one file, killed with SIGKILL at a random moment."""
    path = tmp_path / "record.json"
    (tmp_path / "nights.py").write_text(KILLED)
    seen: list[Any] = []
    chance = random.Random(7)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "nights.py"), str(path), str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        text=True,
    ) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for _ in range(50):
            killer.stdin.write(f"{chance.randint(1, 10)} {chance.uniform(0.0, 0.03)}\n")
            killer.stdin.flush()
            assert killer.stdout.readline() == "killed\n"
            record = read_record(path)
            answers, traces = load_answers(path, record), load_traces(path, record)
            if record.partial:
                assert not answers
            else:
                assert (len(answers), len(traces), len(record.verdicts)) == (160, 80, 4)
            seen.append(record.partial)
        killer.stdin.close()
    assert len(set(seen)) > 3, "the moments were all alike"
    assert None in seen
