"""HTTP as servers really speak it, and what is done when one does not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply, now
from pytest_llmperf.client.trace import RequestOutcome, Trace

Scripted = Callable[..., Any]
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)


def several(endpoint: Endpoint, count: int, *, timeout_s: float = 10.0) -> tuple[list[Reply], Pool]:
    """Requests one after the other on one pool."""

    async def main() -> tuple[list[Reply], Pool]:
        async with Pool(endpoint, timeout_s=timeout_s) as pool:
            return [await pool.fetch("POST", "/x", {"n": n}) for n in range(count)], pool

    return loop.run(main)


def test_chunked_plain_and_until_close_bodies_are_all_read(
    scripted: Scripted, chunked: Scripted, send: Scripted
) -> None:
    def until_close(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + EVENT)

    for handler in (chunked(EVENT), PLAIN, until_close):
        trace = send(scripted(handler).endpoint)
        assert trace.outcome is RequestOutcome.OK, trace.error
        assert trace.text == "hi"


def test_a_connection_is_kept_for_the_next_request(scripted: Scripted, chunked: Scripted) -> None:
    server = scripted(chunked(EVENT))
    replies, pool = several(server.endpoint, 5)
    assert [reply.ending for reply in replies] == [Ending.COMPLETE] * 5
    assert (server.connections, pool.opened) == (1, 1)


def test_connection_close_is_honoured(scripted: Scripted) -> None:
    server = scripted(PLAIN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
    replies, _ = several(server.endpoint, 3)
    assert [reply.status for reply in replies] == [200] * 3
    assert server.connections == 3


def test_a_stale_connection_is_replaced_and_the_request_sent_again(
    scripted: Scripted, read: Scripted
) -> None:
    def closes_at_the_second_request(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(PLAIN)
        read(connection)

    server = scripted(closes_at_the_second_request, PLAIN)
    replies, _ = several(server.endpoint, 2)
    assert [(reply.ending, reply.resent) for reply in replies] == [
        (Ending.COMPLETE, False),
        (Ending.COMPLETE, True),
    ]
    assert server.connections == 2


def test_a_request_is_not_sent_again_once_a_byte_came(scripted: Scripted, read: Scripted) -> None:
    def begins_and_dies(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(PLAIN)
        read(connection)
        connection.sendall(b"H")

    server = scripted(begins_and_dies, PLAIN)
    replies, _ = several(server.endpoint, 2)
    assert replies[1].ending is Ending.CUT
    assert server.connections == 1


def test_a_fresh_connection_that_dies_is_not_tried_again(
    scripted: Scripted, send: Scripted, read: Scripted
) -> None:
    server = scripted(lambda connection: read(connection) and None)
    trace = send(server.endpoint)
    assert trace.outcome is RequestOutcome.CUT
    assert server.connections == 1


def test_a_cut_stream_keeps_what_came(scripted: Scripted, chunked: Scripted, send: Scripted) -> None:
    token = EVENT.replace(b'"stop"', b"null")

    def cuts(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(chunked(token, token, end=False))

    trace = send(scripted(cuts).endpoint)
    assert trace.outcome is RequestOutcome.CUT
    assert trace.text == "hihi"


def test_a_request_that_is_never_answered_times_out(
    scripted: Scripted, send: Scripted, read: Scripted
) -> None:
    def silent(connection: socket.socket) -> None:
        read(connection)
        connection.recv(1)

    trace = send(scripted(silent).endpoint, timeout_s=0.2)
    assert trace.outcome is RequestOutcome.TIMEOUT
    assert "0.2 s" in trace.error
    assert 0.15 < trace.end_s - trace.sent_s < 5


def test_nobody_listening_is_a_connect_error(scripted: Scripted, send: Scripted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    trace = send(Endpoint.from_url(f"http://127.0.0.1:{port}"))
    assert trace.outcome is RequestOutcome.CONNECT_ERROR
    assert str(port) in trace.error


def test_bytes_that_are_not_http_are_an_error(scripted: Scripted, send: Scripted) -> None:
    trace = send(scripted(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").endpoint)
    assert trace.outcome is RequestOutcome.STREAM_ERROR
    assert "SSH-2.0" in trace.error


def test_an_unasked_second_response_is_never_taken_for_the_next_one(
    scripted: Scripted, read: Scripted
) -> None:
    def twice(connection: socket.socket) -> None:
        read(connection)
        connection.sendall(PLAIN + PLAIN.replace(b'"hi"', b'"no"'))
        connection.recv(1)

    server = scripted(twice, PLAIN)
    replies, _ = several(server.endpoint, 2)
    assert [b'"hi"' in reply.body for reply in replies] == [True, True]
    assert server.connections == 2


def test_an_interim_response_is_read_over(scripted: Scripted, send: Scripted) -> None:
    trace = send(scripted(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN).endpoint)
    assert trace.outcome is RequestOutcome.OK, trace.error


def test_the_key_the_path_and_the_body_are_sent(scripted: Scripted) -> None:
    server = scripted(PLAIN)
    endpoint = Endpoint.from_url(f"{server.server.base_url}/some/prefix/", "s3cret")
    several(endpoint, 1)
    request = server.requests[0].decode()
    assert request.startswith("POST /some/prefix/x HTTP/1.1\r\n")
    assert "Authorization: Bearer s3cret\r\n" in request
    assert request.endswith('\r\n\r\n{"n": 0}')


def test_a_large_request_is_sent_whole_and_timed_at_its_last_byte(scripted: Scripted, read: Scripted) -> None:
    began: list[float] = []

    def slow_reader(connection: socket.socket) -> None:
        connection.recv(1)
        began.append(now())
        read(connection)
        connection.sendall(PLAIN)

    server = scripted(slow_reader)

    async def main() -> Reply:
        async with Pool(server.endpoint, timeout_s=20) as pool:
            return await pool.fetch("POST", "/x", {"text": "x" * 20_000_000})

    reply = loop.run(main)
    assert reply.ending is Ending.COMPLETE, reply.detail
    assert reply.sent_s > began[0]


def test_the_environments_proxies_are_not_used(
    scripted: Scripted, send: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert send(scripted(PLAIN).endpoint).outcome is RequestOutcome.OK


def test_tls_works_and_an_unknown_certificate_is_refused(
    scripted: Scripted,
    send: Callable[..., Trace],
    read: Scripted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command = f"{make} -addext subjectAltName=DNS:localhost"
    try:
        subprocess.run(
            [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed: no certificate to try TLS with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def encrypted(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            read(tls)
            tls.sendall(PLAIN)

    server = scripted(encrypted)
    url = server.server.base_url.replace("http://127.0.0.1", "https://localhost")
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert send(Endpoint.from_url(url, None, trusting)).outcome is RequestOutcome.OK
    refused = send(Endpoint.from_url(url))
    assert refused.outcome is RequestOutcome.CONNECT_ERROR
    assert "certificate" in refused.error.lower()
    # An authority of one's own, as everywhere: no option of ours is needed.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert send(Endpoint.from_url(f"{url}/prefix", "key")).outcome is RequestOutcome.OK


def test_ctrl_c_in_the_caller_ends_the_loop_and_its_connections() -> None:
    closed = []

    async def main() -> None:
        try:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        loop.run(main)
    assert closed == [True]
