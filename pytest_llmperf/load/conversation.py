"""Conversations whose next prompt holds the server's real answer, turn by turn.

All users ask at once, each turn a closed loop of its own; then they read, think for a while and ask again. What a
prefix cache is worth depends on the answers: a server finds an earlier turn in its cache only as far as the text that
comes back gives the tokens that it wrote. So answers end where the model ends them: text behind an end that was ignored
would not come back as the same tokens.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.load.conversation_file import Script
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.prompt_set import WORDS, PromptSet
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

OWN_LENGTHS = (
    "answers of a conversation end at lengths of their own: times to the last token are not comparable"
)


@dataclass(frozen=True)
class Conversation:
    """The shape of conversations: how many users, how many turns, and how much each says."""

    users: int
    turns: int
    first_words: int
    """Words of a user's first message; about one token each."""
    next_words: int
    """Words of each further message."""
    answer_tokens: int
    """Most tokens of an answer."""
    think_s: float = 0.0
    """Pause between the last answer of a turn and the next question."""
    script: Script | None = None
    """What the users say, if a file says it; lengths and pause above then mean nothing."""

    @classmethod
    def of_script(cls, script: Script, answer_tokens: int) -> Conversation:
        """The conversations of a file."""
        return cls(len(script.sessions), script.turns, 64, 1, answer_tokens, 0.0, script)

    def users_in(self, turn: int) -> int:
        """Users who have such a turn, from 1."""
        if self.script is None:
            return self.users
        return sum(len(session.turns) >= turn for session in self.script.sessions)

    def pause_s(self, turn: int) -> float:
        """Seconds before a turn, from 2."""
        return self.think_s if self.script is None else self.script.pause_s(turn)

    def question(self, user: int, turn: int, nonce: str) -> list[Json]:
        """The messages of a user before an answer, with a beginning that no earlier round had; none after the end."""
        if self.script is None:
            words = self.first_words if turn == 1 else self.next_words
            return [_question(words, f"{nonce} {turn} {user}")]
        session = self.script.sessions[user]
        if turn > len(session.turns):
            return []
        said = session.turns[turn - 1]
        if turn > 1:
            return [{"role": "user", "content": said.content()}]
        if session.system:
            first: JsonObject = {"role": "system", "content": f"{nonce} {session.system}"}
            return [first, {"role": "user", "content": said.content()}]
        return [{"role": "user", "content": said.content(nonce)}]

    def limit(self, user: int, turn: int) -> int | None:
        """Most tokens of an answer, if the file says so."""
        return None if self.script is None else self.script.sessions[user].turns[turn - 1].answer_tokens

    @property
    def pace(self) -> str:
        """What follows the first message: part of a turn's name, since loads of one name are one in the record."""
        if self.script is not None:
            return f"as in {self.script}"
        return f"{self.next_words} words more after {self.think_s:g} s"

    @property
    def name(self) -> str:
        """What a turn's name in the record has after ``turn 2 of conversations``."""
        return f"of {self.turns}, {self.pace}"

    @property
    def pauses_s(self) -> float:
        """Seconds between the turns, all together."""
        return sum(self.pause_s(turn) for turn in range(2, self.turns + 1))

    def __post_init__(self) -> None:
        for name in ("users", "turns", "first_words", "next_words", "answer_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; need a whole number, 1 or more")
        if not 0.0 <= self.think_s <= 3600.0:
            raise ValueError(f"think_s is {self.think_s}; need 0 to 3600 seconds")


def hold(
    server: Server,
    shape: Conversation,
    workload: Workload,
    options: SendOptions,
    on_turn: Callable[[int], None] = lambda _: None,
) -> list[LoadRun]:
    """Hold conversations that no cache knows; returns the load of each turn, the first one first.

    ``workload``: the sampling. ``options.warmup`` requests are sent before the first turn, with texts of their own.
    ``on_turn`` is called with the number of each turn before it. A user whose request failed, or whose answer has no
    text, asks no more. Raises as :func:`run_load` does, and ``NotMeasured`` if no user is left before the last turn.
    """
    nonce = options.nonce or secrets.token_hex(8)
    asking = replace(
        workload,
        input_tokens=shape.first_words,
        output_tokens=shape.answer_tokens,
        fixed_output=False,
        warm_cache=True,
        unique=False,
    )
    said: list[tuple[int, list[Json]]] = [
        (user, shape.question(user, 1, nonce)) for user in range(shape.users)
    ]
    warmup = shape.users if options.warmup is None else options.warmup
    options = replace(options, warmup=0)
    warm_up(server, asking, warmup, shape.users, shape.first_words, nonce, options)
    runs: list[LoadRun] = []
    for turn in range(1, shape.turns + 1):
        on_turn(turn)
        if turn > 1:
            time.sleep(shape.pause_s(turn))
        name = f"turn {turn} of conversations {shape.name}"
        given = PromptSet(name, [_prompt(messages, shape.limit(user, turn)) for user, messages in said])
        run = run_load(server, replace(asking, given=given), ClosedLoop(len(said), len(said)), options)
        runs.append(replace(run, length_problem=OWN_LENGTHS, gave_up=shape.users_in(turn) - len(said)))
        asked, said = said, []
        for trace in run.traces:
            user, messages = asked[trace.index]
            more = shape.question(user, turn + 1, nonce)
            if trace.ok and trace.text and more:
                said.append((user, [*messages, _answer(trace), *more]))
        if not said and turn < shape.turns:
            first = next((trace.error for trace in run.traces if trace.error), "no answer has a text")
            raise NotMeasured(f"no conversation went on after turn {turn}; the first error: {first}")
    return runs


def warm_up(
    server: Server,
    asking: Workload,
    count: int,
    concurrency: int,
    words: int,
    nonce: str,
    options: SendOptions,
) -> None:
    """Send ``count`` questions of that length and discard the answers; nothing for 0.

    Their texts are their own: a cache that is warm for a first turn would be measured.
    """
    if count:
        others: list[JsonObject] = [
            {"messages": [_question(words, f"{nonce} warm-up {user}")]} for user in range(count)
        ]
        warming = replace(asking, given=PromptSet("warm-up of conversations", others))
        run_load(server, warming, ClosedLoop(concurrency, count), options)


def _prompt(messages: list[Json], limit: int | None) -> JsonObject:
    return {"messages": messages} if limit is None else {"messages": messages, "max_tokens": limit}


def _question(words: int, seed: str) -> JsonObject:
    return {"role": "user", "content": " ".join(random.Random(seed).choices(WORDS, k=words))}


def _answer(trace: Trace) -> JsonObject:
    """The message that goes back, without the thinking, as chat templates drop it."""
    return {"role": "assistant", "content": trace.text}
