"""When a server counts as ready: health, our own model's name, finite numbers, and one generation of every shape.

``/health`` alone is not enough: it answers before the first batch has shown that the kernels work, and a different
server on the same port answers as well.

Weights with NaN in them (a broken conversion, an overflow of half precision) start without a complaint. Every answer is
then as many invisible tokens as were asked for, fast and of constant length, so that a load test is green. The log
probabilities of a first generation show it. vLLM can't even write them (NaN is no JSON) and answers with an error.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import difflib
import math
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_llmperf.config.address import Address
from pytest_llmperf.engines.probe import Probe
from pytest_llmperf.errors import RequestFailed
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of
from pytest_llmperf.serving.http_client import Response, clean, request
from pytest_llmperf.visible_text import is_invisible

POLL_S = 0.25
REQUEST_TIMEOUT_S = 5.0
MOST_NAMES = 5
"""Models that a message names: a gateway may list hundreds."""
TOKENS = 8
_NOT_JSON = re.compile(
    r"not JSON compliant|[Oo]ut of range float|\bNaN\b|\bnan\b|\binf(?:inity)?\b.*(?:JSON|probab)",
    re.IGNORECASE,
)
# vLLM writes no log probability below this one: minus infinity, which the likeliest token can't have.
_FLOOR = -9999.0
NAN_CAUSE = "the weights produce NaN or infinity"
_REMEDY = (
    "look at how the weights were made (a conversion, a merge, a quantisation), and try another dtype: half precision "
    "overflows where bfloat16 does not"
)
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,79}", re.ASCII)


@dataclass(frozen=True)
class ProbeTarget:
    """The server to wait for: its address, model name, key and paths."""

    host: str
    port: int
    model: str
    api_key: str | None
    probe: Probe = field(default_factory=Probe)
    beside: tuple[str, ...] = ()
    """Further names that it must serve: adapters and aliases."""


class Unready(Exception):
    """The server answers, but will not become the one that was asked for; ``str`` is one line."""


class Stopped(Exception):
    """Waiting was called off."""


def wait_until_ready(
    target: ProbeTarget,
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
    stranger = replace(target, api_key=None)
    _poll(lambda: _get(stranger, target.probe.health).status == 200 and is_ours(), deadline, stop)
    progress("checking")
    if target.probe.models:
        _check_name(target)
    for name in (target.model, *target.beside):
        of = f" {name}" if target.beside else ""
        _warm_up(replace(target, model=name), of, warm_concurrency, deadline, stop, progress)
    try:
        return version_in(_get(target, target.probe.version)) if target.probe.version else ""
    except RequestFailed:
        return ""


def _warm_up(
    target: ProbeTarget,
    of: str,
    warm_concurrency: Sequence[int],
    deadline: float,
    stop: threading.Event,
    progress: Callable[[str], None],
) -> None:
    """First generations of one of the server's models; ``of`` is its name where there are several."""
    progress(f"warming up{of}")
    try:
        _together(lambda: _check_first_answer(target, deadline, progress), 1, stop)
        for concurrency in warm_concurrency:
            progress(f"warming up{of}, {concurrency} at once" if concurrency > 1 else f"warming up{of}")
            _together(lambda: _generate(target, deadline), concurrency, stop)
    except Unready as error:
        raise Unready(f"{target.model}: {error}") if of else error from error


def _check_name(target: ProbeTarget) -> None:
    """Raise `Unready` unless the server takes our key and lists our models."""
    path = target.probe.models
    try:
        models = _get(target, path)
    except RequestFailed as error:
        raise Unready(str(error)) from error
    if models.status != 200:
        raise Unready(f"{path} answers {models.status} to the key that the server was started with")
    served = served_models(models.json())
    for name in (target.model, *target.beside):
        if name not in served:
            raise Unready(f"the server serves {named(served, name)}, not {name}")


def served_models(body: Json) -> list[str]:
    """Names in the body of ``/v1/models``; empty if it isn't a list of models."""
    names = (row.get("id", row.get("name")) for row in model_rows(body))
    return [str(name) for name in names if isinstance(name, str | int)]


def model_rows(body: Json) -> list[JsonObject]:
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


def _check_first_answer(target: ProbeTarget, deadline: float, progress: Callable[[str], None]) -> None:
    """One generation with log probabilities, or without where the engine has none; raises `Unready` for NaN."""
    response = _completion(target, deadline, log_probabilities=True)
    if fault := fault_of_error(response):
        raise Unready(fault)
    if response.status != 200:
        response = _generate(target, deadline)
    body = response.json()
    if fault := fault_of_answer(body):
        raise Unready(fault)
    if not has_log_probabilities(body):
        progress("warming up (the engine gives no log probabilities: NaN is looked for in its text alone)")


