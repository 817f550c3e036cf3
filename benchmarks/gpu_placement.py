"""One row against itself on two GPUs: the time of both starts, and the ratios of speed with the sides exchanged.

    python -m benchmarks.gpu_placement --weights MODEL --out OUT

Two rows that are the same stand apart (``placement = "apart"``). Measures

* the wall time of one start alone and of both at once, compilation caches warm: need at most 1.15 × as long;
* the ratios of TPOT, TTFT, end-to-end latency and throughput over ``--starts`` pairs of starts, between which the sides
  change GPUs: need an interval within ±2 % of 1.

Writes ``OUT/placement.md`` and ``OUT/placement.json``. Exit code 1 if something is not as needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import LlmperfError, first_line
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.serving import placement
from pytest_llmperf.units import format_interval, format_value

AT_ONCE = 1.15
"""Most that two starts at once may take, as a multiple of one."""
WITHIN = 0.02
METRICS = ("tpot", "ttft", "e2el", "throughput")
HEADER = "| measured | value | interval | need | verdict |\n|---|---:|---|---|---|"


def catalogue(given: argparse.Namespace) -> str:
    """``models.toml`` with two rows that are the same server."""
    where = given.weights if ":" in given.weights else str(Path(given.weights).absolute())
    row: dict[str, Any] = {
        "weights": where,
        "max_model_len": 2048,
        "gpus": given.gpus,
        "gpu_memory_fraction": 0.9,
        "ready_timeout": "330 s",
        "arguments": [*given.argument],
    }
    if given.gpus > 1:
        row["arguments"] += ["--tensor-parallel-size", str(given.gpus)]
    if given.engine_python:
        row["engine_python"] = str(Path(given.engine_python).absolute())
    return "\n".join(
        [
            "[profile.placement]",
            'candidate = "one"',
            'baseline = "other"',
            "needs_cuda = true",
            'placement = "apart"',
            "[profile.placement.sizes]",
            f"rounds = {given.rounds}",
            "prompt_tokens = 512",
            f"answer_tokens = {given.length}",
            "[profile.placement.model.other]",
            *(f"{key} = {json.dumps(value)}" for key, value in row.items()),
            "[profile.placement.model.one]",
            'extends = "other"',
            "",
        ]
    )


def measurements(given: argparse.Namespace, directory: Path, name: str, *, pair: bool) -> Measurements:
    """A run with a state directory ``name`` of its own; ``pair``: it starts both rows, and not the candidate alone."""
    models, budgets = directory / "models.toml", directory / "budgets.toml"
    models.write_text(catalogue(given), encoding="utf-8")
    budgets.write_text("", encoding="utf-8")
    options = Options(models=models, budgets=budgets, full=True, starts=given.starts)
    made = Measurements(resolve(options, *placement.first_device()), directory / name, lambda _: None)
    made.will_need_baseline = pair
    return made


def started_within_s(run: Measurements) -> float:
    """Wall time until every server that the run starts is ready."""
    began = time.monotonic()
    run.memory(run.served(run.settings.candidates[0]))
    if run.will_need_baseline:
        run.memory(run.served(run.settings.baseline))
    return time.monotonic() - began


def one_start_s(given: argparse.Namespace, directory: Path) -> float:
    """Wall time of the second start of one server: the first one fills the caches of compilation."""
    for name in ("first", "second"):
        run = measurements(given, directory, name, pair=False)
        try:
            took = started_within_s(run)
        finally:
            _complain(run.close())
    return took


def ratios(given: argparse.Namespace, run: Measurements) -> list[Verdict]:
    """For each metric, whether the ratio is at most 1 + :data:`WITHIN`, and at least 1 − :data:`WITHIN`."""
    load = Questions(run, lambda gate: Judgement(gate.settled().judge(), "warn")).load
    sides = run.served(run.settings.candidates[0]), run.served(run.settings.baseline)
    pair = load.interleaved(*sides, concurrency=given.concurrency)
    found = []
    for metric in METRICS:
        ratio = getattr(pair, metric).ratio
        found += [(ratio <= 1.0 + WITHIN).verdict, (ratio >= 1.0 - WITHIN).verdict]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--starts", default="4", help="pairs of starts; an even number cancels the GPUs' difference"
    )
    parser.add_argument("--rounds", type=int, default=48, help="of all starts together")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--gpus", type=int, default=1, help="of each side, by tensor parallelism")
    parser.add_argument(
        "--argument", action="append", default=[], help="of the engine, such as =--enforce-eager"
    )
    parser.add_argument("--engine-python", help="interpreter with vLLM (default: this one)")
    given = parser.parse_args(arguments)
    given.starts = int(given.starts)
    given.out.mkdir(parents=True, exist_ok=True)
    lines, verdicts = [], []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        try:
            alone_s = one_start_s(given, directory)
            run = measurements(given, directory, "both", pair=True)
        except LlmperfError as error:
            print(first_line(error), file=sys.stderr)
            return 1
        try:
            both_s = started_within_s(run)
            good = both_s <= AT_ONCE * alone_s
            lines.append(
                f"| both starts at once over one ({both_s:.1f} s / {alone_s:.1f} s) | ×{both_s / alone_s:.2f} | | "
                f"≤ ×{AT_ONCE} | {'PASS' if good else 'FAIL'} |"
            )
            verdicts = ratios(given, run)
            lines += [_line(verdict) for verdict in verdicts]
            facts, engines = run.facts(), ", ".join(sorted(set(run.engines().values())))
            said = f"{run.settings.device_name}; {engines}; {given.starts} pairs of starts"
        except LlmperfError as error:
            print(first_line(error), file=sys.stderr)
            return 1
        finally:
            _complain(run.close())
    (given.out / "placement.md").write_text("\n".join((said, "", HEADER, *lines, "")), encoding="utf-8")
    whole = {
        "device": facts["device"],
        "alone_s": alone_s,
        "both_s": both_s,
        "servers": facts["servers"],
        "gates": [dataclasses.asdict(verdict) for verdict in verdicts],
    }
    (given.out / "placement.json").write_text(json.dumps(whole, default=str, indent=1), encoding="utf-8")
    print("\n".join((said, *lines)))
    return int(not good or any(verdict.status is not Status.PASS for verdict in verdicts))


def _line(verdict: Verdict) -> str:
    sign = "≥" if verdict.bound is not None and verdict.bound < 1.0 else "≤"
    cells = (
        verdict.metric,
        "—" if verdict.observed is None else format_value(verdict.observed, verdict.unit),
        format_interval(verdict.interval, verdict.unit),
        f"{sign} {format_value(verdict.bound, verdict.unit)}",
        verdict.status.value,
    )
    return f"| {' | '.join(cells)} |"


def _complain(troubles: Sequence[str]) -> None:
    for trouble in troubles:
        print(trouble, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
