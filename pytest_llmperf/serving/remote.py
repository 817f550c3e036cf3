"""A server that is already running: is it there, does it take our key, does it serve the row?"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmperf.config.address import Address
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import DEFAULT_KEY_VARIABLE
from pytest_llmperf.errors import RequestFailed, StartError, UsageError, WrongServer
from pytest_llmperf.json_values import JsonObject, list_of, object_of
from pytest_llmperf.serving.http_client import (
    USER_AGENT,
    Response,
    checked_key,
    is_about_the_key,
    request,
    retry_after_s,
    unused_proxies,
)
from pytest_llmperf.serving.readiness import (
    fault_of_answer,
    fault_of_error,
    has_log_probabilities,
    model_rows,
    named,
    request_body,
    served_models,
    version_in,
)
from pytest_llmperf.serving.server import Capabilities, Server

_POLL_S = 2.0
"""Between two questions to a server that is loading and does not say when to ask again."""
_LONGEST_WAIT_S = 60.0
"""A server that is ready sooner than its ``Retry-After`` said is not left waiting for longer than this."""
_NO_LIST = (404, 405, 501)
"""Statuses of a server without ``/v1/models``: a gateway may pass on the generating paths alone."""
_FIRST_ANSWER_S = 60.0
_NUMBERS_S = 20.0
"""A server that is too busy for a short answer is not looked at for NaN."""
_FEW_TOKENS = 16
_LOADING = re.compile(r"load|start|warm|initiali|not ready|cold|try again|retry", re.IGNORECASE)
_ENGINES = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
"""Engines by the name that they write as ``owned_by`` under ``/v1/models``."""


def attach(
    model: Model,
    base_url: str | None = None,
    environment: Mapping[str, str] | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Server:
    """The server at the row's ``base_url`` (or the one given), after it has named the row's model.

    Waits up to the row's ``ready_timeout`` while it says that it is loading (HTTP 503, or 429), and calls ``progress``
    with that. Raises :class:`UsageError` for an address or a key that isn't given, :class:`StartError` when nothing
    answers or its answer shows weights that produce NaN, and :class:`WrongServer` when the key is refused or another
    model is served. One short answer is generated, with the log probabilities of its tokens; a server that has none,
    or refuses the request, is taken as it is.
    """
    address = parsed(base_url or model.base_url, model.name)
    api_key = _api_key(model, os.environ if environment is None else environment)
    models = _when_loaded(model, address, api_key, progress)
    shown = address.shown()
    _accepted(model, models, shown, api_key)
    body = models.json()
    served = served_models(body)
    capabilities = Capabilities()
    if models.status in _NO_LIST and _generates(model, address, api_key):
        served = [model.served]
        capabilities.notes.append(
            f"the server has no /v1/models (HTTP {models.status}), so that the model it serves is known only from "
            f"its answer to a request for {model.served!r}"
        )
    elif models.status != 200 or not served:
        more = "" if models.status == 200 else f" ({models.says})"
        raise WrongServer(
            f"{model.name}: {shown} is no OpenAI-compatible server: /v1/models answers HTTP {models.status}{more}"
            + ("" if served else " and lists no model")
        )
    if model.served not in served:
        raise WrongServer(
            f"{model.name}: the server at {shown} serves {named(served, model.served)}, not {model.served}\n"
            "what to do: set served_name in models.toml to one of these, or test the right server"
        )
    if fault := _fault_of_numbers(model, address, api_key):
        raise StartError(f"{model.name}: the server at {shown}: {fault}")
    return Server(
        row=model.name,
        model=model.served,
        base_url=str(address),
        api_key=api_key,
        log=None,
        root_pid=None,
        ready_s=None,
        command=f"(already running at {shown})",
        engine=_engine(body, model.served, address, api_key),
        capabilities=capabilities,
    )


def secrets_of(model: Model, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The row's key and the secret values in its address, as far as they are given: what must never be shown."""
    environment = os.environ if environment is None else environment
    key = (environment.get(model.api_key_env or "") or "").strip()
    try:
        hidden = Address.parse(model.base_url or "").secrets
    except UsageError:
        hidden = ()
    return (*hidden, key) if key else hidden


def parsed(url: str | None, row: str) -> Address:
    """The row's address; raises :class:`UsageError` for what is not an http(s) address."""
    if not url:
        raise UsageError(f'{row}: engine = "url" needs base_url in models.toml or --llmperf-base-url')
    return Address.parse(url, f"{row}: base URL")


def _api_key(model: Model, environment: Mapping[str, str]) -> str | None:
    name = model.api_key_env
    if name is None:
        return None
    key = checked_key(environment.get(name), f"{model.name}: the key in {name}")
    if not key and name != DEFAULT_KEY_VARIABLE:
        raise UsageError(f"{model.name}: the API key is wanted from {name}, which is not set")
    return key


