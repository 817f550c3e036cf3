"""The GPUs of a run: shared by its rows or apart, leased, and exchanged between starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.gpu import GIB, Device
from pytest_llmperf.serving.gpu_leases import GpuLeases
from pytest_llmperf.serving.run_gpus import RunGpus, choose, exchanged

H100, A10 = "NVIDIA H100 80GB HBM3", "NVIDIA A10"
NEW = Model(name="new", profile="gpu", weights="org/name")
OLD = replace(NEW, name="old")


def device(index: int, name: str = H100) -> Device:
    return Device(index, name, f"GPU-{index}", 80 * GIB, GIB, 79 * GIB)


def on(row: Model, setting: str, gpus: int = 1) -> Model:
    return replace(row, gpus=gpus, environment={"CUDA_VISIBLE_DEVICES": setting})


class Machine:
    def __init__(self, *devices: Device) -> None:
        self.every = list(devices)

    def devices(self) -> list[Device]:
        return self.every

    def processes(self) -> list[gpu.GpuProcess]:
        return []


FOUR = [device(index) for index in range(4)]


def chosen(
    rows: list[Model],
    devices: list[Device] | None = None,
    apart: bool = False,
    busy: tuple[str, ...] = (),
    run: str | None = None,
) -> dict[str, list[int]]:
    environment = {} if run is None else {"CUDA_VISIBLE_DEVICES": run, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    places = choose(rows, FOUR if devices is None else devices, environment, apart=apart, busy=busy)
    return {row: [device.index for device in devices] for row, devices in places.items()}


def test_together_rows_share_the_first_gpus() -> None:
    assert chosen([NEW, OLD]) == {"new": [0], "old": [0]}
    assert chosen([replace(NEW, gpus=2), OLD]) == {"new": [0, 1], "old": [0]}
    assert chosen([NEW, OLD], run="2,3") == {"new": [2], "old": [2]}
    assert chosen([NEW, OLD], run="0,1", busy=("GPU-0",)) == {"new": [1], "old": [1]}


def test_a_row_has_what_its_own_environment_names() -> None:
    assert chosen([on(NEW, "1"), OLD]) == {"new": [1], "old": [0]}
    assert chosen([on(NEW, "GPU-3,2", 2), on(OLD, "GPU-3")], run="0") == {"new": [3, 2], "old": [3]}
    assert chosen([on(NEW, "1"), OLD], busy=("GPU-1",)) == {"new": [], "old": [0]}
    assert chosen([on(NEW, "-1"), OLD]) == {"new": [], "old": [0]}


def test_a_row_that_needs_more_than_is_visible_has_no_place() -> None:
    assert chosen([replace(NEW, gpus=5), OLD]) == {"new": [], "old": [0]}
    assert chosen([NEW, OLD], run="") == {"new": [], "old": []}
    assert chosen([NEW, OLD], []) == {"new": [], "old": []}


def test_a_run_stays_on_the_kind_that_its_budgets_are_of() -> None:
    mixed = [device(0, A10), device(1), device(2, A10)]
    assert chosen([NEW, OLD], mixed, busy=("GPU-0",)) == {"new": [2], "old": [2]}
    assert chosen([NEW, OLD], mixed, apart=True) == {"new": [0], "old": [2]}


def test_apart_each_side_has_its_own_gpus() -> None:
    assert chosen([NEW, OLD], apart=True) == {"new": [0], "old": [1]}
    assert chosen([replace(NEW, gpus=2), replace(OLD, gpus=2)], apart=True) == {"new": [0, 1], "old": [2, 3]}
    assert chosen([on(NEW, "2"), OLD], apart=True) == {"new": [2], "old": [0]}
    assert chosen([NEW, OLD], apart=True, busy=("GPU-0",)) == {"new": [1], "old": [2]}
    assert chosen([NEW], apart=True) == {"new": [0]}, "a run that compares nothing"


@pytest.mark.parametrize(
    ("rows", "devices", "says"),
    [
        ([NEW, OLD], [device(0)], "needs 2 GPUs of one kind, there are: 0: NVIDIA H100 80GB HBM3"),
        ([NEW, OLD], [device(0), device(1, A10)], f"there are: 0: {H100}, 1: {A10}"),
        ([NEW, OLD], [], "there are: none"),
        ([replace(NEW, gpus=4), OLD], FOUR, "needs 5 GPUs of one kind"),
        (
            [on(NEW, "0"), on(OLD, "0")],
            FOUR,
            f"their own CUDA_VISIBLE_DEVICES name a GPU twice: 0: {H100}, 0",
        ),
        (
            [on(NEW, "GPU-0"), on(OLD, "GPU-1")],
            [device(0), device(1, A10)],
            f"compares on GPUs of one kind, these differ: 0: {H100}, 1: {A10}",
        ),
        ([on(NEW, "7"), OLD], FOUR, "needs 2 GPUs of one kind"),
    ],
)
def test_rows_that_cannot_stand_apart_are_refused_with_the_gpus_that_there_are(
    rows: list[Model], devices: list[Device], says: str
) -> None:
    with pytest.raises(StartError, match="new and old: ") as caught:
        chosen(rows, devices, apart=True)
    assert says in str(caught.value)
    assert caught.value.remedy


def test_sides_that_change_places_take_each_other_s_gpus() -> None:
    places = {"new": FOUR[:2], "old": FOUR[2:]}
    assert exchanged(places) == {"new": FOUR[2:], "old": FOUR[:2]}
    assert exchanged(exchanged(places)) == places
    uneven = exchanged({"new": FOUR[:3], "old": FOUR[3:]})
    assert uneven == {"new": [FOUR[3], FOUR[0], FOUR[1]], "old": [FOUR[2]]}


# With leases


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    monkeypatch.setenv("LLMPERF_GPU_LEASES", str(tmp_path / "leases"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    here = Machine(*FOUR)
    monkeypatch.setattr(gpu, "open_nvml", lambda: here)
    return here


Make = Callable[..., RunGpus]


@pytest.fixture
def run(machine: Machine, tmp_path: Path) -> Make:
    del machine

    def make(name: str, *rows: Model, apart: bool = False, seed: int = 0, wait_s: float = 0.0) -> RunGpus:
        wanted = rows or (NEW, OLD)
        return RunGpus(lambda: wanted, tmp_path / name, lambda _: None, apart=apart, seed=seed, wait_s=wait_s)

    return make


def where(gpus: RunGpus, *rows: Model) -> list[str]:
    return [str(gpus.placement(row)) for row in rows or (NEW, OLD)]


def test_a_second_run_takes_the_next_gpu_and_a_fifth_is_refused_with_the_holder(run: Make) -> None:
    runs = [run(f"run-{number}") for number in range(5)]
    assert [where(gpus) for gpus in runs[:4]] == [[n, n] for n in "0123"]
    with pytest.raises(StartError, match=r"no GPU is free: process \d+ holds GPU 0 \(NVIDIA H100") as caught:
        where(runs[4])
    with pytest.raises(StartError) as again:
        where(runs[4])
    assert again.value is caught.value, "the wait is not repeated for every test"
    runs[0].close()
    assert where(run("run-6")) == ["0", "0"]


def test_processes_of_one_run_have_the_same_places(run: Make) -> None:
    first, second = run("one", apart=True), run("one", apart=True)
    assert where(first) == where(second)
    other = run("two", apart=True)
    assert set(where(other)) == {"2", "3"}
    first.close()
    with pytest.raises(StartError):
        where(run("three", apart=True))
    second.close()
    assert set(where(run("four", apart=True))) == {"0", "1"}


def test_a_gpu_that_another_run_gives_back_is_waited_for(run: Make, tmp_path: Path) -> None:
    held = GpuLeases("other", tmp_path / "leases")
    assert held.take([device.uuid for device in FOUR]) is None
    told = threading.Event()
    waiting = RunGpus(lambda: [NEW, OLD], tmp_path / "run", lambda text: told.set(), wait_s=30.0)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(where(waiting)))
    thread.start()
    assert told.wait(10)
    held.close()
    thread.join(10)
    assert found == ["0", "0"]


def test_a_seed_draws_who_has_the_first_gpu_and_every_start_exchanges(run: Make) -> None:
    firsts = set()
    for seed in range(12):
        gpus = run(f"run-{seed}", apart=True, seed=seed)
        before = where(gpus)
        firsts.add(before[0])
        gpus.exchange()
        assert where(gpus) == before[::-1]
        gpus.exchange()
        assert where(gpus) == before
        gpus.close()
    assert firsts == {"0", "1"}


def test_together_nothing_is_exchanged_and_rows_that_name_gpus_begin_on_them(run: Make) -> None:
    gpus = run("together")
    before = where(gpus)
    gpus.exchange()
    assert where(gpus) == before
    gpus.close()
    for seed in range(6):
        rows = (on(NEW, "3"), on(OLD, "2"))
        named = run(f"named-{seed}", *rows, apart=True, seed=seed)
        assert where(named, *rows) == ["3", "2"]
        named.exchange()
        assert where(named, *rows) == ["2", "3"]
        named.close()


def test_a_row_that_was_not_expected_is_placed_and_leased_as_well(run: Make) -> None:
    gpus = run("run", NEW)
    third = on(replace(NEW, name="third"), "3")
    assert where(gpus, NEW, third) == ["0", "3"]
    assert len(gpus.descriptors(third)) == 1
    with pytest.raises(StartError):
        where(run("other", third), third)
