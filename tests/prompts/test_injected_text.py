"""What a chat template adds to the messages: text in any script is found, labels of turns and tokens are not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.config.models import Model
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.labels import is_label
from pytest_llmperf.prompts.lint import injected_text, lint
from pytest_llmperf.prompts.prompts import Prompts
from pytest_llmperf.prompts.template import ChatTemplate
from pytest_llmperf.prompts.violations import prompt_violations

QUESTION = "How many legs do 3 cats have?"
ChatMl = (
    "<|im_start|>{system}<|im_start|>user\n{{{{ messages[-1].content }}}}{behind}<|im_end|>\n"
    "<|im_start|>assistant\n{opening}"
)

LLAMA_3 = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>"


def chatml(system: str = "", behind: str = "", opening: str = "") -> str:
    before = f"system\n{system}<|im_end|>\n" if system else "system\n<|im_end|>\n"
    return ChatMl.format(system=before, behind=behind, opening=opening)


def added(source: str, model: Model, question: str = QUESTION, **more: Any) -> str:
    asked = ask(model, question)
    return injected_text(ChatTemplate(source, **more).render_ask(asked), asked.messages)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (chatml("你是一个有帮助的助手。"), "你是一个有帮助的助手。"),
        (chatml("あなたは役に立つアシスタントです。"), "あなたは役に立つアシスタントです。"),
        (chatml("คุณเป็นผู้ช่วยที่มีประโยชน์"), "คุณเป็นผู้ช่วยที่มีประโยชน์"),
        (chatml("간결하게 답하세요"), "간결하게 답하세요"),
        (chatml("简洁"), "简洁"),
        (chatml("Be concise."), "Be concise."),
        (chatml("Concise."), "Concise."),
        (chatml("Отвечай кратко."), "Отвечай кратко."),
        (chatml("2026-11-30"), "2026-11-30"),
        (chatml("Today Date: 30 Nov 2026"), "Today Date: 30 Nov 2026"),
        (chatml('Tools: [{"name": "python"}]'), 'Tools: [{"name": "python"}]'),
        (chatml("# Tools\nNone are available."), "None are available."),
        (chatml(behind=" /no_think"), "/no_think"),
        (chatml(behind="/nothink"), "/nothink"),
        (chatml(behind="\nLet's think step by step."), "Let's think step by step."),
        (chatml(behind="请逐步思考。"), "请逐步思考。"),
        (chatml(opening="Sure!"), "Sure!"),
        (chatml(opening="<think>\nOkay, so"), "Okay, so"),
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n{{ messages[-1].content }} [/INST]", "Be brief."),
        ("SYSTEM: Be brief. USER: {{ messages[-1].content }} ASSISTANT:", "SYSTEM: Be brief. USER:"),
        ("Help the user: {{ messages[-1].content }}\nAssistant:", "Help the user:"),
        (
            "<|im_start|>user\nSolve: {{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n",
            "Solve:",
        ),
        (
            "<|im_start|>user\n简答：{{ messages[-1].content }}<|im_end|>\n<|im_start|>assistant\n请简洁：",
            "请简洁：",
        ),
        (
            "### Brief Response\n{{ messages[-1].content }}\n\n### Assistant\n",
            "### Brief Response",
        ),
        ("Source: Wikipedia\n{{ messages[-1].content }}\nAnswer:", "Source: Wikipedia"),
        ("Answer briefly: {{ messages[-1].content }}\nA:", "Answer briefly:"),
        (
            LLAMA_3.format("system", "Cutting Knowledge Date: December 2023")
            + LLAMA_3.format("user", "{{ messages[-1].content }}"),
            "Cutting Knowledge Date: December 2023",
        ),
    ],
)
def test_text_that_nobody_sent_is_found_in_any_script_and_of_any_length(
    source: str, text: str, plain: Model
) -> None:
    assert added(source, plain) == text
    asked = ask(plain, QUESTION)
    assert [one.rule for one in prompt_violations(asked, ChatTemplate(source).render_ask(asked), plain)] == [
        "hidden-system"
    ]


LABELS_ONLY = [
    chatml(),
    "<s>[INST] {{ messages[-1].content }} [/INST]",
    "GPT4 Correct User: {{ messages[-1].content }}<|end_of_turn|>GPT4 Correct Assistant:",
    "Code User: {{ messages[-1].content }}<|end_of_turn|>Code Assistant:",
    "### Human: {{ messages[-1].content }}\n### Assistant:",
    "### Instruction:\n{{ messages[-1].content }}\n\n### Response:\n",
    "USER: {{ messages[-1].content }} ASSISTANT:",
    "Human: {{ messages[-1].content }}\n\nAssistant:",
    "Question: {{ messages[-1].content }}\nAnswer:",
    "Instruct: {{ messages[-1].content }}\nOutput:",
    "Bob: {{ messages[-1].content }}\nAlice:",
    "[Round 1]\n\n问：{{ messages[-1].content }}\n\n答：",
    "用户：{{ messages[-1].content }}\n\n助手：",
    "[gMASK]<sop><|user|>\n{{ messages[-1].content }}<|assistant|>\n<think></think>",
    "<bos><start_of_turn>user\n{{ messages[-1].content }}<end_of_turn>\n<start_of_turn>model\n",
    LLAMA_3.format("user", "{{ messages[-1].content }}") + LLAMA_3.format("assistant", ""),
    "<|im_user|>user<|im_middle|>{{ messages[-1].content }}<|im_end|><|im_assistant|>assistant<|im_middle|>",
    "[|user|]{{ messages[-1].content }}\n[|assistant|]",
    "<role>HUMAN</role>{{ messages[-1].content }}<role>ASSISTANT</role>",
    "<extra_id_0>System\n\n<extra_id_1>User\n{{ messages[-1].content }}\n<extra_id_1>Assistant\n",
    "<reserved_106>{{ messages[-1].content }}<reserved_107>",
    "<|start|>user<|message|>{{ messages[-1].content }}<|end|><|start|>assistant<|channel|>final<|message|>",
    "<|im_start|>narrator\n{{ messages[-1].content }}<|im_end|>",
    "<｜User｜>{{ messages[-1].content }}<｜Assistant｜><think>\n\n</think>\n\n",
    "<s>Source: user\n\n {{ messages[-1].content }} <step> Source: assistant\nDestination: user\n\n ",
    "### System Prompt\n\n### User Message\n{{ messages[-1].content }}\n\n### Assistant Response\n",
    "### User Input:\n{{ messages[-1].content }}\n\n### Model Response:\n",
    "User: {{ messages[-1].content }}\n\nFalcon:",
    "]~!b[]~b]user\n{{ messages[-1].content }}[e~[\n]~b]ai\n<think>\n",
    "[Round 0] USER:{{ messages[-1].content }} ASSISTANT:",
    "### Câu hỏi: {{ messages[-1].content }}\n### Trả lời: ",
    "### Instrução:\n{{ messages[-1].content }}\n\n### Resposta:\n",
    "Benutzer: {{ messages[-1].content }}\nAssistent:",
    "<bos><|turn>user\n{{ messages[-1].content }}<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
]


@pytest.mark.parametrize("source", LABELS_ONLY)
@given(question=st.text(min_size=1, max_size=60).filter(str.strip))
@settings(max_examples=40, deadline=None)
def test_roles_and_labels_are_no_hidden_prompt_whatever_the_question(
    source: str, question: str, plain: Model
) -> None:
    assert added(source, plain, question) == ""


@pytest.mark.parametrize("source", LABELS_ONLY)
@pytest.mark.parametrize("question", ["user", "assistant", "a", "s", "Human:", "[/INST]", "问：", "system\n"])
def test_a_question_that_looks_like_a_label_is_still_the_question(
    source: str, question: str, plain: Model
) -> None:
    bare = ask(plain, question, variants.without_instruction)
    assert injected_text(ChatTemplate(source).render_ask(bare), bare.messages) == ""


def test_special_tokens_that_only_the_tokenizer_knows_are_no_text(plain: Model) -> None:
    source = "@@begin@@%%of%%user\n{{ messages[-1].content }}@@end@@\n%%of%%ai\n"
    assert added(source, plain) != ""
    assert added(source, plain, special=("@@begin@@", "%%of%%", "@@end@@")) == ""


@pytest.mark.parametrize(
    "line", ["Help the user:", "Be concise", "You are an assistant:", "/think", "12345", "Assistant."]
)
def test_a_line_with_something_to_say_is_no_label(line: str) -> None:
    assert not is_label(line)


CLOSED = ["<think>\n\n</think>\n\n", "<think></think>", "</think>", "<think>\nNo thinking.\n</think>\n"]


@pytest.mark.parametrize("opening", CLOSED)
def test_a_thinking_that_the_template_closes_itself_refuses_a_row_that_thinks(
    opening: str, thinker: Model
) -> None:
    template = ChatTemplate("<｜User｜>{{ messages[-1].content }}<｜Assistant｜>" + opening)
    asked = ask(thinker, QUESTION)
    found = [one.rule for one in prompt_violations(asked, template.render_ask(asked), thinker)]
    assert "closed-think" in found
    assert "closed-think" in [one.rule for one in Prompts(thinker, template).findings(QUESTION)]
    quick = dataclasses.replace(thinker, rules=dataclasses.replace(thinker.rules, thinking=False))
    assert "closed-think" not in [
        one.rule for one in prompt_violations(asked, template.render_ask(asked), quick)
    ]


def test_a_thinking_that_was_closed_in_an_earlier_turn_is_no_finding(thinker: Model) -> None:
    template = ChatTemplate(
        "{% for m in messages %}<｜User｜>{{ m.content }}{% endfor %}<｜Assistant｜><think>\n", bos=""
    )
    earlier = ({"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "<think>x</think>2"})
    asked = ask(thinker, QUESTION, earlier=earlier)  # type: ignore[arg-type]
    assert "closed-think" not in [
        one.rule for one in prompt_violations(asked, template.render_ask(asked), thinker)
    ]


def test_what_a_row_accepts_is_accepted_by_the_lint_and_by_the_tests_of_the_prompts(
    qwen_like: ChatTemplate, plain: Model
) -> None:
    accepting = dataclasses.replace(plain, rules=dataclasses.replace(plain.rules, accepts=("hidden-system",)))
    asked = ask(accepting, QUESTION)
    assert [one.rule for one in lint(asked, qwen_like.render_ask(asked), plain)] == ["hidden-system"]
    assert lint(asked, qwen_like.render_ask(asked), accepting) == []
    prompts = Prompts(accepting, qwen_like)
    assert prompts.findings(QUESTION) == []
    assert prompts.system_text() == prompts.promised_system_text() != ""
    refusing = Prompts(plain, qwen_like)
    assert refusing.findings(QUESTION) != []
    assert refusing.system_text() != refusing.promised_system_text()


def test_accepting_one_finding_accepts_no_other(qwen_like: ChatTemplate, plain: Model) -> None:
    other = dataclasses.replace(plain, rules=dataclasses.replace(plain.rules, accepts=("bos", "too-long")))
    assert [one.rule for one in Prompts(other, qwen_like).findings(QUESTION)] == ["hidden-system"]
