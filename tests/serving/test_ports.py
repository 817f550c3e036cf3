"""Ports that our own runs don't take from each other."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from pytest_llmperf.serving import ports


def test_a_reserved_port_is_outside_the_kernels_ephemeral_range(tmp_path: Path) -> None:
    low, high = ports.ephemeral_range()
    with ports.reserve(directory=tmp_path) as lock:
        assert ports.LOW <= lock.port < ports.HIGH
        assert not low <= lock.port <= high


def test_two_runs_never_get_the_same_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "candidate_ports", lambda: list(range(20000, 20020)))
    locks: list[ports.PortLock] = []
    with contextlib.suppress(ports.NoFreePort):
        while len(locks) <= 20:
            locks.append(ports.reserve(directory=tmp_path))
    taken = [lock.port for lock in locks]
    assert 15 <= len(taken) == len(set(taken))
    for lock in locks:
        lock.close()
    with ports.reserve(directory=tmp_path) as again:
        assert again.port in range(20000, 20020)


def test_a_port_in_use_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports, "candidate_ports", lambda: [taken])
        with pytest.raises(ports.NoFreePort):
            ports.reserve(directory=tmp_path)


def test_a_port_to_avoid_is_avoided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "candidate_ports", lambda: [20001])
    with pytest.raises(ports.NoFreePort):
        ports.reserve(avoid=[20001], directory=tmp_path)


def test_a_range_that_the_kernel_uses_wholly_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ephemeral_range", lambda: (1024, 65535))
    assert ports.candidate_ports()[0] == ports.LOW
