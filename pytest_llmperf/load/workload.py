"""The shape of a load: lengths of prompts and answers, and unique prompts that no prefix cache holds."""

from __future__ import annotations

import asyncio
import math
import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pytest_llmperf.client.body import lint, streaming
from pytest_llmperf.client.capabilities import tokens_of_words, without
from pytest_llmperf.client.pool import Pool
from pytest_llmperf.client.tokenizer import count_tokens, why_not_counted
from pytest_llmperf.errors import RequestFailed, UsageError
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.load.cache_check import OPENING_TOKENS
from pytest_llmperf.load.prompt_set import WORDS, PromptSet
from pytest_llmperf.serving.server import Capabilities

_PREFIX_DIGITS = 12
_ENDINGS = (" a", ".", "!", " the", "?", " I", ",")
"""Fill what words leave open, repeated; each is one token for nearly every tokenizer."""
_MOST_ENDINGS = 16
_ATTEMPTS = 8
"""Attempts to meet an exact length, each one call of ``/tokenize`` or a few."""
_TOKENS_PER_WORD = 1.1
"""Estimate for a server without ``/tokenize``."""
_ASK_AT_ONCE = 16
_NO_TOKENIZE = "the server has no /tokenize"


@dataclass(frozen=True)
class Workload:
    """The shape of every request of a load."""

    input_tokens: int = 64
    """Length of the whole rendered prompt, chat template included, in the server's tokens."""
    output_tokens: int = 128
    fixed_output: bool = True
    """True: exactly ``output_tokens`` (``ignore_eos`` and ``min_tokens``, which vLLM knows). False: the model
    ends where it likes, ``output_tokens`` is the limit."""
    chat: bool = True
    """False: ``/v1/completions``."""
    unique: bool = True
    """A random number of fixed length begins every prompt, so that no prefix cache can know it. False: all
    prompts are equal, which is only honest together with ``warm_cache``."""
    warm_cache: bool = False
    """True: hits in the prefix cache are wanted, and don't invalidate the run."""
    usage_per_chunk: bool = True
    """Have the server count tokens in every chunk: exact gaps when a chunk holds several."""
    seed: int = 0
    """Seed of the prompts' words."""
    sampling: JsonObject = field(default_factory=dict)
    """Further fields of the body, e.g. ``{"temperature": 0.6}``."""
    given: PromptSet | None = None
    """Prompts to send instead of made-up ones; ``input_tokens`` and ``chat`` then mean nothing, and answers have a
    prompt's own ``max_tokens`` where it says so."""

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; need at least 1")


@dataclass(frozen=True)
class Shape:
    """The lengths of one request, in the server's tokens, where a load's requests differ."""

    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()
    """Ids of the blocks that the prompt begins with: equal ids are equal text, so that prefixes are shared."""
    block_tokens: int = 0
    """Tokens of a block; 0: the prompt is unique."""


@dataclass(frozen=True)
class RequestBodies:
    """Bodies that are ready to send, and what is known of their length."""

    bodies: tuple[dict[str, Json], ...]
    tokens: tuple[int, ...] | None
    """Length of each prompt by the server's own ``/tokenize``; None if it has none."""
    asked: tuple[int, ...]
    """Length that each prompt was to have; 0: that of its text."""
    given: str = ""
    """Name of the prompt set, if the prompts were given."""
    no_count: str = _NO_TOKENIZE
    """Why ``tokens`` is None."""
    by_usage: bool = False
    """True if the lengths are estimated from the server's own ``usage`` of other prompts."""

    @property
    def exact(self) -> bool:
        return self.tokens == self.asked

    @property
    def note(self) -> str:
        """A sentence on how exact the lengths are."""
        asked = _span(self.asked)
        if self.given:
            return f"prompts as given: {self.given}"
        if self.tokens is None:
            how = " by its usage of two other prompts" if self.by_usage else ""
            return f"prompts are estimated at {asked} tokens{how}: {self.no_count}"
        if self.exact:
            each = "" if len(set(self.asked)) <= 1 else ", as asked for each"
            return f"every prompt has exactly {asked} tokens by the server's tokenizer{each}"
        if len(set(self.asked)) > 1:
            off = [abs(got - want) for got, want in zip(self.tokens, self.asked, strict=True)]
            missed = sum(one > 0 for one in off)
            return f"{missed} of {len(off)} prompts miss the length asked for, by at most {max(off)} tokens"
        low, high = min(self.tokens), max(self.tokens)
        return f"prompts have {low} to {high} tokens by the server's tokenizer, {asked} were asked for"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low} to {high}"


