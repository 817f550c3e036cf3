"""Chunks that are read by their template say what they say when they are parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.client.openai_stream import Templates, trace_of
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.client.stream_template import learn
from pytest_llmperf.client.trace import Trace

Replied = Callable[..., Reply]


def parsed_only() -> Templates:
    templates = Templates()
    templates.learnt = 1 << 30
    return templates


def vllm(
    text: str, done: int, *, finish: str | None = None, chat: bool = True, field: str = "content"
) -> dict[str, Any]:
    inner: dict[str, Any] = {"delta": {field: text}} if chat else {"text": text}
    choice = {"index": 0, **inner, "logprobs": None, "finish_reason": finish, "token_ids": None}
    usage = {"prompt_tokens": 9, "total_tokens": 9 + done, "completion_tokens": done}
    return {"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def wire(chunk: object, *, ascii_only: bool = False) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") + b"\n\n"


def both(reply: Reply) -> Trace:
    """The trace by templates, if it is the one by parsing."""
    reply.ending = Ending.COMPLETE
    by_template, by_parsing = trace_of(reply), trace_of(reply, templates=parsed_only())
    assert by_template == by_parsing
    return by_template


texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.booleans(), st.booleans(), st.sampled_from(["content", "reasoning", "reasoning_content"]))
def test_any_text_is_read_alike_by_template_and_by_parsing(
    replied: Replied, words: list[str], chat: bool, ascii_only: bool, field: str
) -> None:
    chunks = [
        wire(vllm(word, n, chat=chat, field=field), ascii_only=ascii_only) for n, word in enumerate(words, 1)
    ]
    trace = both(replied(*chunks, wire(vllm("", len(words), finish="stop", chat=chat)), b"data: [DONE]\n\n"))
    assert trace.text + trace.reasoning_text == "".join(words)
    assert trace.completion_tokens == len(words)


@pytest.mark.parametrize(
    "odd",
    [
        b'data: {"error": {"message": "died"}}\n\n',
        b"event: error\n" + wire(vllm("x", 3)),
        b": comment\n" + wire(vllm("x", 3)),
        wire(vllm("x", 3)).replace(b"\n\n", b"\r\n\r\n"),
        wire(vllm("x", 3)).replace(b'"index": 0', b'"index": 1'),
        wire(vllm("x", 3)).replace(b'"x"', b'"\\x"'),
        wire(vllm("x", 3)).replace(b'"x"', b'"a\tb"'),
        wire(vllm("x", 3)).replace(b'"x"', b'"\xe4"'),
        wire(vllm("x", 3)).replace(b'"x"', b'["x"]'),
        wire(vllm('", "usage": {"completion_tokens": 77}, "x": "', 3)),
        wire(vllm("x", 3)).replace(b'"completion_tokens": 3', b'"completion_tokens": 3.5'),
        wire(vllm("x", 3)).replace(b'"completion_tokens": 3', b'"completion_tokens": 03'),
        wire(vllm("x", 3)).replace(b'"completion_tokens": 3', b'"completion_tokens": 9999999999999999999999'),
        wire(vllm("x", 3, finish="length")),
        wire(vllm("x", 40)),
        wire({**vllm("x", 3), "detail": "busy"}),
        wire(vllm("x", 3))[:-1],
        b"\n\n" + wire(vllm("x", 3)),
        b"data: x\n",
    ],
)
def test_a_chunk_that_differs_is_parsed(replied: Replied, odd: bytes) -> None:
    before = [wire(vllm("a", 1)), wire(vllm("b", 2))]
    after = [wire(vllm("c", 4)), wire(vllm("", 4, finish="stop")), b"data: [DONE]\n\n"]
    both(replied(*before, odd, *after))


def test_a_template_of_one_stream_reads_the_next_with_its_own_counts(replied: Replied) -> None:
    shared = Templates()
    for number, prompt in enumerate((9, 64)):
        chunks = [vllm("a", 1), vllm("b", 2)]
        for chunk in chunks:
            chunk["id"], chunk["created"] = f"chatcmpl-{number}x", number
            chunk["usage"]["prompt_tokens"] = prompt
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        reply = replied(*map(wire, chunks), wire(end), b"data: [DONE]\n\n")
        trace = trace_of(reply, templates=shared)
        assert (trace.prompt_tokens, trace.completion_tokens, trace.text) == (prompt, 2, "ab")
    assert shared.learnt == 1


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"index": 0, "delta": {"content": "a", "reasoning": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "message": {"content": "b"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]},
        {"choices": [{"delta": {"content": "a"}}], "usage": {"completion_tokens": 1, "x": {"completion_tokens": 2}}},
        {"choices": [{"index": 0, "delta": {"content": ["a"]}}]},
    ],
)  # fmt: skip
def test_nothing_is_learnt_where_one_field_could_be_taken_for_another(chunk: dict[str, Any]) -> None:
    assert learn(wire(chunk), chunk) is None
