"""``budgets.toml`` as values: what each profile must keep, on which class of device.

The file that users edit, by example::

    [gpu.any.accuracy]                 # [PROFILE.DEVICE.SUITE]; `any` holds for every device
    floor = "70 %"
    margin = "3 points"

    [gpu.H100.latency]                 # milliseconds mean something on one class of device only
    ttft_p95 = { 1 = "80 ms", 8 = "120 ms" }      # by concurrency

    [gpu."RTX 3090".memory]
    peak = "11 GB"
    catches = { peak = "30 %" }        # what the gate claims to turn red for; proved by --llmperf-prove

A suite reads ``budget.latency.ttft_p95[8]`` and gets a :class:`Bound`. A budget that only other devices
have is an :class:`Incomparable`, which says what to write, and is never replaced by another device's
number. A device that is not among :data:`DEVICES` is declared in the file's first line:
``devices = ["RTX 4090"]``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.config.bounds import Bound, Incomparable, origin_of
from pytest_llmperf.config.budget_keys import KNOWN, Known
from pytest_llmperf.config.toml_errors import Table, nearest, read_toml
from pytest_llmperf.errors import CatalogError, NotMeasured

DEVICES = ("T4", "L4", "A10", "RTX 3090", "A100", "H100", "H200", "Jetson Orin", "CPU")
ANY = "any"

Index = int | str | None
"""What stands in brackets behind a budget: a concurrency, a length; None for a budget that has no index."""
Address = tuple[str, str, str, str, Index]
"""Profile, device class, suite, key, index."""
CATCHES = "catches"
"""The key that stands beside the budgets of a table, and says of some what damage their gates catch."""


@dataclass(frozen=True)
class Claim:
    """A gate's promise to be FAIL from ``damage`` on: a share, of all answers or of what was measured.

    ``bound`` is the budget that it was made of, as it stands in the file now.
    """

    damage: float
    bound: Bound


MOST_CLAIMED = 10.0
"""Eleven times as long: who claims no less claims nothing."""


@dataclass(frozen=True)
class Budgets:
    """A whole ``budgets.toml``."""

    path: Path
    bounds: Mapping[Address, Bound]
    known: Mapping[str, Mapping[str, Known]] = field(default_factory=lambda: KNOWN, repr=False)
    claims: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)
    """Profile, device class, suite, key → the damage that the key's gates claim to catch, whatever the index."""

    def for_device(self, profile: str, device: str) -> BudgetView:
        """What holds for ``profile`` on ``device``, a device class or the name of a device that has none."""
        return BudgetView(self, profile, device)

    def claim_of(self, origin: str) -> Claim | None:
        """What is claimed of the gate whose bound stands at ``origin``; None: nothing."""
        for address, bound in self.bounds.items():
            if bound.origin == origin and address[:4] in self.claims:
                return Claim(self.claims[address[:4]], bound)
        return None


