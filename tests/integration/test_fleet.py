"""``pytest-llmperf fleet run``: shards on a Ray cluster end as one run does, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.serving import processes
from tests.integration.conftest import ONLY_OURS
from tests.integration.fork_server import MARK
from tests.integration.test_shards import SUITES, verdicts
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.slow

ORDER = "7"
FLEET = """
suites = ["."]
options = ["--llmperf-reuse", "none", "-p", "no:cacheprovider"]
shards = {shards}
gpus = 0
stop_within = "20 s"
"""


def environment_of(project: Project, cache: Path) -> dict[str, str]:
    """What a run of the project finds in its environment, for the shards of a fleet."""
    (project.path / "tmp").mkdir(exist_ok=True)
    return {
        "TMPDIR": str(project.path / "tmp"),
        "HOME": str(project.path),
        "XDG_CACHE_HOME": str(cache),
        "COLUMNS": "200",
        "FAKE_ENGINE_INTERPRETER": sys.executable,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": " ".join(ONLY_OURS),
        MARK: project.mark,
    }


COMMANDS: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def no_command_is_left() -> Iterator[None]:
    yield
    for process in COMMANDS:
        if process.poll() is None:
            process.kill()
        process.wait()
    COMMANDS.clear()


class Command:
    """``pytest-llmperf fleet run`` as a process, and what it says."""

    def __init__(self, project: Project, cache: Path, toml: str, *arguments: str) -> None:
        self.path = project.path
        self.out = project.path / "fleet" / "night.json"
        self.out.parent.mkdir(exist_ok=True)
        variables = "".join(
            f"{key} = {json.dumps(value)}\n" for key, value in environment_of(project, cache).items()
        )
        file = project.write("fleet.toml", f"{toml}\n[environment]\n{variables}")
        self.output = project.path / "fleet" / "output.txt"
        command = [sys.executable, "-m", "pytest_llmperf", "fleet", "run", str(file), "--order", ORDER]
        command += ["--out", str(self.out), "--references", str(project.path / "references")]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=project.path,
                env={**os.environ, MARK: project.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        COMMANDS.append(self.process)

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def wait(self) -> int:
        return self.process.wait(150)


@pytest.fixture(scope="module")
def night(shared_project: Project, solver: str) -> Project:
    """A project with the record ``whole.json`` of one run."""
    project = shared_project
    rows = {"ANSWERS": solver, "RIGHT_PERCENT": 88}
    project.catalog({"distill": rows, "math": rows})
    for name, source in SUITES.items():
        project.suite(source, name)
    project.shrink(items=200)
    whole = project.run("--llmperf-record", "whole.json", "--llmperf-order", ORDER, "--llmperf-reuse", "none")
    assert whole.code == 1, whole.text
    return project


def test_four_shards_on_a_cluster_of_this_machine_end_as_one_run_does(
    night: Project, machine_cache: Path
) -> None:
    command = Command(night, machine_cache, FLEET.format(shards=4))
    code = command.wait()
    assert code == 1, command.text
    assert verdicts(command.out) == verdicts(night.path / "whole.json")
    for number in range(1, 5):
        told = [line for line in command.text.splitlines() if line.startswith(f"shard {number}/4: ")]
        assert [line.split()[2] for line in told][:2] == ["waiting", "starting"], command.text
        assert "exit code" in told[-1]
    eventually(lambda: not night.alive(), "the end of every process of the fleet", 20)


FAILS = {
    "test_gate.py": """
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.99
    """,
    "test_ends.py": """
        import os, signal
        def test_ends(candidate):
            os.kill(os.getpid(), signal.SIGKILL)
    """,
}


def test_a_shard_that_failed_is_not_begun_again_and_one_that_was_killed_is_named(
    night: Project, machine_cache: Path
) -> None:
    for name, source in FAILS.items():
        night.suite(source, f"failing/{name}")
    command = Command(night, machine_cache, FLEET.format(shards=2).replace('["."]', '["failing"]'))
    assert command.wait() == 1, command.text
    lines = command.text.splitlines()
    assert sum(line.endswith(": waiting") for line in lines) == 2, command.text
    assert any("FAIL (exit code 1)" in line for line in lines), command.text
    killed = next(line for line in lines if "exit code -9" in line)
    assert "a record that is not complete (the run has not ended: no test has)" in killed
    assert f"INVALID as a whole: {killed.replace(': INVALID', '')}" in lines, command.text


def test_a_shard_that_no_node_can_take_is_refused_with_what_there_is(
    project: Project, machine_cache: Path
) -> None:
    project.catalog()
    project.suite("def test_nothing(): pass")
    command = Command(
        project, machine_cache, FLEET.format(shards=1).replace("gpus = 0", "gpus = 3\ncpus = 0.5")
    )
    assert command.wait() == 4, command.text
    assert "it needs 0.5 CPU, 3 GPU, and the most that a node has are" in command.text
    assert not project.alive()


def holding(project: Project) -> str:
    """A suite of one test that holds its server until a file is there; the file's path."""
    project.catalog()
    go = project.path / "let-go"
    project.suite(f"""
        import os, time
        from pathlib import Path
        def test_holds(candidate, openai_client):
            assert [model.id for model in openai_client(candidate).models.list()] == ["distill"]
            Path({str(project.path / "held")!r}).write_text(str(os.getppid()))
            while not Path({str(go)!r}).exists():
                time.sleep(0.05)
    """)
    return str(go)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_ends_its_shards_and_their_servers(
    project: Project, machine_cache: Path, number: signal.Signals
) -> None:
    holding(project)
    command = Command(project, machine_cache, FLEET.format(shards=1))
    eventually((project.path / "held").exists, "a test that holds its server", 60)
    command.process.send_signal(number)
    code = command.wait()
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 2), command.text
    if number is not signal.SIGKILL:
        assert "interrupted" in command.text
        assert not project.alive()
        return
    # Two of Ray's own helpers look for their cluster for up to a minute when the command was killed.
    eventually(
        lambda: not {*project.alive()} - rays_helpers(project), "the end of pytest and its servers", 20
    )
    for pid in rays_helpers(project):
        os.kill(pid, signal.SIGKILL)


