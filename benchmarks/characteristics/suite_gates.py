"""The gates of the shipped suites, as a planned run of them asks: none can be forgotten, and none is written twice.

    python -m benchmarks.characteristics.suite_gates embedded

``asked`` runs ``pytest suites/ --llmperf-plan`` in a process of its own, with this module as a plugin that writes down
every gate before it is forecast. Budgets of absolute speed belong to a device: those of :data:`DEVICE` are read for the
one at hand.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.gates.answers import AnswersGate
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.mean import ByItemGate
from pytest_llmperf.gates.plan import PlannedJudgement
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.runs.keys import RUN
from pytest_llmperf.runs.planned_run import PlannedRun

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "suites"
DEVICE = {"gpu": "H100"}
"""By profile: the class of device whose absolute budgets are in the table; the CPU's for others."""
_PLUGIN, _RESULT = "benchmarks.characteristics.suite_gates", "LLMPERF_SUITE_GATES"


@dataclass(frozen=True)
class AskedGate:
    """One gate: what an assert of the suites asks, and of how many data.

    ``n``: items, documents or rounds at most; ``stops``: it may be decided by fewer. ``each``: samples of a round.
    ``schedule``: rounds of all starts after which a ratio is looked at; ``starts``: pairs of starts it may take.
    """

    kind: str
    label: str
    metric: str
    unit: str
    bound: float
    at_least: bool
    paired: bool
    n: int
    stops: bool = False
    q: float = 0.0
    each: int = 1
    schedule: tuple[int, ...] = ()
    starts: int = 1

    @property
    def name(self) -> str:
        """The label, with a mark where the same label is also asked against the baseline."""
        return (
            f"{self.label}, against the baseline" if self.paired and "ratio" not in self.label else self.label
        )


def asked(profile: str) -> list[AskedGate]:
    """Return the gates of ``pytest suites/`` in the order of the run; ``RuntimeError`` if one has no bound."""
    with tempfile.TemporaryDirectory() as folder:
        found, budgets = Path(folder) / "gates.json", Path(folder) / "budgets.toml"
        budgets.write_text(_for_this_device(profile), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "TOX_"))}
        command = [
            *(sys.executable, "-m", "pytest", str(SUITES), "-q", "-p", "no:cacheprovider"),
            *("-p", _PLUGIN, "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")),
            *(f"--llmperf-profile={profile}", f"--llmperf-budgets={budgets}", "--llmperf-plan"),
        ]
        # An empty cache: no spread of starts is remembered on this machine.
        run = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, _RESULT: str(found), "XDG_CACHE_HOME": folder},
            capture_output=True,
            text=True,
            timeout=300.0,
            check=False,
        )
        if run.returncode != 0 or not found.is_file():
            raise RuntimeError(
                f"the plan of {profile} was not made:\n{run.stdout[-3000:]}{run.stderr[-3000:]}"
            )
        gates = [AskedGate(**entry) for entry in json.loads(found.read_text(encoding="utf-8"))]
    return [dataclasses.replace(gate, schedule=tuple(gate.schedule)) for gate in gates]


def _for_this_device(profile: str) -> str:
    text = (SUITES / "budgets.toml").read_text(encoding="utf-8")
    device = DEVICE.get(profile)
    return text if device is None else text.replace(f"[{profile}.{device}.", f"[{profile}.CPU.")


def described(gate: Gate) -> AskedGate:
    """Describe a gate of a planned run, whose data have a size and no content."""
    if gate.refused or gate.bound is None:
        raise RuntimeError(f"{gate.label} has no bound: {gate.refused}")
    common: dict[str, Any] = {
        "kind": gate.kind, "label": gate.label, "metric": gate.metric, "unit": gate.verdict_unit,
        "bound": gate.bound, "at_least": gate.at_least,
        "paired": getattr(gate, "baseline", None) is not None, "n": max(1, _size(gate)),
    }  # fmt: skip
    if isinstance(gate, AnswersGate):
        common["stops"] = gate.planned is not None
    if isinstance(gate, QuantileGate):
        rounds = len(set(gate.groups)) if gate.groups is not None else gate.size
        common |= {"q": gate.q, "n": rounds, "each": gate.size // rounds}
    if isinstance(gate, RatioGate):
        common |= {
            "schedule": tuple(gate.schedule),
            "starts": len(gate.starts),
            "stops": len(gate.schedule) > 1,
        }
    return AskedGate(**common)


def _size(gate: Gate) -> int:
    planned = getattr(gate, "planned", None)
    if planned is not None:
        return int(planned)
    # A single measurement has no size before it is made.
    return gate.size if isinstance(gate, AnswersGate | ByItemGate | QuantileGate | RatioGate) else 1


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Write down every gate of the planned run, and let its test go on."""
    if not (path := os.environ.get(_RESULT)):
        return
    run = config.stash[RUN]
    assert isinstance(run, PlannedRun), "started without --llmperf-plan"
    gates: list[AskedGate] = []

    def judge(gate: Gate) -> Judgement:
        gates.append(described(gate))
        Path(path).write_text(json.dumps([dataclasses.asdict(one) for one in gates]), encoding="utf-8")
        return PlannedJudgement(gate.unplanned)

    run.judge = judge  # type: ignore[method-assign]


def main(profiles: Sequence[str]) -> None:
    """Print the gates of these profiles."""
    for profile in profiles:
        for gate in asked(profile):
            print(
                profile,
                gate.name,
                gate.kind,
                gate.unit,
                gate.bound,
                gate.n,
                gate.each,
                gate.schedule,
                sep=" · ",
            )


if __name__ == "__main__":
    main(sys.argv[1:])
