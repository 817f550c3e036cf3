"""Changes of a server's counters under ``/metrics`` from before a load to after it, for what no answer tells by itself.

Counters belong to the server and not to a load. They are believed only if they are of the model that was asked, did not
go back (a restart, another replica behind the same address), and rose by as many generated tokens as the answers of the
load have: whatever else the server answered meanwhile is in them too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.client import server_metrics
from pytest_llmperf.client.drafted import Drafted
from pytest_llmperf.client.reply import Reply
from pytest_llmperf.client.server_metrics import ServerMetrics
from pytest_llmperf.client.trace import Trace

OTHER_TRAFFIC_ABOVE = 0.02
"""Share of the load's tokens by which the server's count may differ: of an answer that failed, the client does not know
all tokens. A fiftieth of foreign tokens moves an acceptance length by less than what two runs of one configuration
differ by."""


@dataclass(frozen=True)
class CounterRise:
    """Counters of one server before and after a load; None: it has none, or was not asked."""

    model: str
    before: ServerMetrics | None = None
    after: ServerMetrics | None = None

    @classmethod
    def between(cls, before: Reply, after: Reply, model: str) -> CounterRise:
        """From two answers of ``/metrics``; ``model`` is the name that the server counts these requests under."""
        return cls(model, server_metrics.parse_reply(before), server_metrics.parse_reply(after))

    def drafted(self, traces: Sequence[Trace]) -> Drafted | str:
        """The draft tokens of a load with these requests; or why the counters do not tell them."""
        names = ("drafts", "draft_tokens", "accepted_tokens")
        if self.after is None or any(getattr(self.after, name) is None for name in names):
            return "there are no counters vllm:spec_decode_num_* under /metrics"
        if why := self._foreign(traces):
            return why
        rises = [self._rise(name) for name in names]
        counts = Drafted.checked(*rises) if None not in rises else None  # type: ignore[arg-type]
        if counts is None:
            return (
                "the counters vllm:spec_decode_num_* went back during the load, or contradict each other "
                f"(drafts, draft tokens, accepted tokens: {rises}): was the server restarted?"
            )
        return counts

    def cached_tokens(self, traces: Sequence[Trace]) -> int | str:
        """The prompt tokens of these requests that were found in the prefix cache; or why the counters do not tell."""
        if self.after is None or self.after.cache_hits is None:
            return "there is no counter vllm:prefix_cache_hits under /metrics"
        if why := self._foreign(traces):
            return why
        hits, prompts = self._rise("cache_hits"), sum(trace.prompt_tokens or 0 for trace in traces)
        looked_up = self._rise("cache_queries")
        if looked_up is not None and looked_up > (1.0 + OTHER_TRAFFIC_ABOVE) * prompts:
            # Other requests may have long prompts and answers of one token.
            return (
                f"the server looked up {looked_up:,.0f} prompt tokens in its prefix cache during the load, whose "
                f"prompts have {prompts:,}: the counters also hold other traffic; need a server for this load alone"
            )
        if hits is None or hits > prompts:
            return (
                f"the counter vllm:prefix_cache_hits rose by {hits} during the load, and its prompts have {prompts:,} "
                "tokens: it also holds other traffic, or the server was restarted"
            )
        return int(hits)

    def _foreign(self, traces: Sequence[Trace]) -> str:
        """Why the counters are not of this load alone; empty if they are."""
        assert self.after is not None
        if others := self.after.models - {self.model}:
            return (
                f"the counters under /metrics are of {', '.join(sorted(others))}, and {self.model} was asked: they may "
                "hold requests to another name"
            )
        came, own = self._rise("generated"), sum(trace.completion_tokens or 0 for trace in traces)
        if came is None:
            return "no counter of generated tokens under /metrics shows whether the others are of this load alone"
        if abs(came - own) > OTHER_TRAFFIC_ABOVE * own:
            return (
                f"the server generated {came:,.0f} tokens during the load, and its answers have {own:,}: the counters "
                "also hold other traffic, or miss a part of this; need a server for this load alone"
            )
        return ""

    def _rise(self, name: str) -> float | None:
        """The increase of a counter; None if it is not told, or went back."""
        before = None if self.before is None else getattr(self.before, name)
        after = None if self.after is None else getattr(self.after, name)
        return None if before is None or after is None or after < before else float(after - before)
