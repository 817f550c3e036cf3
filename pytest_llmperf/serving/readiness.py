"""When a server counts as ready: health, our own model's name, and one real generation of every shape.

``/health`` alone is not enough: it answers before the first batch has shown that the kernels work, and a
different server on the same port answers as well. Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from typing import Any

POLL_S = 0.25
REQUEST_TIMEOUT_S = 5.0
WARM_TOKENS = 8


@dataclass(frozen=True)
class Door:
    """Where a server is expected, and as whom."""

    host: str
    port: int
    model: str
    api_key: str | None


class Unready(Exception):
    """The server answers, but will not become the one that was asked for; ``str`` is one line."""


class Stopped(Exception):
    """Waiting was called off."""


def wait_until_ready(
    door: Door,
    *,
    warm_concurrency: Sequence[int],
    deadline: float,
    is_ours: Callable[[], bool],
    stop: threading.Event,
    progress: Callable[[str], None],
) -> str:
    """Block until the server is ready; returns the version that it states, or an empty string.

    ``deadline`` is a value of `time.monotonic`; ``is_ours`` says whether the listening socket belongs to our
    own process tree. Raises `Unready`, `Stopped` or `TimeoutError`.
    """
    progress("loading")
    # Without the key, as long as it isn't certain whose server this is; and the cheap question first.
    stranger = replace(door, api_key=None)
    _poll(lambda: _get(stranger, "/health")[0] == 200 and is_ours(), deadline, stop)
    progress("checking")
    status, body = _get(door, "/v1/models")
    if status != 200:
        raise Unready(f"/v1/models answers {status} to the key that the server was started with")
    served = served_models(body)
    if door.model not in served:
        raise Unready(f"the server serves {', '.join(served) or 'nothing'}, not {door.model}")
    for concurrency in warm_concurrency:
        progress(f"warming up, {concurrency} at once" if concurrency > 1 else "warming up")
        _generate_together(door, concurrency, deadline, stop)
    status, body = _get(door, "/version")
    version = body.get("version") if status == 200 and isinstance(body, dict) else None
    return str(version or "")


def served_models(body: Any) -> list[str]:
    """Names in the body of ``/v1/models``; empty when it isn't one."""
    rows = body.get("data") if isinstance(body, dict) else None
    return [str(row["id"]) for row in rows or [] if isinstance(row, dict) and "id" in row]


def _poll(condition: Callable[[], bool], deadline: float, stop: threading.Event) -> None:
    began = time.monotonic()
    while True:
        try:
            if condition():
                return
        except (OSError, HTTPException):
            pass
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError
        # Often at first, because a stand-in for an engine is there at once; then as real engines need it.
        if stop.wait(min(POLL_S, 0.02 + (now - began) / 10)):
            raise Stopped


def _generate_together(door: Door, concurrency: int, deadline: float, stop: threading.Event) -> None:
    # Threads of their own, not waited for on the way out: a frozen server must not hold up its own end.
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="warm")
    try:
        futures = [pool.submit(_generate, door, deadline) for _ in range(concurrency)]
        while not all(future.done() for future in futures):
            if stop.wait(0.02):
                raise Stopped
        for future in futures:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _generate(door: Door, deadline: float) -> None:
    body = {"model": door.model, "prompt": "1 2 3 4", "max_tokens": WARM_TOKENS, "temperature": 0}
    left_s = max(1.0, deadline - time.monotonic())
    try:
        status, answer = _request(door, "POST", "/v1/completions", body, timeout_s=left_s)
    except TimeoutError:
        raise
    except (OSError, HTTPException) as error:
        raise Unready(f"the first generation failed: {error or type(error).__name__}") from error
    if status != 200:
        raise Unready(f"the first generation failed: {status} {_message(answer)}")


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error or body
    return str(message)[:300]


def _get(door: Door, path: str) -> tuple[int, Any]:
    return _request(door, "GET", path, None, timeout_s=REQUEST_TIMEOUT_S)


def _request(door: Door, method: str, path: str, body: Any, *, timeout_s: float) -> tuple[int, Any]:
    connection = HTTPConnection(door.host, door.port, timeout=timeout_s)
    try:
        headers = {"Content-Type": "application/json"}
        if door.api_key:
            headers["Authorization"] = f"Bearer {door.api_key}"
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        text = response.read().decode("utf-8", errors="replace")
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except json.JSONDecodeError:
        return response.status, text
