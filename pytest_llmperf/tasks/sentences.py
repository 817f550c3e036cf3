r"""The final answer of a reply, in a box or in a sentence: ``The answer is $9$, which is what we wanted.``

One reader for every protocol, so that the same text is worth the same to a model that was asked in a chat and to one
that was shown examples. The last box is the answer; a marked sentence is where there is no box, or where it comes
after the last box and says something that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmperf.tasks.boxes import FIRST_BOX, WINDOW, boxes

MARKS = re.compile(
    r"(?P<hashes>^[ \t]*####(?!#)[ \t]*(?![ \t]*\n))"
    r"|(?<!(?i:wrong) )(?<!(?i:incorrect) )(?<!(?i:false) )"
    r"\b(?i:answer)(?:[ \t]+(?i:to|for|of)\b[^.\n:]{0,100}?)?[ \t*_]+"
    r"(?i:is|equals|would be|must be|should be|will be)\b"
    r"|\b(?i:answers)[ \t]+(?i:are)\b(?![ \t]+(?i:[a-z]{3,}))|<(?i:answer)>"
    r"|^[ \t]*(?:#{1,6}[ \t*]*|\*\*)(?i:(?:final |correct )?answer)[ \t*]*$"
    r"|(?:^|(?<=[.*]))[ \t>*_#-]*(?i:(?:my |the )?(?:final |correct |right |best )*answer)[ \t*_]*(?::|=)"
    r"|\b(?i:the|my) (?i:(?:final|correct|right|best) )*(?i:answer)[ \t*_]*[:=]"
    r"|(?:正确|最终|最后的?|标准)?(?:答案|选项)(?:应该|应当|应)?[ \t]*(?:是|为|：|:|选)",
    re.MULTILINE,
)
"""Marks before a final answer. ``####`` begins a line and is followed by something on it."""

