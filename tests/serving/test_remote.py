"""A server that is already running is taken only when it is the one that was asked for."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import LlmperfError, StartError, UsageError, WrongServer
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.remote import attach, parsed

if TYPE_CHECKING:
    from tests.serving.conftest import Run

ROW = Model(name="distill", profile="gpu", weights="org/name", engine="url")
ROW_SERVED = replace(ROW, served_name="distill")


@contextmanager
def serving(reply: Callable[[str, dict[str, Any] | None], tuple[int, Any]]) -> Iterator[str]:
    """The address of a server that answers ``reply(path, body)``, a status and JSON; the body of a GET is None."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.say(*reply(self.path, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.say(*reply(self.path, body))

        def say(self, status: int, body: Any) -> None:
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
    assert text.splitlines()[0] == (
        f"distill: nothing answers at http://127.0.0.1:{port} (Connection refused); "
        "start the server, or correct the address"
    )


def test_a_server_that_closes_at_once_is_a_dead_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def slam() -> None:
            server.accept()[0].close()

        thread = Thread(target=slam)
        thread.start()
        text = refusal(StartError, lambda: attach(ROW, f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()
    assert re.search(r"/v1/models: the server (closed|broke) the connection", text)


@pytest.mark.parametrize(
    ("status", "body"), [(200, {"hello": "world"}), (200, ["x"]), (404, {"detail": "Not Found"}), (500, None)]
)
def test_something_else_at_the_address_is_named_as_such(status: int, body: Any) -> None:
    with serving(lambda path, sent: (status, body)) as url:
        assert "is no OpenAI-compatible server" in refusal(WrongServer, lambda: attach(ROW, url))


def test_a_key_that_is_not_set_is_named() -> None:
    row = replace(ROW, base_url="http://x", api_key_env="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in refusal(UsageError, lambda: attach(row, environment={}))


def test_a_password_in_the_address_is_not_shown() -> None:
    text = refusal(UsageError, lambda: attach(ROW, "http://me:hidden@127.0.0.1:8000"))
    assert "holds a user name or a password" in text
    assert "hidden" not in text


@pytest.mark.parametrize("url", [None, "", "localhost:8000", "ftp://x", "http://"])
def test_what_is_no_address_is_refused(url: str | None) -> None:
    assert "distill" in refusal(UsageError, lambda: parsed(url, "distill"))


@pytest.mark.parametrize("url", ["http://x:1", "http://x:1/", "http://x:1/v1", " http://x:1/v1/ "])
def test_an_address_is_the_same_however_it_is_written(url: str) -> None:
    assert str(parsed(url, "distill")) == "http://x:1"


Answer = tuple[int, dict[str, str], Any]


@contextmanager
def telling(answers: dict[str, list[Answer]]) -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked) of a server that gives each path its answers in turn, the last one for ever."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            left = answers.get(path, [(404, {}, {"detail": "Not Found"})])
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            asked.append(self.path)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def models(*names: str, owner: str = "somebody") -> Answer:
    return 200, {}, {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]}


LOADING: Answer = (503, {}, {"error": {"message": "Loading model", "code": 503}})


@pytest.mark.parametrize(
    "busy",
    [
        (503, {"Retry-After": "0"}, {"error": "Loading model"}),
        (503, {"Retry-After": "0"}, b"<html><title>Service Unavailable</title></html>"),
        (429, {"Retry-After": "0"}, {"error": "slow down"}),
    ],
)
def test_a_server_that_is_loading_is_waited_for_and_that_is_said(busy: Answer) -> None:
    told: list[str] = []
    with telling({"/v1/models": [busy, busy, models("distill")]}) as (url, asked):
        assert attach(ROW, url, progress=told.append).model == "distill"
    assert asked.count("/v1/models") == 3
    assert len(told) == 2
    assert told[0].startswith(f"distill: HTTP {busy[0]} (")
    assert "waiting for the server" in told[0]


def test_a_server_that_lists_its_model_while_it_loads_it_is_waited_for() -> None:
    told: list[str] = []
    health = [(503, {"Retry-After": "0"}, LOADING[2]), (200, {}, {"status": "ok"})]
    with telling({"/v1/models": [models("distill")], "/health": health}) as (url, _):
        attach(ROW, url, progress=told.append)
    assert len(told) == 1
    assert "Loading model" in told[0]


def test_a_rate_limit_on_health_is_not_waited_for() -> None:
    limited: Answer = (429, {"Retry-After": "60"}, {"error": "rate limit"})
    with telling({"/v1/models": [models("distill")], "/health": [limited]}) as (url, asked):
        assert attach(replace(ROW, ready_timeout_s=0.2), url).model == "distill"
    assert asked.count("/v1/models") == 1


@pytest.mark.parametrize(
    "body",
    [
        [{"id": "distill", "owned_by": "vllm"}],
        {"models": [{"name": "distill"}]},
        {"models": [{"name": "x"}], "data": [{"id": "distill"}]},
        {"object": "list", "data": [{"id": "other"}, {"id": "distill"}], "has_more": False},
    ],
    ids=["a bare list", "models by name", "llama.cpp's two lists", "a page"],
)
def test_lists_of_models_in_other_forms_are_read(body: Any) -> None:
    with telling({"/v1/models": [(200, {}, body)]}) as (url, _):
        assert attach(ROW, url).model == "distill"


def generating(status: int, chat: tuple[int, Any], plain: tuple[int, Any]) -> AbstractContextManager[str]:
    """A server that answers ``status`` to every GET, and has the two doors that generate."""

    def reply(path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if body is None:
            return status, {"detail": "Not Found"}
        return chat if "chat" in path else plain

    return serving(reply)


ANSWERED = (200, {"choices": [{"message": {"content": "Hi"}}]})
NONE = (404, {"detail": "Not Found"})


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize(("chat", "plain"), [(ANSWERED, NONE), (NONE, ANSWERED)])
def test_a_server_without_a_list_of_models_is_known_by_its_answer(status: int, chat: Any, plain: Any) -> None:
    with generating(status, chat, plain) as url:
        server = attach(ROW, url)
    assert server.model == "distill"
    (note,) = server.capabilities.notes
    assert f"has no /v1/models (HTTP {status})" in note


@pytest.mark.parametrize(
    "chat", [NONE, (200, {"hello": "world"}), (200, {"choices": []}), (400, {"error": "no such model"})]
)
def test_a_server_without_a_list_of_models_that_does_not_answer_is_refused(chat: Any) -> None:
    with generating(404, chat, NONE) as url:
        assert "is no OpenAI-compatible server" in refusal(WrongServer, lambda: attach(ROW, url))


def test_a_server_that_loads_for_ever_is_given_up_at_the_rows_limit() -> None:
    with telling({"/v1/models": [LOADING]}) as (url, _):
        text = refusal(StartError, lambda: attach(replace(ROW, ready_timeout_s=0.2), url))
    assert "still answers HTTP 503 (Loading model) after 0.2 s" in text
    assert "ready_timeout" in text


def test_a_gateway_without_a_server_behind_it_is_not_waited_for() -> None:
    with telling({"/v1/models": [(503, {}, b"no healthy upstream")]}) as (url, asked):
        text = refusal(WrongServer, lambda: attach(ROW, url))
    assert "answers HTTP 503 (no healthy upstream)" in text
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            403,
            b"<html><title>Attention Required! | WAF</title>",
            "forbids the request (HTTP 403: Attention Required!",
        ),
        (403, b"error code: 1010", "forbids the request (HTTP 403: error code: 1010)"),
        (
            403,
            {"detail": "Not authenticated"},
            "refuses requests without a key (HTTP 403): Not authenticated",
        ),
        (401, b"", "refuses requests without a key (HTTP 401): no body"),
    ],
)
def test_a_firewall_is_not_taken_for_a_key_that_is_wanted(status: int, body: Any, says: str) -> None:
    with telling({"/v1/models": [(status, {}, body)]}) as (url, _):
        assert says in refusal(WrongServer, lambda: attach(ROW, url))


