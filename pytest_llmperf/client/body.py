"""Request bodies, and a lint for them: vLLM accepts and ignores a field it does not know.

A misspelt ``temprature`` is answered with 200 and sampled at the default, so that nothing but a check before
sending can find it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from pytest_llmperf.client.request_fields import endpoint_of, why_not
from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import Json, JsonObject

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "max_tokens": (1, math.inf),
    "max_completion_tokens": (1, math.inf),
    "min_tokens": (0, math.inf),
    "repetition_penalty": (0, math.inf),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}


def streaming(body: JsonObject, *, usage_per_chunk: bool = True) -> dict[str, Json]:
    """The same body with ``stream`` and the ``usage`` options set.

    ``usage_per_chunk`` has vLLM count the tokens in every chunk (``continuous_usage_stats``): the only way to know how
    many tokens a chunk holds.
    """
    options: dict[str, Json] = {"include_usage": True}
    if usage_per_chunk:
        options["continuous_usage_stats"] = True
    return {**body, "stream": True, "stream_options": options}


def lint(body: JsonObject, *, extra: Iterable[str] = ()) -> dict[str, Json]:
    """The body as a dictionary, if a server would act on all of it.

    ``extra`` names further fields that this server is known to read. Raises ``UsageError`` that names field,
    value and the nearest valid name.
    """
    endpoint, known = endpoint_of(body), frozenset(extra)
    for name, value in body.items():
        if why := why_not(name, endpoint, known):
            raise UsageError(
                f"request field {name!r} (value {value!r}) is not one that the server reads: {why}"
            )
        low, high = _RANGES.get(name, (-math.inf, math.inf))
        if value is None or name not in _RANGES:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"request field {name!r} is {value!r}; need a number from {low:g} to {high:g}")
    if "messages" not in body and "prompt" not in body:
        raise UsageError("a request body needs 'messages' (chat) or 'prompt' (completions); it has neither")
    if body.get("n") not in (None, 1):
        raise UsageError(f"request field 'n' is {body['n']!r}; need 1: K samples of an item are K requests")
    return dict(body)


def path_of(body: JsonObject) -> str:
    """``/v1/chat/completions`` for a body with ``messages``, else ``/v1/completions``."""
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"