@dataclass(frozen=True)
class BudgetView:
    """The budgets of one profile on one device: ``view.latency.ttft_p95[8]``, ``view["memory"]["peak"]``."""

    budgets: Budgets
    profile: str
    device: str

    def __getitem__(self, suite: str) -> SuiteBudget:
        if suite not in self.budgets.known:
            raise CatalogError(f"budget.{suite}: unknown suite{nearest(suite, self.budgets.known)}")
        return SuiteBudget(self, suite)

    def __getattr__(self, suite: str) -> SuiteBudget:
        # copy, pickle and pytest probe for private names, and must be told no in Python's own way.
        if suite.startswith("_"):
            raise AttributeError(suite)
        return self[suite]

    def find(self, suite: str, key: str, index: Index = None) -> Bound | Incomparable:
        """This device's number, else the one for any device, else who has one."""
        bounds = self.budgets.bounds
        for device in (self.device, ANY):
            if (found := bounds.get((self.profile, device, suite, key, index))) is not None:
                return found
        available = tuple(a[1] for a in bounds if (a[0], *a[2:]) == (self.profile, suite, key, index))
        section = f"[{_section(self.profile, self.device, suite)}] {_entry(key, index)}"
        return Incomparable(self.device, section, available, self.budgets.known[suite][key].unit)

    def doubts(self) -> list[str]:
        """One line for each budget that applies here and cannot mean what it says, with what to write instead.

        A gate with such a budget would be green, or red, whatever is measured. The run tells them and goes on.
        """
        doubts = []
        for (profile, device, suite, key, _), bound in self.budgets.bounds.items():
            if profile == self.profile and device in (self.device, ANY):
                doubt = _doubt(bound, self.budgets.known[suite][key])
                doubts += [f"{bound.origin} = {bound}: {doubt}"] if doubt else []
        return doubts

    def unread(self, origins: Collection[str]) -> list[str]:
        """The budgets in force here, as ``latency.ttft_p95.8``, whose bounds stand at none of ``origins``."""
        mine: dict[tuple[str, str, Index], Bound] = {}
        for device in (ANY, self.device):
            for (profile, of, suite, key, index), bound in self.budgets.bounds.items():
                if (profile, of) == (self.profile, device):
                    mine[suite, key, index] = bound
        return [
            f"{suite}.{_entry(key, index)}"
            for (suite, key, index), bound in mine.items()
            if bound.origin not in origins
        ]


@dataclass(frozen=True)
class SuiteBudget:
    """The budgets of one suite."""

    view: BudgetView
    suite: str

    def __getitem__(self, key: str) -> Any:
        """A :class:`Bound` or :class:`Incomparable`, or an :class:`IndexedBudget` of them."""
        known = self.view.budgets.known[self.suite]
        if key not in known:
            raise CatalogError(f"budget.{self.suite}.{key}: unknown budget{nearest(key, known)}")
        if known[key].by is not None:
            return IndexedBudget(self.view, self.suite, key)
        return self.view.find(self.suite, key)

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        return self[key]


@dataclass(frozen=True)
class IndexedBudget(Mapping[int | str, Bound | Incomparable]):
    """A budget by concurrency or length. Any index may be asked for; one without a number is incomparable."""

    view: BudgetView
    suite: str
    key: str

    def __getitem__(self, index: int | str) -> Bound | Incomparable:
        return self.view.find(self.suite, self.key, index)

    def __iter__(self) -> Iterator[int | str]:
        return iter(self._indices())

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> list[int | str]:
        """Indices of this device; without any, those of other devices, so that a loop judges something.

        Raises :class:`NotMeasured` if there are none at all: a loop over nothing would be a green test.
        """
        mine: dict[int | str, None] = {}
        others: dict[int | str, None] = {}
        for profile, device, suite, key, index in self.view.budgets.bounds:
            if (profile, suite, key) == (self.view.profile, self.suite, self.key) and index is not None:
                (mine if device in (self.view.device, ANY) else others)[index] = None
        if not mine and not others:
            section = _section(self.view.profile, self.view.device, self.suite)
            raise NotMeasured(f"no budget for {self.view.device}; write [{section}] {self.key}")
        return list(mine or others)


def load_budgets(path: Path, *, known: Mapping[str, Mapping[str, Known]] = KNOWN) -> Budgets:
    """Read ``path``; ``known`` declares the suites and their keys.

    Raises :class:`CatalogError`: one line with file, section, key, value and what would be right.
    """
    root = read_toml(Path(path))
    devices = (*DEVICES, *root.texts("devices", ()), ANY)
    bounds: dict[Address, Bound] = {}
    claims: dict[tuple[str, str, str, str], float] = {}
    for profile, by_device in root.tables(but=("devices",)).items():
        for device, by_suite in by_device.tables().items():
            if device not in devices:
                own = f', or add it: devices = ["{device}"] in the first line'
                raise by_device.mistake(device, f"unknown device class{nearest(device, devices)}{own}")
            for suite, table in by_suite.tables().items():
                if suite not in known:
                    raise by_suite.mistake(suite, f"unknown suite{nearest(suite, known)}")
                table.only((*known[suite], CATCHES))
                for key in (key for key in table.values if key != CATCHES):
                    for index, bound in _bounds(table, key, known[suite][key]):
                        bounds[profile, device, suite, key, index] = bound
                for key, damage in _claims(table, known[suite]):
                    claims[profile, device, suite, key] = damage
    return Budgets(Path(path), bounds, known, claims)


