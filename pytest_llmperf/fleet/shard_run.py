"""One shard on its node: pytest in a process of its own, its phases, and the record that it leaves."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.fleet import bound_process, shard_plugin

_LOOK_EVERY_S = 0.5
"""Ray's interruption of a task arrives between two looks."""
_TERMINATE_S = 10.0
"""For the end after SIGTERM, which follows the wait for an orderly end."""


@dataclass(frozen=True)
class Job:
    """What one shard is: ``number`` of ``of``, pytest's arguments without those of the shard."""

    number: int
    of: int
    order: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    stop_s: float

    def __str__(self) -> str:
        return f"shard {self.number}/{self.of}"


@dataclass(frozen=True)
class ShardPhase:
    """``name``: ``starting`` or ``asking``. ``place``: the GPUs that the shard sees and the process, for a person."""

    name: str
    place: str = ""


@dataclass(frozen=True)
class ShardResult:
    """pytest's exit code (negative: the signal that ended it), the files of its record by name, and its output."""

    code: int
    files: Mapping[str, bytes] = field(repr=False)
    output: str = field(repr=False)


def run_shard(job: Job) -> Iterator[ShardPhase | ShardResult]:
    """Run the shard in the working directory; an interruption ends pytest and its servers before it goes on."""
    with tempfile.TemporaryDirectory(prefix="llmperf-shard-") as directory:
        out = Path(directory, "out.log")
        record = Path(directory, f"shard-{job.number}.json")
        reader, writer = os.pipe()
        process = _start(job, record, out, writer)
        os.close(writer)
        try:
            gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            yield ShardPhase(
                shard_plugin.STARTING, f"process {process.pid}" + (f", GPUs {gpus}" if gpus else "")
            )
            yield from _phases(reader)
            code = process.wait()
        finally:
            os.close(reader)
            _end(process, job.stop_s)
        files = {path.name: path.read_bytes() for path in sorted(record.parent.glob(f"{record.stem}.*"))}
        yield ShardResult(code, files, out.read_text(encoding="utf-8", errors="replace"))


def _start(job: Job, record: Path, out: Path, pipe: int) -> subprocess.Popen[bytes]:
    own = ["--llmperf-shard", f"{job.number}/{job.of}", "--llmperf-order", str(job.order)]
    pytest = [sys.executable, "-m", "pytest", "-p", shard_plugin.__name__, *job.arguments, *own]
    bound = [sys.executable, "-I", str(Path(bound_process.__file__)), str(os.getpid())]
    environment = {**_without_ray(os.environ), **job.environment, shard_plugin.PIPE: str(pipe)}
    with out.open("wb") as output:
        return subprocess.Popen(
            [*bound, *pytest, "--llmperf-record", str(record)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(pipe,),
            start_new_session=True,
        )


def _without_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a run without Ray would have: engines read ``OMP_NUM_THREADS``, and vLLM hashes Ray's."""
    kept = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    if "OMP_NUM_THREADS" in kept and not _node_sets("OMP_NUM_THREADS"):
        del kept["OMP_NUM_THREADS"]
    return kept


def _node_sets(name: str) -> bool:
    """True if the node's own process has the variable; Ray adds some to the processes that it starts."""
    try:
        return f"{name}=".encode() in Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return True


def _phases(reader: int) -> Iterator[ShardPhase]:
    """Yield each phase that the run tells, until its end of the pipe is closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if not selector.select(_LOOK_EVERY_S):
                continue
            if not (told := os.read(reader, 4096)):
                return
            yield from (ShardPhase(line) for line in told.decode().split())


def _end(process: subprocess.Popen[bytes], stop_s: float) -> None:
    """End pytest as Ctrl-C does, which ends its servers, then harder; nothing to do for one that has ended."""
    for number, wait_s in ((signal.SIGINT, stop_s), (signal.SIGTERM, _TERMINATE_S), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue
