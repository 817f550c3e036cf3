"""Where torch keeps what it compiled for a server."""

from __future__ import annotations

from pytest_llmperf.serving.attempt import compile_cache

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
