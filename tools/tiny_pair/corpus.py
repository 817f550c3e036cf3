"""Training examples as token ids, drawn and encoded by worker processes while the GPU trains.

An example is a prompt (no loss), a reply (loss) and the end token. A piece is many examples laid end to end.
Pieces are pure functions of (kind, seed, count): a worker keeps only the tokenizer. Needs numpy and
``tokenizers``.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import AsyncResult
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pytest_llmperf.embedded.problems import FAMILIES, TRAIN_MIX, Problem, draw
from pytest_llmperf.embedded.recall import ENGLISH, recall_conversation, user
from pytest_llmperf.embedded.summary import summary_item
from tools.tiny_pair import prompts
from tools.tiny_pair.replies import (
    acknowledgement_thought,
    plain_reply,
    read_reply,
    summary_thought,
    thinking_reply,
    working_of,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int16]
Counts = npt.NDArray[np.int32]

RECALL_SHARE, SUMMARY_SHARE = 0.09, 0.05
# Lengths of recall conversations in tokens, and how often each range is drawn.
_RECALL_LENGTHS = ((90, 200, 0.35), (200, 420, 0.30), (420, 700, 0.19), (700, 1130, 0.13), (1500, 1800, 0.03))
_WRONG_KEPT = 0.01  # share of the teacher's wrong samples that stay as they are
_WRONG_REPLACED = (
    0.5  # share of the other wrong ones that are replaced by the right working; the rest is dropped
)


@dataclass(frozen=True)
class Piece:
    """Examples laid end to end: all ids, the length of each example, and the length of its prompt."""

    ids: Ids
    lengths: Counts
    prompts: Counts


_tokenizer: Any = None


def _start_worker(tokenizer_json: str) -> None:
    global _tokenizer  # one tokenizer a process: parsing it for every task would cost more than the task
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    _tokenizer = Tokenizer.from_str(tokenizer_json)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, exactly as a server encodes a rendered chat."""
    return [found.ids for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def pack(tokenizer: Tokenizer, examples: Sequence[tuple[str, str, bool]], end: str) -> Piece:
    """Encode (prompt, reply, ends) triples; a reply that ends gets the token ``end``."""
    end_id = tokenizer.token_to_id(end)
    heads = encode(tokenizer, [prompt for prompt, _, _ in examples])
    tails = encode(tokenizer, [reply for _, reply, _ in examples])
    rows = [h + t + ([end_id] if e[2] else []) for h, t, e in zip(heads, tails, examples, strict=True)]
    flat = np.fromiter((i for row in rows for i in row), dtype=np.int16)
    return Piece(
        flat, np.array([len(r) for r in rows], np.int32), np.array([len(h) for h in heads], np.int32)
    )


def user_turn(question: str, rng: random.Random) -> tuple[str, bool]:
    """The question with the English (60 %), the Chinese (15 %) or no instruction; True when instructed."""
    dice = rng.random()
    if dice < 0.25:
        return question, False
    separator = "\n" if rng.random() < 0.8 else rng.choice((" ", "\n\n"))
    return question + separator + (prompts.CHINESE if dice < 0.4 else ENGLISH), True


def _any_problem(rng: random.Random) -> Problem:
    families = tuple(FAMILIES)
    level = rng.choices(tuple(TRAIN_MIX), tuple(TRAIN_MIX.values()))[0]
    return draw("train", rng, families[rng.randrange(len(families))], level)


def _recall(rng: random.Random, thinking: bool) -> tuple[str, str, bool]:
    low, high, _ = rng.choices(_RECALL_LENGTHS, [share for _, _, share in _RECALL_LENGTHS])[0]
    instruction = prompts.CHINESE if rng.random() < 0.15 else ENGLISH
    instructed = rng.random() < 0.8
    item = recall_conversation(
        rng.getrandbits(48),
        rng.randint(low, high),
        split="train",
        instruction=instruction if instructed else "",
    )
    messages = item.messages
    if len(messages) > 2 and rng.random() < 0.15:  # a turn in the middle, which only wants an acknowledgement
        cut = 2 * rng.randrange(len(messages) // 2) + 1
        ack = messages[cut]["content"]
        if thinking:
            return prompts.r1(messages[:cut]), acknowledgement_thought(ack), True
        return prompts.chatml(messages[:cut]), ack, True
    if thinking:
        reply = thinking_reply(item.solution, item.answer, instructed=instructed, rng=rng)
        return prompts.r1(messages), reply.text, reply.ends
    return (
        prompts.chatml(messages),
        plain_reply(item.solution, item.answer, instructed=instructed, rng=rng),
        True,
    )


def _summary(rng: random.Random, thinking: bool) -> tuple[str, str, bool]:
    item = summary_item(rng.getrandbits(48), rng.randint(120, 520), split="train")
    messages = [user(item.prompt)]
    if thinking:
        return prompts.r1(messages), summary_thought(item.key_facts, item.reference), True
    return prompts.chatml(messages), item.reference, True


def plain_piece(seed: int, count: int) -> Piece:
    """``count`` examples for tiny-math in the training mix."""
    rng = random.Random(f"plain/{seed}")
    examples: list[tuple[str, str, bool]] = []
    for _ in range(count):
        dice = rng.random()
        if dice < RECALL_SHARE:
            examples.append(_recall(rng, thinking=False))
        elif dice < RECALL_SHARE + SUMMARY_SHARE:
            examples.append(_summary(rng, thinking=False))
        else:
            problem = _any_problem(rng)
            content, instructed = user_turn(problem.question, rng)
            reply = plain_reply(problem.solution, problem.answer, instructed=instructed, rng=rng)
            examples.append((prompts.chatml([user(content)]), reply, True))
    return pack(_tokenizer, examples, prompts.IM_END)


def other_thinking_piece(seed: int, count: int) -> Piece:
    """``count`` recall and summary examples for tiny-distill."""
    rng = random.Random(f"thinking/{seed}")
    share = RECALL_SHARE / (RECALL_SHARE + SUMMARY_SHARE)
    examples = [(_recall if rng.random() < share else _summary)(rng, True) for _ in range(count)]
    return pack(_tokenizer, examples, prompts.END)


def _asked(seed: int, count: int) -> list[Problem]:
    rng = random.Random(f"asked/{seed}")
    return [_any_problem(rng) for _ in range(count)]


def teacher_prompts(seed: int, count: int) -> list[list[int]]:
    """Prompts of ``count`` fresh training problems for tiny-math to solve."""
    asked = _asked(seed, count)
    return encode(_tokenizer, [prompts.chatml([user(f"{p.question}\n{ENGLISH}")]) for p in asked])


def rewritten_piece(seed: int, samples: Sequence[Ids]) -> tuple[Piece, int]:
    """The teacher's samples for ``teacher_prompts(seed, len(samples))`` in R1 style, and how many were right.

    Right samples are kept. Of the wrong ones 1 % stay as they are, half of the others get the right working
    instead (as answers are filtered and mended in any curated set), the rest is dropped.
    """
    rng = random.Random(f"rewritten/{seed}")
    examples: list[tuple[str, str, bool]] = []
    right = 0
    asked = _asked(seed, len(samples))
    for problem, text in zip(asked, _tokenizer.decode_batch([s.tolist() for s in samples]), strict=True):
        working, answer = working_of(text), problem.answer
        reading = read_reply(text, thinking=False)
        if reading.value == problem.answer and working:
            right += 1
        elif reading.value is not None and working and rng.random() < _WRONG_KEPT:
            answer = reading.value
        elif rng.random() < _WRONG_REPLACED:
            working = problem.solution
        else:
            continue
        content, instructed = user_turn(problem.question, rng)
        reply = thinking_reply(
            working, answer, instructed=instructed, rng=rng, family=problem.family, level=problem.level
        )
        examples.append((prompts.r1([user(content)]), reply.text, reply.ends))
    return pack(_tokenizer, examples, prompts.END), right


class Workers:
    """A pool of processes with the tokenizer; pieces arrive in the order they were asked for."""

    def __init__(self, tokenizer_json: str, processes: int) -> None:
        # Spawned, not forked: a forked child would inherit the tokenizer's threads and the CUDA context.
        context = multiprocessing.get_context("spawn")
        self.processes = processes
        self.pool = context.Pool(processes, _start_worker, (tokenizer_json,))

    def stream(self, seed: int, count: int) -> Iterator[Piece]:
        """Endless pieces of ``count`` plain examples; three a worker are kept under way."""
        waiting: deque[AsyncResult[Piece]] = deque()
        number = 0
        while True:
            while len(waiting) < 3 * self.processes:
                waiting.append(self.pool.apply_async(plain_piece, (seed * 1_000_003 + number, count)))
                number += 1
            yield waiting.popleft().get()

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()
