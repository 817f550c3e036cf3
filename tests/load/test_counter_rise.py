"""A server's counters say something of a load only if they are of that load alone."""

from __future__ import annotations

import pytest

from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.reply import Ending, Reply
from pytest_llmperf.load.counter_rise import CounterRise
from tests.load.test_metrics import trace

ANSWERS = [trace(0.5, 1.0, completion=50)] * 4
BEFORE = {"generation_tokens": 1000.0, "drafts": 100.0, "draft_tokens": 400.0, "accepted_tokens": 50.0}
AFTER = {"generation_tokens": 1200.0, "drafts": 180.0, "draft_tokens": 720.0, "accepted_tokens": 170.0}


def scraped(counts: dict[str, float], model: str = "distill", engines: int = 1) -> Reply:
    text = ""
    for name, value in counts.items():
        full = name if name == "generation_tokens" else f"spec_decode_num_{name}"
        for engine in range(engines):
            text += f'vllm:{full}_total{{engine="{engine}",model_name="{model}"}} {value / engines}\n'
    return Reply(sent_s=0.0, end_s=0.1, status=200, body=bytearray(text.encode()), ending=Ending.COMPLETE)


def rise(before: Reply, after: Reply) -> Drafted | str:
    return CounterRise.between(before, after, "distill").drafted(ANSWERS)


@pytest.mark.parametrize("engines", [1, 2])
def test_the_rise_of_the_counters_is_of_the_load(engines: int) -> None:
    assert rise(scraped(BEFORE, engines=engines), scraped(AFTER, engines=engines)) == Drafted(80, 320, 120)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ({"generation_tokens": 1300.0}, "generated 300 tokens during the load, and its answers have 200"),
        ({"generation_tokens": 1100.0}, "also hold other traffic, or miss a part"),
        ({"generation_tokens": 900.0}, "no counter of generated tokens"),
        ({"generation_tokens": float("nan")}, "no counter of generated tokens"),
        ({"drafts": 90.0}, "went back during the load"),
        ({"accepted_tokens": 1000.0}, "contradict each other"),
        ({"drafts": 1000.0}, "contradict each other"),
        ({"draft_tokens": float("nan")}, "no counters vllm:spec_decode_num_"),
    ],
)
def test_counters_that_are_not_of_the_load_alone_are_not_believed(damage: dict[str, float], why: str) -> None:
    found = rise(scraped(BEFORE), scraped(AFTER | damage))
    assert isinstance(found, str)
    assert why in found


def test_other_prompts_that_a_prefix_cache_looked_up_are_told_by_their_tokens() -> None:
    answers = [trace(0.5, 1.0, completion=50, prompt_tokens=1000)] * 4

    def counts(generated: int, looked_up: int, hits: int) -> Reply:
        rises = {"generation_tokens": generated, "prefix_cache_queries": looked_up, "prefix_cache_hits": hits}
        text = "".join(f"vllm:{name}_total {value}\n" for name, value in rises.items())
        return Reply(sent_s=0.0, end_s=0.1, status=200, body=bytearray(text.encode()), ending=Ending.COMPLETE)

    def found(after: Reply) -> int | str:
        return CounterRise.between(counts(0, 0, 0), after, "distill").cached_tokens(answers)

    assert found(counts(200, 4000, 3000)) == 3000
    # Three requests for one token, whose prompts are long and known.
    assert "looked up 7,000 prompt tokens" in str(found(counts(203, 7000, 3900)))
    assert found(counts(200, 0, 0)) == 0, "the cache is off"


def test_counters_of_another_models_name_are_not_believed() -> None:
    found = rise(scraped(BEFORE, "math"), scraped(AFTER, "math"))
    assert isinstance(found, str)
    assert "are of math, and distill was asked" in found


def test_a_server_without_counters_says_so() -> None:
    assert rise(Reply(), Reply()) == "there are no counters vllm:spec_decode_num_* under /metrics"
    assert "went back" in str(rise(Reply(), scraped(AFTER))) or "no counter" in str(
        rise(Reply(), scraped(AFTER))
    )