_FILLER = re.compile(
    r"(?:[\s:：*_>=“]|\"|(?i:therefore|thus|then|hence|simply|just|indeed|clearly|exactly|equal to"
    r"|given by|obviously|in fact|also)\b,?"
    r"|\\(?:text|mathrm)\{\s*\})+"
)
_MATH = re.compile(
    r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)|(?<!\\)\$(?![\s0-9.,]+\s[A-Za-z]{2})((?:\\.|[^$\\\n])+?)\$",
    re.DOTALL,
)
_END = re.compile(r"</|\.(?=\s|$|\*|[A-Z][a-z])|[!;\n。；]|\.?\*\*|\?(?=\s|$)")
_CLAUSE = re.compile(
    r"(?:\s*,\s*|\s+)(?:which|because|since|as|so|where|that|but|therefore|thus|hence|meaning|due to|making|giving"
    r"|obtained|rounded|i\.e\.|namely|and\s+(?:that|this|it|he|she|they|we|so|thus|hence|therefore|not))\b"
    r"|\s*,\s*not\b|\s*,\s*(?:I|we|he|she|it|they|this|these|after|from|for|with|when|assuming|rounded|as|in"
    r"|or in|and)\b(?=\s+[A-Za-z])"
    r"|\s*,\s*(?:right|correct|indeed|too|done)\b"
    r"|\s+[-–—]+\s+(?=[A-Za-z]{2})|\s*—\s*|\s+\((?=[A-Za-z]{2,}[\s),])|[，]",
    re.IGNORECASE,
)
_FIRM = re.compile(r"\b(?:is|equals|be|final|correct)\b|是|为", re.IGNORECASE)
_REMARK = re.compile(
    r"(?:not\s+)?(?:correct|right|wrong|incorrect|reasonable|valid|unique|clear|unknown|unclear|obvious"
    r"|consistent|verified|confirmed|as follows|below|above|in|the same|found|given|simplified|indeed|already|what"
    r"|within|positive|negative)\b",
    re.IGNORECASE,
)
_QUESTIONS = (
    "Q",
    "Problem",
    "Ex",
    "Instruction",
    "User",
    "Human",
    "Input",
    "Task",
    "题",
)
"""Beginnings of the names of a next question: looked for first, since that costs nothing."""
_NEXT_QUESTION = re.compile(
    r"^[ \t>*_#]*(?:Q|Question|Problem|Exercise|Example|Instruction|User|Human|Input|Task|问题|题目)"
    r"[ \t]*(?:#?\d+)?[ \t*_]*[:：.]",
    re.MULTILINE,
)
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|im_start|eot_id|end_of_text|endoftext|start_header_id|return)\|>|</s>|<(?:end|start)_of_turn>"
    r"|<｜(?:end▁of▁sentence|User)｜>"
)
"""Marks of the chat template that a server left in the text: what follows them is another turn."""
_MULTIPLE_BEHIND = re.compile(
    r"(?:[\s$~*]|\\[)\] ,;]|\\text\s*\{)*(hundred|thousand|lakh|million|crore|billion|trillion|dozen)s?\b"
    r"|[\s$]*[百千万萬亿億]"
)
_SECOND_THOUGHT = re.compile(
    r"\b(?:wait|actually|correction|mistake|wrong|sorry|recheck|incorrect|no,|oops|instead)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Sentence:
    """The sentence after a mark. ``text`` is the sentence, ``start`` where its mark stands."""

    text: str
    start: int
    hashes: bool = False
    firm: bool = False
    """True if the mark says "answer is" or "final answer", and not just "answer:"."""


def final_words(body: str, reads: Callable[[str], bool]) -> str | None:
    """The final answer in ``body``; None if it has none, or its last box was never closed.

    ``reads`` tells whether the grader can read an answer.
    """
    body = own_answer(body)
    tail = body[-WINDOW:]
    boxed = boxes(tail)
    begin = boxed[-1].end if boxed else 0
    content = boxed[-1].content if boxed else None
    if content is not None and (multiple := _MULTIPLE_BEHIND.match(tail, begin)):
        content = f"{content} {multiple[1] or multiple[0].strip(' $')}"  # \boxed{18} thousand
    said = _last_said(tail, begin, reads, only_firm=content is not None)
    return content if content is not None and (said is None or not reads(said)) else said


def own_answer(body: str) -> str:
    """A reply as far as it answers what was asked: a base model goes on with questions of its own, and answers them."""
    for turn in _END_OF_TURN.finditer(body):
        if body[: turn.start()].strip():
            body = body[: turn.start()]
            break
    if not any(name in body for name in _QUESTIONS) or _NEXT_QUESTION.search(body) is None:
        return body
    answers = [match.end() for match in (MARKS.search(body), FIRST_BOX.search(body)) if match]
    question = _NEXT_QUESTION.search(body, min(answers)) if answers else None
    return body[: question.start()] if question else body


def sentences(text: str, begin: int = 0) -> list[Sentence]:
    """All that is marked as an answer from ``begin`` on, in its order.

    Of several ``####`` lines the first counts, unless it is taken back: a base model goes on with further problems.
    """
    found: list[Sentence] = []
    for mark in list(MARKS.finditer(text, begin))[-64:]:
        sentence = _sentence(text[mark.end() :])
        hashes = mark["hashes"] is not None
        if not sentence or (hashes and _is_heading(text[mark.end() : mark.end() + 80])):
            continue
        earlier = next((one for one in found if one.hashes), None)
        if earlier is not None and not _SECOND_THOUGHT.search(text[earlier.start : mark.start()]):
            break
        firm = _FIRM.search(mark[0]) is not None
        found.append(Sentence(sentence, mark.start(), hashes, firm))
    return found


def answer_of(sentence: str, reads: Callable[[str], bool]) -> str:
    """The answer that a sentence gives: all of it where it can be read, else what stands before the next clause."""
    whole, formula_end = _without_delimiters(sentence), _first_math_end(sentence)
    clause = _CLAUSE.search(sentence, formula_end)
    is_behind_formula = clause is not None and clause.start() == formula_end > 0
    if clause is None or (reads(whole) and not is_behind_formula):
        return whole
    return _without_delimiters(sentence[: clause.start()].strip().strip("*"))


def _last_said(text: str, begin: int, reads: Callable[[str], bool], *, only_firm: bool) -> str | None:
    """The answer after the last mark behind ``begin``; a remark on the answer ("is correct") is no answer."""
    remark = None
    for sentence in reversed(sentences(text, begin)):
        if only_firm and not sentence.firm:
            continue
        answer = answer_of(sentence.text, reads)
        if not _REMARK.match(sentence.text) or reads(answer):
            return answer
        remark = remark or answer
    return remark


def _sentence(rest: str) -> str:
    """Up to its end, without words that only lead to the answer; formulas are not searched for their end."""
    filler = _FILLER.match(rest)
    rest = rest[filler.end() :] if filler else rest
    position = 0
    formulas = list(_MATH.finditer(rest[:WINDOW]))
    while (end := _END.search(rest, position)) is not None:
        inside = next((m for m in formulas if m.start() < end.start() < m.end()), None)
        if inside is None:
            return rest[: end.start()].strip()
        position = inside.end()
    return rest.strip()


def _first_math_end(sentence: str) -> int:
    math = _MATH.match(sentence)
    return math.end() if math else 0


def _without_delimiters(text: str) -> str:
    r"""``text`` without ``$…$`` and ``\(…\)``; of several formulas in a row, a list."""
    text = text.strip().strip("*").strip()
    math = _MATH.match(text)
    if math is None:
        return text.strip("*").rstrip(",").strip()
    pieces, position = [], 0
    while math is not None:
        pieces.append(text[position : math.start()])
        pieces.append(next(group for group in math.groups() if group is not None))
        position = math.end()
        math = _MATH.search(text, position)
    pieces.append(text[position:])
    return "".join(pieces).strip().rstrip(",").strip()


_HEADING = re.compile(
    r"(?i:step|part|case|solution|explanation|conclusion|final|answer|verif|check)|\d+[.)]\s+\D"
)


def _is_heading(line: str) -> bool:
    """``#### Step 1: …``, ``#### 1. Count the eggs`` are headings, and no answers."""
    return _HEADING.match(line) is not None
