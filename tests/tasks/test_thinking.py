"""Whether a reply begins inside a thinking is read from the end of its prompt."""

from __future__ import annotations

import pytest

from pytest_llmperf.tasks.thinking import begins_inside

ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("opening", "inside"),
    [
        (ASSISTANT, None),
        ("", None),
        (" I think so.", None),
        (f"{ASSISTANT}<think>\n", True),
        (f"{ASSISTANT}<think>\n\n</think>\n\n", False),
        (f"{ASSISTANT}<think></think><think>\n", True),
        ("<｜Assistant｜></think>", False),
        ("<｜Assistant｜><think>\n", True),
        ("[/INST][THINK]", True),
        ("<seed:eos><seed:bos>assistant\n<seed:think>", True),
        ("<|end|><|start|>assistant<|channel|>analysis<|message|>", True),
        ("<|end|><|start|>assistant<|channel|>final<|message|>", False),
        ("<turn|>\n<|turn>model\n<|channel>thought\n<channel|>", False),
    ],
)
def test_the_last_tag_of_a_prompt_tells_where_its_reply_begins(opening: str, inside: bool | None) -> None:
    assert begins_inside(opening) is inside
