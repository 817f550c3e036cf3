"""Items that no reply answers: given texts are scored, each by its log probability after its context.

Contexts and texts are split into tokens as lm-evaluation-harness does it (``TemplateLM.loglikelihood``): white space at
the end of a context belongs to the text, both are tokenised as a whole, and cut where the context alone would end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.client.continuations import ContinuationTokens


@dataclass(frozen=True)
class Continuation:
    """A text to score after ``context``. Without a context it is scored after the first token of the tokenizer."""

    context: str
    text: str

    @property
    def parts(self) -> tuple[str, str]:
        """What is tokenised: the context without the white space at its end (empty: there is none), and the whole."""
        return self.context.rstrip(), self.context + self.text


def in_tokens(
    continuation: Continuation, tokens: Mapping[str, Sequence[int]], first: int | None
) -> ContinuationTokens:
    """``tokens`` by text, of all :attr:`Continuation.parts`, without special tokens; ``first``: see Continuation.

    Raises :class:`ValueError` where a text has no token to score, or no token before it.
    """
    context, whole = continuation.parts
    ids = tuple(tokens[whole])
    if continuation.context:
        cut = len(tokens[context]) if context else 0
        found = ContinuationTokens(ids[:cut], ids[cut:])
    elif first is None:
        raise ValueError(
            "a text is scored without a context, which takes the tokenizer's first token, and that is not known: need "
            "a row whose weights (tokenizer_config.json) are on this machine"
        )
    else:
        found = (
            ContinuationTokens(ids[:1], ids[1:]) if ids[:1] == (first,) else ContinuationTokens((first,), ids)
        )
    if not found.context:
        raise ValueError(
            f"the context {continuation.context!r:.40} is white space alone; need a text, or none"
        )
    if not found.text:
        raise ValueError(f"the text {continuation.text!r:.60} has no token of its own behind its context")
    return found
