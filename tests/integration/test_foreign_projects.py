"""A project that merely has the plugin installed is never broken by it: whatever it configures, wherever it runs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

OURS = ("-p", "llmperf", "-p", "llmperf_model")
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
PLAIN = """
    def test_plain(tmp_path):
        assert True
"""
USES_A_MODEL = """
    def test_plain():
        assert True
    def test_model(candidate, accuracy):
        assert accuracy(candidate) >= 0.5
"""
# Loaded first: a platform on which none of the modules of Linux is there.
ELSEWHERE = """
    import sys, os, ctypes, pathlib

    MISSING = {"fcntl", "resource", "pwd", "grp", "termios"}

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name in MISSING:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in MISSING:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Blocker())
    sys.platform = "darwin"
    del os.pidfd_open
    ctypes.CDLL = None
"""


@pytest.fixture
def elsewhere(project: Project) -> Project:
    """A project with a catalogue, on another platform."""
    project.write("elsewhere.py", ELSEWHERE.replace("\n    ", "\n"))
    project.write("conftest.py", "")
    project.suite("def test_plain():\n    assert True\n")
    return project


@pytest.fixture
def idle(project: Project) -> Project:
    """Installed, and configured for nothing."""
    project.write("pytest.ini", "[pytest]\n")
    project.write("conftest.py", "")
    project.suite(PLAIN)
    return project


HABITS = {
    "strict": ("-W", "error", "--strict-markers", "--strict-config"),
    "few plugins": (*("-p", "no:cacheprovider"), *("-p", "no:junitxml", "-p", "no:logging"), "-s"),
    "no terminal": ("-p", "no:terminal"),
    "no conftest, no capture": (
        "--noconftest",
        "-p",
        "no:capture",
        "-p",
        "no:doctest",
        "-p",
        "no:unraisableexception",
    ),
    "collect only": ("--collect-only", "-q"),
}


@pytest.mark.parametrize("habits", HABITS.values(), ids=HABITS.keys())
def test_an_installed_plugin_leaves_a_project_its_habits(idle: Project, habits: tuple[str, ...]) -> None:
    result = idle.run(*habits, options=OURS)
    assert result.code == 0, result.text
    assert result.noise == []


@pytest.mark.parametrize("habits", HABITS.values(), ids=HABITS.keys())
def test_a_configured_plugin_leaves_tests_without_a_model_their_habits(
    project: Project, habits: tuple[str, ...]
) -> None:
    project.suite(PLAIN)
    result = project.run(*habits, options=OURS)
    assert result.code == 0, result.text
    assert result.noise == []


def test_a_project_without_pythons_own_tests_is_none_of_our_business(idle: Project) -> None:
    result = idle.run("-p", "no:python", options=OURS)
    assert result.code == 5, result.text
    assert result.noise == []


@pytest.mark.parametrize("configured", [False, True])
def test_a_poor_environment_does_not_break_a_project(project: Project, configured: bool) -> None:
    if not configured:
        project.write("pytest.ini", "[pytest]\n")
    project.suite("def test_plain():\n    assert True\n")
    poor = {
        "PYTHONOPTIMIZE": "2",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
        "HOME": "/nonexistent",
        "XDG_CACHE_HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
    }
    result = project.run(options=OURS, environment=poor)
    assert result.code == 0, result.text
    assert result.noise == []


NAMES = "accuracy answers baseline budget candidate energy load memory prompts recall rules startup stream summaries"


def test_a_projects_own_fixtures_of_our_names_win(idle: Project) -> None:
    names = NAMES.split()
    idle.write(
        "conftest.py",
        "import pytest\n" + "".join(f"@pytest.fixture\ndef {name}(): return 'own'\n" for name in names),
    )
    idle.suite(f"def test_own({', '.join(names)}):\n    assert {{{', '.join(names)}}} == {{'own'}}\n")
    result = idle.run(options=OURS)
    assert result.code == 0, result.text


OPTIONS = """
    def pytest_addoption(parser):
        parser.addoption("--model", action="store", default="none")
        parser.getgroup("theirs").addoption("--baseline", dest="their_baseline", default="none")
