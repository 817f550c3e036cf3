"""Several processes are one client: the same load, one clock, one result."""

from __future__ import annotations

import io
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.load import workers as module
from pytest_llmperf.load.arrivals import poisson
from pytest_llmperf.load.patterns import ClosedLoop, OpenLoop
from pytest_llmperf.load.reference_server import process as reference_process
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workers import (
    Shard,
    WorkerReady,
    read,
    run_fleet,
    run_shard,
    shards,
    workers_for,
    write,
)
from pytest_llmperf.load.workload import Workload, request_id
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.server import Server

Truth = Callable[[ReferenceOptions], ReferenceServer]
SHAPE = Workload(input_tokens=32, output_tokens=12)


@pytest.mark.parametrize("workers", [2, 3])
def test_a_closed_loop_over_processes_is_the_closed_loop_that_was_asked_for(
    truth: Truth, workers: int
) -> None:
    known = truth(ReferenceOptions(ttft_ms=60, gap_ms=5))
    run = run_load(known.server, SHAPE, ClosedLoop(7, 21), SendOptions(request_ids=True, workers=workers))
    told = known.truth()
    assert [trace.index for trace in run.traces] == list(range(21))
    assert [trace.error for trace in run.traces if not trace.ok] == []
    assert told.peak == 7
    assert len(run.workers) == workers
    assert run.connections == 7
    # Merged on one clock: every request was sent before the server, a third process, read it.
    by_id = {request.request_id: request for request in told.requests if request.request_id}
    for trace in run.traces:
        truly = by_id[request_id(trace.index)]
        assert trace.sent_s < truly.received_s < trace.arrivals[0].time_s
    first_wave = sorted(trace.sent_s for trace in run.traces)[:7]
    assert first_wave[-1] - first_wave[0] < 0.05
    assert of_run(run).output_tokens == 21 * 12


def test_an_open_loop_over_processes_keeps_the_schedule(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=20, gap_ms=2))
    schedule = poisson(100, 60)
    run = run_load(known.server, SHAPE, OpenLoop(schedule), SendOptions(workers=2))
    assert len(run.workers) == 2
    begin = run.traces[0].intended_s
    for trace, offset_s in zip(run.traces, schedule.offsets_s, strict=True):
        assert trace.intended_s - begin == pytest.approx(offset_s, abs=1e-6)
        assert trace.schedule_delay_s >= 0
    # The typical one: a busy machine may keep a process waiting for the length of several.
    assert sorted(trace.schedule_delay_s for trace in run.traces)[30] < 0.05
    assert {trace.outcome.value for trace in run.traces} == {"ok"}


def server_at(url: str, api_key: str | None = None) -> Server:
    return Server("row", "model", url, api_key, None, None, None, "", "")


def test_the_shards_are_the_load_and_their_concurrency_its_sum() -> None:
    wire = [bytes([number]) for number in range(11)]
    parts = shards(server_at("http://h:1"), wire, 3, concurrency=8, timeout_s=1, offsets_s=range(11))
    assert sum(part.concurrency for part in parts) == 8
    assert sorted(one for part in parts for one in part.wire) == wire
    assert parts[1].offsets_s == (1, 4, 7, 10)
    assert len(shards(server_at("http://h:1"), wire, 5, concurrency=2, timeout_s=1)) == 2


def test_no_key_is_shown() -> None:
    assert "secret" not in repr(
        shards(server_at("http://h:1", "secret"), [b"x"], 1, concurrency=1, timeout_s=1)
    )


def test_one_process_is_enough_until_it_is_not() -> None:
    cores = len(os.sched_getaffinity(0))
    assert [workers_for(share) for share in (0.0, 0.2, 0.6)] == [1, 1, 1]
    assert workers_for(0.95) == min(cores, 3)
    assert workers_for(100.0) == cores


