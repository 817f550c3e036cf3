r"""Grading what is more than a number: ``\left( 3, \frac{\pi}{2} \right)``, ``x \in [-2, 7]``, ``p - q``.

Numbers are compared exactly, as everywhere; the rest by Math-Verify, which is SymPy behind a reader of LaTeX. It runs
in child processes, since it can hang, swallow gigabytes, and clears the alarm of pytest-timeout. It gets the content
of the last box and nothing else: in a whole reply it takes two boxes that stand close together for one set.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_llmperf.catalog import Protocol
from pytest_llmperf.tasks.exact_number import read_number
from pytest_llmperf.tasks.grading import Grade, Outcome, after_mark, final_answer
from pytest_llmperf.tasks.killable import Killable

_TROUBLES = frozenset({"unreadable", "time", "memory", "died", "length"})
_LINE_END = re.compile(r"\.(?=\s|$)|\n")
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|[!,;: ])|\s+|\.$")
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

    Costs microseconds where both are numbers, milliseconds else, and at most 2 seconds and 512 MB: then the answer is
    ungraded. Safe in any thread. Raises :class:`UsageError` if Math-Verify cannot be imported.
    """
    answer = final_answer(
        text, finish_reason=finish_reason, thinking=thinking, protocol=protocol, marked=_marked_text
    )
    if isinstance(answer, Grade):
        return answer
    same = _same(gold, answer)
    if isinstance(same, str):
        return Grade(Outcome.UNGRADED, same, answer)
    return Grade(Outcome.CORRECT, "", answer) if same else Grade(Outcome.WRONG, "other", answer)


@lru_cache(maxsize=8192)
def check_symbolic(gold: str) -> None:
    """Raises :class:`ValueError` for an expected answer that no reply could be compared with."""
    if read_number(gold) is not None:
        return
    found = _pool.ask("parse", gold)
    if found is not True:
        raise ValueError(f"the expected answer can't be compared ({found}): {gold[:80]!r}")


def _same(gold: str, answer: str) -> bool | str:
    # A gold with a name in it wants that name: x = 1 is not y = 1.
    expected = None if "=" in gold else read_number(gold)
    given = read_number(answer)
    if expected is not None and given is not None:
        return given.equals(expected)
    if _plain(gold) == _plain(answer):
        return True
    found = _pool.ask("equal", gold, answer)
    return found if isinstance(found, bool) or found in _TROUBLES else "died"


def _plain(text: str) -> str:
    """``text`` without what changes how it looks and not what it says."""
    return _LOOKS.sub("", text.strip().strip("$")).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


def _marked_text(body: str) -> str | None:
    """The last of box and ``The answer is X``: the rest of that sentence, without its dollar signs."""
    box, rest = after_mark(body)
    if box is not None:
        return box
    line = _LINE_END.split(rest.lstrip(" :*\n"), maxsplit=1)[0]
    return line.strip().removeprefix("\\(").removesuffix("\\)").strip(" $*") or None
