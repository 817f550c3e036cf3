"""The whole suite: with nothing wrong, how often each gate is green, and all of them; and with a regression."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.suite_gates import DEVICE, AskedGate, asked
from benchmarks.characteristics.suite_night import Damage, Night, Truth, with_rounds
from benchmarks.characteristics.suite_truths import TRUTHS
from benchmarks.characteristics.table import (
    CODES_WITH_INVALID,
    FAIL,
    INCONCLUSIVE,
    OURS,
    PASS,
    Inputs,
    Row,
    Setting,
    Table,
    Target,
    row,
)
from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict

EACH, WHOLE = 0.995, 0.95
NIGHTS, DAMAGED_NIGHTS = 1 / 2, 1 / 40
"""Nights as a share of the runs of other cells: a night is judged by the gates themselves, half a second for all."""
DAMAGES = (
    *(Damage(f"accuracy −{points} points", points=points / 100) for points in (2, 3, 5, 8)),
    *(Damage(f"TPOT +{percent} %", tpot=1 + percent / 100) for percent in (3, 5, 10)),
    Damage("memory +10 %", memory=1.10),
)
SAYS = """\
Every gate of `pytest suites/`, as its plan asks (`benchmarks/characteristics/suite_gates.py`), judged by the gates' own
code on the data of simulated nights; gates on the same answers or rounds share their draws. INVALID counts as INC.
Neighbouring rounds of a side are correlated by .3, starts differ by 3 % on each side and none are remembered; times of
the gpu profile are judged by the budgets of an H100. Absolute times take at most 8 samples of a round. The truths are
in `suite_truths.py`: «assumed» where nothing was measured. Fidelity is asked only between two builds of one model."""


def embedded(inputs: Inputs) -> Table:
    """The embedded pair with nothing wrong."""
    return _suite(inputs, "embedded")


def embedded_damaged(inputs: Inputs) -> Table:
    """The embedded pair with regressions."""
    return _power(inputs, "embedded")


def gpu(inputs: Inputs) -> Table:
    """The gpu profile with nothing wrong."""
    return _suite(inputs, "gpu")


def gpu_damaged(inputs: Inputs) -> Table:
    """The gpu profile with regressions."""
    return _power(inputs, "gpu")


def truths_of(gates: Sequence[AskedGate], profile: str) -> dict[str, Truth]:
    """Return the truth of each gate by its name; ``LookupError`` for a gate without one, or a truth without a gate."""
    names, known = [gate.name for gate in gates], TRUTHS[profile]
    if len({*names}) < len(names):
        raise LookupError(f"two gates of {profile} have one name: {sorted(names)}")
    if missing := {*names} ^ {*known}:
        raise LookupError(f"gates of {profile} and suite_truths.py differ in {sorted(missing)}")
    ratio = next(gate for gate in gates if gate.kind == "ratio")
    return with_rounds({name: known[name] for name in names}, ratio.schedule, ratio.starts)


def judged(gate: AskedGate, truth: Truth, night: Night, damage: Damage) -> Verdict:
    """Return the verdict of one gate of one night."""
    return truth.settled(gate, night, damage).judge()


def _doubtful(gate: AskedGate, truth: Truth, night: Night, damage: Damage) -> Verdict | None:
    """Return the verdict of a gate; None where it passes without a doubt."""
    return None if truth.is_clear(gate, night, damage) else judged(gate, truth, night, damage)


@lru_cache(maxsize=2)
def _gates(profile: str) -> tuple[AskedGate, ...]:
    return tuple(asked(profile))


def _suite(inputs: Inputs, profile: str) -> Table:
    gates = _gates(profile)
    truths = truths_of(gates, profile)
    nights = max(1, round(inputs.runs * NIGHTS))
    seed = int(inputs.rng.integers(2**31))
    found = np.zeros((nights, len(gates)), dtype=np.int8)
    for number in range(nights):
        night = Night((seed, number))
        verdicts = [_doubtful(gate, truths[gate.name], night, Damage()) for gate in gates]
        found[number] = [
            PASS if verdict is None else CODES_WITH_INVALID[verdict.status] for verdict in verdicts
        ]
    rows = [_row(gate, truths[gate.name], found[:, at]) for at, gate in enumerate(gates)]
    whole = _whole(found)
    rows.append(row({"gate": "**the whole run**"}, OURS, whole))
    return Table(
        f"suite-{profile}",
        f"The whole suite with nothing wrong, {_title(profile)}",
        SAYS,
        rows,
        [*_targets(rows, profile)],
    )


def _power(inputs: Inputs, profile: str) -> Table:
    gates = _gates(profile)
    truths = truths_of(gates, profile)
    nights = max(1, round(inputs.runs * DAMAGED_NIGHTS))
    seed = int(inputs.rng.integers(2**31))
    whole: dict[str, list[int]] = {damage.name: [] for damage in DAMAGES}
    named, right = dict.fromkeys(whole, 0), dict.fromkeys(whole, 0)
    for number in range(nights):
        night = Night((seed, number))
        # A gate that passes without a doubt is no culprit, and leaves the correction for many gates as it is.
        sound = {gate.name: _doubtful(gate, truths[gate.name], night, Damage()) for gate in gates}
        for damage in DAMAGES:
            hit = {
                gate.name: _doubtful(gate, truths[gate.name], night, damage)
                for gate in gates
                if truths[gate.name].sees(gate, damage)
            }
            asked_gates = [verdict for verdict in (sound | hit).values() if verdict is not None]
            culprits = (
                {id(culprit) for culprit in run_verdict(asked_gates).culprits} if asked_gates else set()
            )
            whole[damage.name].append(_worst([verdict.status for verdict in asked_gates]))
            named[damage.name] += any(id(verdict) in culprits for verdict in hit.values())
            right[damage.name] += any(v is not None and v.status is Status.FAIL for v in hit.values())
    rows = [
        row(
            {"damage": name}, OURS, np.array(statuses, dtype=np.int8),
            **{"right gate red": f"{100 * right[name] / nights:.1f}", "named": f"{100 * named[name] / nights:.1f}"},
        )
        for name, statuses in whole.items()
    ]  # fmt: skip
    return Table(
        f"power-{profile}",
        f"The whole suite with a regression, {_title(profile)}",
        "A night with a planted damage. «Right gate red»: a gate whose data the damage changes is FAIL; «named»: it is "
        "among the culprits after Holm's correction. Without a FAIL, a run with an INCONCLUSIVE gate is not green. "
        "Accuracy falls in every task at once; more time per token lowers throughput as well; more memory are larger "
        "weights, on the CPU a larger process too.",
        rows,
        [],
    )


def _title(profile: str) -> str:
    return f"profile {profile}" + (f" on an {DEVICE[profile]}" if profile in DEVICE else "")


def stale(table: Table, gates: Sequence[AskedGate]) -> list[str]:
    """Return the rows of a stored table that are no longer what the plan asks; none if all are.

    Compared are the names of the gates, their bounds, and the number of their data.
    """
    stored = {
        str(row.settings["gate"]): (row.settings["bound"], row.settings["n"]) for row in table.rows[:-1]
    }
    asked_now = {name: (bound, n) for name, bound, n in map(described, gates)}
    return [
        f"{name}: stored {_said(stored.get(name))}, asked {_said(asked_now.get(name))}"
        for name in dict.fromkeys([*stored, *asked_now])
        if stored.get(name) != asked_now.get(name)
    ]


def _said(row: tuple[Setting, Setting] | None) -> str:
    return "not at all" if row is None else f"{row[0]} with n = {row[1]}"


def described(gate: AskedGate) -> tuple[str, str, int]:
    """Return name, bound and number of data of a gate, as the table has them."""
    sign = "≥" if gate.at_least else "≤"
    bound = f"−{100 * gate.bound:g} points" if gate.unit == "points" else f"{sign} {gate.bound:g}"
    return gate.name, bound, gate.n


def _row(gate: AskedGate, truth: Truth, found: NDArray[np.int8]) -> Row:
    name, bound, n = described(gate)
    settings: dict[str, Setting] = {
        "gate": name, "bound": bound, "n": n, "truth": truth.says(), "source": truth.source
    }  # fmt: skip
    return row(settings, OURS, found)


def _worst(statuses: Sequence[Status]) -> int:
    found = {CODES_WITH_INVALID[status] for status in statuses}
    return next((status for status in (FAIL, INCONCLUSIVE) if status in found), PASS)


def _whole(found: NDArray[np.int8]) -> NDArray[np.int8]:
    """FAIL if a gate is, else INCONCLUSIVE if a gate is: by night."""
    return np.where(
        (found == FAIL).any(1), FAIL, np.where((found == PASS).all(1), PASS, INCONCLUSIVE)
    ).astype(np.int8)


def _targets(rows: Sequence[Row], profile: str) -> list[Target]:
    *each, whole = rows
    least = min(each, key=lambda one: one.share(PASS))
    question = f"all {len(each)} gates of {profile}, nothing wrong"
    return [
        Target(
            f"{question}: each", f"PASS ≥ {100 * EACH:g} %",
            f"{100 * least.share(PASS):.2f} % ({least.settings['gate']})", least.share(PASS) >= EACH,
        ),
        Target(
            f"{question}: the whole run", f"PASS ≥ {100 * WHOLE:g} %",
            f"{100 * whole.share(PASS):.2f} %, FAIL {100 * whole.share(FAIL):.2f} %", whole.share(PASS) >= WHOLE,
        ),
    ]  # fmt: skip
