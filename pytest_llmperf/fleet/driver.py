"""Submits the shards of a fleet to a Ray cluster, follows them, and brings their records together.

A shard is a task that is never run again by Ray itself. It is begun again here, and only if the *node* it ran on died:
what pytest came to is a result, whatever it is.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pytest_llmperf.config.fleet_file import FleetFile
from pytest_llmperf.errors import UsageError, first_line
from pytest_llmperf.fleet.shard_plugin import COMMIT, STARTING
from pytest_llmperf.fleet.shard_run import Job, ShardPhase, ShardResult, run_shard
from pytest_llmperf.fleet.working_tree import WorkingTree
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.home import shown
from pytest_llmperf.record.fingerprint import commit_of

if TYPE_CHECKING:
    from ray import ObjectRefGenerator

_LOOK_EVERY_S = 1.0
_NODE_DEATH_S = 30.0
"""A node that died is noticed by the cluster within that time (its health check: every 3 s, 5 misses)."""
_LAST_LINES = 15
"""Of the output of a shard that left no record."""


@dataclass
class FleetShard:
    """One shard on its way."""

    job: Job
    phase: str = "waiting"
    began_s: float = 0.0
    node: str | None = None
    """Id of the node of the present try."""
    deaths: int = 0
    record: Path | None = None
    lost: str = ""
    """Why there is no record."""


@dataclass
class FleetRun:
    """The shards of one run. ``say`` gets each line that is told; records and output go to ``directory``."""

    file: FleetFile
    order: int
    directory: Path
    say: Callable[[str], None]
    shards: list[FleetShard] = field(default_factory=list)

    def run(self, tree: WorkingTree) -> Sequence[FleetShard]:
        """Run all shards to their end.

        Raises :class:`UsageError` where Ray is missing, the cluster can't be reached, or no node is large enough;
        ``KeyboardInterrupt`` once all shards that ran have ended, after SIGINT or SIGTERM.
        """
        commit = commit_of(tree.root)
        told = {COMMIT: json.dumps(commit.as_json())} if commit else {}
        arguments = tuple(self.file.pytest_arguments())
        jobs = (
            Job(
                number,
                self.file.shards,
                self.order,
                arguments,
                {**self.file.environment, **told},
                self.file.stop_s,
            )
            for number in range(1, self.file.shards + 1)
        )
        self.shards = [FleetShard(job) for job in jobs]
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="llmperf-fleet-") as copy:
            tree.copy_to(Path(copy))
            # Ray takes the signals for itself when it begins.
            with _cluster(self.file, Path(copy)) as ray, _interruptible():
                self._look_at_nodes(ray, tree)
                self._follow(ray)
        return self.shards

    def _look_at_nodes(self, ray: Any, tree: WorkingTree) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = {"CPU": self.file.cpus, "GPU": float(self.file.gpus), **self.file.resources}
        needs = {name: count for name, count in needs.items() if count}
        gpus, cpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("GPU", "CPU"))
        self.say(
            f"fleet: {plural(len(self.shards), 'shard')} for {plural(len(nodes), 'node')} "
            f"({plural(int(cpus), 'processor')}, {plural(int(gpus), 'GPU')}); "
            f"the nodes get the working tree {shown(tree.root)} ({tree}); --llmperf-order {self.order}"
        )
        fits = any(all(node.get(name, 0.0) >= count for name, count in needs.items()) for node in nodes)
        if not fits and not self.file.autoscaling:
            wanted = ", ".join(f"{count:g} {name}" for name, count in needs.items())
            most = ", ".join(
                f"{max((node.get(name, 0.0) for node in nodes), default=0.0):g} {name}" for name in needs
            )
            raise UsageError(
                f"no node is large enough for a shard: it needs {wanted}, and the most that a node has are {most}\n"
                "what to do: ask for less in fleet.toml, start nodes with these resources, or set autoscaling = true "
                "if the cluster adds nodes by itself"
            )

    def _follow(self, ray: Any) -> None:
        running = {self._submit(ray, shard): shard for shard in self.shards}
        try:
            while running:
                ready, _ = ray.wait([*running], num_returns=1, timeout=_LOOK_EVERY_S)
                for task in ready:
                    self._take(ray, task, running)
        except KeyboardInterrupt:
            self._cancel(ray, running)
            raise

    def _submit(self, ray: Any, shard: FleetShard) -> ObjectRefGenerator:
        shard.phase, shard.node, shard.began_s = "waiting", None, time.monotonic()
        self.say(f"{shard.job}: waiting")
        task = ray.remote(
            num_cpus=self.file.cpus,
            num_gpus=self.file.gpus,
            resources=dict(self.file.resources),
            max_retries=0,
            num_returns="streaming",
        )(_run_on_node)
        submitted: ObjectRefGenerator = task.remote(shard.job)
        return submitted

    def _take(
        self, ray: Any, task: ObjectRefGenerator, running: dict[ObjectRefGenerator, FleetShard]
    ) -> None:
        """Take the next news of a task, which may be its end."""
        shard = running[task]
        try:
            node, news = ray.get(next(task))
        except StopIteration:
            del running[task]
            if shard.record is None and not shard.lost:
                self._lose(shard, "its task ended without a word")
            return
        except ray.exceptions.RayError as error:
            del running[task]
            if self._died_with_its_node(ray, shard, error) and shard.deaths < self.file.node_deaths:
                shard.deaths += 1
                self.say(
                    f"{shard.job}: its node died; begun again ({shard.deaths} of {self.file.node_deaths})"
                )
                running[self._submit(ray, shard)] = shard
            elif shard.record is None:
                self._lose(shard, _reason(error, shard))
            return
        if isinstance(news, ShardPhase):
            shard.node, shard.phase = node, news.name
            where = f" on {_address(ray, node)}, {news.place}" if news.name == STARTING else ""
            self.say(f"{shard.job}: {news.name}{where}")
        else:
            self._keep(shard, news)

    def _died_with_its_node(self, ray: Any, shard: FleetShard, error: Exception) -> bool:
        """Wait until the cluster says whether the node is alive; no retry for a process that died on a living one."""
        if shard.record is not None or isinstance(error, ray.exceptions.RayTaskError):
            return False
        if shard.node is None:
            return isinstance(error, ray.exceptions.NodeDiedError)
        deadline = time.monotonic() + _NODE_DEATH_S
        while time.monotonic() < deadline:
            if not any(node["NodeID"] == shard.node and node["Alive"] for node in ray.nodes()):
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def _keep(self, shard: FleetShard, ended: ShardResult) -> None:
        """Write what the shard brought, and tell what it came to."""
        (self.directory / f"shard-{shard.job.number}.log").write_text(ended.output, encoding="utf-8")
        for name, content in ended.files.items():
            (self.directory / Path(name).name).write_bytes(content)
        record = self.directory / f"shard-{shard.job.number}.json"
        told = json.loads(ended.files.get(record.name, b"{}"))
        if not told.get("shard"):
            left = (
                f"a record that is not complete ({told['partial']})" if told.get("partial") else "no record"
            )
            last = ended.output.rstrip().splitlines()[-_LAST_LINES:]
            self._lose(shard, f"pytest left {left}, exit code {ended.code}", last)
            return
        shard.record = record
        took = time.monotonic() - shard.began_s
        self.say(f"{shard.job}: {_status(told)} (exit code {ended.code}) after {took:.0f} s")

    def _lose(self, shard: FleetShard, why: str, last: Sequence[str] = ()) -> None:
        shard.lost = why
        self.say(f"{shard.job}: INVALID: {why}")
        for line in last:
            self.say(f"    {line}")

    def _cancel(self, ray: Any, running: dict[ObjectRefGenerator, FleetShard]) -> None:
        """Interrupt what runs, and wait until it has ended its servers."""
        left = plural(len(running), "shard")
        self.say(
            f"fleet: interrupted; {left} not over, which get {self.file.stop_s:g} s to end their servers"
        )
        for task in running:
            ray.cancel(task, force=False)
        deadline = time.monotonic() + self.file.stop_s + _NODE_DEATH_S
        with suppress(KeyboardInterrupt):  # the second time at once
            while running and time.monotonic() < deadline:
                ready, _ = ray.wait([*running], num_returns=1, timeout=_LOOK_EVERY_S)
                for task in ready:
                    try:
                        ray.get(next(task))
                    except (StopIteration, ray.exceptions.RayError):
                        self.say(f"{running.pop(task).job}: ended")


def _run_on_node(job: Job) -> Iterator[tuple[str, ShardPhase | ShardResult]]:
    """The task: the news of a shard, each with the id of the node that it comes from."""
    import ray

    # A cluster that was started in the background ignores SIGINT, by which Ray interrupts a task.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    node: str = ray.get_runtime_context().get_node_id()
    for news in run_shard(job):
        yield node, news


@contextmanager
def _cluster(file: FleetFile, tree: Path) -> Iterator[Any]:
    """The cluster of the file, with ``tree`` as the working directory of tasks; one of our own ends with the block."""
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_RUNTIME_ENV_IGNORE_GITIGNORE"] = "1"
    if file.address is None:
        # Ray's only way to have all of its processes listen on 127.0.0.1 alone, on Linux as well (services.py).
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    try:
        import ray
    except ImportError:
        raise UsageError("Ray is not installed here: pip install 'pytest-llmperf[ray]'") from None
    runtime = {"working_dir": str(tree)}
    common: Mapping[str, Any] = {
        "runtime_env": runtime,
        "log_to_driver": False,
        "logging_level": "error",
        "configure_logging": True,
    }
    try:
        if file.address is None:
            ray.init(address="local", include_dashboard=False, **common)
        else:
            ray.init(address=file.address, **common)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "here" if file.address is None else f"at {file.address}"
        raise UsageError(f"no cluster of Ray {where}: {first_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, which does so in the background as well."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(ray: Any, node: str) -> str:
    """The address of a node, for a person."""
    return next((str(each["NodeManagerAddress"]) for each in ray.nodes() if each["NodeID"] == node), node)


def _status(record: Mapping[str, Any]) -> str:
    """The verdict of the shard's own tests, for the line about it."""
    run = record.get("run") or {}
    return "PASS" if run.get("green") else str(run.get("status", "no verdict"))


def _reason(error: Exception, shard: FleetShard) -> str:
    """Why a task has no result, in one line."""
    cause = getattr(error, "cause", None) or error
    tried = f" (node died {shard.deaths + 1} times)" if shard.deaths else ""
    return f"{type(cause).__name__} while it was {shard.phase}: {first_line(cause)}{tried}"
