"""Fidelity of the changes that an engine offers, on one GPU: a table of divergence, noise and verdict.

    python -m benchmarks.smollm2 --out MODEL
    python -m benchmarks.gpu_fidelity --weights MODEL --out OUT
    python -m benchmarks.gpu_fidelity --weights MODEL --out OUT --cpu --answers 32 --length 16 --row bf16-again

Starts the baseline (bfloat16) and every other row beside it, all at the same time. The baseline answers the task's
prompts (``--answers`` times ``--length`` tokens at most); each row scores the same tokens, and is judged by the two
gates of ``suites/test_fidelity.py``. It also answers by itself, and its log probabilities while decoding are compared
with those of the same tokens as a prompt: speculation is in force only while a server decodes. *asking* is wall time of
requests, *our CPU* the processor time of this process meanwhile. Writes ``OUT/fidelity.md`` and ``OUT/fidelity.json``
after each row: what comes after ``--seconds`` is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.catalogue_row import catalogue_row
from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import LlmperfError, first_line
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.measure.served import Served
from pytest_llmperf.record.model import Record
from pytest_llmperf.serving import gpu, placement
from pytest_llmperf.units import format_value

BASELINE = "bf16"
NGRAM = '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 2}'
ROWS: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "bf16-again": {},
    "fp8-weights": {"quantization": "fp8"},
    "fp8-cache": {"arguments": ["--kv-cache-dtype", "fp8"]},
    "eager": {"arguments": ["--enforce-eager"]},
    "ngram": {"arguments": ["--speculative-config", NGRAM]},
    "small-chunks": {"arguments": ["--max-num-batched-tokens", "128", "--max-num-seqs", "128"]},
    "whole-prompts": {"arguments": ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]},
    "float32": {"dtype": "float32"},
}
"""By name, what a row changes of the baseline's."""
ON_GPU: Sequence[str] = ("--kv-cache-memory-bytes", str(2 * gpu.GIB))
"""The bytes of the cache are stated, so that no server measures how much memory the others leave."""
ON_CPU: Sequence[str] = (
    "--enforce-eager",
    "--distributed-executor-backend",
    "vllm.v1.executor.uniproc_executor.UniProcExecutor",
    "--max-num-seqs",
    "8",
)
HEADER = (
    "| row | tokens | divergence k3 above noise | verdict | noise k3 | equal to the last bit | top-token agreement "
    "| verdict | decoding against prefill, k3 | asking | our CPU |\n"
    "|---|---:|---|---|---|---:|---|---|---|---:|---:|"
)


