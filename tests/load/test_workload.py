"""Prompts of a known length that no cache can know."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.client import loop
from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.load import workload as workloads
from pytest_llmperf.load.cache_check import OPENING_TOKENS
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.reference_server.server import prompt_tokens
from pytest_llmperf.load.workload import RequestBodies, Shape, Workload, prepare, prepare_shapes
from pytest_llmperf.serving.server import Capabilities

Truth = Callable[[ReferenceOptions], ReferenceServer]


def prepared(known: ReferenceServer, /, workload: Workload, count: int, **more: Any) -> RequestBodies:
    async def main() -> RequestBodies:
        async with Pool(Endpoint.of(known.server)) as pool:
            return await prepare(pool, known.server.model, workload, count, **more)

    return loop.run(main)


def text_of(body: dict[str, Any]) -> str:
    return str(body["messages"][0]["content"]) if "messages" in body else str(body["prompt"])


def test_prompts_have_exactly_the_asked_length_and_no_two_begin_alike(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    for workload in (Workload(input_tokens=64), Workload(input_tokens=200, chat=False)):
        prompts = prepared(known, workload, 20)
        assert prompts.exact
        assert {prompt_tokens(body) for body in prompts.bodies} == {workload.input_tokens}
        assert len({text_of(body)[:12] for body in prompts.bodies}) == 20


def test_each_request_has_its_own_lengths_and_no_two_begin_alike(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    shapes = [Shape(64, 5), Shape(200, 7), Shape(64, 5), Shape(64, 9), Shape(90, 1)]

    async def main() -> RequestBodies:
        async with Pool(Endpoint.of(known.server)) as pool:
            return await prepare_shapes(pool, known.server.model, Workload(), shapes, request_ids=True)

    prompts = loop.run(main)
    assert prompts.exact
    assert [prompt_tokens(body) for body in prompts.bodies] == [64, 200, 64, 64, 90]
    assert [body["max_tokens"] for body in prompts.bodies] == [5, 7, 5, 9, 1]
    assert [body["request_id"] for body in prompts.bodies] == [f"llmperf-{index}" for index in range(5)]
    assert len({text_of(body)[:12] for body in prompts.bodies}) == 5
    assert (
        prompts.note
        == "every prompt has exactly 64 to 200 tokens by the server's tokenizer, as asked for each"
    )
    missed = dataclasses.replace(prompts, asked=(64, 203, 64, 64, 89))
    assert missed.note == "2 of 5 prompts miss the length asked for, by at most 3 tokens"


def test_the_words_are_seeded_and_the_numbers_are_not(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    first, second = (prepared(known, Workload(seed=3), 2) for _ in range(2))
    same, again = (prepared(known, Workload(seed=3), 2, nonce="n") for _ in range(2))
    other = prepared(known, Workload(seed=4), 2, nonce="n")
    assert text_of(first.bodies[1])[12:] == text_of(second.bodies[1])[12:]
    assert text_of(first.bodies[1])[:12] != text_of(second.bodies[1])[:12]
    assert same == again
    assert text_of(same.bodies[0])[12:] != text_of(other.bodies[0])[12:]


def test_a_prompt_shorter_than_the_template_is_as_short_as_it_can_be_and_says_so(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    prompts = prepared(known, Workload(input_tokens=4), 2)
    assert not prompts.exact
    assert "4 were asked for" in prompts.note


@pytest.mark.parametrize("cost", [2, 3])
@pytest.mark.parametrize("target", [50, 51, 64])
def test_words_of_several_tokens_still_meet_an_exact_length(
    monkeypatch: pytest.MonkeyPatch, cost: int, target: int
) -> None:
    async def count(self: object, text: str) -> int:
        words = text.split(" ")
        return 12 + cost * (len(words) - 1) + sum(text.count(sign) for sign in ".!?,")

    monkeypatch.setattr(workloads._Maker, "_count", count)
    pool: Any = None
    prompts = asyncio.run(prepare(pool, "m", Workload(input_tokens=target), 3))
    assert prompts.exact, prompts.tokens


def test_a_server_without_tokenize_gets_an_estimate_that_is_called_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def count(self: object, text: str) -> None:
        return None

    monkeypatch.setattr(workloads._Maker, "_count", count)
    pool: Any = None
    prompts = asyncio.run(prepare(pool, "m", Workload(input_tokens=64), 3))
    assert prompts.tokens is None
    assert "estimated" in prompts.note
    assert len(prompts.bodies) == 3


def test_the_tokens_of_the_chat_template_are_counted_by_the_servers_own_tokenizer(truth: Truth) -> None:
    known, found = truth(ReferenceOptions()), Capabilities()
    prepared(known, Workload(chat=False), 1, known=found)
    assert found.template_tokens is None
    prepared(known, Workload(), 1, known=found)
    message, bare = prompt_tokens({"messages": [{"content": "one"}]}), prompt_tokens({"prompt": "one"})
    assert found.template_tokens == message - bare + OPENING_TOKENS


def test_the_output_length_is_fixed_or_natural(truth: Truth) -> None:
    known = truth(ReferenceOptions())
    fixed = prepared(known, Workload(output_tokens=9), 1).bodies[0]
    natural = prepared(known, Workload(output_tokens=9, fixed_output=False), 1).bodies[0]
    assert (fixed["max_tokens"], fixed["min_tokens"], fixed["ignore_eos"]) == (9, 9, True)
    assert natural["max_tokens"] == 9
    assert "ignore_eos" not in natural


@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
def test_a_length_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(Workload(), **{field: 0})  # type: ignore[arg-type]
