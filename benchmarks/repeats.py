"""Rate of right verdicts of the gate on real vLLM: the embedded profile, run again and again.

    python -m benchmarks.repeats --runs 20            in the environment of the suites (tox run -e suites --notest)

Three questions in turn, so that whatever drifts on the machine meets all of them: the candidate against itself (all
suites; nothing may be red), ``distill-damaged`` (accuracy must be red), ``distill-slow`` (speed must be red); twice as
many runs of the first. Each run adds a line to ``docs/evidence/repeats.jsonl``, so that it can be interrupted and
gone on with, and ``docs/evidence/repeats.md`` is written anew from all lines.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINES = ROOT / "docs" / "evidence" / "repeats.jsonl"
PAGE = ROOT / "docs" / "evidence" / "repeats.md"
CODE = ("pytest_llmperf", "suites", "pyproject.toml")
"""Paths that a result depends on: lines of other code are of another gate."""


@dataclass(frozen=True)
class Question:
    """One way of running the suites, and what must be said of it."""

    name: str
    arguments: tuple[str, ...]
    red: str
    """Part of the metrics' names of which at least one must be FAIL; empty: nothing may be red."""


QUESTIONS = (
    Question("distill against itself", ("suites/", "--model", "distill", "--baseline", "distill"), ""),
    Question("distill-damaged", ("suites/test_accuracy.py", "--model", "distill-damaged"), "accuracy"),
    Question(
        "distill-slow",
        ("suites/test_latency.py", "suites/test_throughput.py", "--model", "distill-slow"),
        "TPOT",
    ),
)


def run_once(question: Question) -> dict[str, Any]:
    """One run of pytest, as a line."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory) / "record.json"
        options = (
            "-q",
            "-p",
            "no:cacheprovider",
            "--llmperf-profile",
            "embedded",
            "--llmperf-record",
            str(record),
        )
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", *question.arguments, *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        verdicts = json.loads(record.read_text())["verdicts"] if record.exists() else []
    return {
        "question": question.name,
        "code": code_version(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "exit": done.returncode,
        "seconds": round(time.monotonic() - began),
        "summary": done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:],
        "statuses": dict(Counter(one["status"] for one in verdicts)),
        "not_pass": [f"{one['status']} {one['metric']}" for one in verdicts if one["status"] != "PASS"],
    }


def code_version() -> str:
    """Hash of what git tracks of the code that decides, as it lies in the working tree."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *CODE], cwd=ROOT, capture_output=True, check=True
    ).stdout
    hashes = subprocess.run(
        ["git", "hash-object", "--stdin-paths"],
        cwd=ROOT,
        input=tracked.replace(b"\0", b"\n"),
        capture_output=True,
        check=True,
    ).stdout
    done = subprocess.run(
        ["git", "hash-object", "--stdin"], cwd=ROOT, input=hashes, capture_output=True, check=True
    )
    return done.stdout.decode()[:12]


def is_right(question: Question, line: dict[str, Any]) -> bool:
    """True if a run said what it should."""
    if not question.red:
        return bool(line["exit"] == 0)
    named = any(one.startswith("FAIL") and question.red in one for one in line["not_pass"])
    return bool(line["exit"] == 1) and named


def page(lines: Sequence[dict[str, Any]]) -> str:
    """The page from all lines: a table for each version of the code, the last one first."""
    last = {line["code"]: line["date"] for line in sorted(lines, key=lambda line: str(line["date"]))}
    text = [
        "# The embedded profile on real vLLM, again and again",
        "",
        "Written by `python -m benchmarks.repeats`; one line a run in [repeats.jsonl](repeats.jsonl).",
        "vLLM on the CPU, 2 cores, no GPU. A version of the code is a hash of the package and the suites.",
    ]
    for code in sorted(last, key=last.__getitem__, reverse=True):
        text += ["", *section([line for line in lines if line["code"] == code], code)]
    return "\n".join(text) + "\n"


def section(mine: Sequence[dict[str, Any]], code: str) -> list[str]:
    """Lines on the results of one version of the code."""
    dates = sorted(line["date"] for line in mine)
    text = [
        f"## Code {code}, {dates[0]} to {dates[-1]} (UTC)",
        "",
        "| question | must be | runs | as it must be | seconds a run | what else was not PASS |",
        "|---|---|---:|---:|---|---|",
    ]
    for question in QUESTIONS:
        runs = [line for line in mine if line["question"] == question.name]
        if not runs:
            continue
        right = sum(is_right(question, line) for line in runs)
        seconds = sorted(line["seconds"] for line in runs)
        others = Counter(one for line in runs for one in line["not_pass"])
        said = ", ".join(f"{one} ({count})" for one, count in others.most_common()) or "nothing"
        must = f"red, naming {question.red}" if question.red else "green"
        spread = f"{seconds[0]} to {seconds[-1]}"
        text.append(f"| {question.name} | {must} | {len(runs)} | {right} | {spread} | {said} |")
    return text


def stored() -> list[dict[str, Any]]:
    """All lines so far."""
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=20, help="runs against itself; half as many of each planted one"
    )
    wanted = parser.parse_args(arguments).runs
    code = code_version()
    goals = [wanted, wanted // 2, wanted // 2]
    while True:
        lines = stored()
        counts = [
            sum(1 for one in lines if (one["question"], one["code"]) == (q.name, code)) for q in QUESTIONS
        ]
        left = [
            (count / max(goal, 1), i)
            for i, (count, goal) in enumerate(zip(counts, goals, strict=True))
            if count < goal
        ]
        if not left:
            break
        question = QUESTIONS[min(left)[1]]
        line = run_once(question)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        PAGE.write_text(page(stored()), encoding="utf-8")
        print(
            f"{question.name}: {'as it must be' if is_right(question, line) else 'WRONG'}, {line['summary']}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