def test_a_server_without_a_key_wants_no_variable_and_one_with_a_key_names_it() -> None:
    row = replace(ROW, api_key_env="LLMPERF_API_KEY")
    with telling({"/v1/models": [models("distill")]}) as (url, _):
        assert attach(row, url, environment={}).api_key is None
    with telling({"/v1/models": [(401, {}, {"error": "Unauthorized"})]}) as (url, _):
        assert "what to do: set LLMPERF_API_KEY" in refusal(
            WrongServer, lambda: attach(row, url, environment={})
        )


def test_of_many_models_the_nearest_are_named_and_all_are_counted() -> None:
    names = [f"org/model-{number}" for number in range(400)]
    with telling({"/v1/models": [models(*names, "org/distill-1.5B\x1b[31m")]}) as (url, _):
        text = refusal(WrongServer, lambda: attach(ROW, url))
    assert "serves 401 models, among them org/distill-1.5B [31m" in text
    assert text.count("org/") <= 5
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("owner", "version", "metrics", "engine"),
    [
        ("vllm", {"version": "0.32.0"}, b"", "vllm 0.32.0"),
        ("vllm", b"<html>", b"", "vllm"),
        ("somebody", {"version": "1.1.0"}, b"", "url"),
        ("somebody", {"version": "1.1.0"}, b"# vllm: no\nprocess_cpu_seconds_total 3\n", "url"),
        ("somebody", {"version": "0.32.0"}, b"vllm:num_requests_running 0\n", "vllm 0.32.0"),
        ("llamacpp", {"version": "b6000"}, b"", "llama.cpp b6000"),
        ("vllm", {"version": "1.0\n\ud800evil"}, b"", "vllm"),
        ("vllm", {"version": 3}, b"", "vllm"),
        ("vllm", {"version": "9" * 500}, b"", "vllm"),
        (["vllm"], {"version": "1.1.0"}, b"", "url"),
    ],
)
def test_a_version_is_vllms_only_where_the_server_shows_that_it_is_vllm(
    owner: Any, version: Any, metrics: bytes, engine: str
) -> None:
    answers: dict[str, list[Answer]] = {
        "/v1/models": [models("distill", owner=owner)],
        "/version": [(200, {}, version)],
        "/metrics": [(200, {}, metrics)],
    }
    with telling(answers) as (url, _):
        assert attach(ROW, url).engine == engine


