"""Speculation and prefix caching of one model on one GPU: a table of acceptance lengths, times and hits.

    python -m benchmarks.smollm2 --out MODEL
    python -m benchmarks.gpu_speculation --weights MODEL --out OUT
    python -m benchmarks.gpu_speculation --weights embedded:tiny-distill --out OUT --cpu --rounds 8

Starts all rows at the same time: the plain model, one that speculates with n-grams, the same again, one whose lookup is
crippled (a single token, which drafts often and matches seldom), and one without a prefix cache. Measures, with
synthetic prompts at one concurrency:

* the acceptance length of the other speculating rows over that of ``ngram``, in the same rounds;
* TPOT of ``ngram`` over that of ``plain``: does speculation pay;
* the share of the second turn's prompts that the prefix cache had, with and without it, and the turn's TTFT.

Writes ``OUT/speculation.md`` and ``OUT/speculation.json`` after each line: what comes after ``--seconds`` is left out.
It reads the server's counters, so that vLLM 0.26 is new enough.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.catalogue_row import catalogue_row
from benchmarks.gpu_fidelity import NGRAM, ON_CPU, ON_GPU
from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import LlmperfError, first_line
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.measure.load_results import LoadResult
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import placement
from pytest_llmperf.units import format_interval, format_value

PLAIN = "plain"
CRIPPLED = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 1, "prompt_lookup_min": 1}'
ROWS: dict[str, Sequence[str]] = {
    PLAIN: (),
    "ngram": ("--speculative-config", NGRAM),
    "ngram-again": ("--speculative-config", NGRAM),
    "crippled": ("--speculative-config", CRIPPLED),
    "no-cache": ("--no-enable-prefix-caching",),
}
"""By name, the arguments that a row adds."""
HEADER = "| measured | of | value | interval | bound | verdict |\n|---|---|---:|---|---:|---|"
TURNS = 3


def catalogue(weights: str, given: argparse.Namespace) -> str:
    """``models.toml`` with one profile of these rows."""
    where = weights if weights.startswith("embedded:") else str(Path(weights).absolute())
    lines = [
        "[profile.speculation]",
        f'candidate = "{PLAIN}"',
        f'baseline = "{PLAIN}"',
        'task = "embedded"',
        f"needs_cuda = {str(not given.cpu).lower()}",
        "[profile.speculation.sizes]",
        f"rounds = {given.rounds}",
        f"prompt_tokens = {64 if given.cpu else 512}",
        f"answer_tokens = {given.length}",
    ]
    for name, arguments in ROWS.items():
        common = [*ON_CPU, "--block-size", "32"] if given.cpu else [*ON_GPU]
        row = {
            "weights": where,
            # A processor without AVX-512 has no fast product of bfloat16.
            "dtype": "float32" if given.cpu else "bfloat16",
            "max_model_len": 1024 if given.cpu else 2048,
            "arguments": [*common, *arguments],
        }
        lines += catalogue_row(
            "speculation",
            name,
            row,
            cpu=given.cpu,
            sampling={"max_tokens": 512, "temperature": 0.0},
            rules={"protocol": "chat"},
        )
    return "\n".join(lines) + "\n"


class Bench:
    """The servers, and a line of the table for each gate."""

    def __init__(self, measurements: Measurements, given: argparse.Namespace) -> None:
        self._measurements, self._given = measurements, given
        self._load = Questions(measurements, lambda gate: Judgement(gate.settled().judge(), "warn")).load
        self.lines: list[str] = []
        self.verdicts: list[dict[str, Any]] = []

    def gates(self, served: dict[str, Served]) -> list[tuple[str, Callable[[], Judgement]]]:
        """What is measured, in order, with the rows that started."""
        found: list[tuple[str, Callable[[], Judgement]]] = []
        if {"ngram", PLAIN} <= served.keys():
            found.append(("ngram over plain", partial(self._tpot, served["ngram"], served[PLAIN])))
        for row in ("ngram-again", "crippled"):
            if {"ngram", row} <= served.keys():
                sides = served[row], served["ngram"]
                found.append((f"{row} over ngram", partial(self._acceptance, *sides, "acceptance_length")))
                found.append((f"{row} over ngram", partial(self._acceptance, *sides, "acceptance_rate")))
        for row in (PLAIN, "no-cache"):
            if row in served:
                found.append((row, partial(self._cached, served[row])))
                found.append((row, partial(self._first_token, served[row])))
        return found

    def _tpot(self, candidate: Served, baseline: Served) -> Judgement:
        pair = self._load.interleaved(candidate, baseline, concurrency=self._given.concurrency)
        judged: Judgement = pair.tpot.ratio <= 1.0
        return judged

    def _acceptance(self, candidate: Served, baseline: Served, metric: str) -> Judgement:
        pair = self._load.interleaved(candidate, baseline, concurrency=self._given.concurrency)
        judged: Judgement = getattr(pair, metric).ratio >= 0.95
        return judged

    def _cached(self, served: Served) -> Judgement:
        judged: Judgement = self._second_turn(served).cached_share >= 0.8
        return judged

    def _first_token(self, served: Served) -> Judgement:
        judged: Judgement = self._second_turn(served).ttft.p50 <= 1.0
        return judged

    def _second_turn(self, served: Served) -> LoadResult:
        given = self._given
        held = self._load.conversations(served, users=given.concurrency, turns=TURNS, rounds=given.rounds)
        return held.turn(2)

    def measure(self, what: str, ask: Callable[[], Judgement]) -> None:
        """Add the line of one gate."""
        try:
            verdict = ask().verdict
        except LlmperfError as error:
            self.failed(what, first_line(error))
            return
        self.verdicts.append({"of": what, **dataclasses.asdict(verdict)})
        self.lines.append(f"| {' | '.join(_cells(what, verdict))} |")

    def failed(self, what: str, why: str) -> None:
        """Add the line of what was not measured."""
        self.verdicts.append({"of": what, "error": why})
        self.lines.append(f"| — | {what} | not measured: {why} | | | |")

    def write(self, out: Path) -> None:
        """Both files, with the lines that are there."""
        given, facts = self._given, self._measurements.facts()
        said = (
            f"{self._measurements.settings.device_name}; "
            f"{', '.join(sorted(set(self._measurements.engines().values())))}; {given.rounds} rounds of "
            f"{given.concurrency} requests, {given.length} tokens an answer"
        )
        (out / "speculation.md").write_text("\n".join((said, "", HEADER, *self.lines, "")), encoding="utf-8")
        whole = {"device": facts["device"], "servers": facts["servers"], "gates": self.verdicts}
        (out / "speculation.json").write_text(json.dumps(whole, default=str, indent=1), encoding="utf-8")


def _cells(what: str, verdict: Verdict) -> tuple[str, ...]:
    if verdict.observed is None:
        return verdict.metric, what, "—", verdict.why, "", verdict.status.value
    levels = [verdict.candidate, verdict.baseline]
    of = " / ".join(format_value(level, verdict.level_unit) for level in levels if level is not None)
    return (
        verdict.metric,
        f"{what} ({of})" if of else what,
        format_value(verdict.observed, verdict.unit),
        format_interval(verdict.interval, verdict.unit),
        format_value(verdict.bound, verdict.unit),
        verdict.status.value,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--cpu", action="store_true", help="to try it without a GPU")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="default: all")
    parser.add_argument("--seconds", type=float, default=330.0, help="begin no line later")
    given = parser.parse_args()
    ends_at = time.monotonic() + given.seconds
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        models = Path(directory) / "models.toml"
        models.write_text(catalogue(given.weights, given), encoding="utf-8")
        budgets = Path(directory) / "budgets.toml"
        budgets.write_text("", encoding="utf-8")
        names = tuple(given.row or ROWS)
        options = Options(models=models, budgets=budgets, model=names, full=True)
        device = (None, "CPU") if given.cpu else placement.first_device()
        measurements = Measurements(resolve(options, *device), Path(directory) / "state", print)
        bench = Bench(measurements, given)
        rows = [measurements.served(model) for model in measurements.settings.candidates]
        try:
            with ThreadPoolExecutor(len(rows)) as pool:
                troubles = list(pool.map(_trouble, rows))
            for row, trouble in zip(rows, troubles, strict=True):
                print(f"{row.name}: {trouble or 'started'}", flush=True)
                if trouble:
                    bench.failed(row.name, trouble)
            up = {row.name: row for row, trouble in zip(rows, troubles, strict=True) if not trouble}
            for what, ask in bench.gates(up):
                if time.monotonic() > ends_at:
                    bench.failed(what, f"{given.seconds:g} s are over")
                else:
                    bench.measure(what, ask)
                bench.write(given.out)
                print(bench.lines[-1], flush=True)
        finally:
            for trouble in measurements.close():
                print(trouble, flush=True)


def _trouble(row: Served) -> str:
    """Why the server did not start; empty if it did."""
    try:
        row.running()
    except LlmperfError as error:
        return first_line(error)
    return ""


if __name__ == "__main__":
    main()
