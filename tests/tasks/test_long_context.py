"""Generated long prompts: the same for the same seed, as long as asked for, and graded by what is given back."""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest

from pytest_llmperf.embedded.recall import ENGLISH
from pytest_llmperf.errors import UsageError
from pytest_llmperf.tasks.long_context import KINDS, find_kind
from pytest_llmperf.tasks.long_context.given_back import given_back
from pytest_llmperf.tasks.long_context.text import UNKNOWN, Fact, LongKind, TokenSizes, depth_of

EXACT = [kind for kind in KINDS if kind.exact]
_PIECES = re.compile(r" ?[A-Za-z]{1,4}|\d| ?[^\sA-Za-z\d]|\s")


def pieces(text: str) -> int:
    """The tokens of a text by a stand-in of a byte-pair encoder: four letters, a digit, a sign."""
    return len(_PIECES.findall(text))


def sizes(kind: LongKind) -> TokenSizes:
    if not kind.exact:
        return UNKNOWN
    counted = {unit: float(pieces(f" {unit}")) for unit in kind.units}
    return TokenSizes(sum(counted.values()) / sum(len(unit) + 1 for unit in counted), counted)


def whole(kind: LongKind, seed: int, tokens: int) -> str:
    text = kind.write(seed, tokens, sizes(kind), ENGLISH)
    return "\n".join(turn["content"] for turn in text.turns)


@pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.name)
@pytest.mark.parametrize("tokens", [1024, 4096, 32_768])
def test_a_prompt_has_the_tokens_asked_for_within_two_per_cent(kind: LongKind, tokens: int) -> None:
    text = kind.write(0, tokens, sizes(kind), ENGLISH).turns[0]["content"]
    corrected = sizes(kind).corrected(pieces(text), tokens)
    for seed in range(1, 7):
        content = kind.write(seed, tokens, corrected, ENGLISH).turns[0]["content"]
        assert abs(pieces(content) - tokens) <= 0.02 * tokens


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_prompt_is_the_same_for_the_same_seed_and_another_for_another(kind: LongKind) -> None:
    assert whole(kind, 3, 1024) == whole(kind, 3, 1024) != whole(kind, 4, 1024)


@pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.name)
def test_a_prompt_of_128k_tokens_is_written_in_a_fifth_of_a_second(kind: LongKind) -> None:
    of_units = sizes(kind)
    kind.write(0, 131_072, of_units, ENGLISH)

    def once(seed: int) -> float:
        began = time.process_time()
        kind.write(seed, 131_072, of_units, ENGLISH)
        return time.process_time() - began

    assert min(once(seed) for seed in range(3)) <= 0.2


def test_a_needle_stands_once_at_its_depth_and_every_depth_comes() -> None:
    kind = find_kind("needle")
    depths = set()
    for seed in range(11):
        [fact] = kind.write(seed, 4096, sizes(kind), ENGLISH).facts
        text = whole(kind, seed, 4096)
        assert text.count(fact.answer) == 1
        assert fact.depth == depth_of(seed)
        assert text.index(fact.answer) / len(text) == pytest.approx(fact.depth, abs=0.06)
        depths.add(fact.depth)
    assert depths == {n / 10 for n in range(11)}


def test_several_needles_lie_among_others_that_are_not_asked_for() -> None:
    kind = find_kind("needles")
    text = kind.write(1, 4096, sizes(kind), ENGLISH)
    assert len(text.facts) == len(text.confusable) == 4
    said = text.turns[0]["content"]
    assert all(said.count(code) == 1 for code in (*text.confusable, *(fact.answer for fact in text.facts)))


def test_every_asked_variable_leads_to_the_value_and_no_other_does() -> None:
    kind = find_kind("variables")
    text = kind.write(2, 4096, sizes(kind), ENGLISH)
    said = text.turns[0]["content"]
    asked = re.search(r"have the value (\d+)", said)
    assert asked is not None
    values: dict[str, str] = {}
    for name, value in re.findall(r"Set (\w+) = (\w+)\.", said):
        values[name] = values.get(value, value)  # each is set before it is used
    assert {name for name, value in values.items() if value == asked[1]} == {
        fact.answer for fact in text.facts
    }
    assert len(values) == 20


def test_the_frequent_words_are_ten_times_as_frequent() -> None:
    kind = find_kind("words")
    text = kind.write(5, 8192, sizes(kind), ENGLISH)
    times = Counter(re.findall(r"[a-z]+", text.turns[0]["content"].split("\n\n")[1]))
    frequent = [times.pop(fact.answer) for fact in text.facts]
    assert min(frequent) > 5 * max(times.values())


