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


DONE = b"data: [DONE]\n\n"


def plain(text: str, index: int = 0) -> bytes:
    return wire({"choices": [{"index": index, "delta": {"content": text}, "finish_reason": None}]})


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("cut", range(12))
def test_a_stream_of_like_chunks_that_is_cut_anywhere_ends(
    replied: Replied, line_end: bytes, cut: int
) -> None:
    chunk = plain("x").replace(b"\n", line_end)
    reply = replied(*[chunk] * 4, chunk[:cut])
    reply.ending = Ending.CUT
    assert len(trace_of(reply).arrivals) == 4


def test_a_second_choice_is_never_taken_for_the_answer(replied: Replied) -> None:
    both_choices = [plain(f"{text}{index}", index) for text in "abcdef" for index in (0, 1)]
    ends = [wire({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}) for index in (1, 0)]
    assert both(replied(*both_choices, *ends, DONE)).text == "a0b0c0d0e0f0"
    only = [part.replace(b'"index": 0', b'"index": 1') for part in (*map(plain, "abc"), ends[1])]
    assert both(replied(*only, DONE)).text == "abc", "some gateways count from one"
    # Templates that were learnt from another stream know nothing of this one's choice.
    shared = Templates()
    trace_of(replied(*map(plain, "abc"), ends[1], DONE), templates=shared)
    reversed_order = [plain(f"{text}{index}", index) for text in "abc" for index in (1, 0)]
    assert trace_of(replied(*reversed_order, *ends, DONE), templates=shared).text == "a1b1c1"


def test_what_only_the_usage_of_known_chunks_tells_is_read_in_every_stream(replied: Replied) -> None:
    shared = Templates()
    for _ in range(3):
        chunks = [vllm(text, number) for number, text in enumerate("abcdefgh", 1)]
        for chunk in chunks:
            chunk["usage"]["prompt_tokens_details"] = {"cached_tokens": 60}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        trace = trace_of(replied(*map(wire, chunks), wire(end), DONE), templates=shared)
        assert (trace.cached_tokens, trace.prompt_tokens, trace.completion_tokens) == (60, 9, 8)
    assert shared.learnt == 1


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [{"delta": {"content": "a"}}], "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}},
        {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens_details": {"cached_tokens": 9}}},
        {"choices": [{"index": 1, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "token_ids": []}]},
    ],
)  # fmt: skip
def test_nothing_is_learnt_from_what_only_parsing_understands(chunk: dict[str, Any]) -> None:
    assert learn(wire(chunk), chunk) is None


PARTS = st.one_of(
    st.builds(
        lambda text, field, index, count, end: wire(
            {
                "choices": [{"index": index, "delta": {field: text}, "finish_reason": None}],
                **({} if count is None else {"usage": {"prompt_tokens": 9, "completion_tokens": count}}),
            }
        ).replace(b"\n", end),
        st.sampled_from(["a", "b", "", "\u00e4", '"', "\\", "[DONE]", "data: x", "\u2028"]),
        st.sampled_from(["content", "content", "content", "reasoning", "mind"]),
        st.sampled_from([0, 0, 0, 1]),
        st.one_of(st.none(), st.integers(0, 40)),
        st.sampled_from([b"\n", b"\n", b"\r\n"]),
    ),
    st.sampled_from([
        b"\n", b": ping\n\n", b"data: \n\n", b"event: ping\n", b"\r\n", b"id: 1\n", b'{"error": "x"}\n',
        wire({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}),
        wire({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}),
        wire({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ]),
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.lists(PARTS, max_size=20), min_size=1, max_size=3), st.integers(0, 60), st.integers(1, 200)
)
def test_streams_of_every_kind_of_chunk_in_any_order_are_read_as_by_parsing(
    replied: Replied, streams: list[list[bytes]], lost: int, read: int
) -> None:
    shared = Templates()
    for parts in streams:
        # Twice, so that what was learnt in it is met again from its beginning.
        for body in [b"".join([*parts, *parts, DONE])] * 2:
            kept = body[: max(1, len(body) - lost)]
            reply = replied(*(kept[at : at + read] for at in range(0, len(kept), read)))
            reply.ending = Ending.CUT
            by_template, by_parsing = (
                trace_of(reply, templates=shared),
                trace_of(reply, templates=parsed_only()),
            )
            assert by_template == by_parsing
