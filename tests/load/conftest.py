"""One known-truth process for all tests, which behaves as each test asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_llmperf.load.truth_options import TruthOptions
from pytest_llmperf.load.truth_process import KnownTruth, running

Truth = Callable[[TruthOptions], KnownTruth]


@pytest.fixture(scope="session")
def truth_process() -> Iterator[KnownTruth]:
    with running() as known:
        yield known


@pytest.fixture
def truth(truth_process: KnownTruth) -> Truth:
    """``truth(TruthOptions(…))``: a server that behaves so and remembers nothing."""
    return truth_process.changed
