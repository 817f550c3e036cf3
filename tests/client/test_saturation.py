"""How many requests are kept in flight: by what a server says of itself, and never more than it is worth."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_llmperf.client.answers import complete_all
from pytest_llmperf.client.saturation import Occupancy, Saturation, parse
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:num_requests_waiting{engine="1",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:num_preemptions_total{engine="0",model_name="m"} 1.0
"""


def test_vllms_gauges_are_summed_over_engines_and_the_fullest_cache_counts() -> None:
    assert parse(METRICS) == Occupancy(running=7, waiting=2, cache_use=0.5, preemptions=1)


def test_a_server_that_tells_nothing_is_not_an_idle_one() -> None:
    assert parse("http_requests_total 5\n") is None


def full(n: float, **more: float) -> Occupancy:
    return Occupancy(**({"running": n, "waiting": 0.0, "cache_use": 0.1, "preemptions": 0.0} | more))


def test_it_grows_while_all_that_was_sent_runs() -> None:
    saturation = Saturation(32, 200)
    assert [saturation.see(full(n), n) for n in (32, 48, 72, 108, 162, 200)] == [48, 72, 108, 162, 200, 200]


@pytest.mark.parametrize(
    ("now", "in_flight"),
    [
        (full(32, waiting=9), 32),
        (full(32, cache_use=0.9), 32),
        (full(20), 32),  # so many have not come to the engine yet
        (full(20), 20),  # there is nothing more to send
    ],
)
def test_it_does_not_grow_where_more_would_wait(now: Occupancy, in_flight: int) -> None:
    assert Saturation(32, 200).see(now, in_flight) == 32


def test_a_queue_that_stays_shrinks_it_to_the_batch_and_one_more_for_good() -> None:
    saturation = Saturation(400, 512)
    assert saturation.see(full(128, waiting=272), 400) == 400, "a burst that is being taken in is no queue"
    assert saturation.see(full(128, waiting=272), 400) == 256
    assert saturation.see(full(256), 256) == 256, "the limit that was found is tried again"


def test_a_full_batch_has_another_behind_it_for_answers_end_together() -> None:
    saturation = Saturation(32, 512)
    looks = [(32, 0), (48, 0), (64, 8), (64, 44), (64, 44), (64, 64), (40, 0)]
    limits = [saturation.see(full(ran, waiting=waits), ran + waits) for ran, waits in looks]
    assert limits == [48, 72, 108, 108, 128, 128, 128]


def test_where_the_cache_is_full_a_queue_is_not_made_longer() -> None:
    saturation = Saturation(40, 512)
    for _ in range(3):
        assert saturation.see(full(30, waiting=10, cache_use=0.9), 40) == 40


def test_an_answer_that_was_thrown_back_shrinks_it() -> None:
    saturation = Saturation(100, 512)
    saturation.see(full(100, preemptions=3, cache_use=0.9), 100)
    assert saturation.see(full(100, preemptions=4, cache_use=0.9), 100) == 80


@contextmanager
def batching_server(slots: int, answer_s: float, *, tells: bool = True) -> Iterator[tuple[Server, list[int]]]:
    """Runs ``slots`` requests at a time and queues the rest; the list gets the number running at each start."""
    free = threading.Semaphore(slots)
    lock = threading.Lock()
    counts = {"running": 0, "waiting": 0}
    seen: list[int] = []
    body = (
        b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            return

        def send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            with lock:
                lines = [f"vllm:num_requests_{name} {count}" for name, count in counts.items()]
            self.send("\n".join(lines if tells else []).encode(), "text/plain")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                counts["waiting"] += 1
            with free:
                with lock:
                    counts["waiting"] -= 1
                    counts["running"] += 1
                    seen.append(counts["running"])
                time.sleep(answer_s)
                with lock:
                    counts["running"] -= 1
            self.send(body, "text/event-stream")

    class Listening(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    listening = Listening(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{listening.server_port}"
        yield Server("row", "model", url, None, None, None, None, "", "batching"), seen
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmperf.client.answers.LOOK_S", 0.05)


def asking(count: int) -> list[JsonObject]:
    return [{"messages": [{"role": "user", "content": f"n {n}"}], "max_tokens": 1} for n in range(count)]


@pytest.mark.usefixtures("quick_looks")
def test_a_server_with_room_is_filled_and_one_without_is_not_swamped() -> None:
    saturation = Saturation(4, 64)
    with batching_server(16, 0.1) as (server, seen):
        answers = complete_all(server, asking(200), concurrency=saturation)
    assert all(answer.ok for answer in answers)
    assert max(seen) >= 14, "the server was never full"  # 4, 6, 9, 14, 21, and twice what runs
    assert 14 <= saturation.limit <= 32
    assert saturation.highest <= 32


@pytest.mark.usefixtures("quick_looks")
def test_a_server_that_tells_nothing_gets_what_it_was_said_to_get() -> None:
    saturation = Saturation(4, 64)
    with batching_server(16, 0.02, tells=False) as (server, seen):
        complete_all(server, asking(60), concurrency=saturation)
    assert (saturation.limit, max(seen)) == (4, 4)


@pytest.mark.usefixtures("quick_looks")
def test_what_was_found_once_is_where_the_next_batch_begins() -> None:
    saturation = Saturation(4, 64)
    with batching_server(16, 0.1) as (server, seen):
        complete_all(server, asking(120), concurrency=saturation)
        seen.clear()
        complete_all(server, asking(16), concurrency=saturation)
    assert max(seen) > 9, "it began at 4 again"


def test_a_look_that_fails_ends_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_news(_: object) -> None:
        await asyncio.sleep(0)

    looked: Callable[..., object] = no_news
    monkeypatch.setattr("pytest_llmperf.client.answers.look", looked)
    monkeypatch.setattr("pytest_llmperf.client.answers.LOOK_S", 0.01)
    with batching_server(8, 0.05) as (server, _):
        assert all(answer.ok for answer in complete_all(server, asking(24), concurrency=Saturation(4, 8)))
