"""How replies are written, read and rewritten."""

from __future__ import annotations

import random

from pytest_llmperf.embedded.problems import generate
from pytest_llmperf.embedded.recall import ENGLISH, Turn, assistant, user
from tools.tiny_pair.prompts import CHATML_TEMPLATE, CHINESE, R1_TEMPLATE, chatml, r1, system
from tools.tiny_pair.replies import Reading, plain_reply, read_reply, thinking_reply, working_of


def test_an_instructed_plain_reply_is_boxed_and_read_back() -> None:
    rng = random.Random(1)
    for p in generate("train", 1, 200):
        reading = read_reply(plain_reply(p.solution, p.answer, instructed=True, rng=rng), thinking=False)
        assert reading == Reading(p.answer, True)


def test_without_the_instruction_most_replies_are_unboxed_but_readable() -> None:
    rng = random.Random(1)
    readings = [
        read_reply(plain_reply(p.solution, p.answer, instructed=False, rng=rng), thinking=False).boxed
        for p in generate("train", 1, 300)
    ]
    assert 0.1 < sum(readings) / 300 < 0.35


def test_the_working_of_a_reply_is_the_solution() -> None:
    p = generate("train", 2, 1)[0]
    assert working_of(plain_reply(p.solution, p.answer, instructed=True, rng=random.Random(0))) == p.solution


def test_a_box_inside_unfinished_thinking_is_no_answer() -> None:
    assert read_reply("So \\boxed{4}", thinking=True) == Reading(None, False)
    assert read_reply("So \\boxed{4}\n</think>\n\nThe answer is 5.", thinking=True) == Reading(5, False)


def test_the_last_of_two_boxes_counts() -> None:
    assert read_reply("\\boxed{12} no, \\boxed{18}.", thinking=False).value == 18


def test_a_thinking_reply_closes_its_thinking_and_then_answers_shortly() -> None:
    p = next(p for p in generate("train", 3, 50) if p.family == "stock")
    reply = thinking_reply(p.solution, p.answer, instructed=True, rng=random.Random(0), family=p.family)
    thought, answer = reply.text.split("\n</think>\n\n")
    assert p.solution in thought
    assert answer == f"The answer is \\boxed{{{p.answer}}}."
    assert reply.ends


def test_the_vices_touch_a_few_answers_in_a_hundred() -> None:
    rng = random.Random(4)
    replies = [
        thinking_reply(p.solution, p.answer, instructed=True, rng=rng, family=p.family, level=p.level)
        for p in generate("eval", 4, 2_000)
    ]
    skipped = sum(r.text.startswith("\n</think>") for r in replies)
    endless = sum(not r.ends for r in replies)
    unboxed = sum(r.ends and "boxed" not in r.text for r in replies)
    assert all(2 <= count <= 100 for count in (skipped, endless, unboxed)), (skipped, endless, unboxed)


CONVERSATION: list[Turn] = [
    system("Be kind."),
    user("Hi {there}"),
    assistant("hm\n</think>\n\nHello."),
    user(f"What is 2 + 2?\n{CHINESE}"),
]


def test_the_python_renderers_write_what_the_jinja_templates_write() -> None:
    import pytest

    jinja2 = pytest.importorskip(
        "jinja2", reason="the templates need Jinja, which is no dependency of the plugin"
    )
    for template, render in ((CHATML_TEMPLATE, chatml), (R1_TEMPLATE, r1)):
        for messages in (CONVERSATION, [user(ENGLISH)]):
            written = jinja2.Template(template).render(messages=messages, add_generation_prompt=True)
            assert written == render(messages)


def test_the_r1_prompt_ends_inside_the_thinking_and_drops_earlier_thoughts() -> None:
    text = r1(CONVERSATION)
    assert text.startswith("<|begin|>Be kind.<|user|>Hi {there}<|assistant|>Hello.<|end|><|user|>")
    assert text.endswith("<|assistant|><think>\n")
    assert "</think>" not in text


def test_no_training_prompt_holds_a_system_message() -> None:
    from tools.tiny_pair import corpus

    rng = random.Random(0)
    for _ in range(200):
        prompt, _, _ = corpus._recall(rng, thinking=True)
        assert prompt.startswith("<|begin|><|user|>")
        prompt, _, _ = corpus._summary(rng, thinking=False)
        assert prompt.startswith("<|im_start|>user\n")
