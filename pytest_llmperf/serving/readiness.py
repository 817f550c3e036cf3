"""When a server counts as ready: health, our own model's name, finite numbers, and one generation of every shape.

``/health`` alone is not enough: it answers before the first batch has shown that the kernels work, and a
different server on the same port answers as well. Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import difflib
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.address import Address
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.serving import first_answer
from pytest_llmperf.serving.http_client import Response, clean, request

POLL_S = 0.25
REQUEST_TIMEOUT_S = 5.0
MOST_NAMES = 5
"""Models that a message names: a gateway may list hundreds."""
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,79}", re.ASCII)


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
    _poll(lambda: _get(stranger, "/health").status == 200 and is_ours(), deadline, stop)
    progress("checking")
    try:
        models = _get(door, "/v1/models")
    except RequestFailed as error:
        raise Unready(str(error)) from error
    if models.status != 200:
        raise Unready(f"/v1/models answers {models.status} to the key that the server was started with")
    served = served_models(models.json())
    if door.model not in served:
        raise Unready(f"the server serves {named(served, door.model)}, not {door.model}")
    progress("warming up")
    _together(lambda: _check_first_answer(door, deadline, progress), 1, stop)
    for concurrency in warm_concurrency:
        progress(f"warming up, {concurrency} at once" if concurrency > 1 else "warming up")
        _together(lambda: _generate(door, deadline), concurrency, stop)
    try:
        return version_in(_get(door, "/version"))
    except RequestFailed:
        return ""


def served_models(body: Any) -> list[str]:
    """Names in the body of ``/v1/models``; empty if it isn't a list of models."""
    names = (row.get("id", row.get("name")) for row in model_rows(body))
    return [str(name) for name in names if isinstance(name, str | int)]


def model_rows(body: Any) -> list[dict[str, Any]]:
    """The models in the body of ``/v1/models``: OpenAI's ``{"data": […]}``, a bare list (Together), or
    ``{"models": […]}``."""
    rows = body
    if isinstance(body, dict):
        rows = body["data"] if isinstance(body.get("data"), list) else body.get("models")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def named(served: Sequence[str], wanted: str) -> str:
    """A server's models for a message: all names of a few; of many, their number and those nearest to ``wanted``."""
    if len(served) <= MOST_NAMES:
        return ", ".join(clean(name, 100) for name in served) or "nothing"
    part = wanted.casefold().rpartition("/")[2]
    alike = [name for name in served if part in name.casefold()]
    alike += difflib.get_close_matches(wanted, served[:5000], n=MOST_NAMES, cutoff=0.1)
    nearest = list(dict.fromkeys(alike))[:MOST_NAMES]
    among = f", among them {', '.join(clean(name, 100) for name in nearest)}" if nearest else ""
    return f"{len(served)} models{among}"


def version_in(response: Response) -> str:
    """The version that ``/version`` states; an empty string if it states none, or something that is none."""
    body = response.json() if response.status == 200 else None
    version = body.get("version") if isinstance(body, dict) else None
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else ""


def _poll(condition: Callable[[], bool], deadline: float, stop: threading.Event) -> None:
    began = time.monotonic()
    while True:
        try:
            if condition():
                return
        except RequestFailed:
            pass
        now = time.monotonic()
        if now > deadline:
            raise TimeoutError
        # Often at first, because a stand-in for an engine is there at once; then as real engines need it.
        if stop.wait(min(POLL_S, 0.02 + (now - began) / 10)):
            raise Stopped


def _together(work: Callable[[], object], times: int, stop: threading.Event) -> None:
    # Threads of their own, not waited for on the way out: a frozen server must not hold up its own end.
    pool = ThreadPoolExecutor(times, thread_name_prefix="warm")
    try:
        futures = [pool.submit(work) for _ in range(times)]
        while not all(future.done() for future in futures):
            if stop.wait(0.02):
                raise Stopped
        for future in futures:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check_first_answer(door: Door, deadline: float, progress: Callable[[str], None]) -> None:
    """One generation with log probabilities, or without where the engine has none; raises `Unready` for NaN."""
    response = _completion(door, first_answer.request_body(door.model, log_probabilities=True), deadline)
    if fault := first_answer.fault_of_error(response):
        raise Unready(fault)
    if response.status != 200:
        response = _generate(door, deadline)
    body = response.json()
    if fault := first_answer.fault_of_answer(body):
        raise Unready(fault)
    if not first_answer.has_log_probabilities(body):
        progress("warming up (the engine gives no log probabilities: NaN is looked for in its text alone)")


def _generate(door: Door, deadline: float) -> Response:
    response = _completion(door, first_answer.request_body(door.model, log_probabilities=False), deadline)
    if response.status != 200:
        raise Unready(f"the first generation failed: {response.status} {response.says}")
    return response


def _completion(door: Door, body: dict[str, Any], deadline: float) -> Response:
    left_s = max(1.0, deadline - time.monotonic())
    try:
        return _request(door, "POST", "/v1/completions", body, timeout_s=left_s)
    except RequestFailed as error:
        if time.monotonic() >= deadline:
            raise TimeoutError from error
        raise Unready(f"the first generation failed: {error}") from error


def _get(door: Door, path: str) -> Response:
    return _request(door, "GET", path, None, timeout_s=REQUEST_TIMEOUT_S)


def _request(door: Door, method: str, path: str, body: Any, *, timeout_s: float) -> Response:
    address = Address("http", door.host, door.port)
    return request(method, address, path, body, api_key=door.api_key, timeout_s=timeout_s)
