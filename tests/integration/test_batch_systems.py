"""The command lines of ``contrib/kubernetes`` and ``contrib/slurm`` run here, with the variables that those systems
set: two shards and their merge end as the run on one machine does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES, SLURM = ROOT / "contrib" / "kubernetes", ROOT / "contrib" / "slurm"
SCRIPTS = sorted(SLURM.glob("*.sh"))
NIGHT = "20261201"
SUITES = {
    "suites/test_right.py": "def test_right(candidate, accuracy):\n    assert accuracy(candidate) >= 0.5\n",
    "suites/test_form.py": "def test_boxed(candidate, answers):\n    assert answers(candidate).boxed >= BOUND\n",
    "suites/test_quick.py": "def test_quick(candidate, startup):\n    assert startup(candidate).ready <= 100\n",
}


COMPARED = ("test", "status", "metric", "n", "interval", "observed", "bound", "why")


@dataclass(frozen=True)
class Site:
    """A repository of suites that the fake engine serves, and the commands of its environment."""

    path: Path
    commands: Path
    """Directory of ``python``, ``pytest-llmperf`` and ``sbatch``."""
    scratch: Path
    cache: Path

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command in the repository, with no variables but these and those that the fake engine needs."""
        self.scratch.mkdir(exist_ok=True)
        (self.scratch / "tmp").mkdir(exist_ok=True)
        own = {
            "PATH": f"{self.commands}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FAKE_ENGINE_INTERPRETER": sys.executable,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p llmperf -p llmperf_model",
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch / "tmp"),
            "XDG_CACHE_HOME": str(self.cache),  # the client's own error is the machine's: measured once
            "LLMPERF_GPU_LEASES": str(self.scratch),
        }
        return subprocess.run(
            words, cwd=self.path, env=own | environment, capture_output=True, text=True, timeout=170
        )

    def whole(self) -> int:
        """The run on one machine, whose record is ``whole.json`` in the scratch directory."""
        done = self.run(
            *("python", "-m", "pytest", "suites/", "--model", "distill", "-p", "no:cacheprovider"),
            *("--llmperf-order", NIGHT, "--llmperf-record", str(self.scratch / "whole.json")),
        )
        return done.returncode

    def pod(self, job: Mapping[str, Any], records: Path, **given: str) -> subprocess.CompletedProcess[str]:
        """The container of a job, as the kubelet starts it."""
        [container] = job["spec"]["template"]["spec"]["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry} | given
        variables["LLMPERF_SHARDS"] = "2"
        places = {"RECORDS": str(records), "HOME": str(self.scratch), "TMPDIR": str(self.scratch / "tmp")}
        variables |= places
        # Kubernetes itself replaces $(NAME) of a variable that it knows, and leaves any other alone.
        words = [
            re.sub(r"\$\(([^)]*)\)", lambda found: variables.get(found[1], found[0]), word)
            for word in (*container["command"], *container["args"])
        ]
        return self.run(*words, **variables)

    def files(self) -> set[Path]:
        """What lies in the repository; the fake engine's count of its starts is not the run's."""
        return {path for path in self.path.rglob("*") if path.name != "starts"}


def verdicts(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
    return [{key: verdict[key] for key in COMPARED} for verdict in found if verdict["unit"] != "s"]


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def site(project: Project, solver: str, tmp_path: Path, machine_cache: Path) -> Callable[..., Site]:
    """A repository of suites whose rows the fake engine serves, with the commands of its environment."""

    def make(*, red: bool) -> Site:
        project.catalog({"distill": {"ANSWERS": solver, "RIGHT_PERCENT": 20 if red else 90}})
        catalogue = project.path / "models.toml"
        project.write("models.toml", catalogue.read_text().replace("profile.test", "profile.gpu"))
        with catalogue.open("a") as file:
            file.write("[profile.gpu.sizes]\nitems = 100\n")
        for name, source in SUITES.items():
            project.write(name, source.replace("BOUND", "0.5"))
        commands = tmp_path / "bin"
        commands.mkdir()
        for name, module in (("python", ""), ("pytest-llmperf", "-m pytest_llmperf ")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
            script.chmod(0o755)
        shutil.copy(ROOT / "tests" / "fakes" / "sbatch", commands)
        return Site(project.path, commands, tmp_path / "scratch", machine_cache)

    return make


def test_red_pods_and_their_merge_are_the_run_on_one_machine(
    site: Callable[..., Site], tmp_path: Path
) -> None:
    here = site(red=True)
    before, records = here.files(), tmp_path / "records"
    assert here.pod(manifest("merge"), records).returncode == 4, "no shard has left a record"
    here.pod(manifest("shards"), records, JOB_COMPLETION_INDEX="0")
    lacking = here.pod(manifest("merge"), records)
    assert lacking.returncode == 1
    assert "1 shard of 2 missing: 2" in lacking.stdout
    here.pod(manifest("shards"), records, JOB_COMPLETION_INDEX="1")
    merged = here.pod(manifest("merge"), records)
    assert merged.returncode == here.whole() == 1, merged.stdout + merged.stderr
    assert here.files() == before, "a read-only root would not have let it"
    night = records / NIGHT / "night.json"
    assert verdicts(night) == verdicts(here.scratch / "whole.json")
    assert {verdict["status"] for verdict in verdicts(night)} == {"PASS", "FAIL"}
    assert night.with_name("junit.xml").is_file()


def test_a_green_array_and_its_merge_are_green(site: Callable[..., Site]) -> None:
    here = site(red=False)
    submitted = here.run("bash", str(SLURM / "submit.sh"), "2", LLMPERF_NIGHT=NIGHT)
    told = "".join(path.read_text() for path in here.path.glob("llmperf-*.log")) + submitted.stderr
    assert submitted.returncode == 0, told
    merge = (here.path / "llmperf-merge.log").read_text()
    assert merge.endswith("PASS: 3 gates: 3 PASS\n")
    assert "not green" not in merge, "that is a word of pytest, and this is no run"
    assert not list((here.scratch / "tmp").glob("llmperf-4242-*")), "a shard leaves its scratch directory"
    again = here.run("bash", str(SLURM / "submit.sh"), "2", LLMPERF_NIGHT=NIGHT)
    assert again.returncode == 4
    assert "holds the records of a night" in again.stderr


@pytest.mark.parametrize("code", [0, 1, 10])
def test_an_array_ends_as_its_merge_does_whatever_its_shards_do(site: Callable[..., Site], code: int) -> None:
    here = site(red=False)
    (here.commands / "python").write_text("#!/bin/sh\nexit 1\n")
    (here.commands / "pytest-llmperf").write_text(f"#!/bin/sh\nexit {code}\n")
    assert here.run("bash", str(SLURM / "submit.sh"), "3", LLMPERF_NIGHT=NIGHT).returncode == code
    assert (here.path / "exit-codes").read_text().split() == ["1", "1", "1"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_bash_reads_a_script_of_slurm(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("missing", ["LLMPERF_NIGHT", "LLMPERF_SHARDS"])
def test_a_script_without_its_variables_says_so(missing: str, tmp_path: Path) -> None:
    given = {"LLMPERF_NIGHT": NIGHT, "LLMPERF_SHARDS": "2", "SLURM_SUBMIT_DIR": str(tmp_path)}
    del given[missing]
    done = subprocess.run(
        ["bash", str(SLURM / "shard.sh")],
        env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True,
        text=True,
    )
    assert done.returncode not in (0, 5)
    assert missing in done.stderr
