"""Sessions that other plugins, other runners and a project's own fixtures shape: the ledger says what came of them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.cli import main
from tests.integration.conftest import ONLY_OURS

if TYPE_CHECKING:
    from tests.integration.conftest import Project

GATE = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.99
"""
RERUNS = {
    "pytest_rerunfailures": ("--reruns", "2"),
    "flaky.flaky_pytest_plugin": ("--force-flaky", "--max-runs=3"),
    "pytest_retry.retry_plugin": ("--retries", "2"),
}


@pytest.fixture
def ready(project: Project, solver: str) -> Project:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.shrink(items=40)
    return project


@pytest.mark.parametrize("plugin", RERUNS)
def test_a_gate_that_is_run_again_counts_once_and_the_tries_are_told(ready: Project, plugin: str) -> None:
    if importlib.util.find_spec(plugin.partition(".")[0]) is None:
        pytest.skip(f"{plugin} is not installed here")
    ready.suite(GATE)
    result, verdicts = ready.judged("-p", plugin, *RERUNS[plugin])
    assert result.code == 1
    assert [(one["metric"], one["status"]) for one in verdicts] == [("embedded accuracy", "FAIL")], (
        result.text
    )
    assert [one["tries"] for one in ready.record()["tests"]] == [3]
    assert ready.record()["cases"]["count"] == 1
    assert result.lines("tried more than once", "test_floor[distill] (3 tries)")


def test_a_test_that_died_with_its_worker_is_invalid_in_every_file(ready: Project) -> None:
    ready.suite("""
        import os
        def test_ok(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
        def test_dies(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
            os._exit(1)
    """)
    files = ("--llmperf-record", "record.json", "--llmperf-metrics", "m.prom")
    result = ready.run_with_workers(1, *files, "--max-worker-restart=0")
    verdicts = [(one["test"].rpartition("::")[2], one["status"]) for one in ready.record()["verdicts"]]
    assert result.code == 1
    assert ("test_ok[distill]", "PASS") in verdicts
    assert ("test_dies[distill]", "INVALID") in verdicts
    assert ready.record()["run"]["green"] is False
    assert "llmperf_run_green 0.0" in (ready.path / "m.prom").read_text()


def test_a_run_that_is_killed_leaves_no_green_file_of_the_night_before(ready: Project) -> None:
    ready.suite("def test_it(candidate, halt):\n    halt(candidate)\n    assert True\n")
    for name in ("m.prom", "m.md", "record.json", "record.html"):
        ready.write(name, "llmperf_run_green 1.0\nPASS\n")
    files = ("--llmperf-record", "record.json", "--llmperf-metrics", "m.prom", "--llmperf-markdown", "m.md")
    running = ready.start(*files)
    ready.servers(running)
    running.send(signal.SIGKILL)
    running.wait()
    assert "llmperf_run_green 0.0" in (ready.path / "m.prom").read_text()
    for name in ("m.md", "record.html"):
        text = (ready.path / name).read_text()
        assert "UNFINISHED" in text
        assert "PASS" not in text
    assert ready.record()["partial"]
    assert ready.record()["run"]["green"] is False


def test_a_test_case_and_a_fixture_by_name_ask_as_arguments_do(ready: Project) -> None:
    ready.suite("""
        import unittest
        import pytest

        @pytest.mark.usefixtures("candidate")
        class TestOld(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def given(self, candidate, accuracy):
                self.model, self.accuracy = candidate, accuracy
            def test_floor(self):
                self.assertTrue(self.accuracy(self.model) >= 0.5)
            def test_asks_nothing(self):
                self.assertTrue(self.model.name)

        def test_by_name(request):
            model = request.getfixturevalue("candidate")
            assert request.getfixturevalue("accuracy")(model) >= 0.5
        def test_by_name_and_nothing_judged(request):
            request.getfixturevalue("accuracy")(request.getfixturevalue("candidate"))
    """)
    result, verdicts = ready.judged()
    found = {one["test"].rpartition("::")[2]: one["status"] for one in verdicts}
    assert found == {
        "test_floor": "PASS",
        "test_asks_nothing": "INVALID",
        "test_by_name": "PASS",
        "test_by_name_and_nothing_judged": "INVALID",
    }, result.text
    assert result.noise == []


