"""Tasks that are answered by log probabilities of given texts: asked of a server, and graded.

The texts go to the server as token ids, cut as :mod:`pytest_llmperf.tasks.continuations` says. An item counts with the
log probabilities of all its texts; if one is missing, the item is an error and none of the others is judged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.continuations import (
    ContinuationTokens,
    ScoreReply,
    Way,
    find_way,
    score_continuations,
)
from pytest_llmperf.client.tokenizer import can_count_locally, tokenize, tokenize_locally
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.errors import DataError, NotMeasured, UsageError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure.answers import GradedAnswer
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.prompt_check import TemplateSource
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers, raise_if_dead
from pytest_llmperf.prompts.template import first_token
from pytest_llmperf.prompts.variants import Variant, model_default
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.tasks.continuations import in_tokens
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task, is_scored, sample_of

_CONCURRENCY = 16
"""Each holds the log probabilities of a whole prompt in the server's memory."""
_AT_ONCE = 64
"""Items between two looks at a server whose requests fail."""


def check_variant(task: Task, items: Sequence[Item], variant: Variant) -> None:
    """Raise :class:`UsageError` for a way of asking that given texts have no place for."""
    if is_scored(items) and variant != model_default:
        raise UsageError(
            f"{task.name}: log probabilities of given texts depend on weights and texts alone; {variant} has no place "
            "in them: leave it out"
        )


def needs_replies(task: Task, items: Sequence[Item], question: str) -> None:
    """Raise :class:`UsageError` for a task whose items have no replies that ``question`` could look at."""
    if is_scored(items):
        raise UsageError(
            f"{question} looks at replies; {task.name} asks for log probabilities of given texts, and has none: choose "
            "a task that the model answers"
        )


@dataclass
class _Reader:
    """How one server's texts become tokens, and how it tells log probabilities; what is None is not known (yet)."""

    served: Served
    source: TemplateSource
    way: Way | None = None
    limit: int | None = None
    """Longest prompt and answer together, in tokens."""
    first: int | None = None
    """The token that stands before a text without a context."""
    is_local: bool = False
    """The tokenizer of the weights is used, since the server has no ``/tokenize``."""

    @classmethod
    def of(cls, served: Served) -> _Reader:
        source = TemplateSource.of(served)
        return cls(served, source, limit=source.limit)

    def tokens(self, texts: Sequence[str]) -> dict[str, Sequence[int]]:
        """The ids of each text, without special tokens; texts that the server refuses are left out.

        Raises :class:`NotMeasured` where neither the server nor a tokenizer on this machine tells any.
        """
        if not self.is_local:
            asked: list[JsonObject] = [{"prompt": text, "add_special_tokens": False} for text in texts]
            found = dict(zip(texts, tokenize(self.served.server, asked), strict=True))
            known = {text: tokens for text, tokens in found.items() if tokens is not None}
            limits = [tokens.limit for tokens in known.values() if tokens.limit is not None]
            self.limit = min([*limits, *([] if self.limit is None else [self.limit])], default=None)
            if known or not texts:
                return {text: tokens.tokens for text, tokens in known.items()}
        directory = self.source.directory
        if directory is None or not can_count_locally(directory):
            raise_if_dead(self.served)
            why = (
                self.source.why
                or "the library tokenizers is not installed, or the weights have no tokenizer.json"
            )
            raise NotMeasured(
                f"{self.served.name}: log probabilities of given texts need their tokens; its server has no /tokenize, "
                f"and {why}: give the row weights that are on this machine"
            )
        self.is_local = True
        return dict(zip(texts, tokenize_locally(directory, texts, special_tokens=False), strict=True))

    def find_first(self) -> None:
        """Learn the token that stands before a text without a context, where the weights tell it."""
        if self.first is None and self.source.directory is not None:
            with contextlib.suppress(DataError):
                if token := first_token(self.source.directory):
                    ids = self.tokens([token]).get(token, ())
                    self.first = ids[0] if len(ids) == 1 else None

    def find_way(self, tokens: ContinuationTokens, task: Task) -> Way:
        """Raises :class:`NotMeasured` with the server's words if it tells no log probabilities."""
        if self.way is None:
            self.way, why = find_way(self.served.server, tokens)
            if self.way is None:
                raise_if_dead(self.served)
                raise NotMeasured(
                    f"{self.served.name}: {task.name} needs log probabilities of given texts, and its server tells "
                    f"none ({why}): need a server with prompt_logprobs (vLLM), or with echo and logprobs in completions"
                )
        return self.way


