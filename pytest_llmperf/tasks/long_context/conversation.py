"""Recall over turns: a conversation states a number, talks about other things, and asks for it; see embedded.recall."""

from __future__ import annotations

from pytest_llmperf.embedded.recall import RECALLED, recall_conversation
from pytest_llmperf.tasks.long_context.text import Fact, LongKind, LongText, TokenSizes


def _write(seed: int, tokens: int, size: TokenSizes, instruction: str) -> LongText:
    del size
    item = recall_conversation(seed, tokens, instruction=instruction)
    return LongText(item.messages, [Fact(str(item.answer), 1.0 - item.depth)], numbers=RECALLED)


CONVERSATION = LongKind("conversation", "", _write, exact=False, noun="conversation")
