"""The client's error is measured once a machine and load, and a disturbed measurement is not kept."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from pytest_llmperf.load import calibration_cache as module
from pytest_llmperf.load.calibration import ClientError, calibrate
from pytest_llmperf.load.calibration_cache import CalibrationLoad, cache_file, cached_calibration, machine_key
from pytest_llmperf.load.reference_server.options import ReferenceOptions

LOAD = CalibrationLoad(concurrency=2, output_tokens=8, gap_ms=2.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def measured() -> ClientError:
    return calibrate(2, output_tokens=8, options=ReferenceOptions(ttft_ms=20, gap_ms=2))


class Measuring:
    """Counts how often it was measured; the loop was late by so much each time."""

    def __init__(self, error: ClientError, *lags_s: float) -> None:
        self.error, self.lags_s, self.count = error, lags_s, 0

    def __call__(self, load: CalibrationLoad) -> ClientError:
        assert load == LOAD
        lag_s = self.lags_s[min(self.count, len(self.lags_s) - 1)]
        self.count += 1
        return dataclasses.replace(self.error, lag_p99_s=lag_s)


def test_it_is_measured_once_and_then_read(measured: ClientError) -> None:
    measuring = Measuring(measured, 0.001)
    first, second = cached_calibration(LOAD, measuring), cached_calibration(LOAD, measuring)
    assert measuring.count == 1
    assert (first.kept, second.kept) == (False, True)
    assert first.error == second.error
    assert cache_file().is_file()


def test_another_load_is_measured_for_itself(measured: ClientError) -> None:
    cached_calibration(LOAD, Measuring(measured, 0.001))
    other = dataclasses.replace(LOAD, concurrency=3)
    assert machine_key(other) != machine_key(LOAD)
    assert not cached_calibration(other, lambda _: dataclasses.replace(measured, lag_p99_s=0.001)).kept


def test_where_others_had_the_processor_the_calmest_counts_and_nothing_is_kept(measured: ClientError) -> None:
    measuring = Measuring(measured, 0.080, 0.020, 0.050)
    found = cached_calibration(LOAD, measuring)
    assert measuring.count == found.attempts == 3
    assert found.error.lag_p99_s == 0.020
    assert not found.calm
    assert not cache_file().exists()


def test_the_first_calm_one_ends_it(measured: ClientError) -> None:
    measuring = Measuring(measured, 0.080, 0.001, 0.001)
    assert cached_calibration(LOAD, measuring).attempts == measuring.count == 2


@pytest.mark.parametrize("broken", ["", "[]", "{", '{"x": 3}', "half", "text", "no date"])
def test_a_broken_cache_is_measured_over(measured: ClientError, broken: str) -> None:
    cached_calibration(LOAD, Measuring(measured, 0.001))
    if broken == "text":
        broken = (
            cache_file().read_text(encoding="utf-8").replace('"lag_p99_s": 0.001', '"lag_p99_s": "little"')
        )
        assert "little" in broken
    if broken == "no date":
        broken = json.dumps({machine_key(LOAD): {"made": [], "error": {}}})
    if broken == "half":
        broken = json.dumps({machine_key(LOAD): {"made": time.time(), "error": {"concurrency": 2}}})
    cache_file().write_text(broken, encoding="utf-8")
    assert not cached_calibration(LOAD, Measuring(measured, 0.001)).kept
    assert cached_calibration(LOAD, Measuring(measured, 0.001)).kept


def test_an_old_one_is_measured_again(measured: ClientError, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_calibration(LOAD, Measuring(measured, 0.001))
    monkeypatch.setattr(module, "_KEEP_S", -1.0)
    assert not cached_calibration(LOAD, Measuring(measured, 0.001)).kept


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    measured: ClientError, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    assert cached_calibration(LOAD, Measuring(measured, 0.001)).error.concurrency == 2


@pytest.mark.parametrize(
    ("gap_s", "gap_ms", "tokens"),
    [(0.0, 1.0, 32), (0.0099, 7.0, 32), (0.010, 10.0, 32), (0.5, 20.0, 30), (0.0031, 3.0, 32)],
)
def test_the_pace_is_never_slower_than_what_was_seen_and_the_streams_are_short(
    gap_s: float, gap_ms: float, tokens: int
) -> None:
    load = CalibrationLoad.like(32, 32, gap_s)
    assert (load.concurrency, load.gap_ms, load.output_tokens) == (32, gap_ms, tokens)
    assert CalibrationLoad.like(32, 100_000, 0.001).output_tokens == 600


def test_the_error_of_a_quantile_is_that_of_the_next_one_that_is_known(measured: ClientError) -> None:
    errors = {"p50": 0.1, "p90": 0.2, "p95": 0.3, "p99": 0.4, "p99.9": 0.5}
    error = dataclasses.replace(measured, errors_s={"ttft": errors})
    assert [error.error_s("ttft", q) for q in (0.3, 0.5, 0.92, 0.95, 0.99, 0.9999)] == [
        0.1, 0.1, 0.3, 0.3, 0.4, 0.5,
    ]  # fmt: skip


def test_a_real_one_has_an_error_for_every_metric_of_a_few_milliseconds(measured: ClientError) -> None:
    assert set(measured.errors_s) == {"ttft", "itl", "tpot", "stall", "e2el"}
    # Generous for a busy machine; a role chunk taken for a token would be −20 ms.
    assert all(-0.002 < measured.error_s(metric, 0.5) < 0.02 for metric in measured.errors_s)
    assert -0.005 < measured.cycle_s < 0.05