def test_a_list_of_words_that_is_too_short_for_all_of_them_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"recall of words over 64 tokens: the shortest list has [\d,]+ tokens"
    ):
        find_kind("words").write(0, 64, TokenSizes(0.25), ENGLISH)


FACTS = [Fact("12345", 0.1), Fact("67890", 0.9)]
OTHERS = frozenset({"11111", "22222"})
CODES = range(10_000, 100_000)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        (r"They are \boxed{12345, 67890}.", (True, True)),
        (r"\boxed{12,345} and \boxed{67,890}", (True, True)),
        ("1. the red box: 12345\n2. the blue door: 67890", (True, True)),
        (r"12345 and 67890, so \boxed{12345}", (True, False)),
        ("12345, 67890, 11111, 22222", (False, False)),
        ("11111, 22222, 12345, 67890", (True, True)),
        ("12345 and 99999", (True, False)),
        ("99999 or 88888 or 12345 or 77777", (True, False)),
        ("123456 and 67890", (False, True)),
        ("**12345** and **67890**; I also read 11111 and 22222.", (True, True)),
        ("**the red box**: 12345\n**the blue door**: 67890", (True, True)),
        ("**12345** and 67890", (True, True)),
        ("１２３４５、６７８９０", (True, True)),
        ("12\u202f345 and 67.890", (True, True)),
        ("", (False, False)),
        ("I don't know.", (False, False)),
    ],
)
def test_the_last_answers_count_as_many_as_there_are_facts(reply: str, right: tuple[bool, bool]) -> None:
    assert given_back(reply, FACTS, OTHERS, CODES) == right


def test_whoever_lists_everything_is_right_by_chance_only() -> None:
    kind = find_kind("variables")
    rng = random.Random(1)
    right = asked = 0
    for seed in range(40):
        text = kind.write(seed, 1024, sizes(kind), ENGLISH)
        every = [*(fact.answer for fact in text.facts), *sorted(text.confusable)]
        rng.shuffle(every)
        given = given_back(", ".join(every), text.facts, text.confusable)
        right, asked = right + sum(given), asked + len(given)
    assert right / asked < 0.4  # five of twenty


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("42", True),
        ("It was 17, no: 42.", True),
        ("42 or 17", False),
        (r"17, so \boxed{42}", True),
        (r"42, so \boxed{17}", False),
        ("1,042", False),
        ("42, wait, 105", False),
        ("42. That was 3 turns ago.", True),
        ("42, not 17", True),
        ("not 42", False),
        ("It isn't 42.", False),
        ("42, in 98 words", True),
        ("**42**, and not the 17 of the red box", True),
        ("**17** or 42", False),
        ("42.5", False),
        ("42.0", True),
        ("42kg", True),
        ("A42", False),
        ("4２", True),
        ("٤٢", True),
        ("它是４２。", True),
        ("42²", True),
        ("9" * 5000, False),
    ],
)
def test_of_a_single_number_the_last_counts(reply: str, right: bool) -> None:
    assert given_back(reply, [Fact("42", None)], frozenset(), range(10, 10_000)) == (right,)


@pytest.mark.parametrize("kind", ["needle", "conversation"])
@pytest.mark.parametrize(
    "reply",
    [
        "The code is {}. I found it in sentence 3 of 812.",
        "{} (stated once in about 32,768 tokens)",
        "{}\n\nIs there anything else, 1 to 9?",
    ],
)
def test_a_later_number_that_is_no_answer_spoils_nothing(kind: str, reply: str) -> None:
    text = find_kind(kind).write(7, 1024, UNKNOWN, ENGLISH)
    said = reply.replace("812", "8") if kind == "conversation" else reply
    given = given_back(said.format(text.facts[0].answer), text.facts, text.confusable, text.numbers)
    assert given == (True,)


@pytest.mark.parametrize("name", [kind.name for kind in KINDS])
def test_the_numbers_of_a_kind_hold_its_answers(name: str) -> None:
    for seed in range(20):
        text = find_kind(name).write(seed, 2048, sizes(find_kind(name)), ENGLISH)
        asked = [int(fact.answer) for fact in text.facts if fact.answer.isdecimal()]
        assert all(number in text.numbers for number in asked)
        assert bool(text.numbers) == bool(asked)


def test_an_unknown_kind_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no kind of long prompt 'needls'.*needle"):
        find_kind("needls")
