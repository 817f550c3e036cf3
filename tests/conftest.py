"""For all tests."""

from __future__ import annotations

import signal
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.machine_turns import pytest_runtest_protocol as pytest_runtest_protocol
from tests.waiting import eventually

# A shell that starts something in the background has it ignore Ctrl-C, and so every process below it. The tests that
# interrupt a run would wait for ever there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The environment that has vLLM collects this tree for the tests that drive it, and has not all of the tools that the
# others read reports with. Where there is no vLLM, a missing one is an error.
_READ_BY = {
    "junitparser": ["integration/test_elsewhere.py"],
    "pypdf": ["report/test_page_on_paper.py"],
    "pyte": ["integration/test_progress.py", "report/test_live_line.py"],
}
collect_ignore = [
    file for tool, files in _READ_BY.items() if find_spec("vllm") and not find_spec(tool) for file in files
]


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually
