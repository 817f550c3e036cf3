r"""Grading what is more than a number: ``\left( 3, \frac{\pi}{2} \right)``, ``x \in [-2, 7]``, ``p - q``.

Numbers are compared exactly, as everywhere; words, bases, names and units by their text (``tasks.formulas``); the rest
by SymPy behind Math-Verify's reader of LaTeX (``symbolic_worker`` says with which settings). It runs in child
processes, since it can hang, swallow gigabytes, and clears the alarm of pytest-timeout.
"""

from __future__ import annotations

from functools import lru_cache

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.boxes import boxes_together, last_box
from pytest_llmperf.tasks.grading import Grade, Outcome, answer_proper, formulas, unanswered
from pytest_llmperf.tasks.grading.exact_number import Number, read_number
from pytest_llmperf.tasks.grading.killable import Killable
from pytest_llmperf.tasks.sentences import final_words, own_answer

_TROUBLES = frozenset({"unreadable", "time", "memory", "died", "length"})
_MOST_PARTS = 6
_LONGEST = 2000
"""Characters of an answer that is looked at by its text; a longer one goes to SymPy as it is."""
_pool = Killable()


def grade_symbolic(
    text: str | None,
    gold: str,
    *,
    finish_reason: str | None,
    thinking: bool = False,
    protocol: Protocol = "chat",
) -> Grade:
    """Grade a reply against ``gold``, any answer that can be written in LaTeX; see :func:`.grading.grade`.

    Costs microseconds where both are numbers, milliseconds else, and at most 2 seconds of processor time and 512 MB:
    then the answer is ungraded. A gold that cannot be read is compared by its text. Safe in any thread. Raises
    :class:`UsageError` if Math-Verify cannot be imported.
    """
    del protocol
    body = answer_proper(text, finish_reason=finish_reason, thinking=thinking)
    if isinstance(body, Grade):
        return body
    answer = final_words(body, _reads)
    if answer is None:
        return unanswered(body)
    same = _same(gold, answer)
    together = boxes_together(own_answer(body))
    is_together = len(together) > 1 and together[-1] == answer
    if same is not True and is_together and len(formulas.listed(formulas.cleaned(gold))) > 1:
        answer = ", ".join(together)
        same = _same(gold, answer)
    elif same is True and is_together and any(_same(gold, part) is not True for part in together[:-1]):
        return Grade(Outcome.UNGRADED, "unreadable", ", ".join(together))
    if isinstance(same, str):
        return Grade(Outcome.UNGRADED, same, answer)
    return Grade(Outcome.CORRECT, "", answer) if same else Grade(Outcome.WRONG, "other", answer)


@lru_cache(maxsize=8192)
def check_symbolic(gold: str) -> None:
    """Raises :class:`ValueError` for an expected answer of which nothing is left to compare by."""
    if not formulas.plain(gold).strip("$"):
        raise ValueError(f"the expected answer is empty: {gold[:80]!r}")


@lru_cache(maxsize=8192)
def is_readable(gold: str) -> bool:
    """True if an expected answer can be read as a formula; any other is compared by its text alone."""
    if _gold_number(gold) is not None or formulas.words_of(gold) or formulas.based(gold):
        return True
    return _pool.ask("parse", _for_sympy(gold, gold)) is True


def _reads(text: str) -> bool:
    """True if a sentence gives a formula, and not prose."""
    if read_number(text) is not None:
        return True
    return bool(text) and formulas.prose(formulas.without_unit(text, "")) is None


def _same(gold: str, answer: str, depth: int = 0) -> bool | str:
    if len(answer) > _LONGEST:
        return _ask(gold, answer)
    gold, answer = formulas.cleaned(last_box(gold) or gold), formulas.cleaned(answer)
    if gold == answer:
        return True
    if formulas.digits_apart(answer):
        return "unreadable"
    if formulas.plain(gold) == formulas.plain(answer) or formulas.same_by_words(gold, answer):
        return True
    times = formulas.clock(gold), formulas.clock(answer)
    if times[0] and times[1]:
        halves = {half for *_, half in (times[0], times[1]) if half}
        return times[0][:2] == times[1][:2] and len(halves) < 2
    units = formulas.unit_of(gold), formulas.unit_of(answer)
    if units[0] and units[1] and units[0] != units[1]:
        return False
    bases = formulas.based(gold), formulas.based(answer)
    if any(bases):
        return bases[0] == bases[1]
    # A gold with a name in it wants that name: x = 1 is not y = 1.
    expected, given = _gold_number(gold), read_number(answer)
    if expected is not None and given is not None:
        return given.equals(expected)
    words = formulas.words_of(gold), formulas.words_of(answer)
    if words[0] is not None or words[1] is not None:
        return _same_words(gold, answer, *words)
    exact, *approximate = formulas.approximated(answer)
    if approximate and depth < _MOST_PARTS:
        is_named = formulas.is_name(exact) and formulas.plain(exact) != formulas.plain(gold)
        return _same(gold, approximate[-1] if "." in gold or is_named else exact, depth + 1)
    if formulas.dots(gold) or formulas.dots(answer):
        return "unreadable"  # SymPy would leave the dots out
    if formulas.primes(gold) != formulas.primes(answer):
        return _same_value(gold, answer, depth) if depth == 0 else False
    if depth < _MOST_PARTS and (by_parts := _by_sides(gold, answer, depth)) is not None:
        return by_parts
    if formulas.prose(formulas.without_unit(answer, gold)) and not formulas.prose(gold):
        inner = formulas.only_formula(answer)
        return "unreadable" if inner is None else _same(gold, inner, depth + 1)
    return _by_percent(gold, answer)