async def prepare(
    pool: Pool,
    model: str,
    workload: Workload,
    count: int,
    *,
    nonce: str | None = None,
    salt: bool = False,
    request_ids: bool = False,
    fits: Fits | None = None,
    known: Capabilities | None = None,
) -> RequestBodies:
    """``count`` bodies of that shape.

    The words follow from ``workload.seed``; the number that makes a prompt unique follows from ``nonce``
    (fresh when None, for a server remembers the prompts of earlier runs). ``salt`` also sets vLLM's
    ``cache_salt``, which keeps even the chat template's own tokens from being hits. ``fits`` remembers, for this
    server and this workload, what gave the asked length, so that a further round asks the tokenizer nothing.
    ``known`` is what is known of the server; None: nothing, and nothing but its tokenizer is asked. Raises
    ``RequestFailed`` if the server does not answer.
    """
    nonce = nonce or secrets.token_hex(8)
    if workload.given is not None:
        return _as_given(model, workload, workload.given, count, nonce, salt, request_ids)
    maker = _Maker(pool, model, workload, nonce, {} if fits is None else fits, known or Capabilities())
    tokens: tuple[int, ...] | None = None
    by_usage = None
    if not maker.knows(count) and not await maker.probe():
        by_usage = await maker.words_by_usage() if known is not None else None
        words = by_usage or max(1, round((workload.input_tokens - _PREFIX_DIGITS - 3) / _TOKENS_PER_WORD))
        texts = [maker.text(index, words) for index in range(count)]
    else:
        gate = asyncio.Semaphore(_ASK_AT_ONCE)
        first = await maker.fitted(0, gate) if count else ("", 0)
        rest = await asyncio.gather(*(maker.fitted(index, gate) for index in range(1, count)))
        fitted = [first, *rest][:count]
        texts, tokens = [text for text, _ in fitted], tuple(length for _, length in fitted)
    bodies = [_body(model, workload, text, nonce, index, salt) for index, text in enumerate(texts)]
    if request_ids:
        bodies = [{**body, "request_id": request_id(index)} for index, body in enumerate(bodies)]
    why = (
        f"the server has no /tokenize ({maker.known.no_tokenize})"
        if maker.known.no_tokenize
        else _NO_TOKENIZE
    )
    return RequestBodies(
        tuple(bodies), tokens, (workload.input_tokens,) * count, no_count=why, by_usage=by_usage is not None
    )


def _as_given(
    model: str, workload: Workload, given: PromptSet, count: int, nonce: str, salt: bool, ids: bool
) -> RequestBodies:
    """The given prompts. A salt keeps them out of each other's cache and leaves their words alone; a server that knows
    none gets a number before the first word."""
    salted = salt and workload.unique and not workload.warm_cache
    bodies = []
    for index in range(count):
        mark = f"{_number(nonce, index)}" if workload.unique and not salted else ""
        fields = given.fields(index, mark)
        limit = fields.pop("max_tokens", workload.output_tokens)
        if not isinstance(limit, int):
            raise UsageError(
                f"{given.name}, prompt {index + 1}: max_tokens is {limit!r}; need a whole number"
            )
        body = _dressed({"model": model, **fields}, workload, limit, f"{nonce}-{index}" if salted else "")
        bodies.append({**body, "request_id": request_id(index)} if ids else body)
    return RequestBodies(tuple(bodies), None, (0,) * count, repr(given))


