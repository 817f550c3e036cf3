"""Verdicts of the fidelity suite, again and again on real vLLM, each run with answers of its own.

    python -m benchmarks.fidelity_repeats --out OUT --runs 100 --jobs 4
    python -m benchmarks.fidelity_repeats --out OUT --runs 10 --cpu

Starts three servers of ``tiny-distill``: the baseline, a second one of the same weights, and ``distill-noise`` (0.01 σ
on the weights). Then ``suites/test_fidelity.py`` runs on them ``--runs`` times for each candidate, as pytest runs of
their own with ``--llmperf-order`` 1, 2, …, so that items, order and sampled answers are others each time. *asking* is
the time for answers and scores of the divergence, noise included, as the record has it. Writes ``OUT/repeats.md`` and
a line a run to ``OUT/repeats.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.catalogue_row import catalogue_row
from benchmarks.gpu_fidelity import ON_CPU, ON_GPU
from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.serving import placement

ROOT = Path(__file__).resolve().parents[1]
BASELINE, SAME, NOISE = "distill", "distill-again", "distill-noise"
WANTED = {SAME: "PASS", NOISE: "FAIL"}
DIVERGENCE = "embedded divergence above noise"
# The embedded rows of suites/models.toml, which say why: without the second line this engine ends on a CPU.
_AS_SHIPPED = [*ON_CPU[:-1], "64", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"]


def catalogue(cpu: bool) -> str:
    """``models.toml`` of the three servers."""
    lines = ["[profile.repeats]", f'candidate = "{SAME}"', f'baseline = "{BASELINE}"', 'task = "embedded"']
    lines.append(f"needs_cuda = {str(not cpu).lower()}")
    for name in (BASELINE, *WANTED):
        row: dict[str, Any] = {
            "weights": "embedded:tiny-distill",
            "dtype": "float32",
            "max_model_len": 2048,
            "arguments": _AS_SHIPPED if cpu else ["--enforce-eager", *ON_GPU],
        }
        if name == NOISE:
            row["damage"] = {"seed": 1, "amount": 0.01}
        lines += catalogue_row(
            "repeats",
            name,
            row,
            cpu=cpu,
            sampling={"max_tokens": 1024, "temperature": 1.0},
            rules={"thinking": True},
        )
    return "\n".join(lines) + "\n"


def running(addresses: dict[str, str], in_flight: int) -> str:
    """``models.toml`` of the same rows on the servers that run; the profile's budgets are those of the suites."""
    lines = ["[profile.embedded]", f'candidate = "{SAME}"', f'baseline = "{BASELINE}"', 'task = "embedded"']
    lines += ["needs_cuda = false", "[profile.embedded.sizes]", f"in_flight = {in_flight}"]
    for name, address in addresses.items():
        lines += [
            f"[profile.embedded.model.{name}]",
            'engine = "url"',
            f'base_url = "{address}"',
            f'api_key_env = "{_key(name)}"',
            f'served_name = "{name}"',
        ]
        if name != BASELINE:
            lines.append(f'same_model_as = "{BASELINE}"')
        lines += [f"[profile.embedded.model.{name}.sampling]", "max_tokens = 1024", "temperature = 1.0"]
        lines += [f"[profile.embedded.model.{name}.rules]", "thinking = true"]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return f"REPEATS_KEY_{name.upper().replace('-', '_')}"


