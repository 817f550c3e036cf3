"""Whatever a test does with a model, every outlet of its run says the same: green, or not.

Each row is one session of pytest in this process, against servers that are already up, so that a row takes no start.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.serving import ports
from tests.integration.conftest import FAKE_PYTHON
from tests.waiting import eventually

OK = """
import contextlib, threading, time, unittest
import pytest

def test_ok(candidate, accuracy):
    assert accuracy(candidate) >= 0.5
"""
"""A gate that passes, beside each row's own test."""

SWALLOWS = """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call():
    try:
        return (yield)
    except Exception:
        return None
"""


WAIVED = """
[waive."test_gate.py::test_it[ok]"]
until = 9999-12-31
reason = "known since May"
"""


@dataclass(frozen=True)
class Row:
    """``status`` is the run's, ``why`` are words of the line that explains it, ``candidate`` is ``ok`` or ``dead``."""

    body: str
    status: str = "INVALID"
    why: str = ""
    candidate: str = "ok"
    conftest: str = ""
    options: tuple[str, ...] = ()
    code: int = 1
    budgets: str = ""
    promoted: bool | None = None
    """Whether the record can be promoted; None: if the run is green."""


ROWS = {
    "passes": Row("", "PASS", code=0),
    "plain check": Row("def test_it(candidate):\n    assert candidate.name", "PASS", code=0),
    "two bounds": Row(
        "def test_it(candidate, accuracy):\n    assert 0.5 <= accuracy(candidate) <= 1.0", "PASS", code=0
    ),
    "raises": Row("def test_it(candidate):\n    {}['x']", why="KeyError"),
    "fixture fails": Row(
        "@pytest.fixture\ndef broken():\n    {}['x']\ndef test_it(candidate, broken): pass", why="KeyError"
    ),
    "fixture fails afterwards": Row(
        "@pytest.fixture\ndef broken():\n    yield\n    {}['x']\n"
        "def test_it(candidate, accuracy, broken):\n    assert accuracy(candidate) >= 0.5",
        why="KeyError",
    ),
    "Ctrl-C": Row("def test_it(candidate):\n    raise KeyboardInterrupt", why="interrupted", code=2),
    "exit 0": Row("def test_it(candidate):\n    pytest.exit('no GPU', returncode=0)", why="no GPU"),
    "value": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate).value >= 0.1",
        why="no gate was asserted",
    ),
    "bare": Row("def test_it(candidate, accuracy):\n    accuracy(candidate)", why="no gate was asserted"),
    "bare in a helper": Row(
        "def ask(accuracy, model): return accuracy(model)\n"
        "def test_it(candidate, accuracy):\n    ask(accuracy, candidate)",
        why="no gate was asserted",
    ),
    "loop over nothing": Row(
        "def test_it(candidate, accuracy):\n    for floor in []:\n        assert accuracy(candidate) >= floor",
        why="no gate was asserted",
    ),
    "early return": Row(
        "def test_it(candidate, accuracy):\n    if candidate:\n        return\n    assert accuracy(candidate) >= 0.5",
        why="no gate was asserted",
    ),
    "generator": Row(
        "def test_it(candidate, accuracy):\n    assert (accuracy(candidate) >= x for x in (0.5,))",
        why="no gate was asserted",
    ),
    "all of nothing": Row(
        "def test_it(candidate, accuracy):\n    assert all(accuracy(candidate) >= x for x in [])",
        why="no gate was asserted",
    ),
    "not asserted": Row(
        "def test_it(candidate, accuracy):\n    accuracy(candidate) >= 0.5", why="not asserted"
    ),
    "asserts nothing": Row("def test_it(candidate):\n    pass", why="asserts nothing"),
    "suppressed": Row(
        "def test_it(candidate, accuracy):\n    with contextlib.suppress(Exception):\n"
        "        assert accuracy(candidate) >= 0.5",
        candidate="dead",
    ),
    "pytest.raises": Row(
        "def test_it(candidate, accuracy):\n    with pytest.raises(Exception):\n"
        "        assert accuracy(candidate) >= 0.5",
        candidate="dead",
    ),
    "suppressed, then a gate": Row(
        "def test_it(baseline, accuracy, candidate):\n    with contextlib.suppress(Exception):\n"
        "        accuracy(candidate).value\n    assert accuracy(baseline) >= 0.5",
        candidate="dead",
    ),
    "suppressed server": Row(
        "def test_it(candidate):\n    with contextlib.suppress(Exception):\n        candidate.server\n"
        "    assert candidate.name",
        candidate="dead",
    ),
    "in a thread": Row(
        "def test_it(candidate, accuracy):\n    def gate():\n        assert accuracy(candidate) >= 0.5\n"
        "    thread = threading.Thread(target=gate)\n    thread.start()\n    thread.join()",
        candidate="dead",
        options=("-p", "no:threadexception"),
    ),
    "caught FAIL": Row(
        "def test_it(candidate, accuracy):\n    with contextlib.suppress(AssertionError):\n"
        "        assert accuracy(candidate) >= 0.99",
        "FAIL",
        "below the floor",
    ),
    "xfail(run=False)": Row(
        "@pytest.mark.xfail(run=False)\ndef test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.5",
        why="xfail",
    ),
    "xfail": Row(
        "def test_it(candidate, accuracy):\n    pytest.xfail('later')\n    assert accuracy(candidate) >= 0.5",
        why="xfail",
    ),
    "strict xfail passes": Row(
        "@pytest.mark.xfail(strict=True)\ndef test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.5",
        why="XPASS",
    ),
    "skip": Row("@pytest.mark.skip\ndef test_it(candidate, accuracy): pass", why="skipped"),
    "unittest skip": Row(
        "@pytest.mark.usefixtures('candidate')\nclass TestIt(unittest.TestCase):\n"
        "    def test_it(self):\n        self.skipTest('no time')",
        why="skipped",
    ),
    "skip by name": Row(
        "@pytest.mark.skip\ndef test_it(request):\n    assert request.getfixturevalue('accuracy')",
        why="skipped",
    ),
    "module skipped": Row(
        "pytest.importorskip('no_such_module')\ndef test_it(candidate): pass", why="skipped", code=5
    ),
    "coroutine": Row(
        "async def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.5", why="async"
    ),
    "stopped": Row(
        "def test_it(candidate):\n    assert False\ndef test_then(candidate, accuracy):\n"
        "    assert accuracy(candidate) >= 0.5",
        why="not run",
        options=("-x",),
    ),
    "cached estimand": Row(
        "CACHE = {}\ndef test_asks(candidate, accuracy):\n    CACHE['x'] = accuracy(candidate)\n"
        "def test_compares(candidate):\n    assert CACHE['x'] >= 0.99",
        why="no gate was asserted",
    ),
    "lower bound of two": Row(
        "def test_it(candidate, accuracy):\n    assert 0.97 <= accuracy(candidate) <= 1.0",
        "FAIL",
        "below the floor",
    ),
    "a test of something else fails": Row("def test_it():\n    assert False", why="exit code 1"),
    "reports emptied": Row(
        "def test_it(candidate, accuracy):\n    with contextlib.suppress(AssertionError):\n"
        "        assert accuracy(candidate) >= 0.99",
        "FAIL",
        "below the floor",
        conftest="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_logreport(report):
                report.user_properties = []
                report.outcome = "passed"
            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport():
                report = yield
                report.user_properties = []
                return report
        """,
    ),
    "outcome rewritten": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.99",
        "FAIL",
        "below the floor",
        conftest="""
            import pytest
            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport():
                report = yield
                report.outcome, report.longrepr = "passed", None
                return report
            def pytest_sessionfinish(session):
                session.exitstatus = 0
        """,
    ),
    "subtest skipped": Row(
        "def test_it(candidate, accuracy, subtests):\n    assert accuracy(candidate) >= 0.5\n"
        "    with subtests.test():\n        pytest.skip('no time')",
        why="skipped",
    ),
    "subtest fails": Row(
        "def test_it(candidate, accuracy, subtests):\n    assert accuracy(candidate) >= 0.5\n"
        "    with subtests.test():\n        assert not candidate.name, 'it has a name'",
        "FAIL",
        "it has a name",
    ),
    "subtest raises": Row(
        "def test_it(candidate, accuracy, subtests):\n    assert accuracy(candidate) >= 0.5\n"
        "    with subtests.test():\n        {}['x']",
        why="KeyError",
    ),
    "subtests pass": Row(
        "def test_it(candidate, accuracy, subtests):\n    for floor in (0.4, 0.5):\n"
        "        with subtests.test(floor=floor):\n            assert accuracy(candidate) >= floor",
        "PASS",
        code=0,
    ),
    "exception swallowed by a wrapper": Row(
        "def test_it(candidate):\n    {}['x']\n    assert candidate.name",
        why="KeyError",
        conftest=SWALLOWS,
    ),
    "gate swallowed by a wrapper": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.99",
        "FAIL",
        "below the floor",
        conftest=SWALLOWS,
    ),
    "exit 0 after the last test": Row(
        "",
        why="interrupted by pytest.exit: that is enough",
        conftest="""
            import pytest
            def pytest_runtest_logfinish():
                pytest.exit("that is enough", returncode=0)
        """,
    ),
    "advisory FAIL": Row(
        "@pytest.mark.llmperf_advisory('on trial')\ndef test_it(candidate, accuracy):\n"
        "    assert accuracy(candidate) >= 0.99",
        "PASS",
        "on trial",
        code=0,
    ),
    "advisory INVALID": Row(
        "@pytest.mark.llmperf_advisory('on trial')\ndef test_it(candidate, accuracy):\n    {}['x']",
        "PASS",
        "KeyError",
        code=0,
    ),
    "FAIL beside an advisory FAIL": Row(
        "@pytest.mark.llmperf_advisory(reason='on trial')\ndef test_it(candidate, accuracy):\n"
        "    assert accuracy(candidate) >= 0.99\ndef test_that(candidate, accuracy):\n"
        "    assert accuracy(candidate) >= 0.98",
        "FAIL",
        "below the floor",
    ),
    "waived FAIL": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.99",
        "PASS",
        "known since May",
        code=0,
        budgets=WAIVED,
        promoted=False,
    ),
    "waived FAIL, then an error in the teardown": Row(
        "@pytest.fixture\ndef broken():\n    yield\n    {}['x']\n"
        "def test_it(candidate, accuracy, broken):\n    assert accuracy(candidate) >= 0.99",
        why="does not cover INVALID",
        budgets=WAIVED,
    ),
    "waived FAIL, then a gate that cannot be measured": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.99\n"
        "    assert accuracy(candidate, 'nowhere') >= 0.5",
        why="does not cover INVALID",
        budgets=WAIVED,
    ),
    "waived INVALID": Row(
        "def test_it(candidate, accuracy):\n    {}['x']", why="does not cover INVALID", budgets=WAIVED
    ),
    "waived INVALID, as it says": Row(
        "def test_it(candidate, accuracy):\n    {}['x']",
        "PASS",
        "KeyError",
        code=0,
        budgets=WAIVED + "invalid = true\n",
        promoted=False,
    ),
    "ended waiver": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.99",
        "FAIL",
        "its waiver ended on 2020-02-29",
        budgets=WAIVED.replace("9999-12-31", "2020-02-29"),
    ),
    "waived PASS": Row(
        "def test_it(candidate, accuracy):\n    assert accuracy(candidate) >= 0.5",
        "PASS",
        "can go: its gates pass",
        code=0,
        budgets=WAIVED,
    ),
    "waiver of no test": Row("", "PASS", "matches no test; did you mean", code=0, budgets=WAIVED),
    "times out": Row(
        "def test_it(candidate):\n    time.sleep(30)",
        why="Timeout",
        options=("-p", "pytest_timeout", "--timeout=0.5"),
    ),
}


CATALOGUE = """
[profile.test]
says = "nothing of a real model"
candidate = "ok"
baseline = "ok"
task = "embedded"
needs_cuda = false

[profile.test.sizes]
items = 40

"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, solver: str) -> Iterator[str]:
    """A catalogue with ``ok``, right on 80 %, and ``dead``, which never answers."""
    with ports.reserve() as lock:
        command = [str(FAKE_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--port", str(lock.port)]
        environment = os.environ | {"FAKE_ENGINE_ANSWERS": solver, "FAKE_ENGINE_INTERPRETER": sys.executable}
        server = subprocess.Popen(
            [*command, "--served-model-name", "model"], env=environment, stdout=subprocess.DEVNULL
        )
        eventually(lambda: not ports.is_free(lock.port), "a server that listens")
        text = CATALOGUE
        for name, port in (("ok", lock.port), ("dead", 1)):
            text += f'[profile.test.model.{name}]\nengine = "url"\nserved_name = "model"\n'
            text += f'base_url = "http://127.0.0.1:{port}"\nmax_model_len = 2048\n'
        yield text
        server.terminate()
        server.wait(10)


def run(project: Path, models: str, row: Row) -> int:
    """Exit code of a session in ``project``, in this process."""
    project.mkdir()
    (project / "models.toml").write_text(models)
    (project / "budgets.toml").write_text(row.budgets)
    (project / "pytest.ini").write_text("[pytest]\nllmperf_models = models.toml\n")
    (project / "conftest.py").write_text(textwrap.dedent(row.conftest))
    (project / "test_gate.py").write_text(OK + textwrap.dedent(row.body) + "\n")
    (project / "metrics.prom").write_text("llmperf_run_green 1.0\n")
    files = (
        "--llmperf-order=0",  # one night, so that no model's luck is judged here
        "--llmperf-record=record.json",
        "--llmperf-metrics=metrics.prom",
        "--llmperf-markdown=summary.md",
    )
    ours = ("-p", "llmperf", "-p", "llmperf_model", "-p", "no:cacheprovider", "--import-mode=importlib", "-s")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        patch.setenv("GITHUB_ACTIONS", "true")
        arguments = [*ours, *files, "--junitxml=junit.xml", f"--llmperf-model={row.candidate}", *row.options]
        return int(pytest.main(["--rootdir=.", *arguments, "."]))


def said(project: Path, code: int, output: str) -> dict[str, tuple[str, bool]]:
    """By outlet, the status of the run and whether it is green; a status that an outlet does not tell is empty."""
    record = json.loads((project / "record.json").read_text())
    metrics = (project / "metrics.prom").read_text()
    [status] = re.findall(r'llmperf_run_verdict\{verdict="(\w+)"\} 1.0', metrics)
    [markdown] = re.findall(r"^## \S+ (\w+)[:,]", (project / "summary.md").read_text())
    [page] = re.findall(r"<title>(\w+)", (project / "record.html").read_text())
    junit = dict(
        re.findall(
            r'<property name="llmperf: (verdict|green)" value="(\w+)"', (project / "junit.xml").read_text()
        )
    )
    shown = main(["show", str(project / "record.json")])
    promoted = main(["promote", str(project / "record.json"), "--to", str(project / "references")])
    return {
        "exit code": ("", code == 0),
        "metrics": (status, "llmperf_run_green 1.0" in metrics),
        "Markdown": (markdown, markdown == "PASS"),
        "page": (page, page == "PASS"),
        "JUnit": (junit["verdict"], junit["green"] == "yes"),
        "record": (record["run"]["status"], record["run"]["green"]),
        "show": ("", shown == 0),
        "promote": ("", promoted == 0),
        "annotations": ("", "::error" not in output),
        "terminal": ("", "llmperf: start here" not in output),
    }


def run_all(directory: Path) -> None:
    """Every row, one session after the other, in this process; ``code`` and ``output`` are left beside its files."""
    models = (directory / "models.toml").read_text()
    for number, row in enumerate(ROWS.values()):
        project = directory / str(number)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = run(project, models, row)
        # Each row has a module of the same name.
        for name in [
            n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(project))
        ]:
            del sys.modules[name]
        (project / "output").write_text(output.getvalue())
        (project / "code").write_text(str(code))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, models: str) -> Path:
    """The directory of the rows' projects. They run in a process of their own: plugins of this one would meet them."""
    directory = tmp_path_factory.mktemp("rows")
    (directory / "models.toml").write_text(models)
    command = [
        sys.executable,
        "-c",
        f"from {__name__} import run_all, Path; run_all(Path({str(directory)!r}))",
    ]
    environment = os.environ | {"PYTHONPATH": str(FAKE_PYTHON.parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.mark.parametrize("name", ROWS)
def test_every_outlet_says_the_same_of_a_run(sessions: Path, name: str) -> None:
    row = ROWS[name]
    project = sessions / str(list(ROWS).index(name))
    code, output = int((project / "code").read_text()), (project / "output").read_text()
    found = said(project, code, output)
    expected = (row.status, row.status == "PASS")
    if row.promoted is not None:
        assert found.pop("promote") == ("", row.promoted), output
    different = {outlet: one for outlet, one in found.items() if one not in (expected, ("", expected[1]))}
    assert different == {}, output
    assert code == row.code, output
    assert row.why in (project / "record.json").read_text(), output