async def prepare_shapes(
    pool: Pool,
    model: str,
    workload: Workload,
    shapes: Sequence[Shape],
    *,
    nonce: str | None = None,
    salt: bool = False,
    request_ids: bool = False,
    known: Capabilities | None = None,
) -> RequestBodies:
    """One body for each of ``shapes``, in that order, and all else as :func:`prepare` has it."""
    nonce = nonce or secrets.token_hex(8)
    if any(shape.block_tokens for shape in shapes):
        return await _of_blocks(pool, model, workload, shapes, nonce, request_ids, known or Capabilities())
    where: dict[Shape, list[int]] = {}
    for index, shape in enumerate(shapes):
        where.setdefault(shape, []).append(index)
    bodies: list[dict[str, Json]] = [{} for _ in shapes]
    tokens: list[int | None] = [None] * len(shapes)
    gate = asyncio.Semaphore(_ASK_AT_ONCE)

    async def fill(shape: Shape, indices: list[int]) -> RequestBodies:
        shaped = replace(workload, input_tokens=shape.input_tokens, output_tokens=shape.output_tokens)
        # A number of its own for every shape: prompts of two shapes would begin alike, and hit a prefix cache.
        own = f"{nonce} {shape.input_tokens} {shape.output_tokens}"
        async with gate:
            prompts = await prepare(pool, model, shaped, len(indices), nonce=own, salt=salt, known=known)
        for place, index in enumerate(indices):
            bodies[index] = prompts.bodies[place]
            if request_ids:
                bodies[index] = {**bodies[index], "request_id": request_id(index)}
            tokens[index] = None if prompts.tokens is None else prompts.tokens[place]
        return prompts

    # What is found out about the server with the first shape, the others need not ask again.
    first, *rest = where.items()
    filled = await fill(*first)
    await asyncio.gather(*(fill(shape, indices) for shape, indices in rest))
    counted = tuple(count for count in tokens if count is not None)
    asked = tuple(shape.input_tokens for shape in shapes)
    return RequestBodies(
        tuple(bodies),
        counted if len(counted) == len(shapes) else None,
        asked,
        no_count=filled.no_count,
        by_usage=filled.by_usage,
    )


async def _of_blocks(
    pool: Pool,
    model: str,
    workload: Workload,
    shapes: Sequence[Shape],
    nonce: str,
    ids: bool,
    known: Capabilities,
) -> RequestBodies:
    """Prompts of shared blocks. Their lengths are as near as words allow: filling one up would end what it shares."""
    maker = _Maker(pool, model, workload, nonce, {}, known)
    template, each = await maker.tokens_of_words() if await maker.probe() else (0.0, _TOKENS_PER_WORD)
    bodies: list[dict[str, Json]] = []
    for index, shape in enumerate(shapes):
        count = max(1, round((shape.input_tokens - template) / each))
        words: list[str] = []
        for block in shape.blocks:
            # Fewer choices are the first of more: a block that is cut begins as the whole one.
            length = min(max(1, round(shape.block_tokens / each)), count - len(words))
            words += random.Random(f"block {nonce} {block}").choices(WORDS, k=max(0, length))
        if len(words) < count:
            words += random.Random(f"rest {nonce} {index}").choices(WORDS, k=count - len(words))
        shaped = replace(workload, output_tokens=shape.output_tokens)
        body = _body(model, shaped, " ".join(words[:count]), nonce, index, False)
        bodies.append({**body, "request_id": request_id(index)} if ids else body)
    asked = tuple(shape.input_tokens for shape in shapes)
    return RequestBodies(
        tuple(bodies), None, asked, no_count="equal blocks are equal words, none is filled up"
    )


def probe_body(model: str, workload: Workload, nonce: str, salt: bool) -> dict[str, Json]:
    """A short request with every field that this workload's requests have."""
    if workload.given is not None:
        return _as_given(model, workload, workload.given, 1, nonce, salt, False).bodies[0]
    return _body(model, workload, f"{_number(nonce, 0)} one two three", nonce, 0, salt)


