"""``budgets.toml`` as values: what each profile must keep, on which class of device.

The file that users edit, by example::

    [gpu.any.accuracy]                 # [PROFILE.DEVICE.SUITE]; `any` holds for every device
    floor = "70 %"
    margin = "3 points"

    [gpu.H100.latency]                 # milliseconds mean something on one class of device only
    ttft_p95 = { 1 = "80 ms", 8 = "120 ms" }      # by concurrency

    [gpu."RTX 3090".memory]
    peak = "11 GB"
    catches = { peak = "30 %" }        # what the gate claims to turn red for; tested by --llmperf-mutation-test

    [gpu.any.mytask]                   # a suite of your own, with keys of your own
    accuracy = 0.5                     # without a unit: in the unit of whatever it is compared with

    inconclusive = { peak = "warn" }   # what INCONCLUSIVE does to this gate, whatever --llmperf-inconclusive says

A suite reads ``budget.latency.ttft_p95[8]`` or ``budget.mytask.accuracy`` and gets a :class:`Bound`. A budget that only
other devices have is an :class:`Incomparable`, which says what to write, and is never replaced by another device's
number. A device that is not among :data:`DEVICES` is declared in the file's first line:
``devices = ["RTX 4090"]``.

The shipped suites' budgets are declared in ``config.budget_keys`` with unit, range and direction. Any other name is a
budget of your own, unless it is so much like a declared one that it is taken for a slip of the pen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pytest_llmperf.config.bounds import Bound, Incomparable, origin_of
from pytest_llmperf.config.budget_keys import KNOWN, Known
from pytest_llmperf.config.fields import in_range
from pytest_llmperf.config.toml_errors import TomlTable, closest, nearest, read_toml
from pytest_llmperf.config.waivers import WAIVE, Waiver, read_waivers
from pytest_llmperf.errors import CatalogError, NotMeasured
from pytest_llmperf.units import Unit, parse_quantity

DEVICES = ("T4", "L4", "A10", "RTX 3090", "A100", "H100", "H200", "Jetson Orin", "CPU")
ANY = "any"

INCONCLUSIVE = "inconclusive"
"""The key beside the budgets of a table that says of some what an INCONCLUSIVE gate does: ``fail`` or ``warn``."""
Index = int | str | None
"""Index in brackets behind a budget: a concurrency, a length; None for a budget without an index."""
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


_BESIDE = (CATCHES, INCONCLUSIVE)
"""Keys of a table that are no budgets."""
MOST_CLAIMED = 10.0
"""Eleven times as long: who claims no less claims nothing."""
_SLIP = 0.8
"""From this likeness on (``difflib``), an unknown name is a misspelt one: ``latancy``, ``ttft_95``."""


@dataclass(frozen=True)
class Budgets:
    """A whole ``budgets.toml``."""

    path: Path
    bounds: Mapping[Address, Bound]
    claims: Mapping[tuple[str, str, str, str], float] = field(default_factory=dict)
    """Profile, device class, suite, key → the damage that the key's gates claim to catch, whatever the index."""
    undecided: Mapping[tuple[str, str, str, str], str] = field(default_factory=dict)
    """Profile, device class, suite, key → ``fail`` or ``warn``: what INCONCLUSIVE does to the key's gates."""
    waivers: Mapping[str, Waiver] = field(default_factory=dict)
    """Node id → what is let through in that test."""

    def suites(self) -> tuple[str, ...]:
        """Suites that are declared, and those of the file's own."""
        return tuple(dict.fromkeys((*KNOWN, *(address[2] for address in self.bounds))))

    def keys(self, suite: str) -> dict[str, bool]:
        """The budgets of a suite, declared and own ones, and whether each has an index."""
        declared = {key: known.by is not None for key, known in KNOWN.get(suite, {}).items()}
        own = {address[3]: address[4] is not None for address in self.bounds if address[2] == suite}
        return own | declared

    def for_device(self, profile: str, device: str) -> BudgetView:
        """The budgets for ``profile`` on ``device``, a device class or the name of a device that has none."""
        return BudgetView(self, profile, device)

    def inconclusive_of(self, origin: str) -> str:
        """What INCONCLUSIVE does to the gate whose bound stands at ``origin``: ``fail``, ``warn``; empty if unsaid."""
        if not self.undecided:
            return ""
        return next((self.undecided.get(a[:4], "") for a, b in self.bounds.items() if b.origin == origin), "")

    def claim_of(self, origin: str) -> Claim | None:
        """The claim about the gate whose bound stands at ``origin``; None if there is none."""
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
        if suite not in (suites := self.budgets.suites()):
            section = _section(self.profile, ANY, suite)
            raise CatalogError(f"budget.{suite}: unknown suite{_remedy(suite, suites, f'[{section}]')}")
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
        declared = KNOWN.get(suite, {}).get(key)
        unit = (
            declared.unit
            if declared
            else next((b.unit for a, b in bounds.items() if a[2:4] == (suite, key)), "")
        )
        return Incomparable(self.device, section, available, unit)

    def doubts(self) -> list[str]:
        """One line for each budget that applies here and cannot mean what it says, with what to write instead.

        A gate with such a budget would be green, or red, whatever is measured. The run tells them and goes on.
        """
        doubts = []
        for (profile, device, suite, key, _), bound in self.budgets.bounds.items():
            if profile == self.profile and device in (self.device, ANY):
                declared = KNOWN.get(suite, {}).get(key)
                doubt = _doubt(bound, declared) if declared else ""
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
        keys = self.view.budgets.keys(self.suite)
        if key not in keys:
            section = _section(self.view.profile, ANY, self.suite)
            remedy = _remedy(key, keys, f"[{section}] {key}")
            raise CatalogError(f"budget.{self.suite}.{key}: unknown budget{remedy}")
        if keys[key]:
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


def load_budgets(path: Path) -> Budgets:
    """Read ``path``.

    Raises :class:`CatalogError`: one line with file, section, key, value and what would be right.
    """
    root = read_toml(Path(path))
    devices = (*DEVICES, *root.parse(_Head, {"devices": root.values.get("devices", [])}).devices, ANY)
    bounds: dict[Address, Bound] = {}
    claims: dict[tuple[str, str, str, str], float] = {}
    undecided: dict[tuple[str, str, str, str], str] = {}
    for profile, by_device in root.tables(but=("devices", WAIVE)).items():
        for device, by_suite in by_device.tables().items():
            if device not in devices:
                own = f', or add it: devices = ["{device}"] in the first line'
                raise by_device.mistake(device, f"unknown device class{nearest(device, devices)}{own}")
            for suite, table in by_suite.tables().items():
                _refuse_slip(by_suite, suite, KNOWN, "suite")
                declared = KNOWN.get(suite, {})
                for key in (key for key in table.values if key not in _BESIDE):
                    _refuse_slip(table, key, (*declared, *_BESIDE), "key")
                    for index, bound in _bounds(table, key, declared.get(key)):
                        bounds[profile, device, suite, key, index] = bound
                for key, damage in _claims(table, declared):
                    claims[profile, device, suite, key] = damage
                for key, does in _undecided(table):
                    undecided[profile, device, suite, key] = does
    return Budgets(Path(path), bounds, claims, undecided, read_waivers(root))


@dataclass(frozen=True)
class _Head:
    """The keys above all tables."""

    devices: tuple[str, ...] = ()


def _refuse_slip(table: TomlTable, name: str, declared: Collection[str], what: str) -> None:
    if name not in declared and (meant := closest(name, declared, cutoff=_SLIP)):
        own = "one of your own needs a name that is less like it"
        raise table.mistake(name, f"unknown {what}; did you mean {meant}? ({own})")


def _bounds(table: TomlTable, key: str, known: Known | None) -> Iterator[tuple[Index, Bound]]:
    if (known is None and not isinstance(table.values[key], dict)) or (
        known is not None and known.by is None
    ):
        yield None, _bound(table, key, key, known)
        return
    by_index = table.table(key)
    by = known.by if known else "concurrency, length or name"
    if not by_index.values:
        raise table.mistake(key, f"holds nothing; needs one value by {by}")
    for index in by_index.values:
        number = index.isascii() and index.isdecimal() and index == str(int(index)) and int(index) >= 1
        if known is not None and not number:
            raise by_index.mistake(index, f"must be a value by {by}, as in 8 = …")
        yield int(index) if number else index, _bound(by_index, index, _entry(key, index), known)


def _undecided(table: TomlTable) -> Iterator[tuple[str, str]]:
    policies = table.table(INCONCLUSIVE)
    if INCONCLUSIVE in table and not policies.values:
        raise table.mistake(INCONCLUSIVE, 'holds nothing; needs "fail" or "warn" by budget')
    for key, does in policies.values.items():
        if key not in table or key in _BESIDE:
            raise policies.mistake(key, f"is no budget of [{table.section}]{_nearest_budget(table, key)}")
        if does not in ("fail", "warn"):
            raise policies.mistake(key, 'must be "fail" or "warn"')
        yield key, str(does)


def _nearest_budget(table: TomlTable, key: str) -> str:
    return nearest(key, [name for name in table.values if name not in _BESIDE])


def _claims(table: TomlTable, declared: Mapping[str, Known]) -> Iterator[tuple[str, float]]:
    claims = table.table(CATCHES)
    if CATCHES in table and not claims.values:
        raise table.mistake(CATCHES, "holds nothing; needs one damage by budget")
    for key, damage in claims.values.items():
        if key in _BESIDE or key not in table:
            raise claims.mistake(key, f"is no budget of [{table.section}]{_nearest_budget(table, key)}")
        # Of an own budget only its gate knows what the damage is: the unit that is written decides.
        own: Unit = "points" if "point" in str(damage) else "share"
        unit = declared[key].damage if key in declared else own
        yield key, _quantity(claims, key, unit, 0.001, 1.0 if unit == "points" else MOST_CLAIMED)


def _bound(table: TomlTable, key: str, entry: str, known: Known | None) -> Bound:
    section = table.section if entry == key else table.section.rsplit(".", 1)[0]
    origin = origin_of(table.file, section, entry)
    if known is None:
        return Bound(*_own_quantity(table, key), origin)
    value = _quantity(table, key, known.unit, known.low, known.high)
    # A margin is added on one side and taken off on the other: it has no direction of its own.
    return Bound(value, known.unit, origin, "" if known.unit == "points" else known.sense)


def _quantity(table: TomlTable, key: str, unit: Unit, low: float, high: float) -> float:
    try:
        return in_range(parse_quantity(table.values[key], unit), low, high)
    except ValueError as error:
        raise table.mistake(key, str(error)) from None


def _own_quantity(table: TomlTable, key: str) -> tuple[float, str]:
    """The value and unit of a budget that is not declared; the unit is empty for a number without one."""
    value = table.values[key]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value), ""
    for unit in get_args(Unit) if isinstance(value, str) else ():
        with contextlib.suppress(ValueError):
            return parse_quantity(value, unit), unit
    raise table.mistake(key, 'must be a number, or a quantity such as "80 ms" or "5 %"')


def _remedy(name: str, known: Iterable[str], entry: str) -> str:
    """``; did you mean …?``, or where to write a budget of one's own."""
    meant = closest(name, known, cutoff=0.6)
    return f"; did you mean {meant}?" if meant else f"; write {entry} in budgets.toml"


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
