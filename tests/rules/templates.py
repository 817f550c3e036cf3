"""Short chat templates that behave like those of the two models."""

from __future__ import annotations

import json
from pathlib import Path

from pytest_llmperf.rules.render import ChatTemplate

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
        {{- '<｜Assistant｜>' + (m['content'].split('</think>') | last) + '<｜end▁of▁sentence｜>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<｜Assistant｜><think>\\n' }}{% endif %}"""

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
QWEN_LIKE = ChatTemplate(HIDES_A_SYSTEM_PROMPT, eos="<|im_end|>")
R1_LIKE = ChatTemplate(OPENS_THE_THINKING, bos=BOS, eos=EOS, adds_bos=True)


def tokenizer(directory: Path, **config: object) -> Path:
    """A directory with a ``tokenizer_config.json`` of these keys."""
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return directory
