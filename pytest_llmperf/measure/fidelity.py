"""Log probabilities that two models give the same tokens: answers of the baseline, scored by both.

The baseline answers the task's prompts, sampled at T = 1 (for divergence) or greedily (for agreement). The token ids of
prompt and answer go to both servers, which say how likely each token is (``prompt_logprobs``). Only tokens of the
answers count.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, Protocol

from pytest_llmperf.client.generated_tokens import GeneratedTokens, generated_tokens
from pytest_llmperf.client.likelihood import TokenScores, scores_together
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.per_token import Agreement, Amounts, Divergence
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.book import Book, booked
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.one_server import refuse_one_model
from pytest_llmperf.measure.prefix_cache import cold_and_warm
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.variants import at_temperature
from pytest_llmperf.record.tables import TokenRow
from pytest_llmperf.stats.per_token import k3
from pytest_llmperf.tasks.task import Item, Task, items_sha256, load_shots

_CONCURRENCY = 16
"""Prompts that are scored at a time: each holds the log probabilities of all its tokens in the server's memory."""
_NOISE_CONCURRENCY = 5
"""The same for a model's second look at its own answers, which is to meet other batches."""

Look = Literal["first", "again", "alone", "decoded", "cold", "warm"]
"""The way that tokens got their log probabilities: scored in batches, again in other batches, one answer at a time, or
told by the server as it decoded them, be it without (cold) and with (warm) the prompt in its prefix cache."""


@dataclass(frozen=True)
class Answers:
    """Answers of one model to the first items of a task, as tokens."""

    row: str
    task: Task
    temperature: float
    items: Sequence[Item] = field(repr=False)
    answers: Sequence[GeneratedTokens] = field(repr=False)
    seconds: float

    @property
    def sampling(self) -> str:
        return "greedy" if self.temperature == 0.0 else f"T = {self.temperature:g}"


@dataclass(frozen=True)
class Scored:
    """One model's scores of the tokens of each answer; None where a request failed, and why the first did."""

    row: str
    look: Look
    answers: Answers = field(repr=False)
    by_item: dict[str, TokenScores | None] = field(repr=False)
    error: str
    seconds: float


@dataclass(frozen=True)
class ScoredPair:
    """Both models' scores of the same answers, or two looks of one model.

    ``look`` is the one that is not the first of the answers' own model. ``unusable``: why they must not be judged;
    empty if they may.
    """

    candidate: Scored
    baseline: Scored
    look: Look
    unusable: str
    cached_tokens: int | None = None
    """Prompt tokens that were found in the prefix cache, where that is what was compared."""

    @property
    def first_error(self) -> str:
        """Why the first answer that is missing is, with the row that lost it; empty if none is."""
        if all(pair is not None for _, pair in self.pairs()):
            return ""
        answers = self.baseline.answers
        for row, error in (
            *((answers.row, answer.error) for answer in answers.answers),
            (self.baseline.row, self.baseline.error),
            (self.candidate.row, self.candidate.error),
        ):
            if error:
                return f"{row}: {error}"
        return ""

    def pairs(self) -> Iterator[tuple[str, tuple[TokenScores, TokenScores] | None]]:
        """By item, the baseline's scores and the candidate's; None where either is missing."""
        for item, own in self.baseline.by_item.items():
            other = self.candidate.by_item.get(item)
            yield item, None if own is None or other is None else (own, other)

    @property
    def divergences(self) -> Amounts:
        return {
            item: None
            if pair is None
            else (
                len(pair[0].log_probabilities),
                math.fsum(k3(pair[0].log_probabilities, pair[1].log_probabilities)),
            )
            for item, pair in self.pairs()
        }

    @property
    def disagreements(self) -> Amounts:
        return {
            item: None if pair is None else (len(pair[1].ranks), sum(rank != 1 for rank in pair[1].ranks))
            for item, pair in self.pairs()
        }

    @cached_property
    def facts(self) -> dict[str, Json]:
        """For the record; computed once, since the record is written after every test."""
        scored = [pair for _, pair in self.pairs() if pair is not None]
        own = [value for pair in scored for value in pair[0].log_probabilities]
        other = [value for pair in scored for value in pair[1].log_probabilities]
        answers = self.baseline.answers
        facts: dict[str, Json] = {
            "row": self.candidate.row,
            "baseline": self.baseline.row,
            "look": self.look,
            "task": answers.task.name,
            "data": answers.task.source.describe(),
            "items_sha256": items_sha256(answers.items),
            "sampling": answers.sampling,
            "answers": len(answers.items),
            "errors": len(answers.items) - len(scored),
            "tokens": len(own),
            "answering_s": round(answers.seconds, 3),
            "scoring_s": round(self.candidate.seconds, 3),
        }
        if self.cached_tokens is not None:
            facts["cached_tokens"] = self.cached_tokens
        if not own:
            return facts
        if answers.temperature == 1.0:  # Of other answers their mean is no divergence.
            facts["k3"] = math.fsum(k3(own, other)) / len(own)
            facts["k1"] = math.fsum(p - q for p, q in zip(own, other, strict=True)) / len(own)
        if ranks := [rank for pair in scored for rank in pair[1].ranks]:
            facts["rank_1_share"] = sum(rank == 1 for rank in ranks) / len(ranks)
        return facts | {
            "rms_probability_change": math.sqrt(
                math.fsum((math.exp(q) - math.exp(p)) ** 2 for p, q in zip(own, other, strict=True))
                / len(own)
            ),
            "identical_share": sum(p == q for p, q in zip(own, other, strict=True)) / len(own),
        }


