r"""Grading a multiple choice: the letter in the last box, or the one that a sentence marks as the answer.

``\boxed{C}``, ``\boxed{\text{(C)}}``, ``\boxed{C. Report it}``, ``The answer is (C).``, ``**Answer: C**``, ``The option
I would choose is C.`` and a last line that is nothing but the letter are the same answer. A letter that is merely
mentioned (``Option A is incorrect because …``) is none, wherever it stands.
"""

from __future__ import annotations

import re

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.boxes import WINDOW, boxes
from pytest_llmperf.tasks.grading import Grade, Outcome, answer_proper, unanswered
from pytest_llmperf.tasks.sentences import own_answer, sentences

LETTERS = "ABCDEFGHIJ"
_STYLE = re.compile(
    r"\\(?:text|textbf|textit|mathbf|mathrm|textrm|mathsf|bf|rm|boldsymbol|bm)(?![A-Za-z])|\\[()\[\]]|[{}*$`“”\\\s]"
)
_WORDS_BEFORE = re.compile(
    r"(?:\b(?:the|correct|best|final|answer|option|choice|letter|is|probably|likely)\b[\s:]*)+", re.IGNORECASE
)
_LONE = re.compile(r"[(\[]?([A-J])[)\]]?[.:,;!]?", re.IGNORECASE)
_LEADING = re.compile(r"[(\[]?([A-J])(?:[)\]]+[.:,]?|[.:,](?![A-Za-z0-9])|\s+[-–—]|\s*\Z)\s*")
_CLAUSE = re.compile(
    r"[(\[]?([A-J])[)\]]?(?=,?\s+(?:because|since|as|which|not|for|due|given|so|and not|but not"
    r"|is (?:the )?(?:correct|right|best))\b"
    r"|\s*\()"
)
_ANOTHER = re.compile(
    r"(?:\s|,|;|/|&|\+|\b(?:and|or|both|und|maybe|possibly|perhaps|also|even|else)\b)*(?:option|choice)?\s*[(\[]?[A-J][)\]]?(?![A-Za-z’'])"
)
_JOINS = re.compile(r"\s*(?:,|;|/|&|\+|\band\b|\bor\b)")
_A_LETTER = r"[*(\[]*([A-J])\b(?![’'\w])"
_CHOSEN = re.compile(
    # "The best option is C"
    r"\b(?i:correct|right|best|most \w+|appropriate|likely|final|my) (?i:option|choice|letter|response|selection)\b"
    r"[^.\n]{0,60}?(?:\s(?i:is|would be|must be|should be)\b|:)[\s*:]*(?i:the\s+)?"
    rf"(?i:option|choice|letter)?[\s*:]*{_A_LETTER}"
    # "The option I would choose is C"
    r"|\b(?i:option|choice|answer)(?i: that)? (?i:I|we|one)\b[^.\n]{0,40}?(?:\s(?i:is)\b|:)[\s*]*"
    rf"(?i:option\s+)?{_A_LETTER}"
    # "I would go with C."
    r"|\b(?i:I|we|I'd|I’d|I'll|I’ll)\s+(?i:(?:would|will|should|shall|must|therefore|thus)\s+)*"
    rf"(?i:choose|pick|select|go with|opt for|answer)\s+(?i:(?:option|choice|answer|letter)\s+)?{_A_LETTER}"
    r"(?=[\s*)\]]*(?:[.,:;!*)\n]|\Z|because|since|as\b))"
    # "Option C is correct"
    r"|(?:\b(?i:option|choice)\s+|(?<![\w(])|\()\**([A-J])\)?\**\s+(?i:is|would be|must be)\s+"
    r"(?i:(?:the|my|clearly|therefore|thus|indeed)\s+)*(?i:(?:most|single)\s+)?(?i:correct|right|best)\b"
    r"|(?:应选|选择|故选|选)\s*[:：]?\s*[(（]?([A-J])"
)
_NEGATED = re.compile(
    r"\b(?:not|isn't|isn’t|never|nor|neither|than|if|whether|why)\b[^.\n]{0,12}\Z", re.IGNORECASE
)
_SPECIES = re.compile(r"\. (?!because|since|this|the|which|it|so|as|explanation)[a-z]{3,}[.*]*\s*(?:\n|\Z)")
"""Behind a letter, up to the end of the line: ``E. coli`` is a name, and no choice."""
_BARE_LINE = re.compile(r"[\s*(\[]*([A-J])[\s*).\]]*")


