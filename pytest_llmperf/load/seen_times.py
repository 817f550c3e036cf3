"""Checks that the tokens of a load were seen when they were sent; times per token mean nothing otherwise. Pure.

A proxy that holds a stream back, a client that is kept from the processor, a server that counts at the end what it sent
in few pieces, and thinking that is counted and not sent all make a server look quick: the time between two tokens that
arrive together is zero, and tokens that were never seen divide a time that they had no part in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.load.metrics import Needs

CLUMPED_ABOVE = 0.25
"""Share of a load's tokens that may arrive together with the one before. Whatever collects two tokens or more, and then
sends them, makes it at least a half. Real vLLM, two servers and the client on two cores that were shared with seven
other jobs (load average 8, 2026-11-30): 10 to 21 % over a load of 32-token answers."""
ROUND_CLUMPED_ABOVE = 0.5
"""The same of one short round, which is lost then: 6 to 12 % of the rounds were on that machine."""
_TOGETHER_SHARE, _TOGETHER_S = 0.1, 0.001
"""Two arrivals come together if there is a tenth of the stream's mean gap between them, or less, and at most a
millisecond: what was held back is let go in one read, or in reads that follow each other at once."""
_LACKING_ABOVE = 0.05
"""Share of the tokens that may have no chunk of their own where chunks are not counted (vLLM joins a few)."""


@dataclass(frozen=True)
class SeenTimes:
    """The arrivals of the tokens of some requests."""

    gaps: int
    """Between arrivals of one request."""
    clumped: int
    """Gaps in which two arrivals came together."""
    uncountable: bool
    """Chunks cannot stand for tokens: there are no gaps between tokens to be had."""
    problems: dict[Needs, str] = field(default_factory=dict)
    """By what a metric needs, why metrics that need it must not be judged."""


def seen_times(traces: Sequence[Trace], most_clumped: float = CLUMPED_ABOVE) -> SeenTimes:
    """Check complete answers; ``most_clumped`` is the share of their tokens that may come together."""
    gaps = clumped = 0
    chunks = tokens = unseen = visible = 0
    unread = ""
    for trace in traces:
        here, of_these = clumped_gaps(trace)
        clumped, gaps = clumped + here, gaps + of_these
        unread = unread or trace.unread_field
        unseen += trace.unseen_tokens
        count = trace.visible_tokens
        if count is None:
            continue
        visible += count
        if any(arrival.tokens is None for arrival in trace.arrivals):
            # The token that ends the text may have none of its own.
            chunks, tokens = chunks + len(trace.arrivals), tokens + max(1, count - 1)
    problems: dict[Needs, str] = {}
    fewer = chunks < (1 - _LACKING_ABOVE) * tokens
    if uncountable := fewer or chunks > (1 + _LACKING_ABOVE) * tokens + len(traces):
        problems["tokens"] = (
            f"{chunks} chunks came for {tokens} tokens that the server counted only at the end: gaps between chunks "
            "are not gaps between tokens (several in a chunk, or some that were never sent); need usage in every chunk"
        )
    if unseen > _LACKING_ABOVE * visible:
        problems["tokens"] = (
            f"{unseen} of {visible} tokens were counted that were not seen: no chunk has their text, or the count went "
            "back"
        )
    if clumped > most_clumped * gaps:
        problems["tokens"] = problems["arrivals"] = held_back(clumped, gaps, most_clumped)
    if unread:
        why = f"the stream has text in a field {unread!r}, which is not read: its tokens were not seen"
        problems["tokens"] = problems["arrivals"] = problems["first token"] = why
    return SeenTimes(gaps, clumped, uncountable, problems)


def held_back(clumped: int, gaps: int, most: float) -> str:
    """The sentence for too many tokens that came together."""
    return (
        f"{clumped / gaps:.0%} of the tokens came together with the one before (at most {most:.0%} may): something "
        "between holds the stream back, or several tokens are sent at once, or the client was kept from the processor"
    )


def clumped_gaps(trace: Trace) -> tuple[int, int]:
    """(gaps in which two arrivals came together, all gaps) of one request."""
    times = [arrival[0] for arrival in trace.arrivals]
    gaps = [after - before for before, after in pairwise(times)]
    if not gaps:
        return 0, 0
    together_s = min(_TOGETHER_S, _TOGETHER_SHARE * (times[-1] - times[0]) / len(gaps))
    # Nearly always there is none, and the minimum is quickly found.
    return sum(gap <= together_s for gap in gaps) if min(gaps) <= together_s else 0, len(gaps)