class TokenPairs:
    """Scores that the models of this run give each other's answers; each server is asked once."""

    def __init__(self, servers: Servers, memo: Memo) -> None:
        self._servers = servers
        self._memo = memo
        self._pairs: dict[tuple[Any, ...], ScoredPair] = {}
        """By what was compared, the pair with the most answers."""
        self._answers: dict[tuple[Any, ...], Answers] = {}
        self._scores: dict[tuple[Any, ...], Scored] = {}
        self._taken: set[tuple[Any, ...]] = set()

    def scored(
        self,
        candidate: Served,
        baseline: Served,
        task: Task,
        items: Sequence[Item],
        temperature: float,
        look: Look,
    ) -> ScoredPair:
        """Both models' scores of the baseline's answers to ``items``, the first of ``task`` in the run's order.

        ``look`` is how the candidate's are made; the baseline's are its first. Of an entry against itself the two are
        looks of one server. Asked for more items than before, it asks for those alone that are missing.
        """
        key = (baseline.name, task.name, temperature)
        count = len(items)

        def compare() -> ScoredPair:
            if look == "warm":
                return self._cold_and_warm(baseline, task, items, temperature)
            answers = self._memo(
                ("reference answers", *key, count),
                lambda: self._answer(baseline, task, items, temperature),
                baseline,
            )
            if look == "first" and candidate is not baseline:
                self._score_together(baseline, candidate, answers)
            first = self._look(baseline, answers, "first")
            second = self._look(candidate, answers, look)
            # The side whose distribution the tokens were drawn from is the first.
            sides = (first, second) if look == "decoded" else (second, first)
            return ScoredPair(*sides, look, _why_unusable(answers, first, second))

        name = (candidate.name, look, *key)
        pair = self._memo(("token pairs", *name, count), compare)
        if name not in self._pairs or len(self._pairs[name].baseline.by_item) < count:
            self._pairs[name] = pair
        return pair

    def first_error(
        self, candidate: Served, baseline: Served, task: Task, temperature: float, look: Look
    ) -> str:
        """Why the first answer is missing among those that were compared so far; empty if none is."""
        pair = self._pairs.get((candidate.name, look, baseline.name, task.name, temperature))
        return "" if pair is None else pair.first_error

    def _look(self, served: Served, answers: Answers, look: Look) -> Scored:
        if look == "decoded":
            return _decoded(answers)
        key = (*_score_key(served, look, answers), len(answers.items))
        return self._memo(key, lambda: self._score([served], answers, look)[0], served)

    def _score_together(self, baseline: Served, candidate: Served, answers: Answers) -> None:
        """Ask both servers at the same time, unless one of them has been asked: each waits for its own engine."""
        keys = [
            (*_score_key(served, "first", answers), len(answers.items)) for served in (baseline, candidate)
        ]
        if any(key in self._memo for key in keys):
            return
        scored = self._memo(
            ("token scores of two", *keys),
            lambda: self._score([baseline, candidate], answers, "first"),
            baseline,
            candidate,
        )
        self._memo.remember(dict(zip(keys, scored, strict=True)))

    def facts(self) -> dict[str, Json]:
        """For the record."""
        return {"fidelity": [pair.facts for pair in self._pairs.values()]} if self._pairs else {}

    def take_rows(self) -> Iterator[TokenRow]:
        """The scores that were not taken before, as rows of ``record.tables.TOKENS``."""
        for pair in self._pairs.values():
            for scored in (pair.baseline, pair.candidate):
                for row in _rows(scored):
                    key = tuple(row[name] for name in ("row", "baseline", "task", "sampling", "look", "item"))
                    if key not in self._taken:
                        self._taken.add(key)
                        yield row

    def _answer(self, served: Served, task: Task, items: Sequence[Item], temperature: float) -> Answers:
        servers = self._servers
        key = (served.name, task.name, temperature)
        known = self._answers.get(key, Answers(served.name, task, temperature, (), (), 0.0))
        if len(known.items) < len(items):
            bodies = self._bodies(served, task, items, temperature)[len(known.items) :]
            servers.memory(served)
            servers.progress(f"{served.name}: {len(items)} answers to {task.name} as a reference")
            began = time.monotonic()
            more = generated_tokens(served.server, bodies, concurrency=servers.sizes.in_flight)
            known = dataclasses.replace(
                known,
                items=items,
                answers=(*known.answers, *more),
                seconds=known.seconds + time.monotonic() - began,
            )
            self._answers[key] = known
        return dataclasses.replace(known, items=items, answers=known.answers[: len(items)])

    def _bodies(
        self, served: Served, task: Task, items: Sequence[Item], temperature: float
    ) -> list[dict[str, Json]]:
        servers = self._servers
        few_shot = served.rules.protocol == "few-shot"
        shots = load_shots(task, servers.settings.data_dir) if few_shot else ()
        variant = at_temperature(temperature, 1.0)
        model = _short(served.model, servers.sizes.fidelity_tokens)
        # Whatever else shapes the distribution is off: answers are drawn from the model's own.
        plain = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        return [
            ask(model, item.prompt, variant, shots=shots, sample=place).body(**plain)
            for place, item in enumerate(items)
        ]

    def _cold_and_warm(
        self, served: Served, task: Task, items: Sequence[Item], temperature: float
    ) -> ScoredPair:
        servers = self._servers
        bodies = self._bodies(served, task, items, temperature)
        servers.memory(served)
        servers.progress(f"{served.name}: {len(items)} answers to {task.name}, cold and warm")
        began = time.monotonic()
        found = cold_and_warm(served.server, bodies)
        seconds = time.monotonic() - began
        answers = Answers(served.name, task, temperature, items, found.cold, seconds)
        looks: tuple[Look, Look] = ("cold", "warm")
        cold, warm = (
            Scored(
                served.name,
                look,
                answers,
                {
                    item.id: None if both is None else both[side]
                    for item, both in zip(items, found.scores, strict=True)
                },
                found.unusable,
                0.0,
            )
            for side, look in enumerate(looks)
        )
        return ScoredPair(warm, cold, "warm", found.unusable, found.cached_tokens)

    def _score(self, sides: Sequence[Served], answers: Answers, look: Look) -> list[Scored]:
        servers = self._servers
        known = [self._scores.get(_score_key(served, look, answers)) for served in sides]
        at_hand = min(0 if scored is None else len(scored.by_item) for scored in known)
        for served in sides:
            servers.memory(served)
        names = " and ".join(served.name for served in sides)
        servers.progress(
            f"{names}: {len(answers.items)} answers of {answers.row} to {answers.task.name} are scored"
        )
        every = [(item.id, answer) for item, answer in zip(answers.items, answers.answers, strict=True)]
        asked = every[at_hand:]
        asked = [(item, answer) for item, answer in asked if not answer.error]
        if look == "again":
            asked.reverse()
        began = time.monotonic()
        found = scores_together(
            [served.server for served in sides],
            [(*answer.prompt, *answer.answer) for _, answer in asked],
            needed_by="fidelity",
            concurrency={"again": _NOISE_CONCURRENCY, "alone": 1}.get(look, _CONCURRENCY),
        )
        seconds = time.monotonic() - began
        scored = [
            _scored(served.name, look, answers, before, asked, scores, seconds)
            for served, before, scores in zip(sides, known, found, strict=True)
        ]
        self._scores |= {
            _score_key(served, look, answers): one
            for served, one, before in zip(sides, scored, known, strict=True)
            if before is None or len(before.by_item) < len(one.by_item)
        }
        return scored