def test_what_only_has_the_name_of_our_fixtures_asks_about_no_model(ready: Project) -> None:
    ready.suite("""
        import pytest

        @pytest.fixture(params=["tea", "coffee"])
        def candidate(request):
            return request.param
        @pytest.fixture
        def prompts():
            return []
        def test_own_candidate(candidate):
            assert candidate in ("tea", "coffee")
        @pytest.mark.parametrize("baseline", [1, 2])
        def test_own_values(baseline):
            assert baseline
        @pytest.mark.skip
        def test_own_prompts(prompts):
            assert prompts
    """)
    result = ready.run()
    assert result.code == 0, result.text
    assert result.lines("4 passed, 1 skipped")
    assert "INVALID" not in result.text


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--setup-only", "--fixtures"])
def test_a_session_that_only_shows_something_leaves_the_files_of_the_last_run(
    ready: Project, option: str
) -> None:
    ready.suite(GATE)
    for name in ("record.json", "m.prom"):
        ready.write(name, "of last night")
    result = ready.run(option, "--llmperf-record", "record.json", "--llmperf-metrics", "m.prom")
    assert result.code == 0, result.text
    assert {(ready.path / name).read_text() for name in ("record.json", "m.prom")} == {"of last night"}
    assert "llmperf verdicts" not in result.text


def test_budgets_that_no_test_asserts_are_named_by_a_run_of_the_whole_suite_and_by_no_part_of_it(
    ready: Project,
) -> None:
    ready.write(
        "budgets.toml",
        '[test.any.accuracy]\nfloor = "50 %"\nmargin = "5 points"\n[test.any.rules]\nloops = "5 %"\n',
    )
    ready.suite("""
        def test_floor(candidate, accuracy, budget):
            assert accuracy(candidate) >= budget.accuracy.floor
        def test_other(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
    """)
    named = "no test of this run asserts these budgets of budgets.toml: accuracy.margin, rules.loops"
    assert ready.run().lines(named)
    assert not ready.run("-k", "floor").lines("no test of this run asserts")
    assert not ready.run("test_gate.py").lines("no test of this run asserts")


def test_interleaved_the_wrong_way_round_is_refused_before_anything_is_timed(ready: Project) -> None:
    ready.suite("""
        def test_it(candidate, baseline, load):
            assert load.interleaved(baseline, candidate, concurrency=2).tpot.ratio <= 1.5
    """)
    result, [verdict] = ready.judged()
    assert result.code == 1
    assert verdict["status"] == "INVALID"
    assert "write load.interleaved(candidate, baseline, …)" in verdict["why"]
    assert ready.starts == []


def test_a_run_whose_data_could_not_be_put_away_is_partial_and_red_and_not_promoted(ready: Project) -> None:
    ready.suite("""
        import shutil
        def test_ok(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
        def test_fills_the_disk(candidate, llmperf_run):
            parts = llmperf_run.state_root / "parts"
            shutil.rmtree(parts)
            parts.write_text("")
            assert candidate.name
    """)
    result = ready.run("--llmperf-record", "record.json", "--llmperf-metrics", "m.prom")
    record = ready.record()
    assert result.code == 1
    assert result.noise == []
    assert "were not kept for the record" in record["partial"]
    assert record["run"]["green"] is False
    assert "llmperf_run_green 0.0" in (ready.path / "m.prom").read_text()
    assert main(["promote", str(ready.path / "record.json"), "--to", str(ready.path / "references")]) == 4


def test_the_row_is_the_first_word_of_an_id_and_a_project_that_chooses_its_candidates_has_its_own(
    ready: Project,
) -> None:
    ready.write(
        "conftest.py",
        """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc):
    if metafunc.function.__name__ == "test_late_hook":
        metafunc.parametrize("y", iter([7]))
        metafunc.parametrize("candidate", ["math"], indirect=True)
""",
    )
    ready.suite("""
        import pytest

        def pytest_generate_tests(metafunc):
            if metafunc.function.__name__ == "test_hook":
                metafunc.parametrize("candidate", ["math"], indirect=True)

        @pytest.mark.parametrize("x", [8])
        def test_ours(candidate, x): pass
        @pytest.mark.parametrize("x, candidate", [(8, "math")], indirect=["candidate"])
        def test_mark(candidate, x): pass
        @pytest.mark.parametrize("x", [8])
        def test_hook(candidate, x): pass
        @pytest.mark.parametrize("x", [8])
        def test_late_hook(candidate, x, y): pass
    """)
    result = ready.run("--collect-only", "-q")
    assert result.code == 0, result.text
    found = [line.partition("::")[2] for line in result.lines("::")]
    assert found == [
        "test_ours[distill-8]",
        "test_mark[8-math]",
        "test_hook[math-8]",
        "test_late_hook[8-7-math]",
    ]