def rays_helpers(project: Project) -> set[int]:
    return {
        pid for pid in project.alive() if b"Agent" in (processes.PROC / str(pid) / "cmdline").read_bytes()
    }


@pytest.fixture
def cluster(project: Project) -> Iterator[Any]:
    """Three nodes of one processor each, on this machine; the command's own node is none of them."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]


def parent(pid: int) -> int:
    told = (processes.PROC / str(pid) / "status").read_text()
    return int(told.partition("PPid:")[2].split()[0])


def pids_of(node: Any) -> set[int]:
    return {process.process.pid for several in node.all_processes.values() for process in several}


def test_a_node_that_dies_costs_one_shard_and_changes_no_verdict(
    project: Project, machine_cache: Path, cluster: Any, solver: str
) -> None:
    go = holding(project)
    rows = {"ANSWERS": solver, "RIGHT_PERCENT": 88}
    project.catalog({"distill": rows, "math": rows})
    for name, source in SUITES.items():
        project.suite(source, name)
    project.shrink(items=200)
    whole = project.path / "whole.json"
    held = project.path / "held"
    Path(go).touch()
    project.run("--llmperf-record", str(whole), "--llmperf-order", ORDER, "--llmperf-reuse", "none")
    held.unlink()
    Path(go).unlink()
    command = Command(project, machine_cache, f'address = "{cluster.address}"\n' + FLEET.format(shards=3))
    eventually(held.exists, "a test that holds its server", 90)
    raylet = parent(int(held.read_text()))
    killed = next(node for node in cluster.list_all_nodes() if raylet in pids_of(node))
    Path(go).touch()
    cluster.remove_node(killed, allow_graceful=False)
    code = command.wait()
    assert code == 1, command.text
    assert command.text.count("its node died; begun again") == 1, command.text
    assert verdicts(command.out) == verdicts(whole)
