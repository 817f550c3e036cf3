"""Measurements on a GPU for published claims that need no real weights, in one command of under nine minutes.

    python -m benchmarks.gpu_claims --out OUT      (needs vLLM; real architectures, dummy weights)
    python -m contrib.claims contrib/claims/suite/claims.toml --record OUT/claims-record.json

Three parts, and the record is written anew after each, so that a run that is cut off leaves what it has:

1. *side by side*: both plain models and the candidate's quantised builds start at the same time (their start times
   are therefore nobody's cold start), and the engine is asked for ``--quantization awq`` on the plain checkpoint;
2. *speed*: both plain models in interleaved rounds of single requests, each quantised build alone, and one request
   that fills a context of 4,096 tokens on every server;
3. *alone*: each model on an otherwise empty GPU, without compilation and graphs and with cache for one request of
   4,096 tokens: the fastest start and the least memory there is. Both orders, ABBA, until the time is up.

``--only starts`` makes the third part alone, until each plain model has had five starts: fewer give no bound.
``--onto RECORD`` goes on with a record of an earlier run on such a device, so that five need not fit into one run.
``--tiny`` tries it on a CPU with models of no meaning; ``benchmarks.cpu_claims`` measures a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import quantised_models
from benchmarks.claims_script import Script
from benchmarks.quantised_models import LEAN
from benchmarks.served_id import served_ids
from contrib.claims.claim import Build
from contrib.claims.record import (
    DEVICE_MEMORY,
    FilledContext,
    LoadOf,
    LoadRound,
    MemoryPeak,
    RefusedStart,
    Requests,
    ServedIds,
    Start,
    has_random_weights,
)
from pytest_llmperf.client.answers import complete_all
from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.interleave import interleaved
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.memory import MemoryWatch
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import close_together
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.spec import arguments as with_port

WORKLOAD = Workload(input_tokens=512, output_tokens=128, sampling={"temperature": 0.0})
TINY_WORKLOAD = Workload(input_tokens=64, output_tokens=8, sampling={"temperature": 0.0})
PUBLISHED = {"distill": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "math": "Qwen/Qwen2.5-Math-1.5B"}
CONTEXT = 4096
REQUESTS = 3
ABBA = ("distill", "math", "math", "distill")
ENOUGH = 5
"""Starts alone of each model: fewer give a median no bounds."""


def build_of(name: str) -> Build:
    """The build that a row of ``quantised_models``, or its lean twin, serves."""
    return quantised_models.BUILDS[name.removesuffix(LEAN)]


def start(script: Script, served: Served, *, alone: bool) -> bool:
    """Start and note it; False, noted as well, if it does not start."""
    try:
        server = served.server
    except LlmperfError as error:
        script.failed(served.name, error)
        return False
    build = build_of(served.name)
    script.add(
        Start(
            row=build.row,
            build=build,
            weights=served.model.weights,
            engine=server.engine,
            command=server.command,
            ready_s=server.ready_s,
            alone=alone,
            lean=served.name.endswith(LEAN),
            random_weights=has_random_weights(served.model.arguments),
            milestones=served.milestones() or Milestones(),
        )
    )
    return True


def fill_context(script: Script, served: Served) -> None:
    """One request whose prompt and answer are ``CONTEXT`` tokens together: served, or refused."""
    answer_tokens = 16
    server = served.server
    room = CONTEXT - answer_tokens - 64
    # The stand-in tokenizer makes a token of every byte; what the template adds fits into the 64.
    body: JsonObject = {
        "model": served.served,
        "messages": [{"role": "user", "content": "x" * room}],
        "max_tokens": CONTEXT - room - 32,
        "min_tokens": answer_tokens,
        "temperature": 0.0,
    }
    [answer] = complete_all(server, [body], concurrency=1)
    build = build_of(served.name)
    script.add(
        FilledContext(
            row=build.row,
            build=build,
            ok=answer.ok,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            error=answer.error or None,
        )
    )


def noted(script: Script, row: str, runs: Sequence[LoadRun], metrics: Sequence[Metrics]) -> None:
    build = build_of(row)
    rounds = [
        LoadRound(
            requests=one.requests,
            errors=dict(one.errors),
            window_s=one.window_s,
            ttft_s=tuple(one.samples["ttft"]),
            tpot_s=tuple(one.samples["tpot"]),
            e2el_s=tuple(one.samples["e2el"]),
            output_tokens=one.output_tokens,
            client_cpu_share=run.client.cpu_share,
        )
        for run, one in zip(runs, metrics, strict=True)
    ]
    script.add(
        LoadOf(
            row=build.row,
            build=build,
            concurrency=1,
            workload=Requests.of(script.workload),
            rounds=tuple(rounds),
            problems=tuple(problem for run in runs for problem in run.problems),
        )
    )


def refused_start(script: Script, model: Model) -> None:
    """Record the engine's own answer to ``--quantization awq`` on plain weights; our own check would not even try."""
    spec = spec_for(dataclasses.replace(model, quantization="awq"), Path(model.weights))
    command = with_port(spec.argv, 8011)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **spec.environment},
        )
        try:
            code: int | None = process.wait(150)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    said = [line.strip() for line in text.splitlines() if re.search(r"Error|Cannot find", line)]
    build = build_of(model.name)
    script.add(
        RefusedStart(
            row=build.row,
            build=build,
            asked="awq",
            exit_code=code,
            started=code is None,
            said=next((line for line in said if "Cannot find" in line), said[-1] if said else text[-300:])[
                -400:
            ],
        )
    )