def _short(model: Model, tokens: int) -> Model:
    """The row with answers of at most ``tokens``."""
    most = min(tokens, model.sampling.max_tokens)
    return dataclasses.replace(model, sampling=dataclasses.replace(model.sampling, max_tokens=most))


def _score_key(served: Served, look: Look, answers: Answers) -> tuple[Any, ...]:
    return "token scores", served.name, look, answers.row, answers.task.name, answers.temperature


def _scored(
    row: str,
    look: Look,
    answers: Answers,
    before: Scored | None,
    asked: Sequence[tuple[str, GeneratedTokens]],
    found: Sequence[TokenScores],
    seconds: float,
) -> Scored:
    """Scores of the answers by one server, by item: those ``before``, and those that were ``asked`` now."""
    by_item: dict[str, TokenScores | None] = {item.id: None for item in answers.items}
    error = ""
    if before is not None:
        by_item |= {item: scores for item, scores in before.by_item.items() if item in by_item}
        error, seconds = before.error, before.seconds + seconds
    for (item, answer), scores in zip(asked, found, strict=True):
        by_item[item] = _of_answer(scores, answer)
        if by_item[item] is None:
            error = error or scores.error or "the server scored another number of tokens than it was sent"
    return Scored(row, look, answers, by_item, error, seconds)


