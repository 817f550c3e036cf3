"""Log probabilities of given token ids: both ways in which servers tell them, and every way in which they may not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_llmperf.client.continuations import (
    ContinuationScore,
    ContinuationTokens,
    ScoreReply,
    find_way,
    score_continuations,
)
from tests.client.conftest import ScriptedServer
from tests.client.test_likelihood import response

TOKENS = ContinuationTokens((5, 6), (7, 8))


def entry(token: int, value: Any, rank: int | None = 1, *, best: float | None = None) -> dict[str, Any]:
    own = {str(token): {"logprob": value, "rank": rank}}
    return own if best is None else {**own, "99": {"logprob": best, "rank": 1}}


def told(*entries: Any) -> bytes:
    return response({"choices": [{"text": "x", "prompt_logprobs": [None, *entries]}]})


def echoed(values: list[Any], tops: list[Any]) -> bytes:
    return response({"choices": [{"logprobs": {"token_logprobs": values, "top_logprobs": tops}}]})


def scored(scripted: ScriptedServer, said: bytes, way: Any = "prompt_logprobs") -> ScoreReply:
    [found] = score_continuations(scripted(said).server, [TOKENS], way)
    return found


def test_the_tokens_behind_the_context_count_and_each_must_be_the_most_likely(
    scripted: ScriptedServer,
) -> None:
    state = scripted(told(entry(6, -9.0, 7, best=-0.1), entry(7, -1.5), entry(8, -0.25)))
    [found] = score_continuations(state.server, [TOKENS], "prompt_logprobs")
    assert found == ScoreReply(ContinuationScore(-1.75, is_greedy=True))
    sent = json.loads(state.requests[0].partition(b"\r\n\r\n")[2])
    assert (sent["prompt"], sent["prompt_logprobs"], sent["max_tokens"]) == ([5, 6, 7, 8], 1, 1)
    found = scored(scripted, told(entry(6, -1.0), entry(7, -1.5, 2, best=-0.5), entry(8, -0.25)))
    assert found.score == ContinuationScore(-1.75, is_greedy=False)


def test_a_tie_at_the_top_is_most_likely_whatever_its_rank(scripted: ScriptedServer) -> None:
    # vLLM gives both tokens of a tie rank 2, and names the other one or none.
    tied = told(entry(6, -9.0, 7, best=-0.1), entry(7, -1.5, 2, best=-1.5), entry(8, -0.25, 2))
    assert scored(scripted, tied).score == ContinuationScore(-1.75, is_greedy=True)


@pytest.mark.parametrize("more", [[], [-3.0]])
def test_an_echo_tells_the_same(scripted: ScriptedServer, more: list[float]) -> None:
    tops = [None, {"a": -0.5}, {"b": -1.5}, {"c": -0.25, "d": -0.2}, *({"e": value} for value in more)]
    found = scored(scripted, echoed([None, -0.5, -1.5, -0.25, *more], tops), "echo")
    assert found == ScoreReply(ContinuationScore(-1.75, is_greedy=False))


@pytest.mark.parametrize(
    ("way", "said", "why"),
    [
        ("prompt_logprobs", response({"error": "too long"}, "400 Bad Request"), "HTTP 400: .*too long"),
        ("prompt_logprobs", response(b"not JSON"), "no log probability of each of 4 tokens"),
        ("prompt_logprobs", response({"choices": []}), "no log probability of each of 4 tokens"),
        ("prompt_logprobs", told(entry(6, -1.0), entry(7, -1.0)), "no log probability of each of 4 tokens"),
        ("prompt_logprobs", told(*[entry(n, -1.0) for n in (6, 7, 8, 9)]), "of each of 4 tokens"),
        ("prompt_logprobs", told(entry(6, -1.0), entry(7, float("nan")), entry(8, -1.0)), "token 1 of 2"),
        ("prompt_logprobs", told(entry(6, -1.0), entry(7, -1.0), entry(8, float("-inf"))), "token 2 of 2"),
        ("prompt_logprobs", told(entry(6, -1.0), entry(7, -1.0), entry(8, 0.5)), "token 2 of 2"),
        ("prompt_logprobs", told(entry(6, -1.0), entry(7, -1.0), entry(8, "-1")), "token 2 of 2"),
        ("prompt_logprobs", told(entry(6, -1.0), None, entry(8, -1.0)), "token 1 of 2"),
        # Another token than the one that was sent.
        ("prompt_logprobs", told(entry(6, -1.0), entry(17, -1.0), entry(8, -1.0)), "token 1 of 2"),
        # Neither the most likely token nor the rank is told.
        ("prompt_logprobs", told(entry(6, -1.0, None), entry(7, -1.0, None), entry(8, -1.0)), "token 1 of 2"),
        ("echo", response({"choices": [{"text": "x", "logprobs": None}]}), "of each of 4 tokens"),
        ("echo", echoed([None, -1.0, -1.0], [None, {}, {}]), "of each of 4 tokens"),
        ("echo", echoed([None, -1.0, None, -1.0], [None, *[{"a": -1.0}] * 3]), "token 1 of 2"),
        (
            "echo",
            response({"choices": [{"logprobs": {"token_logprobs": [None, -1.0, -1.0, -1.0]}}]}),
            "each of 4",
        ),
        ("echo", echoed([None, -1.0, -1.0, -1.0], [None, {"a": -1.0}, {}, {"a": -1.0}]), "token 1 of 2"),
    ],
)
def test_what_a_server_does_not_tell_is_an_error_and_no_score(
    scripted: ScriptedServer, way: str, said: bytes, why: str
) -> None:
    found = scored(scripted, said, way)
    assert found.score is None
    assert re.search(why, found.error), found.error


def test_the_way_is_found_by_asking_and_a_known_lack_asks_nothing(scripted: ScriptedServer) -> None:
    whole = scripted(told(entry(6, -1.0), entry(7, -1.5), entry(8, -0.25)))
    assert find_way(whole.server, TOKENS) == ("prompt_logprobs", "")
    echo = scripted(echoed([None, -0.5, -1.5, -0.25], [None, *[{"a": -0.1}] * 3]))
    assert find_way(echo.server, TOKENS) == ("echo", "")
    mute = scripted(response({"choices": [{"text": "x"}]}))
    server = mute.server
    way, why = find_way(server, TOKENS)
    assert way is None
    assert why.startswith("prompt_logprobs: the server returned no log probability")
    assert "; echo: the server returned no" in why
    asked = len(mute.requests)
    server.capabilities.prompt_logprobs = False
    assert find_way(server, TOKENS) == (None, "its engine has no prompt_logprobs")
    assert len(mute.requests) == asked