def _generate(target: ProbeTarget, deadline: float) -> Response:
    response = _completion(target, deadline)
    if response.status != 200:
        raise Unready(f"the first generation failed: {response.status} {response.says}")
    return response


def _completion(target: ProbeTarget, deadline: float, *, log_probabilities: bool = False) -> Response:
    path = target.probe.generate
    body = request_body(target.model, chat="/chat/" in path, log_probabilities=log_probabilities)
    left_s = max(1.0, deadline - time.monotonic())
    try:
        return _request(target, "POST", path, body, timeout_s=left_s)
    except RequestFailed as error:
        if time.monotonic() >= deadline:
            raise TimeoutError from error
        raise Unready(f"the first generation failed: {error}") from error


def _get(target: ProbeTarget, path: str) -> Response:
    return _request(target, "GET", path, None, timeout_s=REQUEST_TIMEOUT_S)


def _request(target: ProbeTarget, method: str, path: str, body: Any, *, timeout_s: float) -> Response:
    address = Address("http", target.host, target.port)
    return request(method, address, path, body, api_key=target.api_key, timeout_s=timeout_s)


def request_body(model: str, *, chat: bool = False, log_probabilities: bool = False) -> dict[str, Json]:
    """The first request: short, greedy, and with the log probability of each token if asked for."""
    prompt: JsonObject = (
        {"messages": [{"role": "user", "content": "1 2 3 4"}]} if chat else {"prompt": "1 2 3 4"}
    )
    body = {"model": model, **prompt, "max_tokens": TOKENS, "temperature": 0}
    return {**body, "logprobs": True if chat else 1} if log_probabilities else body


def fault_of_error(response: Response) -> str | None:
    """The fault of a server that refused the request for log probabilities; None if it may just not support them."""
    if response.status >= 400 and _NOT_JSON.search(response.text[:2000]):
        return f"{NAN_CAUSE}: the log probabilities of its first answer can't be written ({response.says}); {_REMEDY}"
    return None


def fault_of_answer(body: Json) -> str | None:
    """The fault that a server's first answer shows, one line; None if it shows none.

    Without log probabilities in the answer only its text can speak.
    """
    choice = _first_choice(body)
    if choice is None:
        return None
    numbers = _log_probabilities(choice)
    if numbers is None:
        return _fault_of_text(choice, body)
    wrong = [number for number in numbers if not math.isfinite(number) or number <= _FLOOR]
    if wrong:
        return (
            f"{NAN_CAUSE}: {len(wrong)} of the {len(numbers)} log probabilities of its first answer are "
            f"{_shown(wrong[0])}, all must be finite; {_REMEDY}"
        )
    return None


def has_log_probabilities(body: Json) -> bool:
    """True if an answer contains the log probabilities of its tokens."""
    choice = _first_choice(body)
    return choice is not None and _log_probabilities(choice) is not None


def _first_choice(body: Json) -> JsonObject | None:
    choices = list_of(object_of(body).get("choices"))
    return choices[0] if choices and isinstance(choices[0], dict) else None


def _log_probabilities(choice: JsonObject) -> list[float] | None:
    """Log probabilities of the answer's tokens; None if the server gives none."""
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return None
    values = given.get("token_logprobs")
    if values is None:
        values = [token.get("logprob") for token in list_of(given.get("content")) if isinstance(token, dict)]
    if not isinstance(values, list) or not values:
        return None
    # null stands for NaN where a server's JSON can't write it.
    numbers = [math.nan if value is None else _number(value) for value in values]
    return [number for number in numbers if number is not None]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _fault_of_text(choice: JsonObject, body: Json) -> str | None:
    text = choice.get("text")
    written = object_of(object_of(body).get("usage")).get("completion_tokens")
    if not isinstance(text, str) or choice.get("finish_reason") != "length" or written != TOKENS:
        return None
    if text == "!" * TOKENS:
        # Token 0 of many vocabularies: the largest of numbers that are none.
        return f"{NAN_CAUSE}, as it seems: its first answer is {text!r}, the token of number 0; {_REMEDY}"
    # Blank lines are a base model's answer.
    if not text or is_invisible(text):
        return (
            f"{NAN_CAUSE}, as it seems: none of the {TOKENS} tokens of its first answer is visible; {_REMEDY}"
        )
    return None


def _shown(number: float) -> str:
    return "NaN" if math.isnan(number) else f"{number:g}"