def _gold_number(gold: str) -> Number | None:
    """A gold that is one number, with a unit perhaps; a bare letter in it is a variable."""
    if "=" in gold or formulas.has_bare_letters(gold):
        return None
    return read_number(gold)


def _same_words(gold: str, answer: str, expected: str | None, given: str | None) -> bool | str:
    if expected is None:
        # Words for a formula: nothing says that they mean another thing.
        return "unreadable" if given and len(given) > 1 else _ask(gold, answer)
    if given is None:
        given = formulas.plain(answer).strip("(){}[]")
    expected, given = expected.replace(" ", ""), given.replace(" ", "")
    return given == expected if _is_named(expected) else given.lower() == expected.lower()


def _is_named(words: str) -> bool:
    """True if capitals stand for points: ABC is not acb."""
    return words.isupper() and len(words) > 1


def _same_value(gold: str, answer: str, depth: int) -> bool | str:
    """Compare answers with different numbers of primes: right if only a name has them (``f'(x) = 2x`` for ``2x``)."""
    expected, given = formulas.sides(gold), formulas.sides(answer)
    if len(expected) == 1 and len(given) > 1 and formulas.is_name(given[0]):
        return _same(gold, given[-1], depth + 1)
    if len(expected) == 2 and len(given) == 1 and formulas.is_name(expected[0]):
        return _same(expected[1], answer, depth + 1)
    return False


def _by_sides(gold: str, answer: str, depth: int) -> bool | str | None:
    """Equations by their sides, lists of named values without the name; None where it takes a look at the whole."""
    expected, given = formulas.sides(gold), formulas.sides(answer)
    if len(expected) == 1 and 1 < len(given) <= _MOST_PARTS:
        # 2x = 18 is not 18: what is equal to the answer is its name, or the answer in another form.
        last = _same(gold, given[-1], depth + 1)
        if last is not True:
            return last
        return all(formulas.is_name(part) or _same(given[-1], part, depth + 1) is True for part in given[:-1])
    if len(expected) > 2 and len(given) == 1:
        return _same(expected[-1], answer, depth + 1)
    if len(expected) == len(given) == 2 and formulas.are_other_names(expected[0], given[0]):
        return "unreadable"
    if len(expected) == 2 and formulas.is_name(expected[0]):
        if len(given) == 1 and not formulas.has_relation(answer) and len(formulas.listed(answer)) == 1:
            return _same(expected[1], answer, depth + 1)
        if len(given) > 1 and formulas.plain(given[0]) == formulas.plain(expected[0]):
            return _same(expected[1], given[-1], depth + 1)
    lists = formulas.listed(gold), formulas.listed(answer)
    if len(lists[0]) == len(lists[1]) > 1:
        named = formulas.without_names(lists[0]), formulas.without_names(lists[1])
        if named[1] is not None and (named[0] is None or named[0][0] == named[1][0]):
            return _same(", ".join(named[0][1] if named[0] else lists[0]), ", ".join(named[1][1]), depth + 1)
        if named[0] is not None and "=" not in answer:
            return _same(", ".join(named[0][1]), answer, depth + 1)
        commas = ", ".join(lists[1])  # "(1,2) and (3,4)"
        if len(given) == 1 and "=" not in answer and not formulas.has_relation(answer) and commas != answer:
            return _same(gold, commas, depth + 1)
    return None


def _by_percent(gold: str, answer: str) -> bool | str:
    """50 % is a half, and 50 where one of the two dropped its sign."""
    expected, given = formulas.percent_of(gold), formulas.percent_of(answer)
    if (expected is None) == (given is None):
        return _ask(gold if expected is None else expected, answer if given is None else given)
    if given is not None:
        return _ask(gold, f"\\frac{{{given}}}{{100}}")
    found = _ask(f"\\frac{{{expected}}}{{100}}", answer)
    return found if found is True else _ask(expected or "", answer)


def _ask(gold: str, answer: str) -> bool | str:
    found = _pool.ask("equal", _for_sympy(gold, answer), _for_sympy(answer, gold))
    return found if isinstance(found, bool) or found in _TROUBLES else "died"


def _for_sympy(text: str, other: str) -> str:
    if len(text) > _LONGEST:
        return text
    bare = formulas.without_unit(formulas.with_radians(formulas.cleaned(text)), other)
    return formulas.without_primes(formulas.with_functions(formulas.both_signs(bare)))