def _of_answer(scores: TokenScores, answer: GeneratedTokens) -> TokenScores | None:
    """The scores of the answer's tokens alone; the prompt's first token has none."""
    before = len(answer.prompt) - 1
    if scores.error or len(scores.log_probabilities) != before + len(answer.answer):
        return None
    return TokenScores(scores.log_probabilities[before:], scores.ranks[before:], scores.texts[before:])


def _decoded(answers: Answers) -> Scored:
    """The log probabilities that came with the answers themselves."""
    by_item = {
        item.id: TokenScores(answer.log_probabilities)
        if len(answer.log_probabilities) == len(answer.answer) > 0
        else None
        for item, answer in zip(answers.items, answers.answers, strict=True)
    }
    missing = None in by_item.values()
    error = "an answer came without log probabilities" if missing else ""
    return Scored(answers.row, "decoded", answers, by_item, error, 0.0)


def _why_unusable(answers: Answers, baseline: Scored, candidate: Scored) -> str:
    failed = next((answer.error for answer in answers.answers if answer.error), "")
    if all(answer.error for answer in answers.answers):
        return f"no answer of {answers.row} is there to compare with; the first: {failed or 'no item'}"
    for scored in (baseline, candidate):
        if not any(scored.by_item.values()):
            return f"{scored.row} scored nothing; the first answer: {scored.error}"
    for item, own in baseline.by_item.items():
        other = candidate.by_item.get(item)
        if own is None or other is None:
            continue
        for place, (ours, theirs) in enumerate(zip(other.texts, own.texts, strict=False)):
            if ours != theirs and ours and theirs:
                return (
                    f"the two do not share a tokenizer: token {place} of the answer to {item} is {theirs!r} to "
                    f"{baseline.row} and {ours!r} to {candidate.row}; fidelity compares builds of one model"
                )
        if 0 in other.ranks:
            return f"{candidate.row} tells no rank of a token"
    return ""


def _rows(scored: Scored) -> Iterator[TokenRow]:
    answers = scored.answers
    by_id = dict(zip((item.id for item in answers.items), answers.answers, strict=True))
    for item, found in scored.by_item.items():
        if found is None:
            continue
        yield {
            "row": scored.row,
            "baseline": answers.row,
            "task": answers.task.name,
            "sampling": answers.sampling,
            "look": scored.look,
            "item": item,
            "prompt_tokens": len(by_id[item].prompt),
            "tokens": list(by_id[item].answer[: len(found.texts)]) if any(found.texts) else [],
            "texts": list(found.texts) if any(found.texts) else [],
            "log_probabilities": list(found.log_probabilities),
            "ranks": list(found.ranks),
        }


# What tests ask


class TokenData(Protocol):
    """The part of a run's measurements that these questions use."""

    def task(self, name: str | None = None) -> Task: ...

    def sided(self, judge: Judge, served: Served) -> Judge: ...

    def plan_tokens(
        self, candidate: Served, baseline: Served, task: Task, temperature: float
    ) -> tuple[int, bool]:
        """Number of answers that may be asked for, and whether a gate may stop earlier."""
        ...

    def token_amounts(
        self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion, count: int
    ) -> tuple[Amounts, str]: ...

    def token_error(self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion) -> str: ...


@dataclass(frozen=True)
class TokenQuestion:
    """The quantity that is summed over the tokens of an answer."""

    look: Look
    temperature: float

    def amounts(self, pair: ScoredPair) -> Amounts:
        """Divergences of answers that were sampled at T = 1; of greedy ones, tokens that are not the most likely."""
        return pair.disagreements if self.temperature == 0.0 else pair.divergences


_SAMPLED, _GREEDY = 1.0, 0.0


