"""Error rates of every gate and of the rules of other tools: simulated with fixed seeds, published in docs/.

    python -m benchmarks.operating_characteristics                 everything, some minutes on two cores
    python -m benchmarks.operating_characteristics --only early    one table, printed and not stored
    python -m benchmarks.operating_characteristics --only starts --store     one table renewed among the stored ones

Writes ``benchmarks/operating_characteristics.json`` and ``docs/statistics-tables.md``. Real paired answers are read
from ``../shared/data/gsm8k/example_model_solutions.jsonl`` (openai/grade-school-math); without the file their rows
are left out, and that is said.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.characteristics import (
    answer_tables,
    early_tables,
    look_tables,
    noise_tables,
    pages,
    paired_tables,
    server_tables,
    share_tables,
    speed_tables,
    suite_tables,
    tail_tables,
)
from benchmarks.characteristics.table import Inputs, Maker, Row, Table, Target
from benchmarks.repeats import code_version

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "operating_characteristics.json"
PAGE = ROOT / "docs" / "statistics-tables.md"
OUTCOMES = Path("../shared/data/gsm8k/example_model_solutions.jsonl")
SEED, RUNS = 20261123, 4000
MAKERS: Mapping[str, Maker] = {
    "equal": paired_tables.equal,
    "planned": paired_tables.planned,
    "boundary": paired_tables.boundary,
    "loss": paired_tables.loss,
    "early": early_tables.early,
    "floors": share_tables.floors,
    "sampled": share_tables.sampled,
    "families": answer_tables.families,
    "zeros": answer_tables.zeros,
    "lost": answer_tables.lost,
    "server": server_tables.server,
    "speed": speed_tables.speed,
    "slowdown": speed_tables.slowdown,
    "lasting": speed_tables.lasting,
    "starts": speed_tables.starts,
    "noise": noise_tables.noise,
    "tails": tail_tables.tails,
    "grouped": tail_tables.grouped,
    "looks": look_tables.looks,
    "suite-embedded": suite_tables.embedded,
    "power-embedded": suite_tables.embedded_damaged,
    "suite-gpu": suite_tables.gpu,
    "power-gpu": suite_tables.gpu_damaged,
}
COUNTS_ONLY = {"equal": 3, "planned": 2, "boundary": 5, "loss": 5, "floors": 5, "slowdown": 2}
"""Cells that cost little get as many times the runs."""
BY_GATE = {"families": 8, "noise": 4, "server": 4, "zeros": 4}
"""Runs of these go through the gate itself, which takes 4 to 30 ms: as many times fewer."""


def _runs_of(name: str, runs: int) -> int:
    return max(1, runs * COUNTS_ONLY.get(name, 1) // BY_GATE.get(name, 1))


def make(name: str, runs: int, seed: int, outcomes: Path | None) -> tuple[Table, float]:
    """One table, and its seconds of a processor. Its random numbers depend on its name and the seed alone."""
    began = time.process_time()
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return MAKERS[name](Inputs(_runs_of(name, runs), rng, outcomes)), time.process_time() - began


def stored(tables: Sequence[Table], facts: Mapping[str, str]) -> dict[str, Any]:
    """The content of the result file."""
    return {"facts": dict(facts), "tables": [asdict(table) for table in tables]}


def restored(result: Mapping[str, Any]) -> tuple[list[Table], dict[str, str]]:
    """Tables and facts from the result file."""
    tables = [
        Table(
            one["name"],
            one["title"],
            one["says"],
            [Row(**entry) for entry in one["rows"]],
            [Target(**target) for target in one["targets"]],
            one.get("made", ""),
        )
        for one in result["tables"]
    ]
    return tables, dict(result["facts"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Make, print and store; 1 when a figure was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated runs a cell, at least")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", choices=sorted(MAKERS), action="append", help="make these tables and print them"
    )
    parser.add_argument(
        "--store", action="store_true", help="with --only: renew these among the stored tables"
    )
    chosen = parser.parse_args(arguments)
    outcomes = (ROOT / OUTCOMES).resolve()
    real = outcomes if outcomes.is_file() else None
    if real is None:
        print(f"no {OUTCOMES}: the rows of real outcomes are left out", file=sys.stderr)
    names = chosen.only or list(MAKERS)
    today, code, began = datetime.now(UTC).date().isoformat(), code_version(), time.monotonic()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        futures = {name: pool.submit(make, name, chosen.runs, chosen.seed, real) for name in names}
        tables = []
        for name, future in futures.items():
            table, seconds = future.result()
            print(f"{name}: {seconds:.0f} s", file=sys.stderr)
            made = f"`python -m benchmarks.operating_characteristics --only {name} --store`, {today}, code {code}"
            tables.append(replace(table, made=f"{made}, {seconds:.0f} s of a processor"))
    facts = {
        "command": "`python -m benchmarks.operating_characteristics`",
        "date": today,
        "Python": f"{platform.python_version()}, numpy {np.__version__}",
        "seed": f"{chosen.seed} and the table's name; {chosen.runs} runs a cell or more",
        "took": f"{(time.monotonic() - began) / 60:.1f} minutes with {chosen.jobs} processes",
        "real outcomes": f"`{OUTCOMES}`" if real else "left out, the file is missing",
    }
    if chosen.only and chosen.store:
        kept, facts = restored(json.loads(RESULT.read_text(encoding="utf-8")))
        known = {table.name: table for table in (*kept, *tables)}
        tables = [known[name] for name in MAKERS if name in known]
    if chosen.only and not chosen.store:
        print(pages.page(tables, facts))
    else:
        RESULT.write_text(
            json.dumps(stored(tables, facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        PAGE.write_text(pages.page(tables, facts), encoding="utf-8")
        print(pages.targets(tables))
    return 0 if all(target.reached for table in tables for target in table.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