def test_a_worker_is_a_plain_function_of_its_shard(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    heard: list[WorkerReady] = []

    def begin(ready: WorkerReady) -> float:
        heard.append(ready)
        return time.perf_counter() + 0.05

    done = run_shard(Shard(known.server.base_url, None, (request,) * 3, 2, 5.0), begin)
    assert [one.reply.status for one in done.sent] == [200] * 3
    assert done.opened == 2
    assert min(one.reply.sent_s for one in done.sent) >= heard[0].clock_s + 0.04


def test_a_server_that_is_not_there_is_named(truth: Truth) -> None:
    del truth
    parts = shards(server_at("http://127.0.0.1:9"), [b"x"] * 2, 2, concurrency=2, timeout_s=1)
    with pytest.raises(InfrastructureError, match=r"load worker failed: .*Error"):
        run_fleet(parts)


def test_a_worker_that_dies_is_an_error_and_leaves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def dying() -> subprocess.Popen[bytes]:
        code = "import sys, time; time.sleep(60)" if started else "import sys; sys.exit(7)"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        return process

    monkeypatch.setattr(module, "_process", dying)
    with pytest.raises(InfrastructureError, match="exit code 7"):
        run_fleet(shards(server_at("http://127.0.0.1:9"), [b"x"] * 2, 2, concurrency=2, timeout_s=1))
    assert all(process.poll() is not None for process in started)


def test_another_clock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pytest_llmperf.load.workers import WorkerReady, read, write; "
        "read(sys.stdin.buffer); write(sys.stdout.buffer, WorkerReady(5e9)); sys.stdin.read()"
    )
    monkeypatch.setattr(
        module,
        "_process",
        lambda: subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE),
    )
    with pytest.raises(InfrastructureError, match="do not share a clock"):
        run_fleet(shards(server_at("http://127.0.0.1:9"), [b"x"], 1, concurrency=1, timeout_s=1))


def test_what_is_written_is_read_again_and_an_end_is_an_end() -> None:
    pipe = io.BytesIO()
    write(pipe, {"a": 1})
    pipe.seek(0)
    assert read(pipe) == {"a": 1}
    with pytest.raises(EOFError):
        read(pipe)


def _stopped_when(reads: int) -> str:
    """A worker that stops itself after it has read so many values."""
    return (
        "import os, signal, sys; from pytest_llmperf.load.workers import WorkerReady, read, write; "
        "from pytest_llmperf.client.reply import now; "
        f"[read(sys.stdin.buffer) or write(sys.stdout.buffer, WorkerReady(now())) for _ in range({reads})]; "
        "os.kill(os.getpid(), signal.SIGSTOP)"
    )


@pytest.mark.parametrize("reads", [0, 1], ids=["before it is ready", "in the load"])
def test_a_stopped_worker_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, reads: int) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def process() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _stopped_when(reads)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(module, "_process", process)
    monkeypatch.setattr(module, "WORKER_SILENCE_S", 3.0)
    with pytest.raises(InfrastructureError, match="has said nothing for 3 s and was ended"):
        run_fleet(shards(server_at("http://127.0.0.1:9"), [b"x"], 1, concurrency=1, timeout_s=1))
    assert [one.poll() for one in started] == [-9]


PARENT = """
import sys, threading, time
from pytest_llmperf.load.workers import run_fleet, shards
from pytest_llmperf.serving.server import Server
request = b"GET /v1/models HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"
server = Server("row", "model", sys.argv[1], None, None, None, None, "", "")
parts = shards(server, [request] * 100, 2, concurrency=2, timeout_s=5, offsets_s=range(100))
run_fleet(parts)
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_workers_end_with_their_parent_however_it_ends(
    truth: Truth, eventually: Callable[..., Any], stopped: bool
) -> None:
    known = truth(ReferenceOptions())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, known.server.base_url])
    try:
        eventually(lambda: len(children(parent)) == 2, "two workers")
        workers = [process.key for process in children(parent)]
        asked = itertools.count(known.truth().connections + 1)
        # Each look is a connection as well.
        eventually(lambda: known.truth().connections >= next(asked) + 2, "a load that runs")
        if stopped:
            for key in workers:
                os.kill(key.pid, signal.SIGSTOP)
    finally:
        parent.kill()
        parent.wait(10)
    eventually(lambda: not any(map(processes.is_running, workers)), "the end of the workers", 3.0)


def children(parent: subprocess.Popen[bytes]) -> list[processes.Process]:
    return [process for process in processes.descendants(parent.pid) if not process.is_over]


def test_a_load_that_is_called_off_ends_its_workers_at_once(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    parts = shards(
        known.server,
        [request] * 60,
        2,
        concurrency=2,
        timeout_s=5,
        offsets_s=range(60),
    )
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match="called off"):
        run_fleet(parts, stop=stop)
    assert time.monotonic() - began < 10


def test_a_stopped_reference_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_process, "_SILENCE_LIMIT_S", 1.0)
    monkeypatch.setattr("pytest_llmperf.client.pool.PROBE_S", 0.5)
    with reference_process.running(ReferenceOptions()) as known:
        os.kill(known.server.root_pid or 0, signal.SIGSTOP)
        with pytest.raises(NotMeasured, match="did not answer /truth"):
            known.truth()
