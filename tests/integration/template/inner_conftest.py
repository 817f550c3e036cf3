"""The conftest.py of every project that the tests make: a test inside tells the one outside, and waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmperf.measure.served import Served


@pytest.fixture
def tell(candidate: Served) -> Callable[..., None]:
    """Write down which servers run."""

    def tell(*models: Served) -> None:
        servers = [model.server for model in models or (candidate,)]
        told = [{"row": s.row, "pid": s.root_pid, "url": s.base_url, "key": s.api_key} for s in servers]
        scratch = Path("servers.scratch")
        scratch.write_text(json.dumps(told))
        scratch.rename("servers.json")

    return tell


@pytest.fixture
def halt(tell: Callable[..., None]) -> Callable[..., None]:
    """Write down which servers run, then wait for the file ``go``."""

    def halt(*models: Served) -> None:
        tell(*models)
        deadline = time.monotonic() + 60
        while not Path("go").exists():
            assert time.monotonic() < deadline, "nobody said go"
            time.sleep(0.02)

    return halt
