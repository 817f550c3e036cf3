"""What the GPUs of two servers leave in the ratio of their speeds, where each stands on its own.

Two chips of one kind differ. With the sides exchanged between starts, the difference raises one ratio and lowers the
next: over an even number of starts it cancels, over an odd one (k) a k-th of it stays. It is also part of the spread
between starts, by which the interval is wide enough for what stays (docs/statistics.md).
"""

from __future__ import annotations

from collections import Counter

from pytest_llmperf.gates.wording import plural
from pytest_llmperf.measure.served import Served


def places_in_ratio(candidate: Served, baseline: Served) -> str:
    """One line for the verdict; empty where both sides stood on the same GPUs."""
    pairs = list(zip(candidate.every_placement, baseline.every_placement, strict=False))
    if not any(ours.is_apart_from(theirs) for ours, theirs in pairs):
        return ""
    counts = Counter(
        f"{candidate.name} on GPU {ours}, {baseline.name} on GPU {theirs}" for ours, theirs in pairs
    )
    if len(counts) > 1:
        told = "; ".join(f"{text}: {plural(count, 'start')}" for text, count in counts.items())
        return f"the sides changed places between starts ({told})"
    (text,) = counts
    where = "in the only start" if len(pairs) == 1 else "in every start"
    return (
        f"{text} {where}: what these GPUs differ by is in the ratio, and only the spread of starts in its interval "
        'speaks of it; with placement = "apart" and 3 starts or more (--llmperf-starts) the sides change places'
    )
