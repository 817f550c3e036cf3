"""Count the modules that one gate enters: from the test's start to the verdict in the report.

    python benchmarks/walked_modules.py            # counts by room, and the number without serving and page
    python benchmarks/walked_modules.py --list     # the modules too

Runs ``accuracy(candidate) >= accuracy(baseline) - points(3)`` on the embedded task against the tests' stand-in for
vLLM. A module counts if a function of it is called in pytest's own process while the test runs or after it; imports
alone do not count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUITE = """
from pytest_llmperf import points
def test_not_worse(candidate, baseline, accuracy):
    assert accuracy(candidate) >= accuracy(baseline) - points(3)
"""
ROW = """
[profile.test.model.{name}]
weights = "embedded:tiny-{name}"
engine_python = "{python}"
arguments = ["--enforce-eager"]
max_model_len = 2048
gpus = 0
"""
CATALOGUE = """
[profile.test]
candidate = "distill"
baseline = "math"
task = "embedded"
needs_cuda = false
[profile.test.sizes]
items = 40
"""
TRACER = """
import sys, threading
import pytest
import pytest_llmperf
HOME = pytest_llmperf.__path__[0] + "/"
entered, on = set(), []
def profile(frame, event, arg):
    code = frame.f_code
    if on and event == "call" and code.co_name != "<module>" and code.co_filename.startswith(HOME):
        entered.add(code.co_filename[len(HOME):])
threading.setprofile(profile)
sys.setprofile(profile)
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    on.append(True)
@pytest.hookimpl(trylast=True)
def pytest_unconfigure():
    sys.setprofile(None)
    with open("entered.txt", "w") as file:
        file.write("\\n".join(sorted(entered)))
"""
ASIDE = ("serving", "engines", "report/html", "report/plots")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the modules too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        python = ROOT / "tests" / "fakes" / "engine_python"
        rows = "".join(ROW.format(name=name, python=python) for name in ("distill", "math"))
        (path / "models.toml").write_text(CATALOGUE + rows)
        (path / "budgets.toml").write_text("")
        (path / "pytest.ini").write_text("[pytest]\nllmperf_models = models.toml\n")
        (path / "test_gate.py").write_text(SUITE)
        (path / "walk_tracer.py").write_text(TRACER)
        environment = os.environ | {
            "FAKE_ENGINE_INTERPRETER": sys.executable,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([directory, str(ROOT)]),
        }
        plugins = [word for name in ("walk_tracer", "llmperf", "llmperf_model") for word in ("-p", name)]
        command = [sys.executable, "-m", "pytest", "-q", *plugins, "--llmperf-full"]
        done = subprocess.run(
            command, cwd=path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if not (path / "entered.txt").exists() or "not_worse" not in done.stdout:
            print(done.stdout, done.stderr, sep="\n")
            return 1
        entered = (path / "entered.txt").read_text().split()
    rooms = Counter(module.rpartition("/")[0] or "." for module in entered)
    for room, count in sorted(rooms.items()):
        print(f"{count:4d}  {room}")
    walk = [module for module in entered if not module.startswith(ASIDE)]
    print(f"{len(entered):4d}  in all; {len(walk)} without {', '.join(ASIDE)}")
    if given.list:
        print("\n".join(walk))
    return 0


if __name__ == "__main__":
    sys.exit(main())
