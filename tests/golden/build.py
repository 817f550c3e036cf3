"""Build a golden file from records of real runs: ``python -m tests.golden.build OUT RECORD…``.

Keeps a few gates of each kind and status, each with its data and with what the code at hand makes of it: the verdict,
the plan for the next run, and what damage it catches. Run it only to add runs: an existing file is the yardstick.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.mutation import mutation_test
from pytest_llmperf.record.gate_files import RecordedGate, load_gates
from pytest_llmperf.record.store import read_record

KEPT_OF_A_KIND = {"quantile": 2}
"""Gates kept of a kind, status and run: data of quantiles are large."""
MANY = 6


def golden_of(kept: RecordedGate) -> dict[str, Any]:
    """Return all numbers that the code at hand derives from one gate's data."""
    case = kept.gate
    verdict = case.judge()
    plan = case.forecast(verdict)
    tested = mutation_test(case, verdict.status)
    return {
        "status": verdict.status.value,
        "observed": verdict.observed,
        "interval": verdict.interval and list(verdict.interval),
        "bound": verdict.bound,
        "n": verdict.n,
        "n_needed": verdict.n_needed,
        "p_value": verdict.p_value,
        "candidate": verdict.candidate,
        "baseline": verdict.baseline,
        "plan": {
            "n": plan.n,
            "at_most": plan.at_most,
            "caught_often": plan.caught_often,
            "caught": plan.caught,
            "chances": plan.chances and dataclasses.asdict(plan.chances),
        },
        "mutation": {"result": tested.result.value, "smallest": tested.smallest},
    }


def read_golden(path: Path) -> Iterator[tuple[str, RecordedGate, dict[str, Any]]]:
    """Yield (run, gate with its data, expected numbers)."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            kept = RecordedGate(entry["test"], entry["expected"]["status"], gate_from_json(entry["case"]))
            yield entry["run"], kept, entry["expected"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("records", type=Path, nargs="+")
    asked = parser.parse_args()
    with gzip.GzipFile(asked.out, "wb", mtime=0) as file:
        for path in asked.records:
            seen: Counter[tuple[str, str]] = Counter()
            for kept in load_gates(path, read_record(path)):
                fields = kept.gate.to_json()
                key = (kept.gate.kind, kept.status.value)
                seen[key] += 1
                if seen[key] > KEPT_OF_A_KIND.get(kept.gate.kind, MANY):
                    continue
                entry = {"run": path.stem, "test": kept.test, "case": fields, "expected": golden_of(kept)}
                file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")


if __name__ == "__main__":
    main()
