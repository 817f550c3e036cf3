"""What the plugin costs a project that has it installed and does not use it, in processor time of ``pytest
--collect-only`` on one empty test.

    python -m benchmarks.idle_plugin [--runs 20]

Each run is a process of its own that reads the clock of its processor time before the plugin is imported and after it
is registered (options, hooks, fixtures, markers), and at the end. Whole runs with the plugin and without it differ by
tens of milliseconds on a busy machine, more than the plugin costs. Bytecode is cached, as after an installation; the
first run fills the cache and is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_CONFTEST = """
import time

def pytest_configure(config):
    began = time.process_time()
    import pytest_llmperf.plugin, pytest_llmperf.model_option
    for module in (pytest_llmperf.plugin, pytest_llmperf.model_option):
        config.pluginmanager.register(module)
    config.llmperf_s = time.process_time() - began

def pytest_unconfigure(config):
    print("seconds", config.llmperf_s, time.process_time())
"""


def idle_costs(folder: Path, runs: int) -> list[tuple[float, float]]:
    """(processor time of the plugin, of the whole run) in seconds of each run; ``folder`` is empty."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    left_out = ("PYTEST_", "TOX_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-s", "-p", "no:cacheprovider"]
    costs = []
    for _ in range(1 + runs):
        done = subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True
        )
        told = next(line for line in done.stdout.splitlines() if line.startswith("seconds"))
        _, plugin_s, whole_s = told.split()
        costs.append((float(plugin_s), float(whole_s)))
    return costs[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as name:
        plugin, whole = zip(*idle_costs(Path(name), runs), strict=True)
    print(
        f"{runs} runs: the plugin takes {1e3 * min(plugin):.1f} ms at least, "
        f"{1e3 * statistics.median(plugin):.1f} ms in the median, of {1e3 * statistics.median(whole):.0f} ms of pytest "
        f"({100 * statistics.median(part / all_of_it for part, all_of_it in zip(plugin, whole, strict=True)):.1f} %)"
    )


if __name__ == "__main__":
    main()
