"""What is told of a server that runs already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from pytest_llmperf.client.capabilities import NOT_OPENAI
from pytest_llmperf.config.models import Model
from pytest_llmperf.measure.served import Served


@pytest.fixture
def address() -> Iterator[str]:
    """A server that serves a model named ``new``, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_models = self.path == "/v1/models"
            data = json.dumps({"data": [{"id": "new"}]} if is_models else {}).encode()
            self.send_response(200 if is_models else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def row(address: str) -> Model:
    return Model(name="new", profile="p", weights="", engine="url", base_url=address)


def test_a_proxy_of_the_environment_is_not_used_and_that_is_told_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    told: list[str] = []
    served = Served(row(address), tmp_path, lambda _: None, told.append)
    assert served.server.base_url == served.server.base_url == address
    (text,) = told
    assert text.startswith(
        f"new: http_proxy of the environment is not used: requests go straight to {address}"
    )


@pytest.mark.parametrize("extra_body", [True, False])
def test_a_row_that_takes_openais_fields_alone_is_told_with_what_that_costs(
    address: str, tmp_path: Path, extra_body: bool
) -> None:
    told: list[str] = []
    served = Served(replace(row(address), extra_body=extra_body), tmp_path, lambda _: None, told.append)
    known = served.server.capabilities
    served.tell_capabilities()
    assert known.refused == (frozenset() if extra_body else NOT_OPENAI)
    assert [text.partition(":")[0] for text in told] == ([] if extra_body else ["new"])
