"""Request bodies, and a lint for them: vLLM accepts and ignores a field it does not know.

A misspelt ``temprature`` is answered with 200 and sampled at the default, so that nothing but a check before
sending can find it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_llmperf.errors import UsageError

_BOTH = """
    model stream stream_options frequency_penalty logit_bias max_tokens n presence_penalty seed stop
    temperature top_p user response_format use_beam_search top_k min_p repetition_penalty length_penalty
    stop_token_ids include_stop_str_in_output ignore_eos min_tokens skip_special_tokens
    spaces_between_special_tokens truncate_prompt_tokens truncation_side allowed_token_ids prompt_logprobs
    logprob_token_ids bad_words add_special_tokens structured_outputs priority request_id
    return_tokens_as_token_ids return_token_ids cache_salt vllm_xargs repetition_detection stream_interval
    echo logprobs watermarking
"""
CHAT_FIELDS = frozenset(
    f"""{_BOTH} messages top_logprobs max_completion_tokens tools tool_choice parallel_tool_calls
    reasoning_effort thinking_token_budget include_reasoning add_generation_prompt continue_final_message
    documents chat_template chat_template_kwargs media_io_kwargs mm_processor_kwargs session_id
    return_prompt_text""".split()
)
"""Fields of ``/v1/chat/completions``: OpenAI's, and those of vLLM 0.32's ``ChatCompletionRequest``."""
COMPLETION_FIELDS = frozenset(f"{_BOTH} prompt suffix best_of prompt_embeds".split())
"""Fields of ``/v1/completions``: OpenAI's, and those of vLLM 0.32's ``CompletionRequest``."""

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


def chat_body(
    model: str, messages: Sequence[Mapping[str, Any]], *, usage_per_chunk: bool = True, **sampling: Any
) -> dict[str, Any]:
    """A linted, streaming chat body that asks for ``usage``.

    ``usage_per_chunk`` has vLLM count the tokens in every chunk (``continuous_usage_stats``): the only way to
    know how many tokens a chunk holds. Raises ``UsageError`` for a field that the server would silently
    ignore.
    """
    body: dict[str, Any] = {"model": model, "messages": [dict(message) for message in messages], **sampling}
    return lint(streaming(body, usage_per_chunk=usage_per_chunk))


def streaming(body: Mapping[str, Any], *, usage_per_chunk: bool = True) -> dict[str, Any]:
    """The same body with ``stream`` and the ``usage`` options set."""
    options: dict[str, Any] = {"include_usage": True}
    if usage_per_chunk:
        options["continuous_usage_stats"] = True
    return {**body, "stream": True, "stream_options": options}


def lint(body: Mapping[str, Any], *, extra: Iterable[str] = ()) -> dict[str, Any]:
    """The body as a dictionary, if a server would act on all of it.

    ``extra`` names further fields that this server is known to read. Raises ``UsageError`` that names field,
    value and the nearest valid name.
    """
    allowed = (CHAT_FIELDS if "messages" in body else COMPLETION_FIELDS) | frozenset(extra)
    for name, value in body.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, sorted(allowed), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"request field {name!r} (value {value!r}) is not one that the server reads: "
                f"it would be ignored without a word{hint}"
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


def path_of(body: Mapping[str, Any]) -> str:
    """``/v1/chat/completions`` for a body with ``messages``, else ``/v1/completions``."""
    return "/v1/chat/completions" if "messages" in body else "/v1/completions"
