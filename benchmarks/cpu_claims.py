"""Measurements on a CPU for claims that need no real weights: vLLM with the real architectures on dummy weights.

    python -m benchmarks.cpu_claims --out OUT      (needs vLLM for the CPU and 12 GB of free memory)
    python -m contrib.claims contrib/claims/suite/claims.toml --record OUT/claims-record.json

As ``benchmarks.gpu_claims``, of which it is made, with three differences. A model of 1.5 billion parameters is slow
here, so that requests are short; memory is what the processes of the server hold; and one request that fills a context
of 4,096 tokens is left out with ``--no-context``: a processor that multiplies bfloat16 takes a minute for it, another
most of an hour. The record is written after each measurement: speed of both plain models in turn, the context,
``--quantization awq`` on plain weights, the name of a server that was given none, then starts alone in the order ABBA,
five of each, with one of the INT8 build.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import quantised_models
from benchmarks.claims_script import Script
from benchmarks.gpu_claims import (
    ABBA,
    fill_context,
    missing_starts,
    name_when_unnamed,
    refused_start,
    speed,
    start,
    starts_alone,
)
from benchmarks.quantised_models import LEAN
from contrib.claims.record import Machine
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.models import Model
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import close_together

WORKLOAD = Workload(input_tokens=32, output_tokens=4, sampling={"temperature": 0.0})
ROUNDS = 32
# A worker process of its own spins between steps, and takes a core from the other server.
ONE_PROCESS = ("--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor")


def on_cpu(model: Model) -> Model:
    """The same row without a GPU; both servers of a comparison share the cores."""
    return dataclasses.replace(
        model, gpus=0, gpu_memory_fraction=None, arguments=(*model.arguments, *ONE_PROCESS)
    )


def together(script: Script, models: dict[str, Model], state: Path, *, context: bool) -> None:
    """Both plain models up at once, asked in turn; then the context of each is filled."""
    sides = [Served(models[f"{row}{LEAN}"], state / "together", lambda _: None) for row in ABBA[:2]]
    try:
        if all(start(script, side, alone=False) for side in sides):
            speed(script, *sides, rounds=ROUNDS, requests=1)
            for side in sides if context else ():
                fill_context(script, side)
    finally:
        for error in close_together(sides):
            script.say(f"NOT CLEAN: {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="after which no further start is begun (default 60)"
    )
    parser.add_argument("--no-context", action="store_true", help="do not fill 4,096 tokens")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    script = Script(given.out, given.minutes, WORKLOAD)
    script.runs_on(Machine(processor=platform.processor() or platform.machine(), cores=os.cpu_count()))
    with tempfile.TemporaryDirectory(prefix="llmperf-") as directory:
        state = Path(directory)
        quantised_models.write(state / "models")
        rows = load_catalog(state / "models" / "models.toml").profile("gpu").models
        models = {name: on_cpu(model) for name, model in rows.items()}
        together(script, models, state, context=not given.no_context)
        refused_start(script, models["distill"])
        name_when_unnamed(script, models[f"distill{LEAN}"], state)
        plan = missing_starts(script)
        starts_alone(script, models, [*plan[:2], "distill-int8", *plan[2:]], state)
    script.say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