def test_the_query_of_the_address_goes_with_every_request() -> None:
    with telling({"/p/v1/models": [models("distill")]}) as (url, asked):
        server = attach(ROW, f"{url}/p/v1?api-version=7")
    assert server.base_url == f"{url}/p?api-version=7"
    assert asked
    assert all(path.endswith("?api-version=7") for path in asked)


def generating_distill(
    answer: Callable[[str, dict[str, Any]], tuple[int, Any]],
) -> AbstractContextManager[str]:
    """A server of ``distill`` whose generations are ``answer(path, body)``."""

    def reply(path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if body is not None:
            return answer(path, body)
        return (200, {"data": [{"id": "distill"}]}) if path == "/v1/models" else NONE

    return serving(reply)


def completed(*log_probabilities: float | None) -> dict[str, Any]:
    choice = {
        "text": "!!",
        "finish_reason": "length",
        "logprobs": {"token_logprobs": list(log_probabilities)},
    }
    return {"choices": [choice]}


BAD_NUMBERS: dict[str, Callable[[str, dict[str, Any]], tuple[int, Any]]] = {
    "null where NaN can't be written": lambda path, body: (200, completed(None, None)),
    "an error that names the number": lambda path, body: (
        400,
        {"error": {"message": "Out of range float values are not JSON compliant: nan"}},
    ),
    "a server with chat alone": lambda path, body: (
        (200, {"choices": [{"logprobs": {"content": [{"token": "!", "logprob": -9999.0}]}}]})
        if "chat" in path
        else NONE
    ),
}
FINE: dict[str, Callable[[str, dict[str, Any]], tuple[int, Any]]] = {
    "finite numbers": lambda path, body: (200, completed(-0.1, -2.0)),
    "none at all, and invisible text": lambda path, body: (
        200,
        {"choices": [{"text": " ", "finish_reason": "length"}], "usage": {"completion_tokens": 8}},
    ),
    "the request refused": lambda path, body: (400, {"error": {"message": "logprobs is not supported"}}),
    "a rate limit": lambda path, body: (429, {"error": {"message": "slow down"}}),
    "no way to generate here": lambda path, body: NONE,
}


@pytest.mark.parametrize("kind", BAD_NUMBERS)
def test_a_running_server_whose_weights_produce_nan_is_not_taken(kind: str) -> None:
    with generating_distill(BAD_NUMBERS[kind]) as url:
        text = refusal(StartError, lambda: attach(ROW_SERVED, url))
    assert text.count("the weights produce NaN or infinity") == 1
    assert url in text
    assert text.count("look at how the weights were made") == 1


@pytest.mark.parametrize("kind", FINE)
def test_a_running_server_that_shows_nothing_wrong_is_taken(kind: str) -> None:
    with generating_distill(FINE[kind]) as url:
        assert attach(ROW_SERVED, url).base_url == url
