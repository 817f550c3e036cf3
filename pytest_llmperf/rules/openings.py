"""A reply that begins with a text of the asker's choice: the template rendered here, its own opening replaced."""

from __future__ import annotations

import dataclasses
import re

from pytest_llmperf.errors import UsageError
from pytest_llmperf.rules.messages import Ask
from pytest_llmperf.rules.render import ChatTemplate

_OWN = re.compile(r"<think>\s*\Z")


def opened(ask: Ask, template: ChatTemplate, opening: str) -> Ask:
    """``ask`` as a text to be continued, whose reply begins with ``opening``.

    Not a turn that the server is to continue: chat templates may trim a turn, and white space is what matters here.
    What the template opens the reply with itself (``<think>``) gives way. Raises :class:`UsageError` for an ask
    without a chat.
    """
    if ask.prompt is not None:
        raise UsageError("a reply can be opened only where a chat is asked: this row continues a text")
    text = template.render(ask.messages).text
    return dataclasses.replace(ask, messages=(), prompt=_OWN.sub("", text) + opening, chat=ask.messages)
