"""The words with which servers say why an answer ended, and what each means; pure.

The words are those of OpenAI, vLLM, SGLang, llama.cpp, Ollama, TGI, TensorRT-LLM, Mistral and DeepSeek, and of gateways
that pass on what Anthropic, Gemini, Cohere, Bedrock and Zhipu say.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Finish(StrEnum):
    """The reason why an answer ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL = "tool_calls"
    FILTER = "content_filter"
    ERROR = "error"
    """The server, not the model, ended it."""
    UNKNOWN = "unknown"
    """A word that is not in the table: nothing says that the answer is whole."""


_WORDS = {
    Finish.STOP: """
        stop stopped stop_sequence stop_sequences stop_token stop_word stop_words stop_str stop_string matched_stop
        eos eos_token eos_token_id eot end end_id end_turn end_of_turn end_of_text end_of_sequence end_of_sentence
        endoftext complete completed completion finish finished done success succeeded normal""",
    Finish.LENGTH: """
        length max_length max_len length_limit max_tokens max_token max_new_tokens max_output_tokens
        max_completion_tokens max_tokens_reached token_limit token_limit_reached limit model_length context_length
        context_length_exceeded context_window_exceeded model_context_window_exceeded max_context_length truncated
        repetition""",
    Finish.TOOL: "tool_calls tool_call tool_use tool function_call function_calls function",
    Finish.FILTER: """
        content_filter content_filtered filter filtered filtered_content safety recitation blocklist blocked
        prohibited_content spii image_safety language refusal refused moderation sensitive guardrail
        guardrail_intervened error_toxic""",
    Finish.ERROR: """
        abort aborted error errored exception fail failed failure internal_error internal_server_error server_error
        engine_error network_error insufficient_system_resource insufficient_system_resources resource_exhausted
        overloaded unavailable cancel cancelled canceled interrupted killed preempted dropped disconnected
        timeout timed_out time_out time_limit deadline_exceeded error_limit malformed_function_call
        unexpected_tool_call other""",
}
_MEANING = {word: finish for finish, words in _WORDS.items() for word in words.split()}
_NONE = frozenset({"", "null", "none", "nil", "undefined", "not_finished", "unspecified", "in_progress"})
"""Values that servers send in chunks before the last."""
_PREFIX = re.compile(r"^(?:.*[.])?(?:finish_reason|stop_reason|finish|reason)_(?=.)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def meaning(value: object) -> Finish | None:
    """The meaning of a ``finish_reason``; None if it says nothing yet.

    Case, hyphens, camel case and the prefixes of enumerations (``FinishReason.STOP``, ``FINISH_REASON_STOP``) make no
    difference. An object counts by its ``type`` or ``reason`` (SGLang: ``{"type": "length", "length": 16}``).
    """
    if isinstance(value, dict):
        value = value.get("type", value.get("reason"))
    if value is None or value is False:
        return None
    if not isinstance(value, str):
        return Finish.UNKNOWN
    word = _HUMP.sub("_", value.strip()).lower().replace("-", "_").replace(" ", "_")
    if word in _MEANING:
        return _MEANING[word]
    word = _PREFIX.sub("", word).rpartition(".")[2]
    return None if word in _NONE else _MEANING.get(word, Finish.UNKNOWN)
