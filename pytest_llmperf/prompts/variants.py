"""Ways of asking that a suite can name, and what one request says.

A suite reads ``accuracy(candidate, rules.at_temperature(0.5))``; the fixture ``rules`` is this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

from pytest_llmperf.config.models import Sampling
from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import Json, JsonObject, list_of


class Message(TypedDict):
    """One turn: ``role`` is system, user, assistant, or tool (the result of a call)."""

    role: str
    content: str
    tool_calls: NotRequired[Sequence[JsonObject]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


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
    """True if a few-shot row is shown its examples."""

    def sampling(self, own: Sampling) -> Sampling:
        """The row's sampling with this variant's temperature and top_p."""
        return dataclasses.replace(
            own,
            temperature=own.temperature if self.temperature is None else self.temperature,
            top_p=own.top_p if self.top_p is None else self.top_p,
        )

    def named(self, what: str) -> str:
        """``what`` with this way of asking behind it, unless it is the row's own."""
        return what if self == model_default else f"{what} {self}"

    def __str__(self) -> str:
        return self.name


model_default = Variant("as promised")
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
    """The content of one request: messages for a chat, or a text that is to be continued."""

    model: str
    sampling: Sampling
    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    stop: tuple[str, ...] = ()
    chat: tuple[Message, ...] = ()
    """The messages that ``prompt`` was rendered from, if it was."""
    fields: JsonObject = field(default_factory=dict)
    """Further fields of a chat request: ``tools``, ``tool_choice``, ``response_format``."""

    @property
    def tools(self) -> Sequence[Json]:
        """Functions that the model may call."""
        return list_of(self.fields.get("tools"))

    @property
    def plain(self) -> Ask:
        """The conversation alone, without tools and form."""
        return dataclasses.replace(self, fields={}) if self.fields else self

    @property
    def path(self) -> str:
        """Path of the request below the server's base URL."""
        return "/v1/chat/completions" if self.prompt is None else "/v1/completions"

    @property
    def user_turn(self) -> str:
        """The last thing the user says (all of a text that is to be continued)."""
        if self.prompt is not None and not self.chat:
            return self.prompt
        turns = self.messages or self.chat
        return next((m["content"] for m in reversed(turns) if m["role"] == "user"), "")

    def body(self, **more: Any) -> dict[str, Json]:
        """The request body without streaming options; ``more`` are further fields."""
        content = {"messages": [*self.messages]} if self.prompt is None else {"prompt": self.prompt}
        stop = {"stop": [*self.stop]} if self.stop else {}
        # A rendered chat holds its special tokens already.
        special = {"add_special_tokens": False} if self.chat else {}
        return {
            "model": self.model,
            **content,
            **self.sampling.body(),
            **stop,
            **special,
            **self.fields,
            **more,
        }