"""
READS = """
    def test_options(request):
        assert request.config.getoption("--model") == "x"
        assert request.config.getoption("their_baseline") == "y"
"""


@pytest.mark.parametrize("where", ["conftest.py", "theirs.py", "before"])
def test_options_of_other_plugins_win_over_our_short_spellings(idle: Project, where: str) -> None:
    idle.write("conftest.py" if where == "conftest.py" else "theirs.py", OPTIONS.replace("\n    ", "\n"))
    idle.suite(READS)
    theirs = () if where == "conftest.py" else ("-p", "theirs")
    options = (*theirs, *OURS) if where == "before" else (*OURS, *theirs)
    result = idle.run("--model", "x", "--baseline=y", options=options)
    assert result.code == 0, result.text
    assert result.noise == []


def test_the_short_spellings_are_there_where_nobody_else_has_them(idle: Project) -> None:
    idle.suite("""
        def test_short(request):
            assert request.config.getoption("llmperf_model") == ["a", "b"]
            assert request.config.getoption("llmperf_baseline") == "c"
    """)
    # A directory of that name is not taken for one with tests.
    idle.write("a/conftest.py", "raise RuntimeError('imported')")
    idle.write("models.toml", "not read")
    result = idle.run("--model", "a", "--model=b", "--baseline", "c", "test_gate.py", options=OURS)
    assert result.code == 4, "a row is named, and no catalogue"
    assert "imported" not in result.text
    assert result.lines("no catalogue of models")


# Elsewhere than on Linux


@pytest.mark.parametrize(
    "module", ["plugin", "fixtures", "model_option", "hookspecs", "runs.platforms", "config.options"]
)
def test_what_an_idle_run_imports_needs_no_linux(module: str) -> None:
    script = "\n".join(line.removeprefix("    ") for line in ELSEWHERE.splitlines())
    script += f"\nsys.platform = 'win32'\nimport pytest_llmperf.{module}\n"
    # pytest itself must be imported as on Linux: it is not what is tried here.
    done = subprocess.run(
        [sys.executable, "-c", f"import pytest\n{script}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_idle_run_elsewhere_is_as_without_the_plugin(elsewhere: Project) -> None:
    elsewhere.write("pytest.ini", "[pytest]\n")
    result = elsewhere.run(options=("-p", "elsewhere", *OURS), environment=ALONE)
    assert result.code == 0, result.text
    assert not [line for line in result.lines("llmperf") if not line.startswith("plugins:")]


def test_tests_without_a_model_run_elsewhere_also_where_models_are_configured(elsewhere: Project) -> None:
    result = elsewhere.run(options=("-p", "elsewhere", *OURS), environment=ALONE)
    assert result.code == 0, result.text
    assert result.noise == []


@pytest.mark.parametrize("named", [(), ("--model", "distill"), ("--llmperf-plan",)])
def test_a_test_with_a_model_says_elsewhere_in_one_line_that_linux_is_needed(
    elsewhere: Project, named: tuple[str, ...]
) -> None:
    elsewhere.suite(USES_A_MODEL)
    result = elsewhere.run(*named, options=("-p", "elsewhere", *OURS), environment=ALONE)
    assert result.code == 4, result.text
    assert result.lines("Linux only", "this is darwin")
    assert result.noise == []


# Places that cannot be written


def test_a_run_goes_on_where_pytests_cache_cannot_be_written(project: Project, solver: str) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite("""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
    """)
    project.write(".pytest_cache", "a file where a directory should be")
    result = project.run(options=OURS)
    assert result.code == 0, result.text
    assert result.noise == []
    assert result.lines("cache cannot be written", "answers and server logs are not kept")
