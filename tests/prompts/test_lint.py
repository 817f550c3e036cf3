"""Every breach of a prompt rule is found before the first request, and a clean prompt has no finding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.models import Model
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.lint import injected_text, lint, lint_body, lint_messages
from pytest_llmperf.prompts.prompts import Prompts
from pytest_llmperf.prompts.template import ChatTemplate, Rendered
from pytest_llmperf.prompts.variants import Ask, Message, Variant
from tools.tiny_pair import prompts as embedded

QUESTION = "How many legs do 3 cats have?"
questions = st.text(min_size=1, max_size=300).filter(lambda q: q.strip() and "<" not in q and "[" not in q)


def found(asked: Ask, template: ChatTemplate, model: Model) -> list[str]:
    return [finding.rule for finding in lint(asked, template.render_ask(asked), model)]


@given(questions)
def test_the_rows_own_prompt_is_clean_whatever_the_question(
    r1_like: ChatTemplate, thinker: Model, question: str
) -> None:
    assert Prompts(thinker, r1_like).findings(question) == []


@given(questions, st.sampled_from(["en", "zh"]))
def test_a_system_prompt_hidden_in_the_template_is_found_whatever_the_question(
    qwen_like: ChatTemplate, plain: Model, question: str, language: str
) -> None:
    asked = ask(plain, question, variants.chinese if language == "zh" else variants.model_default)
    assert found(asked, qwen_like, plain) == ["hidden-system"]


@given(questions)
def test_a_system_message_that_was_sent_is_not_called_hidden(
    qwen_like: ChatTemplate, r1_like: ChatTemplate, thinker: Model, question: str
) -> None:
    asked = ask(thinker, question, variants.with_system("You are a helpful assistant for cats."))
    assert found(asked, r1_like, thinker) == ["system"]
    assert injected_text(qwen_like.render(asked.messages), asked.messages) == ""


@given(questions, st.floats(0, 2))
def test_a_temperature_outside_the_rows_range_is_found(
    r1_like: ChatTemplate, thinker: Model, question: str, temperature: float
) -> None:
    outside = not 0.5 <= temperature <= 0.7
    asked = ask(thinker, question, variants.at_temperature(temperature))
    assert found(asked, r1_like, thinker) == (["temperature"] if outside else [])


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (variants.model_default, []),
        (variants.chinese, []),
        (variants.without_system, []),
        (variants.without_instruction, ["instruction"]),
        (variants.with_system("Be brief, please."), ["system"]),
        (variants.with_system("Put it in \\boxed{}."), ["system", "instruction-in-system"]),
        (variants.at_temperature(1.5), ["temperature"]),
    ],
)
def test_each_variant_breaks_the_rule_that_it_is_named_for(
    r1_like: ChatTemplate, thinker: Model, variant: Variant, expected: list[str]
) -> None:
    assert found(ask(thinker, QUESTION, variant), r1_like, thinker) == expected


@pytest.mark.parametrize("tokens", [1, 300, 1023])
def test_too_little_room_for_an_answer_is_found(r1_like: ChatTemplate, thinker: Model, tokens: int) -> None:
    prompts = Prompts(thinker, r1_like)
    assert [f.rule for f in prompts.findings(QUESTION, max_tokens=tokens)] == ["max-tokens"]
    assert prompts.findings(QUESTION, max_tokens=1024) == []


@given(questions)
def test_a_reply_that_is_opened_twice_is_found(r1_like: ChatTemplate, thinker: Model, question: str) -> None:
    twice = dataclasses.replace(r1_like, source=r1_like.source + "<think>\n")
    assert found(ask(thinker, question), twice, thinker) == ["doubled-think"]
    never = dataclasses.replace(r1_like, source=r1_like.source.replace("<think>\\n", ""))
    assert found(ask(thinker, question), never, thinker) == ["no-think"]


def test_think_at_the_end_of_the_user_turn_doubles_the_templates_own(
    r1_like: ChatTemplate, thinker: Model
) -> None:
    turn: Message = {"role": "user", "content": f"{QUESTION}\n{thinker.rules.instruction}\n<think>"}
    asked = dataclasses.replace(ask(thinker, QUESTION), messages=(turn,))
    assert "doubled-think" in found(asked, r1_like, thinker)


def test_a_first_token_that_is_doubled_or_missing_is_found(r1_like: ChatTemplate, thinker: Model) -> None:
    asked = ask(thinker, QUESTION)
    doubled = dataclasses.replace(r1_like, source="{{ bos_token }}" + r1_like.source)
    assert found(asked, doubled, thinker) == ["bos"]
    missing = dataclasses.replace(r1_like, source=r1_like.source.replace("bos_token + ", ""))
    assert found(asked, missing, thinker) == ["bos"]


def test_a_first_token_written_into_a_text_is_doubled_by_the_tokenizer(plain: Model) -> None:
    asked = Ask("math", plain.sampling, prompt="<s>Question: 1 + 1?\nAnswer:")
    assert [f.rule for f in lint(asked, Rendered(asked.prompt or "", "<s>", adds_bos=True), plain)] == ["bos"]
    assert lint(asked, Rendered(asked.prompt or "", "<s>", adds_bos=False), plain) == []


@pytest.mark.parametrize(
    "question",
    [
        "Solve the problem above.",
        "Now do the same as before.",
        "As described above, how many?",
        "Answer the previous question in cents.",
        "请回答上面的问题。",
        " ",
    ],
)
def test_a_user_turn_that_does_not_stand_alone_is_found(thinker: Model, question: str) -> None:
    asked = ask(thinker, question)
    assert [f.rule for f in lint_messages(asked.messages, thinker)] == ["self-contained"]


def test_after_earlier_turns_a_question_may_look_back(thinker: Model) -> None:
    earlier: list[Message] = [{"role": "user", "content": "3 cats?"}, {"role": "assistant", "content": "12"}]
    asked = ask(thinker, "Answer the previous question for dogs.", earlier=earlier)
    assert lint_messages(asked.messages, thinker) == []


@pytest.mark.parametrize("token", ["<|im_start|>system", "<｜Assistant｜>", "</think>", "<s>", "[INST]"])
def test_a_special_token_in_a_question_is_found(thinker: Model, token: str) -> None:
    asked = ask(thinker, f"{QUESTION} {token}")
    assert [f.rule for f in lint_messages(asked.messages, thinker)] == ["special-token"]


def test_a_template_that_drops_or_changes_the_question_is_found(
    r1_like: ChatTemplate, thinker: Model
) -> None:
    lower = dataclasses.replace(
        r1_like, source=r1_like.source.replace("m['content'] }}", "m['content'] | lower }}")
    )
    assert found(ask(thinker, "HOW MANY?"), lower, thinker) == ["question-altered"]


def test_a_misspelt_field_is_found_because_the_server_would_ignore_it(thinker: Model) -> None:
    body = ask(thinker, QUESTION).body(temprature=0.6, stream=True, xyz=1)
    says = [f.says for f in lint_body(body, thinker)]
    assert says == [
        "'temprature': it would be ignored without a word; did you mean 'temperature'?",
        "'xyz': it would be ignored without a word",
    ]


def test_a_body_without_a_temperature_is_judged_by_the_servers_default(thinker: Model) -> None:
    assert [f.rule for f in lint_body({"model": "distill"}, thinker)] == ["temperature"]


def test_what_a_row_promises_and_what_its_template_hides_can_be_compared(
    qwen_like: ChatTemplate, r1_like: ChatTemplate, thinker: Model, plain: Model
) -> None:
    hidden = Prompts(plain, qwen_like)
    assert hidden.system_text() == "Please reason step by step, and put your final answer within \\boxed{}."
    assert hidden.promised_system_text() == ""
    clean = Prompts(thinker, r1_like)
    assert clean.system_text() == clean.promised_system_text() == ""
    assert clean.render(QUESTION).endswith("<think>\n")
    assert clean.instruction in clean.render(QUESTION)
    sent = dataclasses.replace(plain, rules=dataclasses.replace(plain.rules, system="Be brief."))
    assert Prompts(sent, qwen_like).system_text() == "Be brief."


@pytest.mark.parametrize(
    ("row", "template"), [("distill", embedded.R1_TEMPLATE), ("math", embedded.CHATML_TEMPLATE)]
)
@pytest.mark.parametrize("variant", [variants.model_default, variants.chinese], ids=str)
def test_the_embedded_pairs_own_prompts_are_clean(row: str, template: str, variant: Variant) -> None:
    models = Path(__file__).parents[2] / "suites" / "models.toml"
    prompts = Prompts(load_catalog(models).profile("embedded").model(row), ChatTemplate(template))
    assert prompts.findings(QUESTION, variant) == []
    assert prompts.system_text() == ""


def test_a_finding_reads_as_a_sentence(r1_like: ChatTemplate, thinker: Model) -> None:
    (finding,) = Prompts(thinker, r1_like).findings(QUESTION, temperature=1.0)
    assert str(finding) == "temperature: T = 1, distill wants 0.5 to 0.7"
