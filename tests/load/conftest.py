"""One reference server for all tests, which behaves as each test asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer, running

Truth = Callable[[ReferenceOptions], ReferenceServer]


@pytest.fixture(scope="session")
def truth_process() -> Iterator[ReferenceServer]:
    with running() as known:
        yield known


@pytest.fixture
def truth(truth_process: ReferenceServer) -> Truth:
    """``truth(ReferenceOptions(…))``: a server that behaves so and remembers nothing."""
    return truth_process.changed
