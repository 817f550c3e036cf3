"""Prompts of the two models, and the rendering of a conversation as one text.

The Jinja templates travel inside the models' ``tokenizer_config.json``; the Python renderers beside them
write the same text without Jinja, for training and for tests.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.embedded.recall import Turn

CHINESE = "请逐步推理，并将最终答案放在 \\boxed{} 内。"
PAD = "<|endoftext|>"
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
BEGIN, USER, ASSISTANT, END = "<|begin|>", "<|user|>", "<|assistant|>", "<|end|>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL = (PAD, IM_START, IM_END, BEGIN, USER, ASSISTANT, END)

CHATML_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# As DeepSeek-R1's own template: a system message stands bare behind the first token, earlier thinking is
# dropped, and the reply is opened with "<think>\n".
R1_TEMPLATE = (
    "{{- '<|begin|>' }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{- message['content'] }}"
    "{%- elif message['role'] == 'user' %}{{- '<|user|>' + message['content'] }}"
    "{%- else %}{{- '<|assistant|>' + (message['content'].split('</think>') | last | trim) + '<|end|>' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|><think>\\n' }}{%- endif %}"
)


def chatml(messages: Sequence[Turn]) -> str:
    """The prompt of tiny-math, up to where its reply begins."""
    turns = "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)
    return f"{turns}{IM_START}assistant\n"


def r1(messages: Sequence[Turn]) -> str:
    """The prompt of tiny-distill, up to where its reply begins: inside the thinking."""
    text = BEGIN
    for m in messages:
        if m["role"] == "system":
            text += m["content"]
        elif m["role"] == "user":
            text += USER + m["content"]
        else:
            text += ASSISTANT + m["content"].split(END_THINK)[-1].strip() + END
    return f"{text}{ASSISTANT}{THINK}\n"


def system(content: str) -> Turn:
    return {"role": "system", "content": content}
