"""The request for a question: the row's own rules, or a variant of them that the suite names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import cast

from pytest_llmperf.config.models import Model, Sampling
from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.prompts.template import ChatTemplate, template_of
from pytest_llmperf.prompts.variants import Ask, Message, Variant, model_default
from pytest_llmperf.tasks.request import Generation
from pytest_llmperf.tasks.task import Item, Shot

# As in Qwen2.5-Math's own evaluation: its base model was measured with these shots and these ends.
_BETWEEN_SHOTS = "\n\n\n"
_STOPS = ("</s>", "<|im_end|>", "<|endoftext|>", "\n\nQuestion:")
_OPENED_THINKING = re.compile(r"<think>\s*\Z")


def instruction_of(model: Model, variant: Variant = model_default) -> str:
    """The sentence behind the question; empty for a variant without one."""
    return {"en": model.rules.instruction, "zh": model.rules.instruction_zh, "none": ""}[variant.instruction]


def ask(
    model: Model,
    question: str,
    variant: Variant = model_default,
    *,
    shots: Sequence[Shot] = (),
    earlier: Sequence[Message] = (),
    sample: int = 0,
) -> Ask:
    """Return the request that asks ``model`` the ``question``.

    A chat row gets one user turn, question and instruction on lines of their own, after the turns in
    ``earlier``; a few-shot row gets ``shots`` and an unanswered question to continue. ``sample`` tells
    apart several samples of one question: it is added to the row's seed. A variant that opens the reply gets
    the chat rendered here. Raises :class:`UsageError` for what the protocol has no place for.
    """
    sampling = variant.sampling(model.sampling)
    sampling = dataclasses.replace(sampling, seed=sampling.seed + sample)
    if model.rules.protocol == "few-shot":
        return _few_shot(model, question, variant, sampling, shots if variant.shots else (), earlier)
    if shots:
        raise UsageError(f'{model.name}: worked examples need protocol = "few-shot", the row says "chat"')
    system = None if variant.no_system else (variant.system or model.rules.system)
    instruction = instruction_of(model, variant)
    turn = f"{question}\n{instruction}" if instruction else question
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    messages += [*earlier, {"role": "user", "content": turn}]
    asked = Ask(model.served, sampling, tuple(messages))
    if variant.opens_with is None:
        return asked
    return with_reply_prefill(asked, template_of(model), variant.opens_with)


def ask_item(
    model: Model, item: Item, variant: Variant = model_default, *, shots: Sequence[Shot] = (), sample: int = 0
) -> Ask:
    """Return the request that asks ``model`` an item: its question, or its conversation with tools and form.

    Raises :class:`UsageError` as :func:`ask` does; tools and a form of the reply need a chat.
    """
    if item.continuations:
        raise UsageError(
            f"item {item.id} asks for log probabilities of given texts, and for no reply: choose a task that the model "
            "answers"
        )
    if not item.says_how:
        return ask(model, item.prompt, variant, shots=shots, sample=sample)
    if item.generation is not None and model.rules.protocol == "few-shot":
        return _continued(model, item.generation, variant, sample)
    if model.rules.protocol == "few-shot" or variant.opens_with is not None:
        how = "a few-shot row" if variant.opens_with is None else f"a reply {variant.name}"
        raise UsageError(
            f"{model.name}: item {item.id} sends a conversation, tools or a response_format; {how} continues a text, "
            'and has no place for them: ask a row with protocol = "chat"'
        )
    sampling = variant.sampling(model.sampling)
    sampling = dataclasses.replace(sampling, seed=sampling.seed + sample)
    stop: tuple[str, ...] = ()
    if item.generation is not None and not model.rules.thinking:
        stop = item.generation.stop
        sampling = dataclasses.replace(sampling, max_tokens=item.generation.max_tokens or sampling.max_tokens)
    messages = [_message(message) for message in item.messages] or [_turn("user", item.prompt)]
    system = None if variant.no_system else (variant.system or model.rules.system)
    if system is not None and messages[0]["role"] != "system":
        messages.insert(0, _turn("system", system))
    fields: dict[str, Json] = {}
    if item.tools:
        fields["tools"] = item.tools
    if item.tool_choice is not None:
        fields["tool_choice"] = item.tool_choice
    if item.response_format is not None:
        fields["response_format"] = item.response_format
    return Ask(model.served, sampling, tuple(messages), stop=stop, fields=fields)


def _continued(model: Model, generation: Generation, variant: Variant, sample: int) -> Ask:
    """The text of an item, to be continued as it is."""
    sampling = variant.sampling(model.sampling)
    longest = generation.max_tokens or sampling.max_tokens
    sampling = dataclasses.replace(sampling, seed=sampling.seed + sample, max_tokens=longest)
    return Ask(model.served, sampling, prompt=generation.text, stop=generation.stop)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _message(message: JsonObject) -> Message:
    """A message of an item; the content of an assistant's turn that only calls tools is empty."""
    return cast(Message, {**message, "content": message.get("content") or ""})


def _few_shot(
    model: Model,
    question: str,
    variant: Variant,
    sampling: Sampling,
    shots: Sequence[Shot],
    earlier: Sequence[Message],
) -> Ask:
    misfit = variant.system is not None or variant.instruction != "en" or variant.opens_with is not None
    if misfit or earlier:
        what = "earlier turns" if earlier else variant.name
        raise UsageError(f"{model.name}: {what}: a few-shot row continues a text, and has no place for it")
    texts = [f"Question: {shot.prompt}\nAnswer: {shot.solution}" for shot in shots]
    prompt = _BETWEEN_SHOTS.join([*texts, f"Question: {question}\nAnswer:"])
    return Ask(model.served, sampling, prompt=prompt, stop=_STOPS)


def with_reply_prefill(ask: Ask, template: ChatTemplate, prefill: str) -> Ask:
    """``ask`` as a text to be continued, whose reply begins with ``prefill``.

    Not a turn that the server is to continue: chat templates may trim a turn, and white space is what matters here.
    What the template opens the reply with itself (``<think>``) gives way. Raises :class:`UsageError` for an ask
    without a chat.
    """
    if ask.prompt is not None:
        raise UsageError("a reply can be opened only where a chat is asked: this row continues a text")
    text = template.render(ask.messages).text
    return dataclasses.replace(
        ask, messages=(), prompt=_OPENED_THINKING.sub("", text) + prefill, chat=ask.messages
    )
