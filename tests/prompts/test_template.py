"""Chat templates are rendered as the server renders them, and can do no harm."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import DataError
from pytest_llmperf.prompts import template
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.template import ChatTemplate, template_from, template_of
from pytest_llmperf.prompts.variants import Message
from pytest_llmperf.prompts.violations import prompt_violations
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
    ("arguments", "text"),
    [
        ("", '{"b": 1, "a": ["é"]}'),
        ("ensure_ascii=true", '{"b": 1, "a": ["\\u00e9"]}'),
        ("separators=(',', ':')", '{"b":1,"a":["é"]}'),
        ("sort_keys=true", '{"a": ["é"], "b": 1}'),
        ("indent=1, separators=(',', ':'), sort_keys=true", '{\n "a":[\n  "é"\n ],\n "b":1\n}'),
    ],
)
def test_json_is_written_with_every_argument_that_transformers_takes(arguments: str, text: str) -> None:
    source = f"{{{{ {{'b': 1, 'a': ['é']}} | tojson({arguments}) }}}}"
    assert ChatTemplate(source).render([user("x")]).text == text


def test_the_template_of_a_processor_comes_before_the_tokenizers(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "tokenizer"}))
    assert template_from(tmp_path).source == "tokenizer"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "processor"}))
    assert template_from(tmp_path).source == "processor"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert template_from(tmp_path).source == "file"


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


PARTS = (
    "{% for m in messages %}<|{{ m.role }}|>{% for c in m['content'] %}{{ c.text }}{% endfor %}{% endfor %}<|end|>",
    "{% for m in messages[0:] %}{% for c in m.content | list %}{{ c['text'] }}{% endfor %}{% endfor %}",
    "{% set turns = messages %}{% for t in turns %}{% for part in t.content %}{{ part.text }}{% endfor %}{% endfor %}",
    (
        "{% macro show(content) %}{% for c in content %}{{ c.text }}{% endfor %}{% endmacro %}"
        "{% for m in messages %}{{ show(m.content) }}{% endfor %}"
    ),
    (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}{{ c.text }}{% endfor %}{% endif %}{% endfor %}"
    ),
)


@pytest.mark.parametrize("source", PARTS)
def test_a_template_over_content_parts_is_given_parts_and_passes_the_question_on(
    source: str, plain: Model
) -> None:
    asked = ask(plain, "How many legs?")
    rendered = ChatTemplate(source).render_ask(asked)
    assert "How many legs?" in rendered.text
    assert prompt_violations(asked, rendered, plain) == []


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{{ messages[0]['content'] }}",
        "{% for m in messages %}x",
    ],
)
def test_a_template_over_texts_is_given_texts(source: str) -> None:
    template = ChatTemplate(source, content_format="auto")
    with contextlib.suppress(DataError):
        assert "[{" not in template.render([{"role": "user", "content": "hi"}]).text


def test_the_format_that_the_row_names_comes_before_what_the_template_looks_like() -> None:
    message: list[Message] = [{"role": "user", "content": "hi"}]
    assert (
        ChatTemplate("{{ messages[0].content }}", content_format="openai")
        .render(message)
        .text.startswith("[{")
    )
    assert "hi" not in ChatTemplate(PARTS[0], content_format="string").render(message).text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("\n{{ messages + 1 }}", "line 2: TypeError"),
        ("\n\n{{ 1 // 0 }}", "line 3: ZeroDivisionError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", "RecursionError"),
        ("{{ raise_exception('roles must alternate') }}", "line 1: TemplateError: roles must alternate"),
        ("{{ messages[7].content }}", "line 1: UndefinedError"),
        ("\n{% if %}", "line 2: TemplateSyntaxError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError"),
        ("{{ messages | nothing }}", "TemplateAssertionError"),
        ("{{ 'x' % messages[0] }}{{ '%d' % 'x' }}", "TypeError"),
        ("{{ strftime_now(3) }}", "TypeError"),
    ],
)
def test_whatever_a_template_raises_is_one_line_with_file_and_line(
    source: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.jinja"
    file.write_text(source)
    with pytest.raises(DataError) as caught:
        template_from(tmp_path, file).render([{"role": "user", "content": "hi"}])
    assert str(caught.value).startswith(f"{file}: chat template")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "RENDERED_WITHIN_S", 0.2)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(DataError, match="does not end within"):
        ChatTemplate(loop).render([{"role": "user", "content": "hi"}])
    assert ChatTemplate("{{ messages[0].content }}").render([{"role": "user", "content": "hi"}]).text == "hi"


def test_a_template_in_another_encoding_is_one_line_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_bytes("{{ messages }}\nIch bin höflich".encode("latin-1"))
    with pytest.raises(DataError, match=r"own\.jinja: the chat template can't be read: not UTF-8 in line 2"):
        template_from(tmp_path, file)


def test_the_last_of_two_templates_counts_and_the_spelling_does_not(tmp_path: Path, plain: Model) -> None:
    first, second = tmp_path / "first_one", tmp_path / "second_one"
    first.write_text("first")
    second.write_text("second")
    weights = tokenizer(tmp_path / "w", chat_template="theirs")
    for words in (
        ("--chat-template", str(first), "--chat_template", str(second)),
        (f"--chat_template={first}", f"--chat-template={second}"),
    ):
        row = dataclasses.replace(plain, weights=str(weights), arguments=words)
        assert template_of(row).source == "second"


def test_the_tokenizer_that_the_row_names_brings_its_own_template_and_tokens(
    tmp_path: Path, plain: Model
) -> None:
    weights = tokenizer(tmp_path / "w", chat_template="of the weights", bos_token="<w>")
    other = tokenizer(tmp_path / "t", chat_template="of the tokenizer", bos_token="<t>")
    row = dataclasses.replace(plain, weights=str(weights), arguments=(f"--tokenizer={other}",))
    assert template_of(row, weights) == ChatTemplate("of the tokenizer", bos="<t>")
    missing = dataclasses.replace(row, arguments=("--tokenizer", str(tmp_path / "absent")))
    with pytest.raises(DataError, match="absent: no such directory"):
        template_of(missing, weights)


@pytest.mark.parametrize(
    "words",
    [
        ("--default-chat-template-kwargs", '{"enable_thinking": false}'),
        ("--default_chat_template_kwargs.enable_thinking", "false"),
    ],
)
def test_what_the_server_sets_in_every_chat_is_set_here_too(
    words: tuple[str, ...], tmp_path: Path, plain: Model
) -> None:
    source = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    row = dataclasses.replace(plain, weights=str(tokenizer(tmp_path / "w", chat_template=source)))
    assert template_of(row).render([]).text == ""
    assert template_of(dataclasses.replace(row, arguments=words)).render([]).text == "<think></think>"


def test_a_template_may_be_written_out_in_the_arguments(tmp_path: Path, plain: Model) -> None:
    weights = tokenizer(tmp_path / "w", chat_template="theirs")
    row = dataclasses.replace(
        plain, weights=str(weights), arguments=("--chat-template", "{{ bos_token }}mine")
    )
    assert template_of(row).render([]).text == "mine"


def test_the_tokens_that_the_tokenizer_names_are_known(tmp_path: Path) -> None:
    decoder = {"7": {"content": "]~b]", "special": True}, "8": {"content": "word", "special": False}}
    directory = tokenizer(
        tmp_path / "w", chat_template="{{ pad_token }}", added_tokens_decoder=decoder, pad_token="<p>"
    )
    rendered = template_from(directory).render([])
    assert (rendered.text, rendered.special) == ("<p>", ("]~b]",))
