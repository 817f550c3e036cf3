"""Long prompts are as long as asked for by what the server counts, and a count that cannot be one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.config.models import Model, Sampling
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure import prompt_lengths
from pytest_llmperf.measure.long_prompts import LongPrompts, recall_item
from pytest_llmperf.measure.prompt_lengths import check_lengths, token_sizes
from pytest_llmperf.tasks.long_context import find_kind
from pytest_llmperf.tasks.long_context.text import UNKNOWN

PROMPTS = LongPrompts(4096, kind=find_kind("needle"))
ROW = Model("elsewhere", "elsewhere", sampling=Sampling(max_tokens=256))


class Elsewhere:
    """A row by its URL: no ``/tokenize``, and no weights here."""

    name, model, server = "elsewhere", ROW, None

    def weights_directory(self) -> None:
        return None


SERVED: Any = Elsewhere()


def answer(counted: int | None, outcome: RequestOutcome = RequestOutcome.OK, error: str = "") -> Answer:
    return Answer(0, "x", "", "length", counted, 1, None, outcome, error, 1, 0.1)


def counting(monkeypatch: pytest.MonkeyPatch, count: Any) -> None:
    """``count(text)`` is the answer to a request for one token."""

    def complete(server: object, bodies: Sequence[JsonObject], **_: object) -> list[Answer]:
        return [count(body["messages"][-1]["content"]) for body in bodies]  # type: ignore[index, call-overload]

    monkeypatch.setattr(prompt_lengths, "tokenize", lambda server, texts: [None] * len(texts))
    monkeypatch.setattr(prompt_lengths, "complete_all", complete)


def length_of(text: str) -> int:
    return len(text.split()) * 2 + 30


def test_the_reply_leaves_room_for_a_prompt_that_is_a_little_longer() -> None:
    kind = find_kind("needle")

    def most(**row: Any) -> int:
        model = Model("row", "test", sampling=Sampling(max_tokens=1024), **row)
        return recall_item(model, kind, 0, 1024, UNKNOWN).ask.body()["max_tokens"]  # type: ignore[return-value]

    assert most() == most(max_model_len=4096) == 256
    assert most(max_model_len=1280) == 256 - 24


@pytest.mark.parametrize("outcome", [RequestOutcome.OK, RequestOutcome.EMPTY])
def test_a_server_that_only_counts_prompts_is_asked_for_one_token(
    monkeypatch: pytest.MonkeyPatch, outcome: RequestOutcome
) -> None:
    counting(monkeypatch, lambda text: answer(length_of(text), outcome))
    sizes = token_sizes(SERVED, PROMPTS)
    kind = PROMPTS.kind
    assert kind is not None
    for seed in range(5):
        [message] = recall_item(ROW, kind, seed, 4096, sizes).ask.messages
        assert 0.98 * 4096 <= length_of(message["content"]) <= 4096 * 1.02


@pytest.mark.parametrize("counted", [0, 1, 7, 400, 40_000])
def test_a_count_that_is_none_of_the_whole_prompt_makes_no_endless_prompt(
    monkeypatch: pytest.MonkeyPatch, counted: int
) -> None:
    counting(monkeypatch, lambda _: answer(counted))
    with pytest.raises(NotMeasured, match=f"its server counts {counted:,} tokens in a prompt of about 4,076"):
        token_sizes(SERVED, PROMPTS)


def test_a_request_that_fails_says_why_nothing_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, lambda _: answer(None, RequestOutcome.HTTP_ERROR, "HTTP 400: prompt too long"))
    with pytest.raises(NotMeasured, match="a request for one token: HTTP 400: prompt too long"):
        token_sizes(SERVED, PROMPTS)


@pytest.mark.parametrize(
    ("counted", "own", "refused"),
    [
        (4096, True, False),
        (4015, True, False),
        (4000, True, True),
        (3300, False, False),
        (2047, False, True),
        (None, True, False),
    ],
)
def test_a_server_that_cuts_its_prompts_is_not_judged_whichever_side_it_is(
    counted: int | None, own: bool, refused: bool
) -> None:
    answers = [answer(4096), answer(counted)]
    if not refused:
        check_lengths(SERVED, PROMPTS, answers, own=own)
        return
    within = "2 %" if own else "50 %"
    with pytest.raises(
        NotMeasured, match=f"1 of 2 prompts .* need 4,096 within {within}: a server that cuts"
    ):
        check_lengths(SERVED, PROMPTS, answers, own=own)
