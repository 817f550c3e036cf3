"""Kill any one, two or three parts of a run at random moments, again and again: does anything stay?

    python benchmarks/random_kills.py --trials 200                       # the stand-in with vLLM's family of processes
    python benchmarks/random_kills.py --trials 40 --engine-python PYTHON # real vLLM, tiny weights
    python benchmarks/random_kills.py --seed 17 --trials 1               # one trial again

Parts: pytest, the keeper, its guard, the API process, the engine core, a worker of it. A trial passes if ten seconds
after the kill nothing that the run had started is alive (found by a mark in the environment; pytest itself is killed
if it was not), no port is taken, and the record is absent or a whole one. Prints a line for every trial that fails,
then the counts, and exits with 1 if there was one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.record.store import read_record
from pytest_llmperf.serving import ports, processes

ROOT = Path(__file__).resolve().parents[1]
CLEAN_WITHIN_S = 10.0
SUITE = """
import time
def test_answers(candidate, stream):
    assert stream(candidate, "1 + 1?").ok
def test_share(candidate, accuracy):
    assert accuracy(candidate) >= 0.000001
def test_memory(candidate, memory):
    assert memory(candidate).peak <= 1e13
def test_waits(candidate):
    time.sleep(600)
"""
CATALOGUE = """
[profile.test]
says = "says nothing of a real model"
candidate = "row"
baseline = "row"
task = "embedded"
needs_cuda = false
[profile.test.model.row]
weights = {weights}
engine_python = {python}
arguments = ["--load-format", "dummy", "--enforce-eager"]
max_model_len = 2048
gpus = 0
"""


@dataclass(frozen=True)
class Trial:
    """One trial: what was killed when, and what was wrong afterwards (empty: nothing)."""

    seed: int
    parts: tuple[str, ...]
    after_s: float
    clean_s: float
    problem: str


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; each has its own")
    parser.add_argument("--engine-python", help="an interpreter with vLLM (default: the stand-in)")
    parser.add_argument("--weights", help="a directory (default: the shipped tiny-distill)")
    parser.add_argument(
        "--within", type=float, default=None, help="seconds after pytest's start: latest kill"
    )
    given = parser.parse_args()
    within_s = given.within or (120.0 if given.engine_python else 12.0)
    trials = []
    for seed in range(given.seed, given.seed + given.trials):
        trials.append(run_trial(seed, given.engine_python, given.weights, within_s))
        if trials[-1].problem:
            sys.stdout.write(f"{trials[-1]}\n")
            sys.stdout.flush()
    bad = [trial for trial in trials if trial.problem]
    slowest = max(trial.clean_s for trial in trials)
    sys.stdout.write(
        f"{len(trials)} trials, {len(bad)} left something; the slowest was clean after {slowest:.2f} s\n"
    )
    for count in (1, 2, 3):
        of_them = [trial for trial in trials if len(trial.parts) == count]
        sys.stdout.write(
            f"  {count} parts killed: {len(of_them)} trials, {sum(bool(t.problem) for t in of_them)} bad\n"
        )
    return int(bool(bad))


def run_trial(seed: int, python: str | None, weights: str | None, within_s: float) -> Trial:
    """One run of pytest in a directory of its own, killed at a random moment."""
    chance = random.Random(seed)
    count = chance.choice((1, 1, 2, 2, 3))
    after_s = chance.uniform(0.0, within_s)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        path = Path(name)
        mark = uuid.uuid4().hex
        process = _start(path, mark, python, weights)
        try:
            deadline = time.monotonic() + after_s
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.01)
            parts = _parts(process, mark)
            killed = chance.sample(sorted(parts), min(count, len(parts)))
            for part in killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(parts[part], signal.SIGKILL)
            at = time.monotonic()
            if "pytest" not in killed:
                # What a run makes of such a death is tested elsewhere; here it ends by itself, or with the next kill.
                time.sleep(chance.uniform(0.0, 1.0))
                process.kill()
                at = time.monotonic()
            process.wait(10)
            problem, clean_s = _what_is_left(path, mark, at)
            return Trial(seed, tuple(killed), after_s, clean_s, problem)
        finally:
            process.kill()
            process.wait(10)
            for pid in _marked(mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _start(path: Path, mark: str, python: str | None, weights: str | None) -> subprocess.Popen[bytes]:
    engine = python or str(ROOT / "tests" / "fakes" / "engine_python")
    (path / "test_kills.py").write_text(SUITE)
    (path / "budgets.toml").write_text("")
    (path / "pytest.ini").write_text("[pytest]\nllmperf_models = models.toml\n")
    place = json.dumps(weights or "embedded:tiny-distill")
    text = CATALOGUE.format(weights=place, python=json.dumps(engine))
    (path / "models.toml").write_text(
        text if python is None else text.replace('"--load-format", "dummy", ', "")
    )
    (path / "tmp").mkdir()
    environment = os.environ | {
        "TMPDIR": str(path / "tmp"),
        "KILLS_MARK": mark,
        "FAKE_ENGINE_INTERPRETER": sys.executable,
        "FAKE_ENGINE_START_S": "1",
        "FAKE_ENGINE_TPOT_S": "0.02",
        "FAKE_ENGINE_COUNTER": str(path / "ports"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "llmperf",
        "-p",
        "llmperf_model",
        "-p",
        "no:cacheprovider",
    ]
    with (path / "output.txt").open("wb") as output:
        return subprocess.Popen(
            [*command, "--llmperf-record", "record.json"],
            cwd=path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _marked(mark: str) -> list[int]:
    running = (process.pid for process in processes.table().values() if not process.is_over)
    return [pid for pid in running if processes.environment_has(pid, f"KILLS_MARK={mark}")]


def _parts(process: subprocess.Popen[bytes], mark: str) -> dict[str, int]:
    """Those that there are at this moment, by their places in the family."""
    table, parts = processes.table(), {"pytest": process.pid}
    marked = set(_marked(mark))
    keepers = [pid for pid in marked if b"serving.keeper" in _command_line(pid)]

    def children(pid: int) -> list[int]:
        return [one.pid for one in table.values() if one.parent == pid and one.pid in marked]

    for pid in keepers:
        if any(child in keepers for child in children(pid)):
            parts["guard"] = pid
        else:
            parts["keeper"] = pid
    above = parts.get("keeper")
    for part in ("API process", "engine core", "worker"):
        below = children(above) if above else []
        if not below:
            break
        above = parts[part] = below[-1]
    return parts


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return (processes.PROC / str(pid) / "cmdline").read_bytes()
    return b""


def _what_is_left(path: Path, mark: str, since: float) -> tuple[str, float]:
    """Problem that is left ten seconds after ``since`` (empty: none), and the seconds until all was right."""
    while (left := _marked(mark)) and time.monotonic() < since + CLEAN_WITHIN_S:
        time.sleep(0.02)
    seconds = time.monotonic() - since
    if left:
        names = [f"{pid} {_command_line(pid)[-60:]!r}" for pid in left]
        return f"processes: {', '.join(names)}", seconds
    taken = [line for line in _ports(path) if not ports.is_free(line)]
    if taken:
        return f"ports: {taken}", seconds
    record = path / "record.json"
    if record.exists():
        try:
            read_record(record)
        except Exception as error:
            return f"record: {error}", seconds
    return "", seconds


def _ports(path: Path) -> list[int]:
    counter = path / "ports"
    return [int(line) for line in counter.read_text().split()] if counter.exists() else []


if __name__ == "__main__":
    raise SystemExit(main())
