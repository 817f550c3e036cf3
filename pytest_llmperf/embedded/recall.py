"""Recall over several turns: a conversation states facts, talks about other things, and asks for one fact."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypedDict

from pytest_llmperf.embedded import filler
from pytest_llmperf.embedded.problems import Split, side
from pytest_llmperf.embedded.problems.words import COLOURS, NAMES, THINGS

ENGLISH = "Please reason step by step, and put your final answer within \\boxed{}."
RECALLED = range(10, 10_000)
"""The numbers that a conversation may state."""
_ACKS_FACT = ("Noted.", "I will remember that.", "Thank you, I keep it in mind.", "Understood.")
_ACKS_OTHER = ("I see.", "That sounds nice.", "All right.", "Thank you for telling me.")


class Turn(TypedDict):
    """``role`` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class RecallItem:
    """A conversation whose last user turn asks for one number that an earlier turn gave.

    ``solution`` is the sentence that states the fact; ``depth`` is the share of the conversation after the
    fact.
    """

    messages: list[Turn]
    answer: int
    solution: str
    facts: int
    depth: float


def user(content: str) -> Turn:
    return {"role": "user", "content": content}


def assistant(content: str) -> Turn:
    return {"role": "assistant", "content": content}


def _facts(rng: random.Random, count: int) -> list[tuple[str, str, int]]:
    """``count`` facts about different things: what is said, what is asked, the number."""
    facts: list[tuple[str, str, int]] = []
    keys: set[str] = set()
    while len(facts) < count:
        number = rng.randint(10, 9999 if rng.random() < 0.3 else 99)
        if rng.random() < 0.7:
            key = f"{COLOURS[rng.randrange(len(COLOURS))]} {THINGS[rng.randrange(len(THINGS))]}"
            said, asked = f"The code of the {key} is {number}.", f"What is the code of the {key}?"
        else:
            key = NAMES[rng.randrange(len(NAMES))]
            said, asked = f"The number of {key} is {number}.", f"What is the number of {key}?"
        if key not in keys:
            keys.add(key)
            facts.append((said, asked, number))
    return facts


def recall_conversation(
    seed: int,
    tokens_target: int = 512,
    *,
    split: Split = "eval",
    facts: int | None = None,
    instruction: str = ENGLISH,
) -> RecallItem:
    """A conversation of about ``tokens_target`` ChatML tokens (R1: a tenth fewer), fixed by the arguments.

    It has at least 100 to 200 tokens. ``facts`` facts (2 to 6 by default, fewer in short ones) stand in
    different turns, and one of them is asked for at the end, followed by ``instruction`` on a line of its
    own unless that is empty. Held-out conversations share no set of facts with training. The assistant's
    earlier turns only acknowledge.
    """
    rng = random.Random(f"recall/{split}/{seed}/{tokens_target}")
    while True:
        chosen = _facts(rng, facts or rng.randint(2, min(6, max(2, tokens_target // 60))))
        if side("recall|" + " ".join(said for said, _, _ in chosen)) == split:
            break
    target = rng.randrange(len(chosen))
    said, asked, number = chosen[target]
    question = f"{asked}\n{instruction}" if instruction else asked
    # Fillers first, then the facts at random places among them, so that any distance occurs.
    turns: list[tuple[bool, str]] = []
    length = filler.estimate_tokens(question) + sum(
        filler.estimate_tokens(fact) + 16 for fact, _, _ in chosen
    )
    while (room := tokens_target - length) > 36:
        text = " ".join(filler.sentence(rng) for _ in range(rng.randint(1, min(4, 1 + room // 36))))
        turns.append((False, text))
        length += filler.estimate_tokens(text) + 14
    slots = sorted(rng.randint(0, len(turns)) for _ in chosen)
    for offset, (slot, fact) in enumerate(zip(slots, chosen, strict=True)):
        tail = rng.choice((" Please remember it.", "", " Keep it in mind."))
        turns.insert(slot + offset, (True, fact[0] + tail))
    messages: list[Turn] = []
    for is_fact, text in turns:
        acks = _ACKS_FACT if is_fact else _ACKS_OTHER
        messages += [user(text), assistant(acks[rng.randrange(len(acks))])]
    place = next(i for i, (_, text) in enumerate(turns) if said in text)
    messages.append(user(question))
    return RecallItem(messages, number, said, len(chosen), 1 - place / len(turns))