ENDS = {
    "os._exit in a test": ("", "os._exit(0)", 1, "os._exit was called"),
    "os._exit with 256 in a test": ("", "os._exit(256)", 1, "os._exit was called"),
    "os._exit at a conftest's import": ("os._exit(0)", "", 1, "os._exit was called"),
    "sys.exit at a conftest's import": ("sys.exit()", "", 1, "sys.exit was called"),
    "sys.exit in pytest_configure": ("def pytest_configure(): sys.exit(0)", "", 3, ""),
    "sys.exit in pytest_sessionstart": ("def pytest_sessionstart(): sys.exit(0)", "", 3, ""),
    "sys.exit in pytest_sessionfinish": (
        "def pytest_sessionfinish(): sys.exit(0)",
        "",
        1,
        "a hook failed at the end of the session: SystemExit",
    ),
    "pytest.exit in pytest_sessionfinish": (
        "def pytest_sessionfinish(): pytest.exit('enough', returncode=0)",
        "",
        1,
        "a hook failed at the end of the session: Exit: enough",
    ),
    "pytest_sessionfinish raises": ("def pytest_sessionfinish(): {}['x']", "", 1, "KeyError: 'x'"),
    "a late exit status": (
        "@pytest.hookimpl(wrapper=True)\ndef pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 9",
        "",
        9,
        "exit code 9",
    ),
    "pytest_cmdline_main without a session": ("def pytest_cmdline_main(): return 0", "", 1, "pytest ended"),
    "a wrapper of pytest_cmdline_main": (
        "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_cmdline_main():\n    yield\n    return 0",
        "assert False",
        1,
        "pytest ended",
    ),
    "pytest.exit in pytest_configure": (
        "def pytest_configure(): pytest.exit('enough', returncode=0)",
        "",
        1,
        "pytest ended",
    ),
}


@pytest.mark.parametrize("way", ENDS)
def test_no_way_to_end_the_process_makes_it_green(project: Project, way: str) -> None:
    conftest, body, code, line = ENDS[way]
    project.catalog()
    project.write("conftest.py", f"import os, sys\nimport pytest\n{conftest}\n")
    project.suite(f"import os\ndef test_it(candidate):\n    assert candidate.name\n    {body}\n")
    result = project.run("--llmperf-record", "record.json", "--llmperf-metrics", "m.prom")
    assert result.code == code, result.text
    assert result.lines(line), result.text
    for name, green in (("record.json", '"green": true'), ("m.prom", "llmperf_run_green 1.0")):
        path = project.path / name
        assert not path.exists() or green not in path.read_text(), name


def test_forks_leave_as_they_like_and_os_exit_is_given_back(project: Project) -> None:
    project.catalog()
    project.write("before.py", "import os\nREAL = os._exit\n")
    project.suite("""
        import os
        import before
        def test_it(candidate):
            assert os._exit is not before.REAL
            child = os.fork()
            if not child:
                os._exit(0)
            assert candidate.name and os.waitpid(child, 0)[1] == 0
    """)
    project.write(
        "conftest.py",
        "import atexit, os, before\natexit.register(lambda: print('given back', os._exit is before.REAL))\n",
    )
    result = project.run("-p", "before", environment={"PYTHONPATH": str(project.path)})
    assert result.code == 0, result.text
    assert result.lines("given back True")


def test_dist_each_which_gives_a_test_several_verdicts_is_refused(project: Project) -> None:
    project.catalog()
    project.suite(GATE)
    result = project.run_with_workers(2, "--dist=each")
    assert result.code == 4, result.text
    assert len(result.lines("--dist=each", "use --dist=loadscope")) == 1
    assert result.noise == []
    assert project.starts == []


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("output", "line"),
    [
        (">&-", "standard output is closed"),
        (">/dev/full", "could not be written to standard output (No space left on device)"),
        ("| head -c 1 >/dev/null", "could not be written to standard output (Broken pipe)"),
    ],
)
def test_a_report_that_cannot_be_written_is_told_in_words_and_nothing_is_green(
    project: Project, solver: str, output: str, line: str, buffered: bool
) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    # More than a pipe holds, so that its reader is gone before the report is.
    project.suite("""
        import contextlib

        def test_it(candidate, accuracy):
            with contextlib.suppress(OSError):
                print("x" * 200_000, flush=True)
            assert accuracy(candidate) >= 0.5
    """)
    files = "--llmperf-record record.json --llmperf-metrics m.prom"
    command = f"set -o pipefail; '{sys.executable}' -m pytest {' '.join(ONLY_OURS)} -s {files} {output}"
    foreign = ("LLMPERF_", "PYTEST_", "FAKE_ENGINE_", "GITHUB_", "CI", "TOX_", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HOME": str(project.path)}
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=project.path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert project.record()["run"]["green"] is False
    assert "llmperf_run_green 0.0" in (project.path / "m.prom").read_text()