@dataclass
class Meter:
    """Wall and processor time of what ran inside :meth:`timed`, seconds."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def timed(self, ask: Callable[[], Judgement]) -> Judgement:
        began, used = time.monotonic(), time.process_time()
        try:
            return ask()
        finally:
            self.wall_s += time.monotonic() - began
            self.cpu_s += time.process_time() - used


def catalogue(weights: Path, names: Sequence[str], given: argparse.Namespace) -> str:
    """``models.toml`` with one profile whose baseline and rows these are."""
    lines = [
        "[profile.fidelity]",
        f'candidate = "{BASELINE}"',
        f'baseline = "{BASELINE}"',
        f'task = "{given.task}"',
        f"needs_cuda = {str(not given.cpu).lower()}",
        "[profile.fidelity.sizes]",
        f"fidelity_answers = {given.answers}",
        f"fidelity_tokens = {given.length}",
        f"in_flight = {8 if given.cpu else 256}",
        f"most_in_flight = {8 if given.cpu else 256}",
    ]
    for name in names:
        # A processor without AVX-512 has no fast product of bfloat16.
        row: dict[str, Any] = {"dtype": "float32" if given.cpu else "bfloat16"} | ROWS[name]
        row["arguments"] = [*(ON_CPU if given.cpu else ON_GPU), *row.get("arguments", [])]
        row |= {"weights": str(weights), "max_model_len": 2048}
        lines += catalogue_row(
            "fidelity",
            name,
            row,
            cpu=given.cpu,
            sampling={"max_tokens": 1024, "temperature": 1.0},
            rules={"protocol": "chat"},
        )
    return "\n".join(lines) + "\n"


class Bench:
    """The servers, and a line of the table for each row."""

    def __init__(self, measurements: Measurements, given: argparse.Namespace) -> None:
        self._measurements = measurements
        self._given = given
        self._questions = Questions(measurements, lambda gate: Judgement(gate.settled().judge(), "warn"))
        self.lines: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def start(self, served: Served) -> str:
        """Why the server did not start; empty if it did."""
        try:
            served.running()
        except LlmperfError as error:
            return first_line(error)
        return ""

    def measure(self, candidate: Served, baseline: Served) -> None:
        """Add the line of ``candidate``."""
        given, ask, meter = self._given, self._questions, Meter()
        pair = ask.fidelity(candidate, baseline)
        same = candidate is baseline
        noise = meter.timed(lambda: ask.fidelity.noise(baseline) <= given.divergence).verdict
        found = (
            noise
            if same
            else meter.timed(
                lambda: pair.divergence <= ask.fidelity.noise(baseline) + given.divergence
            ).verdict
        )
        agreement = meter.timed(lambda: pair.top_token_agreement >= given.agreement).verdict
        decoding = meter.timed(lambda: ask.consistency(candidate).decoding <= given.divergence).verdict
        facts = Record.of(self._measurements.facts()).fidelity
        look = "again" if same else "first"
        asked = (candidate.name, baseline.name, look, "T = 1")
        own = next(
            (entry for entry in facts if (entry.row, entry.baseline, entry.look, entry.sampling) == asked),
            None,
        )
        verdicts = {"divergence": found, "noise": noise, "agreement": agreement, "decoding": decoding}
        self.rows.append(
            {
                "row": candidate.name,
                "verdicts": {name: dataclasses.asdict(verdict) for name, verdict in verdicts.items()},
                "pairs": [
                    entry.as_json() for entry in facts if candidate.name in (entry.row, entry.baseline)
                ],
                "asking_s": meter.wall_s,
                "own_cpu_s": meter.cpu_s,
            }
        )
        cells = [
            candidate.name,
            f"{(own and own.tokens) or 0:,}",
            _interval(found),
            found.status.value,
            _shown(noise.observed, noise.unit),
            format_value((own and own.identical_share) or 0.0, "share"),
            _interval(agreement),
            agreement.status.value,
            f"{_shown(decoding.observed, decoding.unit)} ({decoding.status.value})",
            f"{meter.wall_s:.1f} s",
            f"{meter.cpu_s:.1f} s ({meter.cpu_s / meter.wall_s:.0%})",
        ]
        self.lines.append(f"| {' | '.join(cells)} |")

    def failed(self, name: str, why: str) -> None:
        """Add the line of a row that was not measured."""
        self.rows.append({"row": name, "error": why})
        self.lines.append(f"| {name} | not measured: {why} |{' |' * 9}")

    def write(self, out: Path) -> None:
        """Both files, with the rows that are there."""
        facts = self._measurements.facts()
        given = self._given
        said = (
            f"{self._measurements.settings.device_name}; "
            f"{', '.join(sorted(set(self._measurements.engines().values())))}; "
            f"{given.answers} answers to {given.task}, {given.length} tokens at most; limits: divergence "
            f"{given.divergence:g} above noise, agreement {given.agreement:g}"
        )
        text = "\n".join((said, "", HEADER, *self.lines, ""))
        (out / "fidelity.md").write_text(text, encoding="utf-8")
        whole = {"device": facts["device"], "servers": facts["servers"], "rows": self.rows}
        (out / "fidelity.json").write_text(json.dumps(whole, default=str, indent=1), encoding="utf-8")


def _shown(value: float | None, unit: str) -> str:
    return "—" if value is None else format_value(value, unit)


def _interval(verdict: Verdict) -> str:
    if verdict.observed is None:
        return f"— ({verdict.why})"
    ends = " to ".join(_shown(end, verdict.unit) for end in verdict.interval or ())
    return f"{_shown(verdict.observed, verdict.unit)} ({ends})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--row", action="append", choices=list(ROWS)[1:], help="default: all but float32")
    parser.add_argument("--task", default="embedded")
    parser.add_argument("--data", type=Path, help="directory of the task's data, where it is not generated")
    parser.add_argument("--answers", type=int, default=800)
    parser.add_argument("--length", type=int, default=256, help="tokens of an answer at most")
    parser.add_argument("--divergence", type=float, default=5e-4)
    parser.add_argument("--agreement", type=float, default=0.98)
    parser.add_argument("--cpu", action="store_true", help="to try it without a GPU")
    parser.add_argument("--seconds", type=float, default=520.0, help="begin no row later")
    given = parser.parse_args()
    ends_at = time.monotonic() + given.seconds
    names = [BASELINE, *(given.row or [name for name in ROWS if name not in (BASELINE, "float32")])]
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        models = Path(directory) / "models.toml"
        models.write_text(catalogue(given.weights.absolute(), names, given), encoding="utf-8")
        budgets = Path(directory) / "budgets.toml"
        budgets.write_text("", encoding="utf-8")
        options = Options(models=models, budgets=budgets, model=tuple(names), data=given.data, full=True)
        device = (None, "CPU") if given.cpu else placement.first_device()
        measurements = Measurements(resolve(options, *device), Path(directory) / "state", print)
        bench = Bench(measurements, given)
        served = [measurements.served(model) for model in measurements.settings.candidates]
        try:
            with ThreadPoolExecutor(len(served)) as pool:
                troubles = list(pool.map(bench.start, served))
            print(f"started: {dict(zip(names, troubles, strict=True))}", flush=True)
            for side, trouble in zip(served, troubles, strict=True):
                if not trouble and time.monotonic() > ends_at:
                    trouble = f"{given.seconds:g} s are over"
                try:
                    if trouble:
                        bench.failed(side.name, trouble)
                    else:
                        bench.measure(side, served[0])
                except LlmperfError as error:
                    bench.failed(side.name, first_line(error))
                bench.write(given.out)
                print(bench.lines[-1], flush=True)
        finally:
            for side in served:
                log = side._log()
                if log is not None and log.exists():
                    (given.out / f"server-{side.name}.log").write_bytes(log.read_bytes()[-200_000:])
            for trouble in measurements.close():
                print(trouble, flush=True)


if __name__ == "__main__":
    main()
