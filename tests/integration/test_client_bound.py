"""A client that is slow itself is found out by its own calibration, and blames no server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow

SUITE = """
    def test_the_first_token_comes_in_time(candidate, load):
        assert load(candidate, concurrency=1).ttft.p50 <= 0.040
"""
SLOW_CLIENT = """
import time
from pytest_llmperf.client.connection import Connection

read = Connection.data_received

def late(self, data):
    if b"data: {" in data:
        time.sleep(0.03)
    read(self, data)

Connection.data_received = late
"""


def test_a_slow_client_makes_the_run_invalid_and_not_red(project: Project) -> None:
    project.catalog({"distill": {"TTFT_S": 0.02, "TPOT_S": 0.004}})
    project.shrink(rounds=8, answer_tokens=3)
    project.suite(SUITE)
    result, (healthy,) = project.judged()
    assert healthy["status"] == "PASS", result.text
    (calibration,) = project.record()["calibration"]
    assert calibration["concurrency"] == 1
    assert 0 <= calibration["error"]["errors_s"]["ttft"]["p50"] < 0.02
    (load,) = project.record()["load"]
    median = load["tails"]["ttft"]["p50"]
    assert 0.02 < median["low"] <= median["value"] <= median["high"] < 0.04
    assert load["error_kinds"] == []
    assert load["delivered_concurrency"] == pytest.approx(1, rel=0.1)
    assert not load["steady"]["found"]

    project.write("conftest.py", (project.path / "conftest.py").read_text() + SLOW_CLIENT)
    result, (verdict,) = project.judged(environment={"XDG_CACHE_HOME": str(project.path / "cache")})
    assert verdict["status"] == "INVALID", result.text
    assert "client-bound: the client's own error, 3" in verdict["why"]
    assert result.code == 1
    (calibration,) = project.record()["calibration"]
    assert calibration["error"]["errors_s"]["ttft"]["p50"] > 0.025
