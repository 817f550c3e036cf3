"""A misspelt field is found before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.client.body import lint, path_of, streaming
from pytest_llmperf.errors import UsageError

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("wrong", "right"), [("temprature", "temperature"), ("max_token", "max_tokens"), ("topk", "top_k")]
)
def test_a_misspelt_field_is_refused_with_the_nearest_name(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=f"'{wrong}'.*did you mean '{right}'"):
        lint({"messages": MESSAGES, wrong: 1})


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"max_tokens": 0},
        {"max_tokens": "16"},
        {"n": 2},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        lint({"messages": MESSAGES, **field})


def test_a_field_of_the_other_endpoint_is_refused() -> None:
    with pytest.raises(UsageError, match="suffix"):
        lint({"messages": MESSAGES, "suffix": "x"})
    with pytest.raises(UsageError, match="tools"):
        lint({"prompt": "x", "tools": []})


def test_a_field_that_the_user_vouches_for_is_let_through() -> None:
    assert lint({"prompt": "x", "my_field": 1}, extra=["my_field"])["my_field"] == 1


def test_neither_messages_nor_prompt_is_refused() -> None:
    with pytest.raises(UsageError, match="messages"):
        lint({"model": "m"})


def test_a_body_asks_for_usage_and_knows_its_path() -> None:
    body = lint(streaming({"messages": MESSAGES, "temperature": 0.6, "ignore_eos": True, "min_tokens": 4}))
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert path_of(body) == "/v1/chat/completions"
    assert path_of({"prompt": "x"}) == "/v1/completions"