def request_id(index: int) -> str:
    return f"llmperf-{index}"


def _body(model: str, workload: Workload, text: str, nonce: str, index: int, salt: bool) -> dict[str, Json]:
    salted = salt and workload.unique and not workload.warm_cache
    fields = {"model": model, **_prompt(workload, text)}
    return _dressed(fields, workload, workload.output_tokens, f"{nonce}-{index}" if salted else "")


def _dressed(fields: dict[str, Json], workload: Workload, limit: int, salt: str) -> dict[str, Json]:
    """The whole body of a prompt whose answer may have ``limit`` tokens."""
    body = {**fields, "max_tokens": limit}
    if workload.fixed_output:
        body |= {"ignore_eos": True, "min_tokens": limit}
    if salt:
        body["cache_salt"] = salt
    # No ``seed`` for the sampler: vLLM samples seeded requests one by one, which would slow the server down.
    # What the prompt says of itself stands.
    body |= {name: value for name, value in workload.sampling.items() if name not in fields}
    return lint(streaming(body, usage_per_chunk=workload.usage_per_chunk))


def _number(nonce: str, index: int) -> str:
    """The number that makes prompt ``index`` unique: always as many digits, and so as many tokens."""
    number = random.Random(f"number {nonce} {index}").randrange(10**_PREFIX_DIGITS)
    return f"{number:0{_PREFIX_DIGITS}d}"


def _prompt(workload: Workload, text: str) -> dict[str, Json]:
    return {"messages": [{"role": "user", "content": text}]} if workload.chat else {"prompt": text}


Fits = dict[int, tuple[str, int]]
"""By the number of a prompt: its text without the number that makes it unique, and the length of the whole."""


