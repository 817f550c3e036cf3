"""A server that sends nothing while requests wait is declared dead once; one that works, however slowly, is not."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import socket
import threading
import time
from collections.abc import Callable

import pytest

from pytest_llmperf.client import loop
from pytest_llmperf.client import silence as module
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.json_values import JsonObject
from tests.client.conftest import Handler, Scripted, read_request

LIMIT_S = 0.8
STREAMED: JsonObject = {"model": "m", "prompt": "x", "stream": True}
Serve = Callable[..., Scripted]


def answer(connection: socket.socket, body: bytes, status: bytes = b"200 OK") -> None:
    connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


def behaving(metrics: Callable[[], bytes | None], stream: Callable[[socket.socket], None]) -> Handler:
    """``/metrics`` as given (None: no answer, empty: 404), and ``stream`` for a generation."""

    def handle(connection: socket.socket) -> None:
        request = read_request(connection)
        if b"GET /metrics" not in request:
            stream(connection)
        elif (text := metrics()) is None:
            frozen(connection)
        else:
            answer(connection, text, b"200 OK" if text else b"404 Not Found")

    return handle


def frozen(connection: socket.socket) -> None:
    connection.settimeout(20)
    connection.recv(1)  # until the client gives up


def late(seconds: float) -> Callable[[socket.socket], None]:
    def stream(connection: socket.socket) -> None:
        time.sleep(seconds)  # the server's own slowness, which is the subject
        answer(connection, b"late")

    return stream


def asked(served: Scripted, count: int = 1, body: JsonObject | None = None) -> tuple[list[Reply], list[str]]:
    declared: list[str] = []
    endpoint = dataclasses.replace(served.endpoint, silence_limit_s=LIMIT_S, on_silence=declared.append)

    async def main() -> list[Reply]:
        async with Pool(endpoint, timeout_s=30) as pool:
            sendings = [pool.fetch("POST", "/v1/completions", body or STREAMED) for _ in range(count)]
            replies = await asyncio.gather(*sendings)
            return [*replies, await pool.fetch("POST", "/v1/completions", STREAMED)] if declared else replies

    return loop.run(main), declared


def counters(step: int) -> Callable[[], bytes]:
    ticks = itertools.count(5, step)
    return lambda: b'vllm:generation_tokens_total{model="m"} %d\n' % next(ticks)


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        (lambda: None, "it is stopped, or stuck"),
        (lambda: b"", "no counters"),
        (counters(0), "counters of tokens stand still"),
    ],
    ids=["API process frozen", "no metrics", "engine frozen"],
)
def test_a_silent_server_is_declared_dead_once_for_all_requests(
    scripted: Serve, monkeypatch: pytest.MonkeyPatch, metrics: Callable[[], bytes | None], says: str
) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.3)
    monkeypatch.setattr("pytest_llmperf.client.pool.PROBE_S", 0.3)
    began = time.monotonic()
    replies, declared = asked(scripted(behaving(metrics, frozen)), count=5)
    assert time.monotonic() - began < 8 * LIMIT_S
    [why] = declared
    assert "while 5 requests waited" in why
    assert says in why
    assert all(reply.ending is Ending.CUT for reply in replies[:5])
    assert replies[5].ending is Ending.CONNECT_ERROR, "nobody asks a dead server again"
    assert all("taken for dead: no byte came from it" in reply.detail for reply in replies)


@pytest.mark.parametrize(
    ("metrics", "body"),
    [
        (counters(7), STREAMED),
        (lambda: b"", {"model": "m", "prompt": "x"}),
        (counters(0), {"model": "m", "prompt": "x" * 6000, "stream": True}),
    ],
    ids=["its counters move", "one piece, and nothing to see", "a long prompt"],
)
def test_a_server_that_is_only_slow_is_waited_for(
    scripted: Serve, metrics: Callable[[], bytes | None], body: JsonObject
) -> None:
    replies, declared = asked(scripted(behaving(metrics, late(2.5 * LIMIT_S))), body=body)
    assert declared == []
    assert [bytes(reply.body) for reply in replies] == [b"late"]


def test_other_streams_that_flow_show_that_the_server_works(scripted: Serve) -> None:
    numbers = itertools.count()

    def stream(connection: socket.socket) -> None:
        if next(numbers) == 0:
            late(2.5 * LIMIT_S)(connection)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            time.sleep(LIMIT_S / 4)  # the rhythm of a slow stream
            connection.sendall(b"x")

    replies, declared = asked(scripted(behaving(lambda: b"", stream)), count=2)
    assert declared == []
    assert all(reply.ending is Ending.COMPLETE for reply in replies)


def test_a_client_that_was_stopped_itself_declares_nobody_dead(scripted: Serve) -> None:
    served = scripted(behaving(lambda: b"", late(LIMIT_S * 2)))
    declared: list[str] = []
    endpoint = dataclasses.replace(served.endpoint, silence_limit_s=LIMIT_S * 2.5, on_silence=declared.append)

    async def main() -> Reply:
        async with Pool(endpoint, timeout_s=30) as pool:
            asyncio.get_running_loop().call_later(
                0.1, time.sleep, LIMIT_S * 3
            )  # as a SIGSTOP of this process
            return await pool.fetch("POST", "/v1/completions", STREAMED)

    assert loop.run(main).body == b"late"
    assert declared == []


def test_an_idle_pool_declares_nobody_dead(scripted: Serve) -> None:
    served = scripted(behaving(lambda: None, late(0)))
    declared: list[str] = []
    endpoint = dataclasses.replace(served.endpoint, silence_limit_s=0.2, on_silence=declared.append)

    async def main() -> None:
        async with Pool(endpoint, timeout_s=30) as pool:
            await pool.fetch("POST", "/v1/completions", STREAMED)
            await asyncio.sleep(0.8)

    loop.run(main)
    assert declared == []


def test_a_closed_pool_leaves_no_task_and_no_timer(scripted: Serve) -> None:
    served = scripted(behaving(lambda: None, frozen))
    endpoint = dataclasses.replace(served.endpoint, silence_limit_s=0.4)

    async def main() -> set[asyncio.Task[object]]:
        async with Pool(endpoint, timeout_s=30) as pool:
            waiting = asyncio.create_task(pool.fetch("POST", "/v1/completions", STREAMED))
            await asyncio.sleep(0.5)  # in the middle of the look at the counters
            waiting.cancel()
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not loop.run(main)
    assert threading.active_count() < 50


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("vllm:generation_tokens_total 5", "5"),
        ('vllm:generation_tokens_total{model="a b",x="1"} 1.5e+09', "1.5e+09"),
        ("vllm:time_per_output_token_seconds_sum 9.5e-05", "9.5e-05"),
        ("llamacpp:prompt_tokens_total 3 1700000000000", "3"),
        ("sglang:gen_tokens\t7", "7"),
        ("vllm:generation_tokens_total NaN", None),
        ("vllm:generation_tokens_total +Inf", None),
        ("vllm:generation_tokens_total -1", None),
        ("vllm:generation_tokens_total 1e", None),
        ("vllm:generation_tokens_total 1.2.3", None),
        ("# HELP vllm:generation_tokens_total 3", None),
    ],
)
def test_counters_of_tokens_are_read_as_prometheus_writes_them(line: str, value: str | None) -> None:
    assert module._TOKENS.findall(f"x 1\n{line}\ny 2\n") == ([] if value is None else [value])
    assert value is None or float(value) >= 0
