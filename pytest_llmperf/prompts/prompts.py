"""The prompts of a row, for suites that check them without a request to the model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from pytest_llmperf.config.models import Model
from pytest_llmperf.prompts.asking import ask, instruction_of
from pytest_llmperf.prompts.lint import MATHS_TOKENS, Finding, injected_text, lint
from pytest_llmperf.prompts.template import ChatTemplate, Rendered
from pytest_llmperf.prompts.variants import Ask, Variant, model_default


@dataclass(frozen=True)
class Prompts:
    """The prompts of one row: rendered, linted, and what is hidden in them."""

    model: Model
    template: ChatTemplate = field(repr=False)
    tokens_needed: int = MATHS_TOKENS

    @property
    def instruction(self) -> str:
        return "" if self.model.rules.protocol == "few-shot" else instruction_of(self.model)

    def rendered(self, question: str, variant: Variant = model_default) -> Rendered:
        """Return the prompt as the model reads it, with its fingerprint."""
        return self.template.render_ask(ask(self.model, question, variant))

    def render(self, question: str, variant: Variant = model_default) -> str:
        """Return the prompt as the model reads it, as text."""
        return self.rendered(question, variant).text

    def findings(
        self,
        question: str,
        variant: Variant = model_default,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> list[Finding]:
        """Rules that asking so would break, without what the row accepts; ``temperature`` and ``max_tokens`` stand in
        for the row's."""
        asked = self._ask(question, variant, temperature, max_tokens)
        rendered = self.template.render_ask(asked)
        return lint(asked, rendered, self.model, tokens_needed=self.tokens_needed)

    def system_text(self) -> str:
        """Return what the model reads besides the user's turn: a system message, sent or hidden in the template."""
        asked = ask(self.model, _QUESTION)
        if asked.prompt is not None:
            return ""
        sent = "\n".join(m["content"] for m in asked.messages if m["role"] == "system")
        return sent or self._hidden_text()

    def promised_system_text(self) -> str:
        """The system message that the row's rules promise; empty if they promise that there is none.

        A row that accepts ``hidden-system`` promises the text that its template adds.
        """
        rules = self.model.rules
        if rules.system or not rules.accepted("hidden-system"):
            return rules.system or ""
        return self._hidden_text()

    def _hidden_text(self) -> str:
        asked = ask(self.model, _QUESTION)
        if asked.prompt is not None:
            return ""
        return injected_text(self.template.render(asked.messages), asked.messages)

    def _ask(self, question: str, variant: Variant, temperature: float | None, max_tokens: int | None) -> Ask:
        asked = ask(self.model, question, variant)
        sampling = asked.sampling
        if temperature is not None:
            sampling = dataclasses.replace(sampling, temperature=temperature)
        if max_tokens is not None:
            sampling = dataclasses.replace(sampling, max_tokens=max_tokens)
        return dataclasses.replace(asked, sampling=sampling)


_QUESTION = "How many legs do 3 cats have?"
