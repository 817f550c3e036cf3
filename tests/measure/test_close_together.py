"""Ending several servers on one GPU whose driver names no processes: only what really stays behind is a complaint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import close_together
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess
from pytest_llmperf.serving.lease import Released


@dataclass
class Gpu:
    """A device that tells how much is used, and not by whom."""

    held: dict[str, int] = field(default_factory=dict)

    def devices(self) -> list[Device]:
        used = sum(self.held.values())
        return [Device(0, "GPU", "GPU-0", 80 * GIB, used, 80 * GIB - used)]

    def processes(self) -> list[GpuProcess]:
        return []


@dataclass
class Side:
    """What ``close_together`` asks of a server: it holds memory until its lease is given back."""

    name: str
    device: Gpu
    leaks: int = 0
    last: bool = True
    survivor: int | None = None
    used_before: dict[str, int] = field(default_factory=dict)

    def start(self) -> Side:
        self.used_before = gpu.used_bytes(self.device)
        self.device.held[self.name] = 30 * GIB
        return self

    def release(self, *, at_once: bool = False) -> Released:
        self.device.held[self.name] = self.leaks
        if self.survivor:
            raise InfrastructureError(f"{self.name}: processes ({self.survivor},) outlived SIGKILL")
        return Released(self.last, (1,))

    def nvml(self) -> Gpu:
        return self.device


def close(*sides: Side, **how: Any) -> list[str]:
    return [str(error) for error in close_together(cast("list[Served]", list(sides)), **how)]


@pytest.fixture(autouse=True)
def _waits_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gpu.wait_released

    def short(nvml: gpu.Nvml, pids: Collection[int], before: Mapping[str, int] | None = None) -> str | None:
        return real(nvml, pids, before, timeout_s=0.1)

    monkeypatch.setattr(gpu, "wait_released", short)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_memory_of_one_side_is_not_taken_for_a_leak_of_the_other(order: tuple[int, int]) -> None:
    device = Gpu()
    sides = [Side("distill", device).start(), Side("math", device).start()]
    assert close(*(sides[i] for i in order)) == []


@pytest.mark.parametrize("leaky", [0, 1])
def test_what_either_side_leaves_behind_is_said(leaky: int) -> None:
    device = Gpu()
    sides = [Side("distill", device).start(), Side("math", device).start()]
    sides[leaky].leaks = GIB
    complaints = close(*sides)
    assert complaints
    assert all("1.0 GiB more than before on GPU 0" in one for one in complaints)


def test_a_server_that_goes_on_is_no_leak_of_those_that_ended() -> None:
    device = Gpu()
    distill, third = Side("distill", device).start(), Side("third", device).start()
    math = Side("math", device).start()
    assert close(distill, math, running=[cast("Served", third)]) == []


def test_a_side_that_fails_does_not_keep_the_others_from_being_given_back() -> None:
    device = Gpu()
    stuck, math = Side("distill", device, survivor=7).start(), Side("math", device).start()
    assert close(stuck, math) == ["distill: processes (7,) outlived SIGKILL"]
    assert device.held["math"] == 0


@pytest.mark.parametrize("anew", [False, True])
def test_only_who_starts_anew_minds_that_another_process_uses_the_server(anew: bool) -> None:
    complaints = close(Side("distill", Gpu(), last=False).start(), anew=anew)
    assert ["cannot be started anew" in one for one in complaints] == [True] * anew
