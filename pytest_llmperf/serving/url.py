"""A server that is already running: is it there, does it take our key, does it serve the row?"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pytest_llmperf.catalog import Model
from pytest_llmperf.errors import StartError, UsageError, WrongServer
from pytest_llmperf.serving.readiness import served_models
from pytest_llmperf.serving.server import Server

TIMEOUT_S = 10.0


def attach(model: Model, base_url: str | None = None, environment: Mapping[str, str] | None = None) -> Server:
    """The server at the row's ``base_url`` (or the one given), after it has named the row's model.

    Raises `UsageError` for an address or a key that isn't given, `StartError` when nothing answers, and
    `WrongServer` when the key is refused or another model is served. Nothing is generated.
    """
    url = normalised(base_url or model.base_url, model.name)
    api_key = _api_key(model, os.environ if environment is None else environment)
    shown = without_password(url)
    answer = _get(f"{url}/v1/models", api_key)
    if answer.status is None:
        raise StartError(
            f"{model.name}: nothing answers at {shown} ({answer.why})",
            remedy="start it, or correct the address (--llmperf-base-url, or base_url in models.toml)",
        )
    if answer.status in (401, 403):
        given = f"the key in {model.api_key_env}" if model.api_key_env else "requests without a key"
        raise WrongServer(
            f"{model.name}: the server at {shown} refuses {given} (HTTP {answer.status})\n"
            "what to do: name the environment variable that holds its key as api_key_env in models.toml"
        )
    served = served_models(answer.body)
    if answer.status != 200 or not served:
        raise WrongServer(
            f"{model.name}: {shown} is no OpenAI-compatible server: /v1/models answers HTTP {answer.status}"
            + ("" if served else " and lists no model")
        )
    if model.served not in served:
        raise WrongServer(
            f"{model.name}: the server at {shown} serves {', '.join(served)}, not {model.served}\n"
            "what to do: set served_name in models.toml to one of these, or test the right server"
        )
    version = _get(f"{url}/version", api_key).body
    number = version.get("version") if isinstance(version, dict) else None
    return Server(
        row=model.name,
        model=model.served,
        base_url=url,
        api_key=api_key,
        log=None,
        root_pid=None,
        ready_s=None,
        command=f"(already running at {shown})",
        engine=f"vllm {number}" if number else "url",
    )


def normalised(url: str | None, row: str) -> str:
    """Without a trailing slash and ``/v1``; raises `UsageError` for what is not an http(s) address."""
    if not url:
        raise UsageError(f'{row}: engine = "url" needs base_url in models.toml or --llmperf-base-url')
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{row}: {url!r} is no address: expected http://HOST:PORT")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def without_password(url: str) -> str:
    """The address as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True)
class _Answer:
    status: int | None
    body: Any
    why: str = ""


def _api_key(model: Model, environment: Mapping[str, str]) -> str | None:
    if model.api_key_env is None:
        return None
    key = environment.get(model.api_key_env)
    if not key:
        raise UsageError(f"{model.name}: the API key is wanted from {model.api_key_env}, which is not set")
    return key


def _get(url: str, api_key: str | None) -> _Answer:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return _Answer(response.status, _json(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, _json(error.read()))
    except urllib.error.URLError as error:
        reason = error.reason
        return _Answer(None, None, getattr(reason, "strerror", None) or str(reason))
    except (OSError, ValueError) as error:
        return _Answer(None, None, str(error) or type(error).__name__)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
