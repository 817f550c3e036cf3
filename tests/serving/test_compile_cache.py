"""Where torch keeps what it compiled for a server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.attempt import compile_cache
from pytest_llmperf.serving.lease import acquire

if TYPE_CHECKING:
    from tests.serving.conftest import Run

HEADERS, CACHE = "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "TORCHINDUCTOR_CACHE_DIR"


def test_what_was_compiled_outlives_a_start_and_headers_that_would_not_are_not_compiled() -> None:
    assert compile_cache({"HOME": "/home/a"}) == {
        CACHE: "/home/a/.cache/pytest-llmperf/torchinductor",
        HEADERS: "0",
    }
    kept = compile_cache({"HOME": "/home/a", "XDG_CACHE_HOME": "/caches"})
    assert kept[CACHE] == "/caches/pytest-llmperf/torchinductor"


def test_a_cache_that_the_user_chose_stays() -> None:
    assert compile_cache({"HOME": "/home/a", CACHE: "/mine", HEADERS: "1"}) == {}


def test_without_a_home_nothing_is_written_into_the_working_directory() -> None:
    assert CACHE not in compile_cache({})
    assert CACHE not in compile_cache({"XDG_CACHE_HOME": "caches"})


def test_an_engine_is_told_of_it(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        assert lease.server.root_pid is not None
        for name, value in compile_cache(os.environ).items():
            assert processes.environment_has(lease.server.root_pid, f"{name}={value}")
