"""The peak of device memory: known, or not known, and never that of a part of the run."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import cast

import pytest

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.measure.memory import MemoryWatch
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess


class Nvml:
    """This process has a GiB on the only device, until the driver is gone."""

    gone = False

    def devices(self) -> list[Device]:
        return [Device(0, "NVIDIA H100", "GPU-0", 80 * GIB, GIB, 79 * GIB)]

    def processes(self) -> list[GpuProcess]:
        if self.gone:
            raise GpuUnreadable("the NVIDIA driver was there, and NVML fails: GPU is lost", "reboot")
        return [GpuProcess(os.getpid(), GIB, 0)]


def test_a_driver_that_goes_in_the_middle_leaves_no_peak_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml, told = Nvml(), list[str]()
    monkeypatch.setattr(gpu, "open_nvml", lambda: nvml)
    server = SimpleNamespace(root_pid=os.getpid())
    side = cast(
        Served,
        SimpleNamespace(
            name="distill",
            model=SimpleNamespace(gpus=1),
            server=server,
            nvml=lambda: nvml,
            refuse_if_restarted=lambda what: None,
        ),
    )
    watch = MemoryWatch(side, told.append)
    assert watch.use().peak == GIB
    nvml.gone = True
    assert watch.use().peak is None
    nvml.gone = False
    assert watch.use().peak is None, "what was used in between nobody has seen"
    watch.stop()
    assert set(told) == {
        "distill: its peak of device memory is not known: the NVIDIA driver was there, and NVML fails: GPU is lost"
    }