def name_when_unnamed(script: Script, model: Model, state: Path) -> None:
    """Record the name of the model at a server that was started on the published id and given no other name."""
    build = build_of(model.name)
    hub_id = PUBLISHED[build.row]
    try:
        engine, ids = served_ids(model, hub_id, Path(model.weights), state)
    except LlmperfError as error:
        script.failed(model.name, error)
        return
    script.add(ServedIds(row=build.row, build=build, started_on=hub_id, engine=engine, ids=tuple(ids)))


@contextlib.contextmanager
def watched(script: Script) -> Iterator[list[int]]:
    """Device memory in use while the block runs, sampled ten times a second."""
    seen: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            if (used := script.used_bytes()) is not None:
                seen.append(used)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def side_by_side(script: Script, models: dict[str, Model], rows: Sequence[str], state: Path) -> None:
    """Parts 1 and 2."""
    servers = {row: Served(models[row], state / "together", lambda _: None) for row in rows}
    try:
        with ThreadPoolExecutor(len(rows) + 1) as pool:
            refusal = pool.submit(refused_start, script, models["distill"])
            up = dict(
                zip(rows, pool.map(lambda row: start(script, servers[row], alone=False), rows), strict=True)
            )
            refusal.result()
        if up["distill"] and up["math"]:
            speed(script, servers["distill"], servers["math"])
        for row in rows:
            if up[row] and row not in ("distill", "math"):
                alone(script, servers[row])
        for row in rows:
            if up[row]:
                with contextlib.suppress(LlmperfError):
                    fill_context(script, servers[row])
    finally:
        for error in close_together(servers.values()):
            script.say(f"NOT CLEAN: {error}")


def speed(
    script: Script, ours: Served, theirs: Served, *, rounds: int = 32, requests: int = REQUESTS
) -> None:
    """Both in turn, requests one at a time."""
    done = interleaved(ours.server, theirs.server, script.workload, ClosedLoop(1, requests), rounds=rounds)
    noted(script, ours.name, done.candidate_runs, done.candidate)
    noted(script, theirs.name, done.baseline_runs, done.baseline)


def alone(script: Script, served: Served) -> None:
    try:
        runs = [
            run_load(
                served.server,
                script.workload,
                ClosedLoop(1, REQUESTS),
                SendOptions(warmup=0 if number else 1),
            )
            for number in range(12)
        ]
        noted(script, served.name, runs, [of_run(run) for run in runs])
    except LlmperfError as error:
        script.failed(served.name, error)


def lean(script: Script, model: Model, state: Path) -> float:
    """Part 3, one start: seconds that all of it took."""
    began = time.monotonic()
    before = script.used_bytes()
    served = Served(model, state, lambda _: None)
    peak, kind = None, DEVICE_MEMORY
    try:
        with watched(script) as seen:
            up = start(script, served, alone=True)
            if up and model.gpus:
                fill_context(script, served)
        if seen and before is not None:
            peak = max(seen) - before
        elif up:
            use = MemoryWatch(served).use()
            peak, kind = use.peak, use.kind
        if peak is not None:
            build = build_of(model.name)
            log = script.record.servers[-1].milestones if up else None
            cache = (log.kv_cache_tokens if log else None) or CONTEXT
            script.add(MemoryPeak(row=build.row, build=build, kind=kind, peak_bytes=peak, cache_tokens=cache))
    finally:
        for error in close_together([served]):
            script.say(f"NOT CLEAN: {error}")
    return time.monotonic() - began


def starts_alone(script: Script, models: dict[str, Model], plan: Sequence[str], state: Path) -> None:
    """Part 3: as many of the planned starts as there is time for."""
    longest = 0.0
    script.say(f"starts alone: {' '.join(plan)}")
    for number, row in enumerate(plan):
        if script.left_s < longest * 1.1:
            script.say(f"time is up: {len(plan) - number} of {len(plan)} starts were not made")
            break
        longest = max(longest, lean(script, models[f"{row}{LEAN}"], state / f"alone-{number}"))


def missing_starts(script: Script) -> list[str]:
    """In the order ABBA, what is left until each model has had enough."""
    left = {row: ENOUGH - script.started_alone(row) for row in ABBA[:2]}
    plan = []
    for row in ABBA * ENOUGH:
        if left[row] > 0:
            left[row] -= 1
            plan.append(row)
    return plan


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=8.4, help="after which no further start is begun (default 8.4)"
    )
    parser.add_argument("--only", choices=["starts"], help="the third part alone")
    parser.add_argument("--onto", type=Path, metavar="RECORD", help="go on with this record")
    parser.add_argument("--tiny", action="store_true", help="models of no meaning, for a CPU")
    parser.add_argument("--engine-python", help="interpreter that has vLLM (default: this one)")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    script = Script(given.out, given.minutes, TINY_WORKLOAD if given.tiny else WORKLOAD, given.onto)
    with tempfile.TemporaryDirectory(prefix="llmperf-") as directory:
        state = Path(directory)
        rows = quantised_models.write(state / "models", tiny=given.tiny)
        models = {
            name: dataclasses.replace(model, engine_python=given.engine_python)
            for name, model in load_catalog(state / "models" / "models.toml").profile("gpu").models.items()
        }
        quantised = [row for row in rows if row not in ("distill", "math")]
        if given.only == "starts":
            starts_alone(script, models, missing_starts(script), state)
        else:
            side_by_side(script, models, rows, state)
            name_when_unnamed(script, models[f"distill{LEAN}"], state)
            starts_alone(script, models, [*ABBA[:2], *quantised, *ABBA[2:], *ABBA, *ABBA], state)
    script.say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
