"""What stands in front of transformers' own server: a key, the row's name, a version."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import pytest

from pytest_llmperf.engines.transformers_server import door, neutral, taken


class Response:
    def __init__(self, content: Any, status_code: int = 200) -> None:
        self.content, self.status_code = content, status_code


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine's interpreter has, and this one needs not have."""
    responses = types.ModuleType("fastapi.responses")
    responses.JSONResponse = Response  # type: ignore[attr-defined]
    transformers = types.ModuleType("transformers")
    transformers.__version__ = "5.0.1"  # type: ignore[attr-defined]
    for name, module in {
        "fastapi": types.ModuleType("fastapi"),
        "fastapi.responses": responses,
        "transformers": transformers,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


def asked(path: str, key: str | None = None) -> Any:
    """The response to one request, or ``went on``."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = types.SimpleNamespace(url=types.SimpleNamespace(path=path), headers=headers)

    async def go_on(_: Any) -> Any:
        return "went on"

    return asyncio.run(door("distill", "secret")(request, go_on))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/load_model", "/reset"])
def test_nobody_comes_in_without_the_key(path: str) -> None:
    assert asked(path).status_code == asked(path, "wrong").status_code == 401


def test_it_names_the_row_and_its_version_and_lets_the_rest_through() -> None:
    assert [one["id"] for one in asked("/v1/models", "secret").content["data"]] == ["distill"]
    assert asked("/version").content == {"version": "5.0.1"}
    assert asked("/health") == asked("/v1/chat/completions", "secret") == "went on"


def test_its_own_options_are_taken_and_the_rest_is_left() -> None:
    words = ["--model", "/w", "--port", "1", "--served-model-name", "n", "--continuous-batching"]
    model, rest = taken("--model", words)
    name, rest = taken("--served-model-name", rest)
    assert (model, name, rest) == ("/w", "n", ["--port", "1", "--continuous-batching"])


@pytest.mark.parametrize(("temperature", "sampled"), [(0.0, False), (0.6, True), (None, True)])
def test_neutral_generation_takes_nothing_from_the_weights(temperature: float | None, sampled: bool) -> None:
    of_the_weights = types.SimpleNamespace(repetition_penalty=1.1, top_k=20, do_sample=False, eos_token_id=7)

    def build(handler: Any, body: dict[str, Any], defaults: Any, use_cb: bool = False) -> Any:
        return defaults

    body = {} if temperature is None else {"temperature": temperature}
    built = neutral(build)(None, body, of_the_weights, use_cb=True)
    assert (built.repetition_penalty, built.top_k, built.do_sample) == (1.0, 0, sampled)
    assert built.eos_token_id == 7, "where an answer ends is not sampling"
    assert of_the_weights.repetition_penalty == 1.1