@dataclass
class Continuations:
    """Asks the servers of a run for the log probabilities of given texts."""

    servers: Servers
    devices: Devices
    _readers: dict[str, _Reader] = field(default_factory=dict)

    def graded(
        self, served: Served, task: Task, items: Sequence[Item], what: str, before: int, planned: int
    ) -> tuple[list[GradedAnswer], float]:
        """Grade every item by the scores of its texts, in their order; returns the seconds as well.

        ``what`` is shown as progress, ``before`` items of ``planned`` having been asked earlier. Raises
        :class:`ServerDied` if the server is gone, :class:`NotMeasured` if it does not tell log probabilities, or if a
        text is too long for it.
        """
        self.servers.memory(served)
        reader = self._readers.setdefault(served.name, _Reader.of(served))
        began = time.monotonic()
        pace = Pace(planned, before)
        graded: list[GradedAnswer] = []
        with self.devices.beside(served, what=what):
            for start in range(0, len(items), _AT_ONCE):
                portion = _portion(reader, task, items[start : start + _AT_ONCE])
                graded += portion
                self.servers.progress(f"{what}: {pace.describe(before + len(graded))}")
                if not any(answer.usable for answer in portion):
                    why = f"not asked: all of {len(portion)} items before it failed, the last with: {portion[-1].error}"
                    graded += [_lost(item, why) for item in items[len(graded) :]]
                    break
        return graded, time.monotonic() - began


def _portion(reader: _Reader, task: Task, items: Sequence[Item]) -> list[GradedAnswer]:
    encoded = _encoded(reader, items)
    asked = [tokens for each in encoded if not isinstance(each, str) for tokens in each]
    replies: list[ScoreReply] = []
    if asked:
        _check_lengths(reader, task, items, encoded)
        way = reader.find_way(min(asked, key=lambda tokens: len(tokens.ids)), task)
        concurrency = reader.served.model.in_flight or _CONCURRENCY
        replies = score_continuations(reader.served.server, asked, way, concurrency=concurrency)
    if any(reply.is_broken for reply in replies):
        # A dead server must be reported as such, whatever the gates would make of the rest.
        raise_if_dead(reader.served)
    left = iter(replies)
    return [
        _lost(item, each) if isinstance(each, str) else _graded(task, item, each, [next(left) for _ in each])
        for item, each in zip(items, encoded, strict=True)
    ]


def _encoded(reader: _Reader, items: Sequence[Item]) -> list[list[ContinuationTokens] | str]:
    """By item the tokens of its texts, or why one of them has none."""
    continuations = [each for item in items for each in item.continuations]
    texts = dict.fromkeys(part for each in continuations for part in each.parts if part)
    ids = reader.tokens(list(texts))
    if any(not each.context for each in continuations):
        reader.find_first()
    found: list[list[ContinuationTokens] | str] = []
    for item in items:
        try:
            found.append([in_tokens(each, ids, reader.first) for each in item.continuations])
        except KeyError as error:
            found.append(f"the server did not tokenise {error.args[0]!r:.100}")
        except ValueError as error:
            found.append(str(error))
    return found


def _check_lengths(
    reader: _Reader, task: Task, items: Sequence[Item], encoded: Sequence[list[ContinuationTokens] | str]
) -> None:
    """lm-eval would cut the beginning of what is too long, and the score would be that of another question."""
    for item, each in zip(items, encoded, strict=True):
        longest = 0 if isinstance(each, str) else max(len(tokens.ids) for tokens in each)
        # One token has to be generated behind it.
        if reader.limit is not None and longest + 1 > reader.limit:
            raise NotMeasured(
                f"{reader.served.name}: {task.name} was not asked: item {item.id!r} has {longest:,} tokens with the "
                f"longest of its texts, the server takes {reader.limit - 1:,}: raise max_model_len, or choose fewer "
                "examples"
            )


def _graded(
    task: Task, item: Item, tokens: Sequence[ContinuationTokens], replies: Sequence[ScoreReply]
) -> GradedAnswer:
    assert task.continuation_grader is not None
    scores = [reply.score for reply in replies if reply.score is not None]
    if len(scores) < len(replies):
        return _lost(item, next(reply.error for reply in replies if reply.score is None))
    grade, shown = task.continuation_grader(scores, item)
    prompt_tokens = sum(len(each.ids) for each in tokens)
    return _answered(item, grade, shown, RequestOutcome.OK, "", prompt_tokens)


def _lost(item: Item, error: str) -> GradedAnswer:
    outcome = RequestOutcome.STREAM_ERROR
    return _answered(item, Grade(Outcome.INFRA, "no log probability"), "", outcome, error, None)


def _answered(
    item: Item, grade: Grade, shown: str, outcome: RequestOutcome, error: str, prompt_tokens: int | None
) -> GradedAnswer:
    answer = Answer(
        index=0,
        text=shown,
        reasoning="",
        finish_reason=None,
        prompt_tokens=prompt_tokens,
        completion_tokens=None,
        cached_tokens=None,
        outcome=outcome,
        error=error,
        attempts=1,
        seconds=0.0,
    )
    body: JsonObject = {
        "prompt": item.prompt,
        "continuations": [[each.context, each.text] for each in item.continuations],
    }
    return GradedAnswer(item.id, body, answer, grade, shown, unit=sample_of(item), is_scored=True)
