"""Budgets that no implementation could keep on this device with these weights: refused before anything starts.

A gate with such a budget would be red every night and say nothing of the model.
"""

from __future__ import annotations

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.config.budgets import ANY
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.errors import LlmperfError, UsageError
from pytest_llmperf.load.device_limits import limits_of
from pytest_llmperf.load.roofline import Roofline, roofline_of
from pytest_llmperf.serving import weights

MOST_AT_ONCE = 100_000
"""Requests that a full server may hold: so many that only arithmetic limits them."""


def refuse_impossible_budgets(settings: Settings) -> None:
    """Raises :class:`UsageError`, one line with the arithmetic, for a throughput, a time per token or a time to first
    token that is beyond the device; says nothing where device or weights are not known."""
    if not settings.profile.needs_cuda:
        return
    for model in settings.candidates:
        limit = _limit(model, settings.device_name)
        if limit is None:
            continue
        view = settings.budget
        for (profile, device, suite, key, index), bound in view.budgets.bounds.items():
            if profile != view.profile or device not in (view.device, ANY):
                continue
            if why := _why(
                limit,
                f"{suite}.{key}",
                index if isinstance(index, int) else 1,
                bound,
                settings.profile.sizes.prompt_tokens,
            ):
                raise UsageError(
                    f"{bound.origin} = {bound}: physically impossible for {model.name}: {why}; "
                    "write what the device can do"
                )


def _limit(model: Model, device_name: str) -> Roofline | None:
    if (
        not engine_named(model.engine).is_started
        or not model.gpus
        or (limits := limits_of(device_name)) is None
    ):
        return None
    try:
        # Without the damage that a row may plant: a damaged copy is as large, and is made when it is started.
        found = weights.resolve(model) if model.damage is None else None
    except LlmperfError:
        # What is wrong with the weights is told by whoever starts them, with what to do.
        return None
    limit = roofline_of(model, found.directory if found else None, limits)
    return limit if isinstance(limit, Roofline) else None


def _why(limit: Roofline, budget: str, concurrency: int, bound: Bound, prompt_tokens: int) -> str | None:
    """The arithmetic; None if it is possible. A gap between tokens is left out: two can arrive in one piece."""
    match budget:
        case "throughput.single":
            return limit.why_impossible_throughput(bound.value, 1)
        case "throughput.saturated":
            return limit.why_impossible_throughput(bound.value, MOST_AT_ONCE)
        case "throughput.roofline":
            return "more than all of it cannot be reached" if bound.value > 1.0 else None
        case "latency.tpot_p50" | "latency.tpot_p95":
            return limit.why_impossible_time_per_token(bound.value, concurrency)
        case "latency.ttft_p50" | "latency.ttft_p95":
            return limit.why_impossible_first_token(bound.value, prompt_tokens)
        case _:
            return None
