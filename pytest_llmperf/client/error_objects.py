"""Errors that a server puts into a body with status 200, in whatever form; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MOST = 300
"""Characters of an error that are shown."""
_ANSWERS = ("choices", "usage", "id", "created", "model")
"""Fields that only a chunk of an answer has: with one of them, ``message`` and ``code`` say nothing of an error."""
_EMPTY: tuple[object, ...] = (None, "", False, 0, {}, [])


def error_in(chunk: Mapping[str, Any]) -> str | None:
    """The message of the error that a JSON object is or carries, with its code; None if there is none.

    Seen in the wild: ``{"error": {…}}`` and ``{"error": "…"}`` (OpenAI, vLLM, TGI), a list of errors (Gemini),
    ``{"object": "error", "message": …}`` (older vLLM), ``{"detail": …}`` (FastAPI), ``{"code": …, "message": …}``
    (SGLang, Chinese gateways), ``{"type": "error", …}`` (Anthropic) and an error within the choice (OpenRouter).
    """
    for name in ("error", "errors", "error_message", "error_msg", "errorMessage"):
        if name in chunk and chunk[name] not in _EMPTY:
            return _shown(chunk[name], chunk)
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return _shown(chunk, chunk)
    choices = chunk.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error") not in _EMPTY:
                return _shown(choice["error"], choice)
    if any(name in chunk for name in _ANSWERS) and choices != []:
        return None
    if chunk.get("detail") not in _EMPTY:
        return _shown(chunk["detail"], chunk)
    described = chunk.get("message", chunk.get("msg"))
    if (
        described not in _EMPTY
        and "choices" not in chunk
        and (isinstance(described, str) or any(name in chunk for name in ("code", "type", "status")))
    ):
        return _shown(chunk, chunk)
    return None


def message_of(body: str) -> str:
    """The message in the body of a failed response; the beginning of the body if there is none."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return body[:_MOST] or "no body"
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return body[:_MOST]
    return error_in(parsed) or _shown(parsed, parsed)


def _shown(error: object, around: Mapping[str, Any]) -> str:
    """The error's own words, and its code if it has one."""
    if isinstance(error, list) and error:
        error = error[0]
    code = None
    if isinstance(error, Mapping):
        inner = error.get("error")
        if isinstance(inner, Mapping):
            error = inner
        code = error.get("code", around.get("code"))
        words = next((error[name] for name in ("message", "msg", "detail", "error") if error.get(name)), None)
        text = words if isinstance(words, str) else json.dumps(words or dict(error), ensure_ascii=False)
        if not words and not error:
            text = json.dumps(dict(around), ensure_ascii=False)
    else:
        code = around.get("code")
        text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
        if error is True:
            text = str(
                around.get("message") or around.get("msg") or json.dumps(dict(around), ensure_ascii=False)
            )
    return f"{text[:_MOST]} (code {code})" if code not in (None, "") else text[:_MOST]