def _when_loaded(
    model: Model, address: Address, api_key: str | None, progress: Callable[[str], None]
) -> Response:
    """The answer of ``/v1/models`` once the server no longer says that it is loading."""
    began = time.monotonic()
    deadline = began + model.ready_timeout_s
    while True:
        response = _get(model, address, "/v1/models", api_key)
        if response.status == 200:
            # llama.cpp lists its model while it loads it.
            health = _get_or_none(address, "/health")
            # Not its 429: a rate limit on /health without a key says nothing about the model.
            is_loading = health is not None and health.status == 503 and _is_loading(health)
            response = health if health is not None and is_loading else response
        if not _is_loading(response):
            return response
        told_s = retry_after_s(response.headers.get("retry-after"))
        wait_s = min(_POLL_S if told_s is None else max(0.1, told_s), _LONGEST_WAIT_S)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise StartError(
                f"{model.name}: the server at {address.shown()} still answers HTTP {response.status} "
                f"({response.says}) after {model.ready_timeout_s:g} s",
                remedy="wait until it is ready, or raise ready_timeout in models.toml",
            )
        progress(
            f"{model.name}: HTTP {response.status} ({response.says}), waiting for the server, "
            f"{time.monotonic() - began:.0f} s"
        )
        time.sleep(min(wait_s, left_s))


def _is_loading(response: Response) -> bool:
    if response.status == 429:
        return True
    return response.status == 503 and (
        retry_after_s(response.headers.get("retry-after")) is not None or bool(_LOADING.search(response.says))
    )


def _get(model: Model, address: Address, path: str, api_key: str | None) -> Response:
    try:
        return request("GET", address, path, api_key=api_key)
    except RequestFailed as error:
        unused = unused_proxies(address)
        more = f" (requests go straight to the server: {unused} is not used)" if unused else ""
        raise StartError(
            f"{model.name}: {error}{more}",
            remedy="start the server, or correct the address (--llmperf-base-url, or base_url in models.toml)",
        ) from None


def _get_or_none(address: Address, path: str, api_key: str | None = None) -> Response | None:
    try:
        return request("GET", address, path, api_key=api_key)
    except RequestFailed:
        return None


def _generates(model: Model, address: Address, api_key: str | None) -> bool:
    """True if a server without a list of models answers a short request for this one."""
    prompts: Mapping[str, JsonObject] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
        "/v1/completions": {"prompt": "Hello"},
    }
    for path, prompt in prompts.items():
        body = {"model": model.served, "max_tokens": _FEW_TOKENS, **prompt}
        try:
            response = request("POST", address, path, body, api_key=api_key, timeout_s=_FIRST_ANSWER_S)
        except RequestFailed:
            return False
        _accepted(model, response, address.shown(), api_key)
        if response.status == 200 and list_of(object_of(response.json()).get("choices")):
            return True
    return False


def _fault_of_numbers(model: Model, address: Address, api_key: str | None) -> str | None:
    """Fault of the weights that the log probabilities of a short answer show; None if there is none.

    Evidence alone counts: what the server refuses, limits or leaves out says nothing about its weights.
    """
    for path in ("/v1/completions", "/v1/chat/completions"):
        body = request_body(model.served, chat="/chat/" in path, log_probabilities=True)
        try:
            response = request("POST", address, path, body, api_key=api_key, timeout_s=_NUMBERS_S)
        except RequestFailed:
            return None
        if fault := fault_of_error(response):
            return fault
        if response.status == 200 and has_log_probabilities(answer := response.json()):
            return fault_of_answer(answer)
    return None


def _accepted(model: Model, response: Response, shown: str, api_key: str | None) -> None:
    """Raise :class:`WrongServer` if the request was refused: for its key, or by something that stands in front."""
    if response.status not in (401, 403):
        return
    said = f"HTTP {response.status}: {response.says}"
    if not is_about_the_key(response.status, response.says):
        raise WrongServer(
            f"{model.name}: {shown} forbids the request ({said})\n"
            f"what to do: let requests with the User-Agent {USER_AGENT} pass, or, if it is about the key, name the "
            "environment variable that holds the right one as api_key_env in models.toml"
        )
    given = f"the key in {model.api_key_env}" if api_key else "requests without a key"
    remedy = "name the environment variable that holds its key as api_key_env in models.toml"
    if not api_key and model.api_key_env:
        remedy = f"set {model.api_key_env} to its key"
    raise WrongServer(
        f"{model.name}: the server at {shown} refuses {given} (HTTP {response.status}): {response.says}\n"
        f"what to do: {remedy}"
    )


def _engine(body: Any, served: str, address: Address, api_key: str | None) -> str:
    """The engine with its version, as far as the server shows which one it is; else ``url``.

    A version alone says nothing: many servers have a ``/version``.
    """
    owners = [row.get("owned_by") for row in model_rows(body) if row.get("id") == served]
    owner = next((name for name in owners if isinstance(name, str)), "")
    engine = _ENGINES.get(owner.casefold())
    version = _get_or_none(address, "/version", api_key)
    number = version_in(version) if version is not None else ""
    if engine is None and number:
        metrics = _get_or_none(address, "/metrics", api_key)
        if metrics is not None and metrics.status == 200 and re.search(r"^vllm:", metrics.text, re.MULTILINE):
            engine = "vllm"
    return f"{engine} {number}".strip() if engine else "url"
