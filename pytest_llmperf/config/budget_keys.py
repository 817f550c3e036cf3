"""Every budget that a suite may ask for: unit, range, and what it says. Declared here, and only here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.units import Unit


@dataclass(frozen=True)
class Known:
    """One kind of budget."""

    says: str
    unit: Unit
    sense: Literal["at most", "at least"] = "at most"
    by: str | None = None
    """Meaning of its index (``concurrency``, ``tokens``); None: one number without an index."""
    low: float = 0.0
    high: float = math.inf

    @property
    def damage(self) -> Literal["points", "share"]:
        """Unit of the damage that a gate with this budget may claim to catch: of answers ``"12 points"`` fewer right
        ones, of everything else ``"40 %"`` longer, larger, slower.
        """
        return "points" if self.unit in ("share", "points") else "share"


def _share(says: str, sense: Literal["at most", "at least"], by: str | None = None) -> Known:
    return Known(says, "share", sense, by, high=1.0)


def _points(says: str, by: str | None = None) -> Known:
    return Known(says, "points", by=by, high=1.0)


def _time(says: str, by: str | None = None) -> Known:
    return Known(says, "s", by=by)


# A ratio of 0 or of 100 is a slip of the pen (5 for 1.05); a gate with it would say nothing.
def _ratio(says: str, sense: Literal["at most", "at least"] = "at most") -> Known:
    return Known(says, "ratio", sense, low=0.1, high=10.0)


KNOWN: Mapping[str, Mapping[str, Known]] = {
    "startup": {
        "ready": _time("start of the process → ready"),
        "ready_ratio": _ratio("time to ready, candidate / baseline"),
    },
    "streaming": {
        "stall": _time("95th percentile of the longest gap in a request"),
    },
    "latency": {
        "ttft_p50": _time("median time to first token", "concurrency"),
        "ttft_p95": _time("95th percentile of the time to first token", "concurrency"),
        "ttfat_p95": _time("95th percentile of the time to the first token of the answer", "concurrency"),
        "itl_p50": _time("median gap between tokens", "concurrency"),
        "itl_p95": _time("95th percentile of the gaps between tokens", "concurrency"),
        "itl_p99": _time("99th percentile of the gaps between tokens", "concurrency"),
        "tpot_p50": _time("median time per output token", "concurrency"),
        "tpot_p95": _time("95th percentile of the time per output token", "concurrency"),
        "e2el_p95": _time("95th percentile of the time to the last token", "concurrency"),
        "ttft_ratio": _ratio("time to first token, candidate / baseline"),
        "itl_ratio": _ratio("gap between tokens, candidate / baseline"),
        "tpot_ratio": _ratio("time per output token, candidate / baseline"),
    },
    "throughput": {
        "single": Known("output tokens a second, one stream", "tok/s", "at least"),
        "saturated": Known("output tokens a second, full server", "tok/s", "at least"),
        "requests": Known("requests a second, full server", "req/s", "at least"),
        "goodput": _share("share of requests that meet their SLO", "at least"),
        "ratio": _ratio("output throughput, candidate / baseline", "at least"),
        "roofline": _share("share of the device's limit that is reached", "at least", "concurrency"),
    },
    "energy": {
        "per_token": Known("energy of the device by output token", "J/tok", by="concurrency"),
        "per_correct": Known("energy of the device by correct answer", "J"),
    },
    "memory": {
        "weights": Known("size of the weights", "bytes"),
        "weights_ratio": _ratio("size of the weights, candidate / baseline"),
        "peak": Known("peak memory of the server's processes", "bytes"),
        "ratio": _ratio("peak memory, candidate / baseline"),
    },
    "accuracy": {
        "floor": _share("share of items that are right", "at least"),
        "margin": _points("how much less than the baseline is not worse"),
        "math500": _share("share of MATH-500's problems that are right", "at least"),
        "svamp": _share("share of SVAMP's problems that are right", "at least"),
        "medqa": _share("share of MedQA's questions that are right", "at least"),
        "medqa_macro_f1": _share("macro-F1 of MedQA's four letters", "at least"),
        "math500_margin": _points("how much less than the baseline is not worse on MATH-500"),
        "margin_elsewhere": _points("how much less than the baseline is not worse on SVAMP and MedQA"),
        "tokens_ratio": _ratio("output tokens per correct answer, candidate / baseline"),
        "seconds_ratio": _ratio("seconds in the server's hands per correct answer, candidate / baseline"),
    },
    "quality": {
        "recall": _share("share of conversations whose fact is recalled", "at least", "tokens"),
        "summary": _share("share of the key facts that summaries keep", "at least"),
        "unfinished": _share("share of summaries that do not end", "at most"),
        "rouge_l": _share("mean ROUGE-L of summaries with their references", "at least"),
        "news_rouge_l": _share("mean ROUGE-L of summaries of CNN/DailyMail's news", "at least"),
        "rouge_margin": _points("how much less ROUGE-L than the baseline is not worse"),
        "perplexity_ratio": _ratio("perplexity, candidate / baseline"),
        "margin": _points("how much less than the baseline is not worse"),
    },
    "long_context": {
        "needle": _share("share of needles in a long prompt that are found", "at least", "tokens"),
        "margin": _points("how much less than the baseline is not worse", "tokens"),
    },
    "fidelity": {
        "divergence": Known("divergence of the next-token distribution from the baseline's", "nat/tok"),
        "agreement": _share(
            "share of the baseline's tokens that are the candidate's most likely", "at least"
        ),
    },
    "structured": {
        "valid_json": _share("share of replies that are JSON and nothing else", "at least"),
        "valid_schema": _share("share of replies that follow the schema of their item", "at least"),
        "exact": _share("share of forms that are filled in rightly", "at least"),
        "margin": _points("how much less than the baseline is not worse"),
    },
    "tools": {
        "valid_arguments": _share(
            "share of requests for a call whose calls follow their schemas", "at least"
        ),
        "forced": _share("the same where the server is told to call", "at least"),
        "exact": _share("share of requests that are answered by exactly the right calls", "at least"),
        "trigger_f1": _share("macro-F1 of calling a tool and calling none", "at least"),
        "margin": _points("how much less than the baseline is not worse"),
    },
    "rules": {
        "boxed": _share("share of answers in a box", "at least"),
        "thinking_skipped": _share("share of replies that skip or break off their thinking", "at most"),
        "unfinished": _share("share of answers that do not end", "at most"),
        "loops": _share("share of answers that run in circles", "at most"),
        "language_switch": _share("share of answers in another script than the question", "at most"),
        "empty": _share("share of answers that show a user nothing", "at most"),
        "leaked": _share("share of answers with special tokens, tags or labels of turns", "at most"),
        "refused": _share("share of answers that refuse to answer", "at most"),
        "longest": _ratio("output tokens per answer, candidate / baseline"),
        "shortest": _ratio("output tokens per answer, candidate / baseline", "at least"),
        "system_margin": _points("accuracy that a system prompt may cost"),
        "chinese_margin": _points("accuracy that the Chinese instruction may cost"),
        "temperature_floor": _share(
            "share of items that are right at any recommended temperature", "at least"
        ),
    },
}
