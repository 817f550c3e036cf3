"""A server that is already running is taken only when it is the one that was asked for."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.catalog import Model
from pytest_llmperf.errors import LlmperfError, StartError, UsageError, WrongServer
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.url import attach, normalised

if TYPE_CHECKING:
    from tests.serving.conftest import Run

ROW = Model(name="distill", profile="gpu", weights="org/name", engine="url")


@contextmanager
def answering(status: int, body: Any) -> Iterator[str]:
    """The address of a server that says the same to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
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


def refusal(kind: type[LlmperfError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_a_running_server_is_attached_to_by_address_and_key(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        ours = lease.server
        row = replace(ROW, base_url=f"{ours.base_url}/v1/", api_key_env="KEY")
        server = attach(row, environment={"KEY": ours.api_key or ""})
        assert (server.base_url, server.model, server.api_key) == (ours.base_url, "distill", ours.api_key)
        assert (server.log, server.root_pid, server.ready_s) == (None, None, None)
        assert server.engine == "vllm 0.0.0"
        assert "refuses the key in KEY (HTTP 401)" in refusal(
            WrongServer, lambda: attach(row, environment={"KEY": "wrong"})
        )
        assert "refuses requests without a key" in refusal(
            WrongServer, lambda: attach(replace(row, api_key_env=None))
        )
        other = replace(row, served_name="other")
        assert "serves distill, not other" in refusal(
            WrongServer, lambda: attach(other, environment={"KEY": ours.api_key or ""})
        )


def test_a_dead_address_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = refusal(StartError, lambda: attach(ROW, f"http://127.0.0.1:{port}"))
    assert text.splitlines()[0] == f"distill: nothing answers at http://127.0.0.1:{port} (Connection refused)"


def test_a_server_that_closes_at_once_is_a_dead_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def slam() -> None:
            server.accept()[0].close()

        thread = Thread(target=slam)
        thread.start()
        text = refusal(StartError, lambda: attach(ROW, f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert "nothing answers" in text


@pytest.mark.parametrize(
    ("status", "body"), [(200, {"hello": "world"}), (200, ["x"]), (404, {"detail": "Not Found"}), (500, None)]
)
def test_something_else_at_the_address_is_named_as_such(status: int, body: Any) -> None:
    with answering(status, body) as url:
        assert "is no OpenAI-compatible server" in refusal(WrongServer, lambda: attach(ROW, url))


def test_a_key_that_is_not_set_is_named() -> None:
    row = replace(ROW, base_url="http://x", api_key_env="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in refusal(UsageError, lambda: attach(row, environment={}))


def test_a_password_in_the_address_is_not_shown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = refusal(StartError, lambda: attach(ROW, f"http://me:hidden@127.0.0.1:{port}"))
    assert "hidden" not in text


@pytest.mark.parametrize("url", [None, "", "localhost:8000", "ftp://x", "http://"])
def test_what_is_no_address_is_refused(url: str | None) -> None:
    assert "distill" in refusal(UsageError, lambda: normalised(url, "distill"))


@pytest.mark.parametrize("url", ["http://x:1", "http://x:1/", "http://x:1/v1", " http://x:1/v1/ "])
def test_an_address_is_the_same_however_it_is_written(url: str) -> None:
    assert normalised(url, "distill") == "http://x:1"