@dataclass(frozen=True)
class AmountsOnDemand:
    """Amounts of the first n answers, asked for when a gate looks. Errors go to ``book``."""

    data: TokenData = field(repr=False)
    book: Book = field(repr=False)
    candidate: Served
    baseline: Served
    task: Task
    asked: TokenQuestion
    planned: int

    def first(self, n: int) -> Amounts:
        """By item id, in the run's order; raises :class:`NotMeasured` for what must not be judged."""
        with self.book.asking("fidelity"):
            found, unusable = self.data.token_amounts(self.candidate, self.baseline, self.task, self.asked, n)
            if unusable:
                raise NotMeasured(unusable)
            return found


@dataclass(frozen=True)
class Fidelity:
    """Distance of ``candidate`` from ``baseline`` over one task's prompts; measured when a gate looks."""

    data: TokenData = field(repr=False)
    judge: Judge = field(repr=False)
    book: Book = field(repr=False)
    candidate: Served
    baseline: Served
    task: Task

    @property
    @booked("fidelity")
    def divergence(self) -> Divergence:
        """KL divergence of the candidate's next-token distribution from the baseline's, nats per token (k3)."""
        same = self.candidate.name == self.baseline.name
        name = f"{self.task.name} {'noise' if same else 'divergence'}"
        found = self._amounts(TokenQuestion("again" if same else "first", _SAMPLED))
        return Divergence(name, judge=self.data.sided(self.judge, self.candidate), **found)

    @property
    @booked("fidelity")
    def top_token_agreement(self) -> Agreement:
        """Share of the baseline's greedy tokens that are the candidate's most likely ones."""
        name = f"{self.task.name} top-token agreement"
        found = self._amounts(TokenQuestion("first", _GREEDY))
        return Agreement(name, judge=self.data.sided(self.judge, self.candidate), **found)

    def _amounts(self, asked: TokenQuestion) -> dict[str, Any]:
        """Fields of an estimand: the amounts, or what measures them as far as a gate needs them."""
        sides = (self.candidate, self.baseline, self.task)
        planned, may_stop = self.data.plan_tokens(*sides, asked.temperature)
        first_error = partial(self.data.token_error, *sides, asked)
        if may_stop:
            growing = AmountsOnDemand(self.data, self.book, *sides, asked, planned)
            return {"amounts": {}, "growing": growing, "first_error": first_error}
        found, unusable = self.data.token_amounts(*sides, asked, planned)
        return {"amounts": found, "unusable": unusable, "first_error": first_error}


class FidelityQuestions:
    """``fidelity(candidate, baseline, [task])`` and ``fidelity.noise(baseline, [task])``."""

    def __init__(self, data: TokenData, judge: Judge, book: Book) -> None:
        self._data = data
        self._judge = judge
        self.book = book

    @booked("fidelity")
    def __call__(self, candidate: Served, baseline: Served, task: str | None = None) -> Fidelity:
        """The candidate against the baseline over the profile's task, or that of this name."""
        refuse_one_model(candidate.model, [baseline.model], "fidelity")
        return Fidelity(self._data, self._judge, self.book, candidate, baseline, self._data.task(task))

    def noise(self, baseline: Served, task: str | None = None) -> Divergence:
        """The divergence of a model from itself: the same tokens scored a second time, in other batches."""
        return self(baseline, baseline, task).divergence


@dataclass(frozen=True)
class Consistency:
    """Agreement of one server with itself on the same tokens in other circumstances."""

    data: TokenData = field(repr=False)
    judge: Judge = field(repr=False)
    book: Book = field(repr=False)
    served: Served
    task: Task

    @property
    @booked("consistency")
    def batching(self) -> Divergence:
        """Answers scored one at a time against the same in batches, nats per token."""
        return self._divergence("alone", "alone against batches")

    @property
    @booked("consistency")
    def decoding(self) -> Divergence:
        """Log probabilities while decoding against those of the same tokens as a prompt, nats per token."""
        return self._divergence("decoded", "decoding against prefill")

    @property
    @booked("consistency")
    def prefix_cache(self) -> Divergence:
        """Answers whose prompt is in the prefix cache against the same without, nats per token.

        INVALID where the server does not tell that prompts were found in its cache.
        """
        return self._divergence("warm", "warm against cold prefix cache")

    def _divergence(self, look: Look, name: str) -> Divergence:
        sides = (self.served, self.served, self.task)
        planned, _ = self.data.plan_tokens(*sides, _SAMPLED)
        asked = TokenQuestion(look, _SAMPLED)
        found, unusable = self.data.token_amounts(*sides, asked, planned)
        return Divergence(
            f"{self.task.name} {name}",
            found,
            judge=self.data.sided(self.judge, self.served),
            unusable=unusable,
            first_error=partial(self.data.token_error, *sides, asked),
        )
