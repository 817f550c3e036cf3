"""Read the metrics that a server publishes under ``/metrics``, by vLLM's names.

Parsed with prometheus-client. Values come from outside: a value that is not finite, negative or out of range counts as
missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.reply import Ending, Reply

_FIELDS: Mapping[str, str] = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv_share",
    "vllm:gpu_cache_usage_perc": "kv_share",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:num_preemptions": "preemptions",
    "vllm:prefix_cache_queries_total": "cache_queries",
    "vllm:prefix_cache_queries": "cache_queries",
    "vllm:gpu_prefix_cache_queries_total": "cache_queries",
    "vllm:gpu_prefix_cache_queries": "cache_queries",
    "vllm:prefix_cache_hits_total": "cache_hits",
    "vllm:prefix_cache_hits": "cache_hits",
    "vllm:gpu_prefix_cache_hits_total": "cache_hits",
    "vllm:gpu_prefix_cache_hits": "cache_hits",
    "vllm:generation_tokens_total": "generated",
    "vllm:generation_tokens": "generated",
    "vllm:spec_decode_num_drafts_total": "drafts",
    "vllm:spec_decode_num_drafts": "drafts",
    "vllm:spec_decode_num_draft_tokens_total": "draft_tokens",
    "vllm:spec_decode_num_draft_tokens": "draft_tokens",
    "vllm:spec_decode_num_accepted_tokens_total": "accepted_tokens",
    "vllm:spec_decode_num_accepted_tokens": "accepted_tokens",
}
"""Where a server has several names of one field, the first counts: vLLM 0.9 to 0.11 shows its prefix cache under an old
and a new one."""
_HIGHEST: Mapping[str, float] = {"kv_share": 1.0, "running": 1e7, "waiting": 1e7}
_COUNTED_AT_MOST = 2.0**53
"""Above this a float can't hold every whole number."""


@dataclass(frozen=True)
class ServerMetrics:
    """One reading, summed over the server's engines; None where a value is missing or impossible."""

    running: float | None = None
    """Requests that the engines work on."""
    waiting: float | None = None
    kv_share: float | None = None
    """Share of the key-value cache in use, 0 to 1; of several engines the fullest one."""
    preemptions: float | None = None
    """Count since the server's start."""
    cache_queries: float | None = None
    """Prompt tokens that were looked up in the prefix cache since the server's start."""
    cache_hits: float | None = None
    generated: float | None = None
    """Tokens of all answers since the server's start."""
    drafts: float | None = None
    """Verification steps of speculative decoding that had draft tokens, since the server's start."""
    draft_tokens: float | None = None
    accepted_tokens: float | None = None
    models: frozenset[str] = frozenset()
    """Names that its lines are labelled with (``model_name``)."""


def parse(text: str) -> ServerMetrics | None:
    """Parse the text of ``/metrics``; None if it has none of vLLM's metrics that are used here."""
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, list[float]] = {}
    models: set[str] = set()
    # Line by line: one that is malformed says nothing about the others, and a server has hundreds of other metrics.
    for line in text.split("\n"):
        if not line.startswith("vllm:"):
            continue
        try:
            samples = [sample for family in text_string_to_metric_families(line) for sample in family.samples]
        except (ValueError, IndexError, KeyError):
            # One engine's line that cannot be read makes the sum over all engines unknown.
            name = re.split(r"[{\s]", line, maxsplit=1)[0]
            values.setdefault(name, []).append(math.nan)
            continue
        for sample in samples:
            if sample.name in _FIELDS:
                values.setdefault(sample.name, []).append(float(sample.value))
                models |= {sample.labels["model_name"]} if "model_name" in sample.labels else set()
    by_field: dict[str, list[float]] = {}
    for name, field in _FIELDS.items():
        if name in values:
            by_field.setdefault(field, values[name])
    if not by_field:
        return None
    told: dict[str, float] = {}
    for field, each in by_field.items():
        highest = _HIGHEST.get(field, _COUNTED_AT_MOST)
        if all(math.isfinite(value) and 0 <= value <= highest for value in each):
            told[field] = max(each) if field == "kv_share" else sum(each)
    return ServerMetrics(**told, models=frozenset(models))


def parse_reply(reply: Reply) -> ServerMetrics | None:
    """As :func:`parse`; None for any other answer than a whole one with status 200."""
    if reply.status != 200 or reply.ending is not Ending.COMPLETE:
        return None
    return parse(reply.text())


async def fetch(pool: Pool, timeout_s: float = 10.0) -> Reply:
    """Fetch ``/metrics`` without parsing it: the parser takes 0.1 s to import, which must not happen during a load."""
    return await pool.fetch("GET", "/metrics", timeout_s=timeout_s)


async def read(pool: Pool, timeout_s: float = 10.0) -> ServerMetrics | None:
    """The metrics now; None if the server publishes none that are known."""
    return parse_reply(await fetch(pool, timeout_s))


def told_fields(reply: Reply) -> frozenset[str]:
    """The fields of :class:`ServerMetrics` that an answer has values for, judged by their names alone."""
    if reply.status != 200:
        return frozenset()
    names = (
        re.split(r"[{\s]", line, maxsplit=1)[0] for line in reply.text().split("\n") if line[:5] == "vllm:"
    )
    return frozenset(_FIELDS[name] for name in names if name in _FIELDS)
