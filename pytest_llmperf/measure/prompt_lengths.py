"""The length of generated prompts in the tokens of the row that is judged: counted by its server, and checked.

Three ways, the first that there is: the server's ``/tokenize``, the tokenizer beside the weights, an estimate by
characters. What a prompt of such parts really has is then counted once, whole, and corrected for.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.client.tokenizer import can_count_locally, count_locally, tokenize
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.measure.long_prompts import LongPrompts, recall_item
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts.variants import Ask
from pytest_llmperf.tasks.long_context.text import (
    TOLERANCE,
    TOLERATED_TOKENS,
    UNKNOWN,
    LongKind,
    TokenSizes,
)
from pytest_llmperf.units import percent

_AIM = 1.0 - TOLERANCE / 4
"""Share of the tokens asked for that is aimed at: a prompt may have fewer, and should not have more."""
_CORRECTIONS = 2
_MOST_OFF = 8.0
"""A count that is so many times more or less than the parts together is no count of them: a prompt corrected by it
would be of any length."""
_OTHER_TOKENIZER = 0.5
"""Share by which the counts of two tokenizers may differ for one text of English words and numbers."""


def token_sizes(served: Served, prompts: LongPrompts) -> TokenSizes:
    """Tokens of the parts of these prompts for ``served``, so that a whole one has the tokens asked for.

    Raises :class:`NotMeasured` where the server neither tokenizes nor counts the tokens of a prompt.
    """
    kind = prompts.kind
    assert kind is not None
    sizes = _of_units(served, kind)
    wanted = _AIM * prompts.tokens
    for _ in range(_CORRECTIONS):
        found, error = _count(served, recall_item(served.model, kind, 0, prompts.tokens, sizes).ask)
        if found is None:
            raise NotMeasured(
                f"{served.name}: {prompts.what}: how long prompts are is not known: its server has no /tokenize, and "
                f"sends no usage.prompt_tokens; need one of the two{error and f'; a request for one token: {error}'}"
            )
        if not wanted / _MOST_OFF <= found <= wanted * _MOST_OFF:
            raise NotMeasured(
                f"{served.name}: {prompts.what}: how long prompts are is not known: its server counts {found:,} tokens "
                f"in a prompt of about {wanted:,.0f}; need the tokens of the whole prompt"
            )
        sizes = sizes.corrected(found, wanted)
    return sizes


def _of_units(served: Served, kind: LongKind) -> TokenSizes:
    # With the space that comes before each of them.
    texts = [f" {unit}" for unit in kind.units]
    found = tokenize(served.server, [{"prompt": text, "add_special_tokens": False} for text in texts])
    counts = [len(tokens.tokens) for tokens in found if tokens is not None]
    if len(counts) < len(texts):
        directory = served.weights_directory()
        if directory is None or not can_count_locally(directory):
            return UNKNOWN
        counts = count_locally(directory, texts, special_tokens=False)
    return TokenSizes(
        sum(counts) / sum(map(len, texts)), dict(zip(kind.units, map(float, counts), strict=True))
    )


def _count(served: Served, ask: Ask) -> tuple[int | None, str]:
    """Tokens of a whole prompt: by ``/tokenize``, else by the usage of a request for one token, or its error.

    One token of a thinking may be an empty answer, whose prompt was counted all the same.
    """
    body = ask.body()
    (tokens,) = tokenize(
        served.server, [{name: body[name] for name in ("messages", "prompt") if name in body}]
    )
    if tokens is not None:
        return len(tokens.tokens), ""
    (answer,) = complete_all(served.server, [ask.body(max_tokens=1)], concurrency=1, whole=True)
    return answer.prompt_tokens, answer.error


def check_lengths(served: Served, prompts: LongPrompts, answers: Sequence[Answer], *, own: bool) -> None:
    """Raise :class:`NotMeasured` unless each prompt, as the server counts it, has the tokens asked for.

    Within 2 %, or :data:`TOLERATED_TOKENS` if those are more.

    ``own`` False: they were counted by another row's tokenizer, which this one may differ from.
    """
    share = TOLERANCE if own else _OTHER_TOKENIZER
    tolerated = max(TOLERATED_TOKENS, share * prompts.tokens)
    counts = [answer.prompt_tokens for answer in answers if answer.ok and answer.prompt_tokens is not None]
    off = [count for count in counts if abs(count - prompts.tokens) > tolerated]
    if off:
        within = percent(tolerated / prompts.tokens)
        raise NotMeasured(
            f"{served.name}: by the server's usage {len(off)} of {len(counts)} prompts of {prompts.what} have "
            f"{min(off):,} to {max(off):,} tokens; need {prompts.tokens:,} within {within}: a server that "
            "cuts its prompts, or counts them in another way than its tokenizer, does not show what it recalls"
        )
