"""From a question to what is sent: the row's own rules, and the variants of them that a suite can name.

A suite reads ``accuracy(candidate, rules.at_temperature(0.5))``; ``rules`` is this package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pytest_llmperf.config.models import Model, Sampling
from pytest_llmperf.errors import UsageError
from pytest_llmperf.tasks.task import Shot

# As in Qwen2.5-Math's own evaluation: its base model was measured with these shots and these ends.
_BETWEEN_SHOTS = "\n\n\n"
_STOPS = ("</s>", "<|im_end|>", "<|endoftext|>", "\n\nQuestion:")


class Message(TypedDict):
    """One turn: ``role`` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class Variant:
    """A way of asking that differs from the row's own rules in what is not None."""

    name: str
    instruction: Literal["en", "zh", "none"] = "en"
    system: str | None = None
    """A system message of this text, instead of the row's own."""
    no_system: bool = False
    """No system message, whatever the row says."""
    temperature: float | None = None
    top_p: float | None = None
    opens_with: str | None = None
    """The reply's first characters, in place of what the chat template opens it with."""
    shots: bool = True
    """Whether a few-shot row is shown its examples."""

    def sampling(self, own: Sampling) -> Sampling:
        """The row's sampling with this variant's temperature and top_p."""
        return dataclasses.replace(
            own,
            temperature=own.temperature if self.temperature is None else self.temperature,
            top_p=own.top_p if self.top_p is None else self.top_p,
        )

    def named(self, what: str) -> str:
        """``what`` with this way of asking behind it, unless it is the row's own."""
        return what if self == as_promised else f"{what} {self}"

    def __str__(self) -> str:
        return self.name


as_promised = Variant("as promised")
"""The row's own rules."""
without_system = Variant("without a system prompt", no_system=True)
chinese = Variant("instruction in Chinese", instruction="zh")
without_instruction = Variant("without the instruction", instruction="none")
zero_shot = Variant("zero-shot", shots=False)
"""Without the examples of a few-shot row; a chat row has none anyway."""


def with_system(text: str) -> Variant:
    """With the system message ``text``."""
    return Variant(f"with the system prompt {text[:40]!r}", system=text)


def opened_with(text: str) -> Variant:
    """With a reply whose first characters are ``text``, whatever the chat template opens it with."""
    return Variant(f"opened with {text[:40]!r}", opens_with=text)


def at_temperature(temperature: float, top_p: float | None = None) -> Variant:
    """Sampled at ``temperature``, 0 to 2, and with this ``top_p``, 0 to 1 (None: the row's)."""
    if not 0.0 <= temperature <= 2.0:
        raise UsageError(f"rules.at_temperature({temperature}): must be between 0 and 2")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise UsageError(f"rules.at_temperature(…, top_p={top_p}): must be above 0, and 1 at most")
    name = f"at T = {temperature:g}" + ("" if top_p is None else f", top_p = {top_p:g}")
    return Variant(name, temperature=float(temperature), top_p=top_p)


@dataclass(frozen=True)
class Ask:
    """What one request says: messages for a chat, or a text that is to be continued."""

    model: str
    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()
    chat: tuple[Message, ...] = ()
    """The messages that ``prompt`` was rendered from, if it was."""

    @property
    def path(self) -> str:
        """Where it is sent, below the server's base URL."""
        return "/v1/chat/completions" if self.prompt is None else "/v1/completions"

    @property
    def user_turn(self) -> str:
        """The last thing the user says (all of a text that is to be continued)."""
        if self.prompt is not None and not self.chat:
            return self.prompt
        turns = self.messages or self.chat
        return next((m["content"] for m in reversed(turns) if m["role"] == "user"), "")

    def body(self, **more: Any) -> dict[str, Any]:
        """The request body without streaming options; ``more`` are further fields."""
        content = {"messages": [*self.messages]} if self.prompt is None else {"prompt": self.prompt}
        stop = {"stop": [*self.stop]} if self.stop else {}
        # A rendered chat holds its special tokens already.
        special = {"add_special_tokens": False} if self.chat else {}
        return {"model": self.model, **content, **self.sampling.body(), **stop, **special, **more}


def instruction_of(model: Model, variant: Variant = as_promised) -> str:
    """The sentence behind the question; empty for a variant without one."""
    return {"en": model.rules.instruction, "zh": model.rules.instruction_zh, "none": ""}[variant.instruction]


def ask(
    model: Model,
    question: str,
    variant: Variant = as_promised,
    *,
    shots: Sequence[Shot] = (),
    earlier: Sequence[Message] = (),
    sample: int = 0,
) -> Ask:
    """How ``model`` is asked ``question``.

    A chat row gets one user turn, question and instruction on lines of their own, after the turns in
    ``earlier``; a few-shot row gets ``shots`` and an unanswered question to continue. ``sample`` tells
    apart several samples of one question: it is added to the row's seed. A variant that opens the reply gets
    the chat rendered here (``rules.openings``). Raises :class:`UsageError` for what the protocol has no place for.
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
    from pytest_llmperf.rules.openings import opened  # which is built on this module
    from pytest_llmperf.rules.render import template_of

    return opened(asked, template_of(model), variant.opens_with)


def asked_in(body: Mapping[str, Any], model: Model) -> Ask:
    """What a request body says; its ``max_tokens`` is taken over, the rest of its sampling is the row's."""
    sampling = dataclasses.replace(
        model.sampling, max_tokens=body.get("max_tokens", model.sampling.max_tokens)
    )
    return Ask(model.served, sampling, tuple(body.get("messages", ())), body.get("prompt"))


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
