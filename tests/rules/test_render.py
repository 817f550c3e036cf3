"""Chat templates are rendered as the server renders them, and can do no harm."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.catalog import Model
from pytest_llmperf.errors import DataError
from pytest_llmperf.rules.messages import Message, ask
from pytest_llmperf.rules.render import ChatTemplate, template_from, template_of
from pytest_llmperf.tasks.task import Shot

contents = st.text(max_size=200)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def tokenizer(directory: Path, **config: object) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return directory


@given(contents)
def test_every_text_comes_through_the_template_as_it_was(
    qwen_like: ChatTemplate, r1_like: ChatTemplate, content: str
) -> None:
    assert r1_like.render([user(content)]).text == (
        f"<｜begin▁of▁sentence｜><｜User｜>{content}<｜Assistant｜><think>\n"
    )
    assert qwen_like.render([user(content)]).text.endswith(
        f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
    )


@given(contents)
def test_a_template_inside_a_question_is_not_run(r1_like: ChatTemplate, content: str) -> None:
    question = content + "{{ 7 * 6 }}{% set x = 1 %}"
    assert question in r1_like.render([user(question)]).text


def test_the_same_text_has_the_same_fingerprint_and_another_text_another(r1_like: ChatTemplate) -> None:
    rendered = r1_like.render([user("How many?")])
    assert rendered.sha256 == hashlib.sha256(rendered.text.encode()).hexdigest()
    assert rendered.sha256 == r1_like.render([user("How many?")]).sha256
    assert rendered.sha256 != r1_like.render([user("How many? ")]).sha256


def test_half_a_surrogate_pair_has_a_fingerprint_too(r1_like: ChatTemplate) -> None:
    assert len(r1_like.render([user("\ud800")]).sha256) == 64


def test_a_text_that_is_to_be_continued_has_no_template(r1_like: ChatTemplate, plain: Model) -> None:
    row = dataclasses.replace(plain, rules=dataclasses.replace(plain.rules, protocol="few-shot"))
    asked = ask(row, "1 + 1?", shots=[Shot("2 + 2?", "The answer is 4.")])
    assert r1_like.render_ask(asked).text == asked.prompt


def test_whitespace_around_blocks_is_dropped_as_transformers_drops_it() -> None:
    template = ChatTemplate("{% if true %}\n  a\n  {% endif %}\nb\n")
    assert template.render([]).text == "  a\nb"


def test_a_template_may_break_out_of_loops_mark_generations_and_write_json() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
        "{{ {'a': 'é<'} | tojson }}{{ strftime_now('%Y') | length }}"
    )
    assert template.render([user("x"), user("y")]).text == 'x{"a": "é<"}4'


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
    ],
)
def test_a_template_that_refuses_is_broken_or_reaches_out_is_one_line(source: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as caught:
        ChatTemplate(source).render([user("x")])
    assert "\n" not in str(caught.value)


def test_a_template_file_comes_before_the_one_in_the_configuration(tmp_path: Path) -> None:
    directory = tokenizer(
        tmp_path / "w", chat_template="old", bos_token={"content": "<s>"}, add_bos_token=True
    )
    assert template_from(directory) == ChatTemplate("old", bos="<s>", adds_bos=True)
    (directory / "chat_template.jinja").write_text("new")
    assert template_from(directory).source == "new"


def test_of_several_named_templates_the_default_one_counts(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    assert template_from(tokenizer(tmp_path, chat_template=named)).source == "b"


def test_a_row_without_a_template_is_an_error_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no chat template"):
        template_from(tokenizer(tmp_path, eos_token="</s>"))
    with pytest.raises(DataError, match="no chat template"):
        template_from(tmp_path / "absent")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config.json: can't be read"):
        template_from(tmp_path)


@pytest.mark.parametrize("form", ["--chat-template {}", "--chat-template={}"])
def test_a_template_in_the_engines_arguments_counts_as_it_does_for_the_server(
    tmp_path: Path, plain: Model, form: str
) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("mine")
    weights = tokenizer(tmp_path / "w", chat_template="theirs")
    row = dataclasses.replace(plain, weights=str(weights), arguments=tuple(form.format(own).split()))
    assert template_of(row).source == "mine"
    assert template_of(dataclasses.replace(row, arguments=())).source == "theirs"
