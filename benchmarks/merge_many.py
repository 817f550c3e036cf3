"""Merge the records of many shards: how long does it take, how much memory, how large is the page?

    python benchmarks/merge_many.py --shards 200

One run of the stand-in for vLLM gives a record (six gates over 300 items of both sides, a load of both in 12 rounds).
Its copies are the shards, each with tests and tasks of its own. ``pytest-llmperf merge`` runs as a process, and its
wall time, processor time and largest resident memory are told, with the exit code and the size of what it wrote. Exit
code 1 if the merge is not green or one figure is above its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_llmperf.record.store import read_record, write_record
from pytest_llmperf.record.tables import ANSWERS, CASES, TOKENS, TRACES, load_table, store_table

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"wall_s": 10.0, "memory_bytes": 1e9, "page_bytes": 5e6}
ITEMS = 300
SUITE = """
from pytest_llmperf import points
def test_floor(candidate, accuracy):
    assert accuracy(candidate) >= 0.5
def test_not_worse(candidate, baseline, accuracy):
    assert accuracy(candidate) >= accuracy(baseline) - points(8)
def test_boxed(candidate, answers):
    assert answers(candidate).boxed >= 0.5
def test_empty(candidate, answers):
    assert answers(candidate).empty <= 0.1
def test_memory(candidate, memory):
    assert memory(candidate).peak <= 1e13
def test_speed(candidate, baseline, load):
    assert load.interleaved(candidate, baseline, concurrency=4).e2el.ratio <= 3.0
"""
CATALOGUE = """
[profile.test]
candidate = "distill"
baseline = "math"
task = "embedded"
needs_cuda = false
[profile.test.sizes]
items = {items}
rounds = 12
answer_tokens = 8
[profile.test.model.base]
weights = "embedded:tiny-distill"
engine_python = {python}
arguments = ["--load-format", "dummy", "--enforce-eager"]
max_model_len = 2048
gpus = 0
[profile.test.model.base.environment]
FAKE_ENGINE_ANSWERS = {answers}
[profile.test.model.distill]
extends = "base"
[profile.test.model.math]
extends = "base"
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="merge-") as name:
        path = Path(name)
        record = one_run(path)
        told = json.loads(record.read_text(encoding="utf-8"))
        shards = [copy(record, told, number, given.shards, path) for number in range(1, given.shards + 1)]
        found = measured(shards, path / "merged.json")
        sys.stdout.write("".join(f"{key}: {value:,}\n" for key, value in found.items()))
    late = [key for key, limit in LIMITS.items() if found[key] > limit]
    sys.stdout.write(f"above the limit: {', '.join(late) or 'nothing'}\n")
    return int(bool(late) or found["exit_code"] != 0)


def one_run(path: Path) -> Path:
    """The record of one run of the suite as its only shard."""
    (path / "test_gates.py").write_text(SUITE)
    (path / "budgets.toml").write_text("")
    (path / "pytest.ini").write_text("[pytest]\nllmperf_models = models.toml\n")
    reply = "Adding.</think>" + r"It is \boxed{4}. " * 8
    (path / "answers.py").write_text(
        f"def answer(request):\n    return {{'text': {reply!r}, 'finish_reason': 'stop'}}\n"
    )
    python = json.dumps(str(ROOT / "tests" / "fakes" / "engine_python"))
    answers = json.dumps(str(path / "answers.py"))
    (path / "models.toml").write_text(CATALOGUE.format(items=ITEMS, python=python, answers=answers))
    environment = os.environ | {
        "FAKE_ENGINE_INTERPRETER": sys.executable,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    plugins = ("-p", "llmperf", "-p", "llmperf_model", "-p", "no:cacheprovider")
    options = (
        "--llmperf-shard",
        "1/1",
        "--llmperf-order",
        "1",
        "--llmperf-record",
        "whole.json",
        "--llmperf-full",
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *options], cwd=path, env=environment, check=False
    )
    return path / "whole.json"


def copy(source: Path, told: dict[str, Any], number: int, of: int, directory: Path) -> Path:
    """The record of shard ``number``, whose tests and tasks are its own; every gate passes."""
    out = directory / f"shard-{number}.json"
    record = read_record(source)

    def test(name: str, shard: int = number) -> str:
        return name.replace("test_gates.py", f"test_gates_{shard:03}.py")

    fields: dict[str, Any] = {key: value for key, value in told.items() if key != "schema"}
    every = [test(name, shard) for shard in range(1, of + 1) for name in told["suite"]["tests"]]
    fields["shard"] = {"number": number, "of": of, "suite": told["suite"] | {"tests": every}}
    for key in ("tests", "verdicts"):
        fields[key] = [entry | {"test": test(entry["test"])} for entry in told[key]]
    fields["verdicts"] = [entry | {"status": "PASS"} for entry in fields["verdicts"]]
    fields["tests"] = [entry | {"outcome": "passed"} for entry in fields["tests"]]
    fields["run"] = told["run"] | {"status": "PASS", "green": True, "problems": [], "failures": []}
    fields["answers"] = [entry | {"task": f"task-{number:03}"} for entry in told["answers"]]
    fields["load"] = [entry | {"concurrency": number} for entry in told["load"]]
    cases = [
        row | {"test": test(row["test"]), "status": "PASS"} for row in load_table(source, record.cases, CASES)
    ]
    answers = [
        row | {"task": f"task-{number:03}"} for row in load_table(source, record.answers_file, ANSWERS)
    ]
    traces = [row | {"concurrency": number} for row in load_table(source, record.traces_file, TRACES)]
    fields[CASES.key] = store_table(out, CASES, cases)
    fields[ANSWERS.key] = store_table(out, ANSWERS, answers)
    fields[TRACES.key] = store_table(out, TRACES, traces)
    tokens = load_table(source, record.tokens_file, TOKENS)
    fields[TOKENS.key] = store_table(out, TOKENS, tokens)
    write_record(out, fields)
    return out


def measured(shards: list[Path], out: Path) -> dict[str, float]:
    """Figures of the merge, which runs as a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest_llmperf",
            "merge",
            *map(str, shards),
            "--out",
            str(out),
            "--references",
            "none",
        ],
        stdout=subprocess.DEVNULL,
        cwd=out.parent,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    merged = read_record(out)
    return {
        "wall_s": round(time.perf_counter() - began, 2),
        "processor_s": round(used.ru_utime + used.ru_stime, 2),
        "memory_bytes": used.ru_maxrss * 1024,
        "page_bytes": out.with_suffix(".html").stat().st_size,
        "record_bytes": out.stat().st_size,
        "shards": len(merged.shards),
        "gates": len(merged.verdicts),
        "answers": merged.answers_file.count if merged.answers_file else 0,
        "requests": merged.traces_file.count if merged.traces_file else 0,
        "exit_code": process.returncode,
    }


if __name__ == "__main__":
    sys.exit(main())