def grade_choice(
    text: str | None,
    gold: str,
    *,
    finish_reason: str | None,
    thinking: bool = False,
    protocol: Protocol = "chat",
) -> Grade:
    """Grade a reply against the letter ``gold``; the answer of the grade is a letter. See :func:`.grading.grade`.

    Raises :class:`ValueError` if ``gold`` is not one of A to J.
    """
    del protocol
    check_choice(gold)
    body = answer_proper(text, finish_reason=finish_reason, thinking=thinking)
    if isinstance(body, Grade):
        return body
    tail = own_answer(body)[-WINDOW:]
    boxed = boxes(tail)
    box = boxed[-1].content if boxed else None
    letter = _said(tail, boxed[-1].end if boxed else 0)
    if letter is None and box is not None:
        letter = letter_of(box)
        if letter is None:
            return Grade(Outcome.UNGRADED, "unreadable", box)
    if letter is None:
        return unanswered(body)
    return Grade(Outcome.CORRECT, "", letter) if letter == gold else Grade(Outcome.WRONG, "other", letter)


def check_choice(gold: str) -> None:
    """Raises :class:`ValueError` unless ``gold`` is one capital letter, A to J."""
    if len(gold) != 1 or gold not in LETTERS:
        raise ValueError(f"the expected answer is not a letter of A to J: {gold[:80]!r}")


def letter_of(answer: str) -> str | None:
    """The one letter that an answer names; None for none, several, or words (``C. difficile``)."""
    spaced = _STYLE.sub(lambda m: " " if m[0].isspace() else "", answer).strip()
    if words := _WORDS_BEFORE.match(spaced):
        spaced = spaced[words.end() :].strip()
    if lone := _LONE.fullmatch(spaced):
        return lone[1].upper()
    leading = _LEADING.match(spaced)
    if leading is None:
        leading = _CLAUSE.match(spaced)
        return None if leading is None or _names_another(spaced[leading.end() :]) else leading[1]
    rest = spaced[leading.end() :]
    if _names_another(spaced[leading.start(1) + 1 :].lstrip(")]").lstrip()) or _ANOTHER.fullmatch(rest):
        return None
    if _LEADING.match(rest):
        return None
    # "C. difficile": a genus with its species, and no letter with its text.
    is_name = re.match(r"[A-J]\.\s[a-z]", spaced[leading.start(1) :]) is not None
    return None if is_name else leading[1]


def _names_another(rest: str) -> bool:
    """True if a letter is followed by another one that is chosen too: ``, and C``, ``or (D)``."""
    return _JOINS.match(rest) is not None and _ANOTHER.match(rest) is not None


def _said(text: str, begin: int) -> str | None:
    """The letter that is marked as the answer behind ``begin``.

    The last one that follows "the answer is" counts; without any, the last that is called the choice; without that, a
    last (or first) line that is nothing but a letter.
    """
    for sentence in reversed(sentences(text, begin)):
        said = sentence.text
        if letter := letter_of(said):
            rest = text[text.find(said, sentence.start) + len(said) :]
            return None if sentence.firm and said == letter and _SPECIES.match(rest) else letter
        if said[:1] in LETTERS and _ANOTHER.match(said) and _names_another(said[1:].lstrip(")]")):
            return None
    rest = text[begin:]
    for match in reversed(list(_CHOSEN.finditer(rest))):
        letter = next(group for group in match.groups() if group)
        if not _NEGATED.search(rest[: match.start()]) and not _names_another(rest[match.end() :]):
            return letter
    lines = rest.strip().splitlines()
    if not lines or begin:
        return None
    for line in (lines[-1], lines[0]):
        if bare := _BARE_LINE.fullmatch(line):
            return bare[1]
    return letter_of(lines[0]) if len(lines) == 1 and _LEADING.match(lines[0]) else None
