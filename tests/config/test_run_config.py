"""What the command line, the catalogue and the machine make of a run, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.config.run_config import Options, Settings, read_options, resolve
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
        resolve(Options(options.models, options.budgets, profile=profile), None, "CPU", TROUBLE)
    assert str(raised.value) == (
        "/dev/nvidia0 is there, and NVML fails: Driver/library version mismatch; reboot, "
        "or choose a profile that needs no GPU: --llmperf-profile embedded"
    )


def test_a_profile_for_the_cpu_that_is_named_runs_beside_a_broken_gpu(options: Options) -> None:
    named = Options(options.models, options.budgets, profile="embedded")
    assert resolve(named, None, "CPU", TROUBLE).device == "CPU"


def test_servers_that_run_already_need_no_gpu_of_this_machine(options: Options) -> None:
    elsewhere = Options(options.models, options.budgets, profile="gpu", base_url=("a=http://127.0.0.1:1",))
    assert resolve(elsewhere, None, "CPU", TROUBLE).profile.name == "gpu"


def test_a_machine_without_a_gpu_takes_the_profile_for_the_cpu(options: Options) -> None:
    assert resolve(options, None, "CPU").profile.name == "embedded"
    assert resolve(options, "H100", "NVIDIA H100").profile.name == "gpu"


@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 600.0), ({"gpu_wait": "8h"}, 28_800.0), ({"gpu_wait": "0 s"}, 0)]
)
def test_a_run_waits_for_gpus_as_long_as_it_is_told(
    tmp_path: Path, given: dict[str, str], seconds: float
) -> None:
    assert settings(tmp_path, **given).gpu_wait_s == seconds


# How answers are collected


def settings(directory: Path, **given: object) -> Settings:
    (directory / "models.toml").write_text(CATALOGUE)
    (directory / "budgets.toml").write_text("")
    paths = {"models": directory / "models.toml", "budgets": directory / "budgets.toml"}
    return resolve(read_options({**paths, **given}), None, "CPU")


def test_nothing_given_asks_once_in_an_order_of_its_own_and_resumes_what_was_interrupted(
    tmp_path: Path,
) -> None:
    usual = settings(tmp_path)
    assert (usual.order_seed, usual.answers_dir, usual.reuse) == (None, None, "interrupted")


def test_what_is_given_is_read(tmp_path: Path) -> None:
    given = settings(tmp_path, order="7", answers=str(tmp_path), reuse="all")
    assert (given.order_seed, given.answers_dir, given.reuse) == (7, tmp_path, "all")


@pytest.mark.parametrize("given", ["-1", "1.5", "many", "", "²"])
def test_what_is_no_number_is_named_with_its_option(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError, match=r"^--llmperf-order=.*: must be a whole number, 0 or more$"):
        settings(tmp_path, order=given)


@pytest.mark.parametrize("given", [str(2**63), "9" * 5_000])
def test_a_seed_that_no_database_can_keep_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError, match=r"--llmperf-order=.*: must be at most 9,223,372,036,854,775,807$"):
        settings(tmp_path, order=given)
    assert settings(tmp_path, order=str(2**63 - 1)).order_seed == 2**63 - 1


@pytest.mark.parametrize("given", ["0", "2", "-1", "many"])
def test_a_number_of_starts_that_tells_nothing_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(UsageError, match=f"^--llmperf-starts={given}: must be 1, or at least 3 to tell how"):
        settings(tmp_path, starts=given)


def test_a_policy_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--llmperf-inconclusive=pass: must be fail, warn or exit$"):
        settings(tmp_path, inconclusive="pass")
    with pytest.raises(UsageError, match=r"^--llmperf-reuse=most: must be none, interrupted or all$"):
        settings(tmp_path, reuse="most")


def test_looks_are_announced_at_the_first_look(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--llmperf-looks=2: belongs to the first look, and --llmperf-add="
    ):
        settings(tmp_path, looks="2", add=str(tmp_path / "record.json"))


def test_a_file_is_no_place_for_a_log_of_many_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a directory"):
        settings(tmp_path, answers=str(tmp_path / "file"))


# Placement

APART = """
[profile.gpu]
candidate = "new"
baseline = "old"
needs_cuda = true
placement = "apart"
[profile.gpu.model.old]
weights = "org/a"
[profile.gpu.model.new]
extends = "old"
[profile.gpu.model.third]
extends = "old"
[profile.gpu.model.cpu]
extends = "old"
gpus = 0
[profile.gpu.model.lora]
adapter_of = "old"
adapter = "org/lora"
[profile.gpu.model.hot]
alias_of = "new"
[profile.gpu.model.hot.sampling]
temperature = 1.0
"""


def apart(directory: Path, **given: object) -> Settings:
    (directory / "models.toml").write_text(APART)
    (directory / "budgets.toml").write_text("")
    paths = {"models": directory / "models.toml", "budgets": directory / "budgets.toml"}
    return resolve(read_options({**paths, **given}), "H100", "NVIDIA H100")


def test_sides_that_stand_apart_are_told_in_the_header(tmp_path: Path) -> None:
    assert "new → org/a against old → org/a, each on its own GPUs" in apart(tmp_path).header()
    hot = apart(tmp_path, model=("new", "hot"))
    assert [model.name for model in hot.candidates] == ["new", "hot"], "both are asked of one server"
    url = apart(tmp_path, base_url=("old=http://127.0.0.1:1",))
    assert url.profile.placement == "apart", "a server elsewhere takes no GPU of this machine"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"model": ("new", "third")},
            r"one candidate is compared with the baseline, 2 were given \(new, third\)",
        ),
        ({"baseline": "new"}, "candidate and baseline stand on one server, that of the row new"),
        ({"model": ("lora",)}, "candidate and baseline stand on one server, that of the row old"),
        ({"model": ("cpu",)}, r"the row cpu uses no GPU \(gpus = 0\)"),
        ({"baseline": "cpu"}, r"the row cpu uses no GPU"),
    ],
)
def test_what_cannot_stand_apart_is_refused_before_anything_starts(
    tmp_path: Path, given: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        apart(tmp_path, **given)
    assert str(caught.value).startswith('models.toml: [profile.gpu] placement = "apart": ')


def test_another_word_for_the_placement_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(APART.replace('"apart"', '"alone"'))
    (tmp_path / "budgets.toml").write_text("")
    with pytest.raises(UsageError, match=r"placement.*together.*apart"):
        resolve(Options(tmp_path / "models.toml", tmp_path / "budgets.toml"), "H100", "NVIDIA H100")