class _Maker:
    """Finds, for each prompt, the number of words that gives the asked length."""

    def __init__(
        self, pool: Pool, model: str, workload: Workload, nonce: str, fits: Fits, known: Capabilities
    ) -> None:
        self.pool, self.model, self.workload, self.nonce, self.fits = pool, model, workload, nonce, fits
        self.known = known
        self.words = max(1, workload.input_tokens - _PREFIX_DIGITS)
        """The best guess so far: what fitted the prompt before."""

    async def probe(self) -> bool:
        """True if the server has ``/tokenize``, and counts more tokens for more words."""
        few = None
        if self.known.tokenize is None:
            few = await self._count("one")
            many = None if few is None else await self._count("one two three four five six seven eight")
            self.known.tokenize = few is not None and many is not None and many > few
            if not self.known.tokenize and few is not None:
                self.known.no_tokenize = "it counts as many tokens for one word as for eight"
            elif few is None and self.pool is not None:
                self.known.no_tokenize = await why_not_counted(self.pool, self._asked("one"))
        if (
            self.known.tokenize
            and self.workload.chat
            and self.known.template_tokens is None
            and self.pool is not None
        ):
            await self._measure_template(few)
        return self.known.tokenize

    async def tokens_of_words(self) -> tuple[float, float]:
        """(tokens of a prompt without a word, tokens of each word), by ``/tokenize``."""
        few, many = 8, 136
        words = random.Random("words").choices(WORDS, k=many)
        counts = [await self._length(" ".join(words[:n])) for n in (few, many)]
        each = max(0.1, (counts[1] - counts[0]) / (many - few))
        return max(0.0, counts[0] - few * each), each

    async def _measure_template(self, message: int | None) -> None:
        """Compare a word as a message (``message`` tokens, if that was counted already) with it as a bare prompt.

        The special token that begins a bare prompt counts for the template.
        """
        if message is None:
            message = await self._count("one")
        bare = await count_tokens(self.pool, {"model": self.model, "prompt": "one"}, or_raise=False)
        if message is not None and bare is not None and bare <= message:
            self.known.template_tokens = message - bare + OPENING_TOKENS

    async def words_by_usage(self) -> int | None:
        """Words that give a prompt of about the asked length, by the server's ``usage``; None if it does not tell."""

        def body_of(words: int) -> dict[str, Json]:
            body = _body(self.model, self.workload, self.text(0, words), self.nonce, 0, False)
            return without(body, self.known.refused)

        told = await tokens_of_words(self.pool, self.known, self.workload.chat, body_of)
        if told is None:
            return None
        none, each = told
        if self.workload.chat and self.known.template_tokens is None:
            # The number that makes the prompt unique is in it: a token has three of its digits at most.
            number = _PREFIX_DIGITS // 3 if self.workload.unique else 0
            self.known.template_tokens = max(0, math.ceil(none) - number)
        return max(1, round((self.workload.input_tokens - none) / each))

    def knows(self, count: int) -> bool:
        """True if the first ``count`` prompts were fitted before."""
        return all(index in self.fits for index in range(count))

    def prefix(self, index: int) -> str:
        """The number that makes prompt ``index`` unique, if they are to be."""
        return _number(self.nonce, index) if self.workload.unique else ""

    def text(self, index: int, words: int) -> str:
        """Prompt ``index`` with so many words."""
        chosen = random.Random(f"words {self.workload.seed} {index if self.workload.unique else 0}")
        return (self.prefix(index) + "".join(f" {word}" for word in chosen.choices(WORDS, k=words))).strip()

    async def fitted(self, index: int, gate: asyncio.Semaphore) -> tuple[str, int]:
        """(text, its length): the asked length, or the nearest that was found."""
        prefix = self.prefix(index)
        if index not in self.fits:
            text, length = await self._fit(index, gate)
            self.fits[index] = (text.removeprefix(prefix), length)
        rest, length = self.fits[index]
        return prefix + rest, length

    async def _fit(self, index: int, gate: asyncio.Semaphore) -> tuple[str, int]:
        async with gate:
            best, words = await self._with_words(index)
            for fewer in range(1, _ATTEMPTS):
                if best[1] == self.workload.input_tokens:
                    break
                # Words of several tokens jump over the length: take fewer, and fill up with signs.
                text = self.text(index, max(0, words - fewer))
                best = self._nearer(best, await self._with_ending(text))
        return best

    async def _with_words(self, index: int) -> tuple[tuple[str, int], int]:
        """The nearest by the number of words alone, and that number; the next prompt begins with it."""
        asked, words, best, kept = self.workload.input_tokens, self.words, ("", -1), 0
        tried: set[int] = set()
        while words not in tried and len(tried) < _ATTEMPTS:
            tried.add(words)
            text = self.text(index, words)
            length = await self._length(text)
            nearer = self._nearer(best, (text, length))
            if nearer is not best:
                best, kept = nearer, words
            step = round((asked - length) * words / max(1, length)) or (asked > length) - (asked < length)
            words = max(0, words + step)
        self.words = kept
        return best, kept

    async def _with_ending(self, text: str) -> tuple[str, int]:
        length = await self._length(text)
        missing = self.workload.input_tokens - length
        best = (text, length)
        if 0 < missing <= _MOST_ENDINGS:
            for ending in _ENDINGS:
                longer = text + ending * missing
                best = self._nearer(best, (longer, await self._length(longer)))
                if best[1] == self.workload.input_tokens:
                    break
        return best

    def _nearer(self, old: tuple[str, int], new: tuple[str, int]) -> tuple[str, int]:
        asked = self.workload.input_tokens
        return new if old[1] < 0 or abs(new[1] - asked) < abs(old[1] - asked) else old

    async def _length(self, text: str) -> int:
        count = await self._count(text)
        if count is None:
            raise RequestFailed("/tokenize answered before and is gone now; exact prompts need it")
        return count

    async def _count(self, text: str) -> int | None:
        # A gateway may answer 502 to a path that it does not know; a tokenizer that has counted must not fail.
        return await count_tokens(self.pool, self._asked(text), or_raise=self.known.tokenize is True)

    def _asked(self, text: str) -> dict[str, Json]:
        return {"model": self.model, **_prompt(self.workload, text)}
