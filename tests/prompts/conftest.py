"""Short chat templates that behave like those of the two models."""

from __future__ import annotations

import pytest

from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.prompts.template import ChatTemplate

# Like Qwen2.5-Math's: without a system message it writes one of its own.
HIDES_A_SYSTEM_PROMPT = """
{%- if messages[0]['role'] != 'system' -%}
<|im_start|>system
Please reason step by step, and put your final answer within \\boxed{}.<|im_end|>
{% endif -%}
{%- for m in messages %}
    {{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# Like R1's: a system message stands bare behind the first token, and the reply is opened with <think>.
OPENS_THE_THINKING = """
{%- set ns = namespace(system='') -%}
{%- for m in messages if m['role'] == 'system' %}{% set ns.system = m['content'] %}{% endfor -%}
{{- bos_token + ns.system }}
{%- for m in messages %}
    {%- if m['role'] == 'user' %}{{- '<｜User｜>' + m['content'] }}{% endif %}
    {%- if m['role'] == 'assistant' %}
        {{- '<｜Assistant｜>' + (m['content'].split('</think>') | last) + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{% endif %}"""


@pytest.fixture(scope="session")
def qwen_like() -> ChatTemplate:
    return ChatTemplate(HIDES_A_SYSTEM_PROMPT, eos="<|im_end|>")


@pytest.fixture(scope="session")
def r1_like() -> ChatTemplate:
    return ChatTemplate(
        OPENS_THE_THINKING, bos="<｜begin▁of▁sentence｜>", eos="<｜end▁of▁sentence｜>", adds_bos=True
    )


@pytest.fixture(scope="session")
def thinker() -> Model:
    """A row that thinks, wants no system prompt, and T = 0.5 to 0.7."""
    return Model(
        name="distill",
        profile="p",
        weights="w",
        sampling=Sampling(temperature=0.6, top_p=0.95, max_tokens=2048),
        rules=PromptRules(thinking=True, temperature=(0.5, 0.7)),
    )


@pytest.fixture(scope="session")
def plain() -> Model:
    """A row that is asked by chat and does not think."""
    return Model(name="math", profile="p", weights="w")
