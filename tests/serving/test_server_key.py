"""A server's API key: distinct among living servers, stable over the starts of a row, derived from a private secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.serving import server_key
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.server_key import take
from tests.serving.conftest import Run


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def directory(home: dict[str, str]) -> Path:
    return Path(home["XDG_CACHE_HOME"], "pytest-llmperf", "server-keys")


def key_of(row: str, home: dict[str, str]) -> str:
    """The key of a server of ``row`` that has ended."""
    key = take(row, home)
    key.close()
    return key.value


def test_the_next_start_of_a_row_gets_the_same_key(home: dict[str, str]) -> None:
    assert key_of("distill", home) == key_of("distill", home)
    assert len(key_of("distill", home)) == 64


def test_living_servers_never_share_a_key(home: dict[str, str]) -> None:
    keys = [take("distill", home), take("distill", home), take("math", home)]
    assert len({key.value for key in keys}) == 3
    for key in keys:
        key.close()


def test_a_row_that_starts_after_another_keeps_its_key(home: dict[str, str]) -> None:
    alone = key_of("distill", home)
    beside = take("math", home)
    assert key_of("distill", home) == alone
    beside.close()


def test_a_process_that_ends_gives_its_key_back(home: dict[str, str]) -> None:
    program = (
        "import os, sys; from pytest_llmperf.serving.server_key import take; k = take('distill', os.environ);"
        "print(k.value)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env=home | {"PATH": ""}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == key_of("distill", home)


def test_another_secret_or_machine_has_other_keys(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = key_of("distill", home)
    elsewhere = tmp_path / "machine-id"
    elsewhere.write_text("0123456789abcdef\n")
    monkeypatch.setattr(server_key, "_MACHINE", (elsewhere,))
    copied = key_of("distill", home)
    (directory(home) / "secret").unlink()
    assert len({first, copied, key_of("distill", home)}) == 3


def test_the_secret_can_be_read_by_its_owner_only(home: dict[str, str]) -> None:
    key_of("distill", home)
    assert directory(home).stat().st_mode & 0o777 == 0o700
    files = list(directory(home).iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert sum(path.name.startswith(".") for path in files) == 0


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_can_read_is_not_used(home: dict[str, str], mode: int) -> None:
    before = key_of("distill", home)
    (directory(home) / "secret").chmod(mode)
    assert len({before, key_of("distill", home), key_of("distill", home)}) == 3


@pytest.mark.parametrize("cache", ["/proc/nowhere", "/dev/null"])
def test_keys_are_random_where_the_cache_cannot_be_written(cache: str) -> None:
    environment = {"XDG_CACHE_HOME": cache}
    assert len({key_of("distill", environment), key_of("distill", environment)}) == 2


def test_a_key_is_not_shown(home: dict[str, str]) -> None:
    key = take("distill", home)
    assert key.value not in repr(key)
    key.close()


def test_a_started_server_has_the_key_that_the_last_start_of_its_row_had(run: Run) -> None:
    keys = []
    for _ in range(2):
        with acquire(run.spec(), run.state_root) as lease:
            keys.append(lease.server.api_key)
    assert run.starts() == 2
    assert keys[0] == keys[1]
