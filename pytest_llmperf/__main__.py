"""``python -m pytest_llmperf``: the command line, as ``pytest-llmperf``."""

from __future__ import annotations

import sys

from pytest_llmperf.cli import main

if __name__ == "__main__":
    sys.exit(main())
