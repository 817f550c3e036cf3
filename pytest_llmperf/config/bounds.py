"""The bound of a measurement: a number that a person wrote, or the absence of one for this device."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from pytest_llmperf.units import format_size


@dataclass(frozen=True)
class Bound:
    """A floor, budget or limit: the value, its unit, and where a person wrote it.

    ``unit`` is that of the metric (``"share"``, ``"ratio"``, ``"s"``, ``"tok/s"``, ``"bytes"``; ``"points"``
    for a margin, whose value is a share, 0.03 for three points); empty means that of whatever it is compared
    with. Raises ``TypeError`` for what is no number, ``ValueError`` for NaN and infinity.
    """

    value: float
    unit: str = ""
    origin: str = ""
    """File, table and key of the bound: ``budgets.toml [gpu.H100.latency] ttft_p95.8``."""
    sense: Literal["", "at most", "at least"] = ""
    """Direction of a budget: a comparison the other way round is refused. Empty for plain numbers and for margins."""

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, Real):
            raise TypeError(f"a bound is a number, not {self.value!r}{self._where()}")
        if not math.isfinite(self.value):
            raise ValueError(f"a bound is a finite number, not {self.value}{self._where()}")

    def __str__(self) -> str:
        return format_size(self.value, self.unit)

    def _where(self) -> str:
        return f" ({self.origin})" if self.origin else ""


def origin_of(file: str, section: str, entry: str) -> str:
    """The origin of a budget: ``budgets.toml [gpu.H100.latency] ttft_p95.8``."""
    return f"{file} [{section}] {entry}"


def suite_of(origin: str) -> str:
    """The suite, ``latency``, of a budget with this :func:`origin_of`; empty for a bound that is no budget."""
    budget = re.search(r" \[[^\[\]]*\.([^.\[\]]+)\] ", origin)
    return "" if budget is None else budget[1]


@dataclass(frozen=True)
class Incomparable:
    """There is no such budget for this device, and no other device's number may stand in for it.

    Every comparison with it is INVALID, and never quietly skipped.
    """

    device: str
    needed_section: str
    """The entry to write: ``[gpu.H100.latency] ttft_p95.8``."""
    available: tuple[str, ...] = ()
    """Device classes that have this budget in this profile."""
    unit: str = ""
    origin: str = ""

    @property
    def why(self) -> str:
        """The sentence of the verdict."""
        others = f" (only for {', '.join(self.available)})" if self.available else ""
        return f"no budget for device {self.device}{others}; write {self.needed_section} in budgets.toml"

    def __str__(self) -> str:
        return self.why