def run_once(candidate: str, order: int, models: Path, keys: dict[str, str]) -> dict[str, Any]:
    """One run of the suite, as a line."""
    with tempfile.TemporaryDirectory() as directory:
        record = Path(directory) / "record.json"
        command = [sys.executable, "-m", "pytest", "suites/test_fidelity.py", "-q", "-p", "no:cacheprovider"]
        command += ["-k", "distribution", "--llmperf-models", str(models), "--llmperf-profile", "embedded"]
        command += ["--llmperf-budgets", str(ROOT / "suites" / "budgets.toml")]
        command += ["--model", candidate, "--llmperf-order", str(order), "--llmperf-record", str(record)]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | keys
        )
        seconds = time.monotonic() - began
        facts = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    [verdict] = [one for one in facts.get("verdicts", []) if one["metric"] == DIVERGENCE] or [{}]
    pairs = facts.get("fidelity", [])
    asking = max((pair["answering_s"] for pair in pairs), default=0.0)
    return {
        "candidate": candidate,
        "order": order,
        "exit": done.returncode,
        "status": verdict.get("status", "none"),
        "observed": verdict.get("observed"),
        "why": verdict.get("why", ""),
        "answers": verdict.get("n"),
        "asking_s": round(asking + sum(pair["scoring_s"] for pair in pairs), 2),
        "seconds": round(seconds, 2),
        "output": "" if verdict else (done.stdout + done.stderr)[-2000:],
    }


def page(lines: Sequence[dict[str, Any]], said: str) -> str:
    """The table of all lines."""
    text = [
        said,
        "",
        "| candidate | must be | runs | are | answers asked | asking, s: median (least, most) | whole run, s |",
        "|---|---|---:|---|---|---|---|",
    ]
    for name, wanted in WANTED.items():
        mine = [line for line in lines if line["candidate"] == name]
        if not mine:
            continue
        statuses = ", ".join(f"{n} {status}" for status, n in Counter(x["status"] for x in mine).items())
        answers = ", ".join(f"{n} × {asked}" for asked, n in Counter(x["answers"] for x in mine).items())
        cells = [
            name,
            wanted,
            len(mine),
            statuses,
            answers,
            _spread(mine, "asking_s"),
            _spread(mine, "seconds"),
        ]
        text.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(text) + "\n"


def _spread(lines: Sequence[dict[str, Any]], key: str) -> str:
    found = sorted(line[key] for line in lines)
    return f"{found[len(found) // 2]:.1f} ({found[0]:.1f}, {found[-1]:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; their seconds say little then")
    parser.add_argument("--first", type=int, default=1, help="seed of the first run's order")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--seconds", type=float, default=520.0, help="begin no run later")
    given = parser.parse_args()
    ends_at = time.monotonic() + given.seconds
    given.out.mkdir(parents=True, exist_ok=True)
    names = (BASELINE, *WANTED)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        models, budgets = Path(directory) / "models.toml", Path(directory) / "budgets.toml"
        models.write_text(catalogue(given.cpu), encoding="utf-8")
        budgets.write_text("", encoding="utf-8")
        options = Options(models=models, budgets=budgets, model=names)
        device = (None, "CPU") if given.cpu else placement.first_device()
        measurements = Measurements(resolve(options, *device), Path(directory) / "state", print)
        try:
            served = [measurements.served(model) for model in measurements.settings.candidates]
            with ThreadPoolExecutor(len(served)) as pool:
                servers = list(pool.map(lambda side: side.running(), served))
            addresses = {side.name: server.base_url for side, server in zip(served, servers, strict=True)}
            keys = {
                _key(side.name): server.api_key or "" for side, server in zip(served, servers, strict=True)
            }
            urls = Path(directory) / "urls.toml"
            urls.write_text(running(addresses, 64 if given.cpu else 256), encoding="utf-8")
            engines = ", ".join(sorted(set(measurements.engines().values())))
            said = f"{measurements.settings.device_name}; {engines}; {given.jobs} run(s) at a time"

            def once(job: tuple[int, str]) -> None:
                order, name = job
                if time.monotonic() > ends_at:
                    return
                lines.append(run_once(name, order, urls, keys))
                with (given.out / "repeats.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                (given.out / "repeats.md").write_text(page(lines, said), encoding="utf-8")

            orders = range(given.first, given.first + given.runs)
            with ThreadPoolExecutor(given.jobs) as pool:
                list(pool.map(once, [(order, name) for order in orders for name in WANTED]))
            print(page(lines, said), flush=True)
        finally:
            for trouble in measurements.close():
                print(trouble, flush=True)


if __name__ == "__main__":
    main()
