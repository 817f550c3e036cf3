"""The files that ``init`` writes: a suite that runs at once, and is meant to be changed."""

from __future__ import annotations

MODELS = """\
# Which models the suites judge. A mistake in here is one line of output and exit code 4, before any server starts.

# On a GPU: put your candidate and your baseline here.
[profile.gpu]
says = "judges the models that we serve"
candidate = "candidate"
baseline = "baseline"
task = "gsm8k"
needs_cuda = true

[profile.gpu.model.candidate]
weights = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
revision = "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562"  # pinned: otherwise two nights judge two different things
dtype = "bfloat16"
max_model_len = 4096
gpu_memory_fraction = 0.4                               # both servers of a comparison are up at once
[profile.gpu.model.candidate.sampling]
temperature = 0.6
top_p = 0.95
max_tokens = 3072
[profile.gpu.model.candidate.rules]
protocol = "chat"
thinking = true
temperature = [0.5, 0.7]

[profile.gpu.model.baseline]
weights = "Qwen/Qwen2.5-Math-1.5B"
revision = "4a83ca6e4526a4f2da3aa259ec36c259f66b2ab2"
dtype = "bfloat16"
max_model_len = 4096
gpu_memory_fraction = 0.4
[profile.gpu.model.baseline.sampling]
max_tokens = 1024
[profile.gpu.model.baseline.rules]
protocol = "few-shot"

# Without a GPU: two tiny models that come with pytest-llmperf. They show that the suites work, and nothing of yours.
[profile.embedded]
says = "tiny models; says nothing of the models that we serve"
candidate = "candidate"
baseline = "baseline"
task = "embedded"
needs_cuda = false

[profile.embedded.model.base]
weights = "embedded:tiny-math"
dtype = "bfloat16"
max_model_len = 4096
gpus = 0
arguments = [
  "--enforce-eager", "--max-num-seqs", "64",
  "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
]

[profile.embedded.model.baseline]
extends = "base"

[profile.embedded.model.candidate]
extends = "base"
weights = "embedded:tiny-distill"
[profile.embedded.model.candidate.sampling]
max_tokens = 1024
[profile.embedded.model.candidate.rules]
thinking = true
"""

BUDGETS = """\
# What must be kept: [PROFILE.DEVICE.SUITE]; `any` is every device. A number of another device is never applied.

[embedded.any.accuracy]
floor = "60 %"
margin = "8 points"

[embedded.any.latency]
ttft_p95 = { 1 = "10 s" }

[gpu.any.accuracy]
floor = "70 %"
margin = "3 points"

[gpu.any.latency]
ttft_p95 = { 1 = "1 s" }
"""

ACCURACY = '''\
"""Is it as right as it must be?"""

from pytest_llmperf import points


def test_accuracy_keeps_its_floor(candidate, accuracy, budget):
    assert accuracy(candidate) >= budget.accuracy.floor


def test_accuracy_is_not_worse_than_the_baselines(candidate, baseline, accuracy):
    assert accuracy(candidate) >= accuracy(baseline) - points(8)
'''

LATENCY = '''\
"""Is it as fast as it must be?"""


def test_the_first_token_comes_in_time(candidate, load, budget):
    assert load(candidate, concurrency=1).ttft.p95 <= budget.latency.ttft_p95[1]
'''

INI = """\
[pytest]
llmperf_models = {directory}/models.toml
testpaths = {directory}
"""

FILES = {
    "models.toml": MODELS,
    "budgets.toml": BUDGETS,
    "test_accuracy.py": ACCURACY,
    "test_latency.py": LATENCY,
}
