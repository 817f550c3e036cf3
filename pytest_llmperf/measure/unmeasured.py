"""Stands for what only a server could tell: data of a known number that cannot be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar, overload

from pytest_llmperf.errors import NeedsServer
from pytest_llmperf.gates.outcomes import Outcome, Outcomes

T = TypeVar("T")


def needs_server(what: str) -> NoReturn:
    raise NeedsServer(f"{what} is known once a server has answered; the run is planned only")


@dataclass(frozen=True)
class Later:
    """Outcomes that may be asked for, see ``gates.proportion.Growing``."""

    planned: int

    def first(self, n: int) -> Outcomes:
        needs_server(f"the outcome of {n} items")


class NoOutcomes(Mapping[str, Outcome | Sequence[Outcome]]):
    """As many outcomes as will be there."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: str) -> NoReturn:
        needs_server(f"the outcome of {key}")

    def __iter__(self) -> NoReturn:
        needs_server("an outcome")


class NoSamples(Sequence[T]):
    """As many samples as will be there."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> NoReturn:
        needs_server(f"sample {index}")


class Unknown:
    """A value, or a log, that is not there yet: every use of it says so."""

    def __getattr__(self, name: str) -> NoReturn:
        needs_server(name)

    def _refuse(self, *_: object) -> NoReturn:
        needs_server("a measured value")

    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __bool__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __format__ = __str__ = _refuse
