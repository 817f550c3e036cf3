"""Whoever stands still during a load is found by the clock itself, and what was measured meanwhile is not judged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from pytest_llmperf.client.trace import Arrival, RequestOutcome, Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.load.client_health import ClientHealth
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.standstill import disturbance, longest_silence
from pytest_llmperf.load.workload import Workload

IDLE = ClientHealth(0.1, 0.01, 0.001, 0.002, "uvloop")


def trace(sent_s: float, *times: float, end_s: float | None = None) -> Trace:
    return Trace(
        index=0,
        intended_s=sent_s,
        sent_s=sent_s,
        headers_s=sent_s,
        arrivals=tuple(Arrival(time_s, "x") for time_s in times),
        end_s=times[-1] if end_s is None else end_s,
        outcome=RequestOutcome.OK,
    )


def steadily(sent_s: float, count: int, *, frozen_at: float = 1e9, frozen_s: float = 0.0) -> Trace:
    """A token every 50 ms; those that are due after ``frozen_at`` come ``frozen_s`` later."""
    due = [sent_s + 0.05 * n for n in range(1, count + 1)]
    return trace(sent_s, *(time_s + frozen_s * (time_s > frozen_at) for time_s in due))


@pytest.mark.parametrize(
    ("traces", "silent_s", "words"),
    [
        ([steadily(n * 0.01, 40, frozen_at=1.0, frozen_s=10.0) for n in range(4)], 10.0, "none of 4 streams"),
        ([steadily(0.0, 40, frozen_at=1.0, frozen_s=10.0)], 10.0, "the only stream"),
        # frozen before the first token
        ([*(steadily(n, 10) for n in range(9)), trace(20.0, 35.0, 35.05, 35.1)], 15.0, "the only stream"),
        # one stream goes on: that one is slow, and the server is not
        ([steadily(0.0, 40, frozen_at=1.0, frozen_s=10.0), steadily(0.0, 300)], 0.0, ""),
        # nobody asks for anything
        ([steadily(0.0, 40), steadily(60.0, 40)], 0.0, ""),
        ([steadily(0.0, 40, frozen_at=1.0, frozen_s=2.0)], 0.0, ""),
        # a server that takes so long for every first token is slow
        ([trace(n * 10.0, n * 10.0 + 9.0, n * 10.0 + 9.05) for n in range(5)], 9.0, ""),
    ],
)
def test_a_silence_of_all_streams_is_a_server_that_stood_still(
    traces: Sequence[Trace], silent_s: float, words: str
) -> None:
    assert longest_silence(traces)[0] == pytest.approx(silent_s, abs=0.06)
    told = disturbance(traces, IDLE)
    assert (words in told) if words else told == ""


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (ClientHealth(0.1, 0.01, 0.01, 12.5, "uvloop"), "the client stood still for 12.5 s"),
        (ClientHealth(0.1, 0.01, 0.05, 0.06, "uvloop", late_share=0.5), "late for 50% of the time"),
        (ClientHealth(0.1, 0.01, 0.05, 0.5, "uvloop", late_share=0.3), ""),
    ],
)
def test_a_client_that_was_kept_from_the_processor_is_found_by_its_own_timers(
    health: ClientHealth, words: str
) -> None:
    told = disturbance([steadily(0.0, 40)], health)
    assert (words in told) if words else told == ""


def test_a_server_that_is_stopped_within_a_load_is_found_and_only_its_stall_remains() -> None:
    with running(ReferenceOptions(ttft_ms=20, gap_ms=5)) as known:
        pid = known.server.root_pid
        assert pid is not None
        stop = threading.Timer(0.6, os.kill, (pid, signal.SIGSTOP))
        go_on = threading.Timer(4.2, os.kill, (pid, signal.SIGCONT))
        for timer in (stop, go_on):
            timer.start()
        try:
            run = run_load(
                known.server, Workload(32, 200), ClosedLoop(2, 4), SendOptions(warmup=0, timeout_s=60)
            )
        finally:
            for timer in (stop, go_on):
                timer.cancel()
            os.kill(pid, signal.SIGCONT)
    assert "the server stood still for 3" in run.disturbance
    assert run.problems == (), "a round that is taken out makes nothing else of the load invalid"
    metrics = of_run(run)
    for name in ("ttft", "itl_p95", "e2el", "throughput"):
        with pytest.raises(NotMeasured, match="stood still"):
            metrics.value(name)
    assert metrics.value("stall_p95") > 3


STARVED = """
import sys
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

server = Server("truth", "reference", sys.argv[1], None, None, None, None, "", "truth")
print("ready", flush=True)
run = run_load(server, Workload(32, 200), ClosedLoop(4, 12), SendOptions(warmup=0))
metrics = of_run(run)
print(metrics.taken_out, metrics.missing.get("itl", ""), sep="|", flush=True)
"""


def test_a_client_that_is_stopped_for_60_of_every_100_ms_is_found_twice_over() -> None:
    with (
        running(ReferenceOptions(ttft_ms=20, gap_ms=4)) as known,
        subprocess.Popen(
            [sys.executable, "-c", STARVED, known.server.base_url], stdout=subprocess.PIPE, text=True
        ) as client,
    ):
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        while client.poll() is None:
            os.kill(client.pid, signal.SIGSTOP)
            time.sleep(0.06)
            os.kill(client.pid, signal.SIGCONT)
            time.sleep(0.04)
        taken_out, itl = client.stdout.read().strip().split("|")
    assert "the client was kept from the processor" in taken_out
    assert "came together with the one before" in itl