def _bounds(table: Table, key: str, known: Known) -> Iterator[tuple[Index, Bound]]:
    if known.by is None:
        yield None, _bound(table, key, key, known)
        return
    by_index = table.table(key)
    if not by_index.values:
        raise table.mistake(key, f"holds nothing; needs one value by {known.by}")
    for index in by_index.values:
        if not index.isascii() or not index.isdecimal() or int(index) < 1 or str(int(index)) != index:
            raise by_index.mistake(index, f"must be a value by {known.by}, as in 8 = …")
        yield int(index), _bound(by_index, index, _entry(key, index), known)


def _claims(table: Table, known: Mapping[str, Known]) -> Iterator[tuple[str, float]]:
    claims = table.table(CATCHES)
    if CATCHES in table and not claims.values:
        raise table.mistake(CATCHES, "holds nothing; needs one damage by budget")
    for key in claims.values:
        if key == CATCHES or key not in table:
            budgets = [name for name in table.values if name != CATCHES]
            raise claims.mistake(key, f"is no budget of [{table.section}]{nearest(key, budgets)}")
        high = 1.0 if known[key].damage == "points" else MOST_CLAIMED
        yield key, claims.quantity(key, known[key].damage, 0.0, low=0.001, high=high)


def _bound(table: Table, key: str, entry: str, known: Known) -> Bound:
    value = table.quantity(key, known.unit, 0.0, low=known.low, high=known.high)
    section = table.section if entry == key else table.section.rsplit(".", 1)[0]
    # A margin is added on one side and taken off on the other: it has no direction of its own.
    sense = "" if known.unit == "points" else known.sense
    return Bound(value, known.unit, origin_of(table.file, section, entry), sense)


def _doubt(bound: Bound, known: Known) -> str:
    """Why the gate with this bound would say nothing; empty where it says something."""
    value, unit = bound.value, known.unit
    if known.sense == "at least":
        if value == 0.0:
            return "everything is at least that, so that its gate cannot fail; write what must be reached"
        if unit == "share" and value < 0.01:
            return f"a floor below 1 % holds almost nothing back; was {value * 100:.4g} meant, or {value * 1e4:.4g} %?"
        if unit == "share" and value == 1.0:
            return "no number of answers can show that all of them are right, so that its gate cannot pass"
        return ""
    if value == 0.0 and unit != "points":
        return "nothing measured is as small as that, so that its gate cannot pass; write what may be reached"
    if unit == "share" and value == 1.0:
        return "no share is larger, so that its gate cannot fail; write what may be reached"
    if unit == "points" and 0.0 < value < 0.001:
        return f"a margin below 0.1 points cannot be shown; were {value * 1e4:.4g} points meant?"
    if unit == "points" and value >= _WIDE_MARGIN:
        return "a model that has lost half of its answers is within such a margin; write a few points"
    if unit == "s" and value >= _LONG_S:
        return "no request and no start is waited for so long, so that its gate cannot fail; write what may be reached"
    return ""


_WIDE_MARGIN = 0.5
_LONG_S = 3600.0


def _section(profile: str, device: str, suite: str) -> str:
    plain = device.replace("-", "").replace("_", "").isalnum()
    name = device if plain else f'"{device}"'
    return f"{profile}.{name}.{suite}"


def _entry(key: str, index: Index) -> str:
    return key if index is None else f"{key}.{index}"
