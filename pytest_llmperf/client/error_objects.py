"""Errors that a server puts into a body with status 200, in whatever form; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from pytest_llmperf.json_values import JsonObject

_MOST = 300
"""Characters of an error that are shown."""
_NAMES = re.compile(
    r"^(?:errors?|err_?msg|error_?(?:message|msg)|fault)$|exception$|[a-z_]error$", re.IGNORECASE
)
"""Fields that hold an error, if they hold anything (``modelStreamErrorException``: Bedrock)."""
_WORDS = (
    "message", "msg", "detail", "error", "Message", "status_msg", "faultstring", "error_msg", "errorMessage", "errmsg",
    "reason",
)  # fmt: skip
_ALL_WELL = frozenset({"", "ok", "okay", "success", "successful", "succeeded", "none", "null", "no error"})
_FAILED = frozenset({"error", "failed", "failure", "fail"})
_LEAST_FAILURE = 400
"""The lowest status of HTTP that tells of a failure; the codes of gateways are larger still."""


def error_in(chunk: JsonObject) -> str | None:
    """The message of the error that a JSON object is or carries, with its code; None if there is none.

    Seen in the wild: ``{"error": {…}}`` and ``{"error": "…"}`` (OpenAI, vLLM, TGI), a list of errors (Gemini),
    ``{"object": "error", "message": …}`` (older vLLM), ``{"detail": …}`` (FastAPI), ``{"code": …, "message": …}``
    (SGLang, Chinese gateways, some with the ``id`` of the answer), ``{"base_resp": {"status_code": …}}`` (MiniMax),
    ``{"type": "error", …}`` (Anthropic) and an error within the choice (OpenRouter). A code of 0 or 200 and a message
    like "success" are none.
    """
    for name, value in chunk.items():
        if _NAMES.search(name) and _says(value):
            return _shown(value, chunk)
    if _is_error_type(chunk.get("object")) or _is_error_type(chunk.get("type")):
        return _shown(chunk, chunk)
    base = chunk.get("base_resp")
    if isinstance(base, Mapping) and not _is_fine(base.get("status_code")):
        return _shown(base, {"code": base.get("status_code")})
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            for within in (choice, choice.get("delta"), choice.get("message")):
                if isinstance(within, dict) and _says(within.get("error")):
                    return _shown(within["error"], within)
    return _described(chunk, answers=bool(choices))


def _described(chunk: JsonObject, *, answers: bool) -> str | None:
    """An error that is told beside the answer, by a message and a code."""
    code = next(
        (chunk[name] for name in ("code", "status", "statusCode", "status_code") if name in chunk), None
    )
    message = next((chunk[name] for name in ("message", "msg", "Message") if chunk.get(name)), None)
    failed = type(code) is int and code >= _LEAST_FAILURE
    if answers:
        # Chunks of some gateways always have a code and a message.
        return _shown(chunk, chunk) if failed and isinstance(message, str) and _says(message) else None
    if _says(chunk.get("detail")):
        return _shown(chunk["detail"], chunk)
    if failed or (isinstance(code, str) and code.lower() in _FAILED) or chunk.get("success") is False:
        return _shown(chunk, chunk)
    if isinstance(message, str):
        fine = code is not None and _is_fine(code)
        return _shown(chunk, chunk) if _says(message) and not fine else None
    named = any(name in chunk for name in ("code", "type", "status"))
    return _shown(chunk, chunk) if message and named and not _is_fine(code) else None


def _is_error_type(value: object) -> bool:
    return isinstance(value, str) and (
        value in ("error", "exception") or value.endswith((".error", ".failed"))
    )


def _is_fine(code: object) -> bool:
    """True if a code says that all is well, or nothing."""
    return code in (None, "", 0, "0", 200, "200") or (isinstance(code, str) and code.lower() in _ALL_WELL)


def _says(value: object) -> bool:
    """True if a field meant for errors contains one."""
    if isinstance(value, str):
        return value.strip().lower() not in _ALL_WELL
    if isinstance(value, Mapping):
        return any(_says(inner) for name, inner in value.items() if name != "code") or not _is_fine(
            value.get("code")
        )
    if isinstance(value, list):
        return any(_says(inner) for inner in value)
    return bool(value)


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


def _shown(error: object, around: JsonObject) -> str:
    """The error's own words, and its code if it has one."""
    if isinstance(error, list) and error:
        error = error[0]
    code = None
    if isinstance(error, Mapping):
        inner = error.get("error")
        if isinstance(inner, Mapping):
            error = inner
        code = error.get("code", around.get("code"))
        words = next((error[name] for name in _WORDS if error.get(name)), None)
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
