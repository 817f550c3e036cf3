"""The devices that an environment leaves visible, as CUDA reads it, and those that a row takes of them."""

from __future__ import annotations

import pytest

from pytest_llmperf.errors import GpuUnreadable
from pytest_llmperf.serving import gpu, placement
from pytest_llmperf.serving.gpu import GIB, Device, GpuProcess

H100, A10 = "NVIDIA H100 80GB HBM3", "NVIDIA A10"


def device(index: int, name: str = H100, uuid: str | None = None, mig: int | None = None) -> Device:
    return Device(index, name, uuid or f"GPU-{index}abc", 80 * GIB, GIB, 79 * GIB, mig)


class Machine:
    """NVML of a machine with these devices; process 7 has memory on the GPUs 0 and 1."""

    def __init__(self, *devices: Device) -> None:
        self.every = devices

    def devices(self) -> list[Device]:
        return list(self.every)

    def processes(self) -> list[GpuProcess]:
        return [GpuProcess(7, GIB, 0), GpuProcess(7, 2 * GIB, 1)]


THREE = [device(0), device(1), device(2)]
DIVIDED = [
    device(0, f"{H100} MIG 3g.40gb", "MIG-aa", mig=0),
    device(0, f"{H100} MIG 3g.40gb", "MIG-ab", mig=1),
    device(1),
]


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("GPU-1", [1]),
        ("GPU-1abc,GPU-0", [1, 0]),
        ("1,GPU-0", [1, 0]),
        ("1,7,0", [1]),
        ("1,-1,0", [1]),
        ("-1", []),
        ("GPU-", []),  # the beginning of three
        ("1,1", [1]),
        ("0,GPU-0", [0]),
        ("NoDevFiles", []),
        ("1,", [1]),
        ("١", []),  # a digit that is not ASCII
    ],
)
def test_only_the_devices_that_cuda_would_see_count(setting: str | None, indices: list[int]) -> None:
    environment = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    assert [seen.index for seen in placement.visible(THREE, environment)] == indices


@pytest.mark.parametrize(
    ("setting", "uuids"),
    [
        ("MIG-ab", ["MIG-ab"]),
        ("MIG-a", []),
        ("0", ["MIG-aa"]),
        ("1,MIG-aa", ["GPU-1abc", "MIG-aa"]),
        ("MIG-ab,MIG-ab", ["MIG-ab"]),
    ],
)
def test_a_slice_is_named_by_its_uuid(setting: str, uuids: list[str]) -> None:
    found = placement.visible(DIVIDED, {"CUDA_VISIBLE_DEVICES": setting})
    assert [seen.uuid for seen in found] == uuids


def test_numbers_of_different_gpus_are_taken_in_the_order_of_the_bus_alone() -> None:
    mixed = [device(0, A10), device(1)]
    with pytest.raises(GpuUnreadable) as caught:
        placement.visible(mixed, {"CUDA_VISIBLE_DEVICES": "0"})
    assert (
        f"CUDA_VISIBLE_DEVICES='0' counts GPUs of several kinds (0: {A10}, 1: {H100})" in caught.value.cause
    )
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in caught.value.remedy
    stated = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert placement.visible(mixed, stated) == [mixed[1]]
    assert placement.visible(mixed, {"CUDA_VISIBLE_DEVICES": "GPU-1"}) == [mixed[1]]
    assert placement.visible(mixed, {}) == mixed


def test_a_row_takes_the_first_devices_that_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    machine = Machine(*THREE)
    taken = placement.of_row(1, {}, machine)
    assert taken.environment == {"CUDA_VISIBLE_DEVICES": "2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    own = placement.of_row(2, {"CUDA_VISIBLE_DEVICES": "GPU-1,0"}, machine)
    assert own.environment["CUDA_VISIBLE_DEVICES"] == "1,0", "numbers, which every engine knows"
    assert placement.of_row(0, {}, machine).environment == {}
    assert len(placement.of_row(3, {}, machine).devices) == 2


def test_beside_a_divided_gpu_devices_are_named_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = Machine(*DIVIDED)
    assert placement.of_row(1, {}, machine).environment["CUDA_VISIBLE_DEVICES"] == "MIG-aa"
    whole = placement.of_row(1, {"CUDA_VISIBLE_DEVICES": "1"}, machine)
    assert whole.environment["CUDA_VISIBLE_DEVICES"] == "GPU-1abc"


def test_nvml_of_a_placement_knows_its_devices_alone() -> None:
    seen = placement.OnlyOn(Machine(*THREE), placement.Placement((THREE[2], THREE[1])))
    assert [device.index for device in seen.devices()] == [2, 1]
    assert seen.processes() == [GpuProcess(7, 2 * GIB, 1)]
    assert gpu.memory_of(seen, {7}) == 2 * GIB
