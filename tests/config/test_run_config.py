"""What the command line, the catalogue and the machine make of a run, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import GpuUnreadable, UsageError

TROUBLE = GpuUnreadable("/dev/nvidia0 is there, and NVML fails: Driver/library version mismatch", "reboot")
CATALOGUE = """
[profile.gpu]
candidate = "a"
baseline = "a"
needs_cuda = true
[profile.gpu.model.a]
weights = "org/a"
[profile.embedded]
candidate = "a"
baseline = "a"
[profile.embedded.model.a]
weights = "org/a"
gpus = 0
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    (tmp_path / "models.toml").write_text(CATALOGUE)
    (tmp_path / "budgets.toml").write_text("")
    return Options(tmp_path / "models.toml", tmp_path / "budgets.toml")


@pytest.mark.parametrize("profile", [None, "gpu"])
def test_a_gpu_that_cannot_be_read_ends_the_run_in_one_line(options: Options, profile: str | None) -> None:
    with pytest.raises(UsageError) as raised:
        resolve(Options(options.models_path, options.budgets_path, profile=profile), None, "CPU", TROUBLE)
    assert str(raised.value) == (
        "/dev/nvidia0 is there, and NVML fails: Driver/library version mismatch; reboot, "
        "or choose a profile that needs no GPU: --llmperf-profile embedded"
    )


def test_a_profile_for_the_cpu_that_is_named_runs_beside_a_broken_gpu(options: Options) -> None:
    named = Options(options.models_path, options.budgets_path, profile="embedded")
    assert resolve(named, None, "CPU", TROUBLE).device == "CPU"


def test_servers_that_run_already_need_no_gpu_of_this_machine(options: Options) -> None:
    elsewhere = Options(
        options.models_path, options.budgets_path, profile="gpu", base_urls=("a=http://127.0.0.1:1",)
    )
    assert resolve(elsewhere, None, "CPU", TROUBLE).profile.name == "gpu"


def test_a_machine_without_a_gpu_takes_the_profile_for_the_cpu(options: Options) -> None:
    assert resolve(options, None, "CPU").profile.name == "embedded"
    assert resolve(options, "H100", "NVIDIA H100").profile.name == "gpu"
