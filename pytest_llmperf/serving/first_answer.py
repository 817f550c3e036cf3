"""The first answer of a server: do its weights produce numbers?

Weights with NaN in them (a broken conversion, an overflow of half precision) start without a complaint. Every answer is
then of as many invisible tokens as were asked for, fast and of constant length, so that a load test is green. The log
probabilities of a first generation show it. vLLM can't even write them (NaN is no JSON) and answers with an error.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pytest_llmperf.serving.http_client import Response
from pytest_llmperf.visible_text import is_invisible

TOKENS = 8
_NOT_JSON = re.compile(
    r"not JSON compliant|[Oo]ut of range float|\bNaN\b|\bnan\b|\binf(?:inity)?\b.*(?:JSON|probab)",
    re.IGNORECASE,
)
# vLLM writes no log probability below this one: minus infinity, which the likeliest token can't have.
_FLOOR = -9999.0
CAUSE = "the weights produce NaN or infinity"
_REMEDY = (
    "look at how the weights were made (a conversion, a merge, a quantisation), and try another dtype: half precision "
    "overflows where bfloat16 does not"
)


def request_body(model: str, *, log_probabilities: bool) -> dict[str, Any]:
    """The first request: short, greedy, and with the log probability of each token if asked for."""
    body = {"model": model, "prompt": "1 2 3 4", "max_tokens": TOKENS, "temperature": 0}
    return {**body, "logprobs": 1} if log_probabilities else body


def fault_of_error(response: Response) -> str | None:
    """Why a server that refused the request with log probabilities is not to be used; None if it may just lack them."""
    if response.status >= 400 and _NOT_JSON.search(response.text[:2000]):
        return f"{CAUSE}: the log probabilities of its first answer can't be written ({response.says}); {_REMEDY}"
    return None


def fault_of_answer(body: object) -> str | None:
    """Why a server that gave this first answer is not to be used, one line; None if nothing speaks against it.

    Without log probabilities in the answer only its text can speak.
    """
    choice = _first_choice(body)
    if choice is None:
        return None
    numbers = _log_probabilities(choice)
    if numbers is None:
        return _fault_of_text(choice, body)
    wrong = [number for number in numbers if not math.isfinite(number) or number <= _FLOOR]
    if wrong:
        return (
            f"{CAUSE}: {len(wrong)} of the {len(numbers)} log probabilities of its first answer are "
            f"{_shown(wrong[0])}, all must be finite; {_REMEDY}"
        )
    return None


def has_log_probabilities(body: object) -> bool:
    """Whether an answer says how likely its tokens were."""
    choice = _first_choice(body)
    return choice is not None and _log_probabilities(choice) is not None


def _first_choice(body: object) -> dict[str, Any] | None:
    choices = body.get("choices") if isinstance(body, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _log_probabilities(choice: dict[str, Any]) -> list[float] | None:
    """Of the answer's tokens; None if the server gives none."""
    given = choice.get("logprobs")
    if not isinstance(given, dict):
        return None
    values = given.get("token_logprobs")
    if values is None and isinstance(given.get("content"), list):
        values = [token.get("logprob") for token in given["content"] if isinstance(token, dict)]
    if not isinstance(values, list) or not values:
        return None
    # null stands for NaN where a server's JSON can't write it.
    numbers = [math.nan if value is None else _number(value) for value in values]
    return [number for number in numbers if number is not None]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _fault_of_text(choice: dict[str, Any], body: object) -> str | None:
    text = choice.get("text")
    usage = body.get("usage") if isinstance(body, dict) else None
    written = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if not isinstance(text, str) or choice.get("finish_reason") != "length" or written != TOKENS:
        return None
    if text == "!" * TOKENS:
        # Token 0 of many vocabularies: the largest of numbers that are none.
        return f"{CAUSE}, as it seems: its first answer is {text!r}, the token of number 0; {_REMEDY}"
    # Blank lines are a base model's answer.
    if not text or is_invisible(text):
        return f"{CAUSE}, as it seems: none of the {TOKENS} tokens of its first answer is visible; {_REMEDY}"
    return None


def _shown(number: float) -> str:
    return "NaN" if math.isnan(number) else f"{number:g}"
