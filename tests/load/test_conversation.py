"""Conversations: the next prompt holds the real answer, and a user whose request failed asks no more."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.conversation import Conversation, hold
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.results import of_run
from pytest_llmperf.load.run import problems_of
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.measure.load_log import LoadLog

Truth = Callable[[ReferenceOptions], ReferenceServer]


@pytest.mark.parametrize(
    "damage",
    [
        {"users": 0},
        {"users": 2.5},
        {"turns": 0},
        {"turns": True},
        {"next_words": 0},
        {"think_s": -1.0},
        {"think_s": float("nan")},
    ],
)
def test_a_shape_that_cannot_be_is_refused(damage: dict[str, float]) -> None:
    fields = {"users": 2, "turns": 2, "first_words": 8, "next_words": 4, "answer_tokens": 5, **damage}
    with pytest.raises(ValueError, match=next(iter(damage))):
        Conversation(**fields)  # type: ignore[arg-type]


def test_each_turn_is_longer_by_an_answer_and_a_question(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    runs = hold(known.server, Conversation(3, 3, 20, 7, 5), Workload(), SendOptions(warmup=0))
    prompts = [{trace.prompt_tokens for trace in run.traces} for run in runs]
    assert prompts == [{8 + 20}, {8 + 20 + 5 + 7}, {8 + 20 + 5 + 7 + 5 + 7}]
    assert all("warm" not in problem for run in runs for problem in run.own_problems)
    assert "not comparable" in of_run(runs[1]).missing["e2el"]


def test_a_user_whose_request_failed_asks_no_more(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1, http_500_share=0.5))
    shape = Conversation(8, 2, 8, 4, 3)
    first, second = hold(known.server, shape, Workload(), SendOptions(warmup=0))
    assert len(second.traces) == sum(trace.ok for trace in first.traces) < 8
    assert "4 of 8 requests failed" in problems_of([first])[0]
    why = "4 of 8 users asked no more, since an earlier answer failed or has no text; at most 1% may"
    assert problems_of([second])[-1] == why


@pytest.mark.parametrize("other", [Conversation(2, 2, 30, 4, 3), Conversation(2, 2, 8, 5, 3)])
def test_conversations_of_two_shapes_are_two_loads_of_the_record(truth: Truth, other: Conversation) -> None:
    known, log = truth(ReferenceOptions(ttft_ms=5, gap_ms=1)), LoadLog()
    for shape in (Conversation(2, 2, 8, 4, 3), other):
        for run in hold(known.server, shape, Workload(), SendOptions(warmup=0)):
            log.note("distill", run, of_run(run), purpose="conversations")
    facts = log.facts()["scheduled_load"]
    assert isinstance(facts, list)
    assert len(facts) == 4


def test_the_first_turn_is_new_to_a_cache_that_knows_the_warm_up(
    truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    request = Endpoint.request

    def noted(self: Endpoint, method: str, path: str, body: JsonObject | None = None) -> bytes:
        asked.append(json.dumps((body or {}).get("messages")))
        return request(self, method, path, body)

    monkeypatch.setattr(Endpoint, "request", noted)
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    hold(known.server, Conversation(3, 1, 20, 7, 5), Workload(), SendOptions(warmup=3))
    prompts = [each for each in asked if each.count(" ") > 20]
    assert len(set(prompts)) == len(prompts) == 6


def test_no_answer_at_all_ends_it_with_the_reason(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1, cut_after=1))
    with pytest.raises(NotMeasured, match="no conversation went on after turn 1"):
        hold(known.server, Conversation(2, 2, 8, 4, 3), Workload(), SendOptions(warmup=0))
