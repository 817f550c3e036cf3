"""The fields of a request body: one table for the client, which refuses what a server would ignore, and for the lint of
prompts.

vLLM answers 200 to a field that it does not know, and takes fields of the OpenAI API that it does nothing with.
Both change what is measured without a word. The table is that of vLLM 0.32's ``ChatCompletionRequest`` and
``CompletionRequest``, with the fields of OpenAI, of other servers and of older vLLMs that people still send.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Endpoint = Literal["both", "chat", "completions"]


@dataclass(frozen=True)
class Field:
    """One field of a request body."""

    name: str
    meaning: str
    endpoint: Endpoint = "both"
    instead: str = ""
    """The replacement for a field that vLLM ignores. Empty: the server acts on the field."""

    def belongs_to(self, endpoint: Endpoint) -> bool:
        return "both" in (self.endpoint, endpoint) or self.endpoint == endpoint


_READ: dict[Endpoint, dict[str, str]] = {
    "both": {
        "model": "the name that the server serves the weights under",
        "stream": "send tokens as they come",
        "stream_options": "whether usage is sent, at the end or with every chunk",
        "stream_interval": "tokens to a chunk, at least",
        "temperature": "divides the logits; 0 is greedy",
        "top_p": "nucleus: the share of the probability that is drawn from",
        "top_k": "how many tokens are drawn from",
        "min_p": "least probability, as a share of the likeliest token's",
        "max_tokens": "longest answer",
        "min_tokens": "no end before so many tokens",
        "seed": "of the draws",
        "n": "answers to one prompt",
        "stop": "texts that end the answer",
        "stop_token_ids": "tokens that end the answer",
        "include_stop_str_in_output": "keep the text that ended the answer",
        "ignore_eos": "go on to max_tokens",
        "presence_penalty": "against tokens that were used",
        "frequency_penalty": "against tokens, by how often they were used",
        "repetition_penalty": "against tokens of prompt and answer",
        "repetition_detection": "end an answer that repeats itself",
        "length_penalty": "of beam search",
        "use_beam_search": "search in place of sampling",
        "logit_bias": "added to single tokens",
        "allowed_token_ids": "no token but these",
        "bad_words": "texts that are never produced",
        "watermarking": "mark the answer",
        "logprobs": "log probabilities of the answer's tokens",
        "prompt_logprobs": "log probabilities of the prompt's tokens",
        "logprob_token_ids": "of these tokens, whatever was drawn",
        "echo": "give the prompt back before the answer",
        "response_format": "JSON, or JSON of a schema",
        "structured_outputs": "a grammar, pattern, schema or choice that the answer follows",
        "thinking_token_budget": "most tokens of thinking",
        "truncate_prompt_tokens": "cut the prompt to so many tokens",
        "truncation_side": "which end of the prompt is cut",
        "add_special_tokens": "let the tokenizer add its first token",
        "skip_special_tokens": "leave special tokens out of the text",
        "spaces_between_special_tokens": "of the text",
        "priority": "of scheduling",
        "request_id": "name of the request in the server's log",
        "session_id": "requests that belong together",
        "user": "who asks; no influence on the answer",
        "cache_salt": "keeps the prefix cache of others out",
        "return_tokens_as_token_ids": "name tokens by number in the log probabilities",
        "return_token_ids": "numbers of the prompt's and the answer's tokens",
        "return_token_offsets": "places of the tokens in the text",
        "kv_transfer_params": "of disaggregated prefill",
        "ec_transfer_params": "of disaggregated encoders",
        "mm_payload": "preprocessed images or sound",
        "return_mm_kwargs": "what became of images or sound",
        "routed_experts_prompt_start": "from where on the experts of the prompt are told",
        "vllm_xargs": "for plugins of the server",
    },
    "chat": {
        "messages": "the turns of the chat",
        "max_completion_tokens": "longest answer; OpenAI's new name of max_tokens",
        "top_logprobs": "how many alternatives of each token",
        "tools": "functions that may be called",
        "tool_choice": "whether and which of them",
        "parallel_tool_calls": "several calls in one answer",
        "reasoning_effort": "passed to the chat template",
        "include_reasoning": "whether the thinking is sent",
        "add_generation_prompt": "open the assistant's turn",
        "continue_final_message": "go on with the last message in place of a new turn",
        "documents": "passed to the chat template",
        "chat_template": "in place of the server's",
        "chat_template_kwargs": "further variables of the chat template: enable_thinking, …",
        "media_io_kwargs": "how images and sound are read",
        "mm_processor_kwargs": "how images and sound are prepared",
        "return_prompt_text": "the rendered prompt",
    },
    "completions": {
        "prompt": "the text to be continued",
        "prompt_embeds": "embeddings in place of tokens",
        "suffix": "text behind the gap; refused by models that cannot fill one",
    },
}
_TEMPLATE = 'write chat_template_kwargs = {"NAME": …}'
_STRUCTURED = "write structured_outputs"
_IGNORED: dict[Endpoint, dict[str, str]] = {
    "both": {
        "best_of": "send several requests, or n",
        "extra_body": "write its fields into the body itself: only OpenAI's client unpacks it",
        "enable_thinking": _TEMPLATE.replace("NAME", "enable_thinking"),
        "thinking": _TEMPLATE.replace("NAME", "thinking"),
        "reasoning": "write reasoning_effort, or chat_template_kwargs",
        "system": 'send a message with the role "system"',
        "guided_json": _STRUCTURED,
        "guided_regex": _STRUCTURED,
        "guided_choice": _STRUCTURED,
        "guided_grammar": _STRUCTURED,
        "guided_decoding_backend": _STRUCTURED,
        "logits_processors": "load them with the server's --logits-processors",
        "max_new_tokens": "write max_tokens",
        "max_length": "write max_tokens",
        "num_predict": "write max_tokens",
        "n_predict": "write max_tokens",
        "repeat_penalty": "write repetition_penalty",
        "stop_sequences": "write stop",
        "do_sample": "write temperature",
        "num_beams": "write use_beam_search and n",
        "store": "leave it out",
        "metadata": "leave it out",
        "service_tier": "leave it out, or write priority",
        "prompt_cache_key": "leave it out, or write cache_salt",
        "safety_identifier": "leave it out",
    },
    "chat": {
        "functions": "write tools",
        "function_call": "write tool_choice",
        "modalities": "leave it out",
        "audio": "leave it out",
        "prediction": "leave it out; speculation is an argument of the server",
        "verbosity": "leave it out",
        "web_search_options": "leave it out",
    },
    "completions": {},
}


def _table() -> dict[str, Field]:
    read = [
        Field(name, meaning, endpoint)
        for endpoint, fields in _READ.items()
        for name, meaning in fields.items()
    ]
    ignored = [
        Field(name, "vLLM ignores it", endpoint, instead)
        for endpoint, fields in _IGNORED.items()
        for name, instead in fields.items()
    ]
    return {field.name: field for field in (*read, *ignored)}


FIELDS = _table()
"""Every field that is known, by its name."""


def endpoint_of(body: Collection[str]) -> Endpoint:
    """The endpoint of a body: ``chat`` with ``messages``, ``completions`` with ``prompt``, else ``both``."""
    return "chat" if "messages" in body else "completions" if "prompt" in body else "both"


def why_not(name: str, endpoint: Endpoint, extra: Collection[str] = ()) -> str | None:
    """The reason why a server would not act on a field, with what to write instead; None if it acts on it.

    ``extra`` are further fields that this server is known to read.
    """
    if name in extra:
        return None
    field = FIELDS.get(name)
    if field is not None and field.instead:
        return f"it would be ignored without a word; {field.instead}"
    if field is not None and not field.belongs_to(endpoint):
        return f"it would be ignored without a word: it belongs to {_path(field.endpoint)}, not to {_path(endpoint)}"
    if field is not None:
        return None
    names = sorted(each.name for each in FIELDS.values() if each.belongs_to(endpoint) and not each.instead)
    near = difflib.get_close_matches(name.lower(), [*names, *extra], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"it would be ignored without a word{hint}"


def _path(endpoint: Endpoint) -> str:
    return "/v1/chat/completions" if endpoint == "chat" else "/v1/completions"
