"""Any OpenAI-compatible server that runs already: nothing is started, and nothing is known of its machine."""

from __future__ import annotations

from pytest_llmperf.engines.base import Engine


class Remote(Engine):
    """``engine = "url"``."""

    name = "url"
    title = "a server that already runs"
    is_started = False


ENGINE = Remote()
