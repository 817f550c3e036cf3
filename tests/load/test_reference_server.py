"""The truth must itself be true, and must not outlive its reader."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from statistics import median

import pytest

from pytest_llmperf.errors import StartError
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions, falls_on, parse
from pytest_llmperf.load.reference_server.process import running
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload


def test_it_keeps_its_own_schedule() -> None:
    with running(ReferenceOptions(ttft_ms=30, gap_ms=5)) as known:
        run_load(known.server, Workload(32, 40), ClosedLoop(2, 8), SendOptions(warmup=0))
        told = known.truth()
    late = [
        [at - request.received_s - 0.030 - 0.005 * number for number, at in enumerate(request.tokens_s)]
        for request in told.requests
    ]
    assert all(one >= -1e-6 for request in late for one in request), "a token is never sent before it is due"
    # An absolute schedule: a busy machine makes single tokens late, and the last ones are in time all the same.
    assert min(min(request[-10:]) for request in late) < 0.002
    gaps = [after - before for request in told.requests for before, after in pairwise(request.tokens_s)]
    assert median(gaps) == pytest.approx(0.005, rel=0.3)


def test_it_ends_when_its_reader_does() -> None:
    command = [sys.executable, "-m", "pytest_llmperf.load.reference_server.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"port" in process.stdout.readline()
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_a_server_that_cannot_start_says_why() -> None:
    with running() as known:
        port = int(known.server.base_url.rpartition(":")[2])
        with pytest.raises(StartError, match="in use"), running(ReferenceOptions(port=port)):
            pass


def test_options_survive_their_command_line() -> None:
    options = ReferenceOptions(
        ttft_ms=12.5, crlf=True, reasoning_field="reasoning", error_after=-1, cut_after=3
    )
    assert parse(options.argv()) == options


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.75, 1.0])
def test_a_share_is_reached_exactly(share: float) -> None:
    assert sum(falls_on(ordinal, share) for ordinal in range(100)) == round(100 * share)
