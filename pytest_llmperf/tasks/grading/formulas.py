r"""Properties of a formula that its text shows: its parts, names, words, base and units. Nothing here needs SymPy."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOOKS = re.compile(r"\\(?:left|right|displaystyle|limits|bigl|bigr|big|Big|[!,;: ])(?![A-Za-z])|\s+|~")
_STYLES = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname|boldsymbol|bm)\s*(?=\{)"
)
_CHARACTERS = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
        **dict.fromkeys("−‐‑–﹣", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000\t\r\n", " "),
        **dict.fromkeys("\u200b\u2060\ufeff", None),
        "’": "'",
        "′": "'",
        "π": "\\pi ",
        "θ": "\\theta ",
        "∞": "\\infty ",
        "√": "\\sqrt ",
        "≤": "\\le ",
        "≥": "\\ge ",
        "≠": "\\neq ",
        "±": "\\pm ",
        "×": "\\times ",
        "·": "\\cdot ",
        "÷": "/",
        "∪": "\\cup ",
        "∩": "\\cap ",
        "∈": "\\in ",
        "°": "^\\circ ",
        "²": "^2",
        "³": "^3",
        "½": "\\frac{1}{2}",
        "∅": "\\emptyset ",
        "。": ".",
    }
)
_MOST_BRACES = 4
"""Pairs of braces around a whole answer that are taken off."""
_ARRAY = re.compile(
    r"\\left\s*[\[(]\s*\\begin\{array\}\{[^{}]*\}(.*?)\\end\{array\}\s*\\right\s*[\])]", re.DOTALL
)
_DELIMITED = re.compile(r"\$\$(.+?)\$\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|(?<!\\)\$([^$]+)\$", re.DOTALL)
_APPROX = re.compile(r"\\(?:approx|simeq)(?![A-Za-z])")
_WORD_RUN = re.compile(r"(?<![\\A-Za-z_])[A-Za-z]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FUNCTIONS = _words(
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp max min gcd lcm sqrt pi det mod lim inf "
    "infinity and or in dx dy dt dz alpha beta gamma delta theta lambda sigma omega phi psi rho tau mu"
)
_NUMERALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
)
_BASES = {name: number for number, name in enumerate(_NUMERALS.split())} | {
    "binary": 2,
    "octal": 8,
    "decimal": 10,
    "hexadecimal": 16,
    "hex": 16,
}
_BASED = re.compile(
    r"\(?(?P<digits>-?[0-9][0-9A-Za-z.]*?)\)?"
    r"(?:_\(?(?:base)?(?P<base>[0-9]{1,2}|[a-z]+)\)?|\(?(?:in)?base-?(?P<named>[0-9]{1,2}|[a-z]+)\)?)"
)
_PRIMES = re.compile(r"(?<=[A-Za-z)}\]])\s*(?:'+|\^\{?\s*(?:\\prime\s*)+\}?)")
_SEPARATOR = re.compile(
    r"\\text\{\s*,?\s*(?:and|or|und)\s*,?\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor|vee|land|wedge)(?![A-Za-z])|[,;]"
)
_EQUALS = re.compile(r"(?<![<>!:\\])=(?!=)")
_RELATION = re.compile(r"[<>]|\\(?:le|ge|lt|gt|leq|geq|leqslant|geqslant|neq?|in|approx)(?![A-Za-z])")
_NAME = re.compile(
    r"(?:[A-Za-z]|\\[A-Za-z]+|[A-Z]{2,4}|\\(?:angle|triangle|overline|widehat|vec|hat|bar)\s*\{?[A-Za-z]{1,4}\}?"
    r"|\{[A-Za-z ]{2,40}\}"
    r"|\|[A-Z]{2}\||[A-Za-z]{4,20})(?:_(?:\{[^{}]*\}|\w))?'*(?:\([A-Za-z0-9,]{1,9}\))?"
)
_NO_NAME = re.compile(
    r"\\(?:frac|sqrt|pi|infty|sum|int|log|ln|exp|sin|cos|tan|cot|sec|csc|arc\w+|lim|max|min|det)(?![A-Za-z])"
)
_BARE_FUNCTION = re.compile(
    r"(?<![\\A-Za-z])(?=arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln)"
    r"(?:arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln)(?=[\s(^_\\\d]|[a-z]?(?![A-Za-z]))"
)
_REPEATING = re.compile(r"(?P<whole>-?\d*)\.(?P<fixed>\d*)\\(?:overline|bar)\s*\{?(?P<again>\d+)\}?")
_UNIT_TAIL = re.compile(
    r"(?P<tail>(?:\s|~|\\[,;: ])*\\(?:text(?:bf|rm|it|normal)?|mbox|math(?:rm|it))\s*"
    r"\{(?P<words>[^{}]*)\}(?:\s*\^\s*\{?[0-9]\}?)?)\s*\.?\Z"
)
_BARE_UNIT_TAIL = re.compile(
    r"(?P<tail>(?<=[\d)}\s])\s*(?P<words>(?:(?:sq|square|cubic|cu)\.?\s+)?[A-Za-z]{2,}(?:\s+(?:per|of)\s+[A-Za-z]+)*)(?:\s*\^\s*\{?[23]\}?)?)\s*\.?\Z"
)
_DEGREES = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree(?![A-Za-z])|\\text\{\s*degrees?\s*\}")
_PERCENT = re.compile(r"\s*(?:\\?%|\\text\{\s*percent\s*\}|\bpercent)\s*\Z")
_CHANGING = _words(
    "or and not no half more less about approximately plus minus times over least most than unless if percent hundred "
    "thousand million dozen never neither nor without except wrong incorrect isn"
)
_NO_UNITS = _words(
    "or and not if for where when with all any even odd none mod base factorial dozen dozens hundred "
    "thousand million billion trillion approximately about approx almost nearly roughly"
)
UNITS = _words(
    "cm mm km nm ft in yd mi sq kg mg lb lbs oz min hr hrs ml mph rpm usd dollars dollar cents cent euros euro units "
    "unit feet foot inches inch yards yard miles mile meters meter metres metre grams gram liters liter seconds second "
    "minutes minute hours hour days day weeks week months month years year degrees degree radians radian square cubic"
)


def cleaned(text: str) -> str:
    """``text`` in ASCII as far as LaTeX has a name for what it says, without dollar signs around it."""
    text = text.strip().translate(_CHARACTERS).strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            text = text[len(opening) : len(text) - len(closing)].strip()
    text = re.sub(r"\\(?:dfrac|tfrac|cfrac)(?![A-Za-z])", r"\\frac", text)
    for pattern, replacement in _OTHER_NAMES:
        text = pattern.sub(replacement, text)
    text = text.strip()
    text = re.sub(r"\\langle\b", "(", text)
    text = re.sub(r"\\rangle\b", ")", text)
    text = re.sub(r"\\bigcup(?![A-Za-z])", r"\\cup", text)
    text = re.sub(r"\((-?\d+)\)/\((\d+)\)", r"\\frac{\1}{\2}", text)
    text = _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", text)
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\ ", r"\1 ", text)
    for _ in range(_MOST_BRACES):
        if not text.startswith("{") or _closing(text) != len(text) - 1:
            break
        text = text[1:-1].strip()
    return _REPEATING.sub(_as_fraction, text).rstrip(".")


_OTHER_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\\(?:text)?color\s*\{[^{}]*\}|\\underline(?![A-Za-z])|(?:\s|\\[ ,;:!])*\\checkmark(?![A-Za-z])",
            "",
        ),
        (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])", ""),
        (r"(?:\\\\\s*)+\Z", ""),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"\\log_(?:e(?![A-Za-z])|\{e\})", r"\\ln"),
        (r"\\lg(?![A-Za-z])", r"\\log_{10}"),
        (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (  # a set by what its members fulfil
            (
                r"\A\\\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?(?:\\mid|:|\||\\vert)(?![A-Za-z])\s*"
                r"((?:(?!\\mid|\\\}).)*(?:[<>]|\\[lg](?:e|t|eq)(?![A-Za-z]))(?:(?!\\\}).)*)\\\}\Z"
            ),
            r"\2",
        ),
    )
)
"""Other notations of the same, and text around it."""

_SAME_WORDS = (
    re.compile(
        r"\\emptyset|\\\{\\\}|(?:thereareno|thereisno|no)(?:real)?(?:solutions?|roots?)(?:exists?)?|(?:the)?emptyset"
    ),
    re.compile(
        r"(?:[a-z]\\in)?(?:\\mathbb\{?r\}?|\(-\\infty,\+?\\infty\))|(?:all|any)real(?:number)?s?|allreals|"
        r"(?:theset)?(?:ofall)?realnumbers"
    ),
)
_TRIG_OF_DEGREES = re.compile(
    r"(?P<name>\\(?:sin|cos|tan|cot|sec|csc)(?:\s*\^\s*(?:\d|\{\d+\}))?)\s*(?:\\left)?[({]?\s*(?P<degrees>\d+(?:\.\d+)?)\s*"
    r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\right)?[)}]?"
)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(am|pm)?")
_DOTS = re.compile(r"\\(?:[lcd]?dots|dots[bcmio])(?![A-Za-z])|\.{3}|…")
_APART = re.compile(r"(?<![\d_^])\d+(?:(?:\s|~|\\[,;: ]|\\q?quad(?![A-Za-z]))+\d+)+(?!\s*/|\d)")
_GROUPS = re.compile(r"\d{1,3}(?:\D+\d{3})+")
_TUPLE_OF_NAMES = re.compile(r"\(?[A-Za-z](?:_\{?\w\}?)?(?:,[A-Za-z](?:_\{?\w\}?)?)+\)?")
_UNIT_NAMES = {
    name: group.split()[0]
    for group in (
        "mm millimeter millimeters millimetre millimetres",
        "cm centimeter centimeters centimetre centimetres",
        "m meter meters metre metres",
        "km kilometer kilometers kilometre kilometres",
        "inch in inches",
        "foot ft feet",
        "yard yd yards",
        "mile mi miles",
        "mg milligram milligrams",
        "g gram grams",
        "kg kilogram kilograms",
        "pound lb lbs pounds",
        "ounce oz ounces",
        "ml milliliter milliliters millilitre millilitres",
        "liter l liters litre litres",
        "second s sec seconds",
        "minute min minutes",
        "hour h hr hrs hours",
        "day days",
        "week weeks",
        "month months",
        "year years",
        "cent cents",
        "dollar dollars usd",
        "degree degrees",
        "radian radians rad",
    )
    for name in group.split()
}
_SET_UNIT = re.compile(
    r"\\(?:text(?:bf|rm|it|normal)?|mbox|math(?:rm|it))\s*\{\s*([A-Za-z]+)\.?\s*\}\s*(?:\^\s*\{?([23])\}?)?\s*\Z"
    r"|[\d)}]\s+([A-Za-z]{2,})\s*(?:\^\s*\{?([23])\}?)?\s*\Z"
)


def same_by_words(gold: str, answer: str) -> bool:
    """True if both say that nothing solves it, or that every real number does, in whatever words."""
    texts = [plain(text).lower().rstrip(".") for text in (gold, answer)]
    return any(all(pattern.fullmatch(text) for text in texts) for pattern in _SAME_WORDS)


def clock(text: str) -> tuple[int, int, str | None] | None:
    """Hour, minute and half of the day (None: not given) of ``3:45\\text{ p.m.}``; None for what is no time."""
    match = _CLOCK.fullmatch(plain(text).lower().replace(".", ""))
    return (int(match[1]), int(match[2]), match[3]) if match else None


def unit_of(text: str) -> tuple[str, str] | None:
    """The unit at the end and its power (``""``: none); None where there is none, or not one of the list."""
    if text.startswith("\\$"):
        return "dollar", ""
    if _DEGREES.search(text) and text.rstrip().endswith(("circ", "}")) and "text" not in text:
        return "degree", ""
    match = _SET_UNIT.search(text)
    if match is None:
        return None
    name = _UNIT_NAMES.get((match[1] or match[3]).lower())
    return None if name is None else (name, match[2] or match[4] or "")


def dots(text: str) -> int:
    """The number of times that ``text`` goes on with dots."""
    return len(_DOTS.findall(text))


def digits_apart(text: str) -> bool:
    """True if spaces stand between digits that are no groups of three: ``1 2`` is neither 12 nor surely 1 and 2."""
    return "\\frac" not in text and any(
        _GROUPS.fullmatch(re.sub(r"\\q?quad|\\", " ", match[0])) is None for match in _APART.finditer(text)
    )


def are_other_names(expected: str, given: str) -> bool:
    """True if both are tuples of names, and not the same: ``(x,y)`` and ``(y,x)``."""
    texts = plain(expected), plain(given)
    return all(_TUPLE_OF_NAMES.fullmatch(text) for text in texts) and texts[0].strip("()") != texts[1].strip(
        "()"
    )


def with_radians(text: str) -> str:
    """``\\sin 30^\\circ`` with its angle in radians."""
    return _TRIG_OF_DEGREES.sub(lambda m: f"{m['name']}(\\frac{{{m['degrees']} \\pi}}{{180}})", text)


def both_signs(text: str) -> str:
    """The two values of an expression with one ``\\pm`` in it, as a list; other texts as they are."""
    parts = re.split(r"\\pm(?![A-Za-z])", text)
    if (
        len(parts) != 2
        or "\\mp" in text
        or _EQUALS.search(text)
        or _RELATION.search(text)
        or _SEPARATOR.search(text)
    ):
        return text
    before, after = parts
    return f"{before}{'+' if before.strip(' {(') else ''}{after}, {before}-{after}"


def _closing(text: str) -> int:
    """Index at which the brace that begins ``text`` is closed; -1 if it is not."""
    depth = 0
    for brace in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if depth == 0 and brace[0] == "}":
            return brace.start()
    return -1


def plain(text: str) -> str:
    """``text`` without what changes how it looks and not what it says; letters keep their case."""
    text = _STYLES.sub("", cleaned(text))
    text = _LOOKS.sub("", text).replace("\\$", "").replace("{,}", ",")
    while match := re.search(r"(?<![A-Za-z_^\]}])\{([A-Za-z]*)\}", text):
        text = text[: match.start()] + match[1] + text[match.end() :]
    return text.rstrip(".")


def words_of(text: str) -> str | None:
    """The words that an answer is (``east``, ``\\text{(C)}``, ``ABC``), in lower case; None for a formula.

    A run of letters is words where it is set as text, has four letters or more, or three or more capitals: products of
    variables are shorter.
    """
    text = cleaned(text)
    if re.search(
        r"[0-9+*/=<>^|&]|\\(?:frac|sqrt|pi|infty|pm|cup|cap|in|begin|sin|cos|tan|log|ln)(?![A-Za-z])", text
    ):
        return None
    set_as_text = _STYLES.search(text) is not None
    bare = _STYLES.sub("", text)
    shown = re.sub(r"\\(?:angle|triangle|overline|widehat)\s*|\\[!,;: ]|[{}()\[\].\"']", " ", bare)
    shown = " ".join(shown.split())
    if "\\" in shown or not re.fullmatch(r"[^\W\d_](?:[^\W\d_]|[ ,'-])*", shown):
        return None
    runs = re.findall(r"[^\W\d_]+", shown)
    is_wordy = set_as_text or all(
        (len(run) > 3 and run.lower() not in _FUNCTIONS) or (len(run) > 2 and run.isupper()) for run in runs
    )
    geometric = re.search(r"\\(?:angle|triangle)(?![A-Za-z])", bare) is not None
    if not (is_wordy or geometric):
        return None
    return shown if any(run.isupper() and len(run) > 1 for run in runs) else shown.lower()


def prose(text: str) -> str | None:
    """A word in ``text`` that is neither set as text nor a function: SymPy would take it for a product."""
    bare = re.sub(r"\\(?:text\w*|mbox|math\w+|operatorname|begin|end|label)\s*\{[^{}]*\}", " ", cleaned(text))
    runs: list[str] = _WORD_RUN.findall(_COMMAND.sub(" ", bare))
    for run in runs:
        if len(run) > 3 and run.lower() not in _FUNCTIONS and re.search("[aeiou]", run.lower()):
            return run
    return None


def only_formula(text: str) -> str | None:
    """The one formula between dollar signs or brackets in a sentence; None where the words may change what it says."""
    found = list(_DELIMITED.finditer(text))
    if len(found) != 1:
        return None
    around = f"{text[: found[0].start()]} {text[found[0].end() :]}"
    if set(re.findall(r"[a-z]+", around.lower())) & _CHANGING or re.search(r"\d", around):
        return None
    return next(group for group in found[0].groups() if group is not None)


def approximated(text: str) -> list[str]:
    """An exact value and, behind ``\\approx``, what it is about."""
    return [part.strip() for part in split_at(text, _APPROX)]


def based(text: str) -> tuple[str, int] | None:
    """Digits and base of ``52_8``, ``52_{\\text{eight}}``, ``52 \\text{ base } 8``; None for everything else."""
    bare = re.sub(r"[{},]", "", _LOOKS.sub("", _STYLES.sub("", cleaned(text))))
    match = _BASED.fullmatch(bare)
    if match is None:
        return None
    name = match["base"] or match["named"]
    base = int(name) if name.isdigit() else _BASES.get(name)
    digits = match["digits"].lstrip("0") or "0"
    return None if base is None else (digits.upper(), base)


def primes(text: str) -> int:
    """The number of primes in ``f'(x)``, ``f''(x)``, ``f^{\\prime}(x)``."""
    return sum(match[0].count("'") + match[0].count("\\prime") for match in _PRIMES.finditer(cleaned(text)))


def without_primes(text: str) -> str:
    return _PRIMES.sub("", text)


def split_at(text: str, pattern: re.Pattern[str]) -> list[str]:
    """``text`` cut where ``pattern`` matches outside all brackets and braces."""
    depth, parts, start, position = 0, [], 0, 0
    while position < len(text):
        character = text[position]
        match = pattern.match(text, position) if depth == 0 else None
        if match is not None and match.end() > position:
            parts.append(text[start:position])
            start = position = match.end()
            continue
        if text.startswith(("\\{", "\\}"), position):
            depth += 1 if text[position + 1] == "{" else -1
            position += 2
            continue
        if character == "\\" and (command := _COMMAND.match(text, position)):
            position = command.end()
            continue
        depth += (character in "([{") - (character in ")]}")
        depth = max(0, depth)
        position += 1
    return [*parts, text[start:]]


def sides(text: str) -> list[str]:
    """The parts between the equals signs of one equation or chain; one part where there is none, or more than one
    statement."""
    if len(split_at(text, _SEPARATOR)) > 1 or _RELATION.search(text):
        return [text]
    return [part.strip() for part in split_at(text, _EQUALS)]


def has_relation(text: str) -> bool:
    """True if ``text`` holds an inequality, or says what is in a set."""
    return _RELATION.search(text) is not None


def listed(text: str) -> list[str]:
    """The members of ``1, -2``, ``x = 3 \\text{ or } x = -2``."""
    return [part.strip() for part in split_at(text, _SEPARATOR) if part.strip()]


def is_name(text: str) -> bool:
    """True if the left side of an equation only names its right side: ``x``, ``f(x)``, ``\\angle ABC``, ``Total``."""
    bare = _LOOKS.sub("", _STYLES.sub("", cleaned(text)))
    words = re.fullmatch(
        r"[A-Za-z][a-z]+(?: [A-Za-z][a-z]*)*",
        cleaned(_STYLES.sub("", text)).replace("{", "").replace("}", "").strip(),
    )
    return words is not None or (_NO_NAME.search(cleaned(text)) is None and _NAME.fullmatch(bare) is not None)


def without_names(parts: Sequence[str]) -> tuple[str, list[str]] | None:
    """The name that all named members share, and what they are: ``x = 3``, ``x = -2`` → x and 3, -2.

    None if there is no name, or more than one.
    """
    found, values = set(), []
    for part in parts:
        left, *right = [side.strip() for side in split_at(part, _EQUALS)]
        if not right:
            values.append(part)
        elif len(right) == 1 and is_name(left):
            found.add(plain(left))
            values.append(right[0])
        else:
            return None
    return (found.pop(), values) if len(found) == 1 else None


def without_unit(text: str, other: str) -> str:
    """``text`` without a unit at its end; a bare one is left where ``other`` has one of its letters as a variable."""
    text = _DEGREES.sub("", text)
    if (match := _UNIT_TAIL.search(text)) and match.start("tail") > 0:
        words = re.findall(r"[A-Za-z]+", match["words"].lower())
        if not set(words) & _NO_UNITS:
            return text[: match.start("tail")].strip()
    if (match := _BARE_UNIT_TAIL.search(text)) and match.start("tail") > 0:
        words = re.findall(r"[a-z]+", match["words"].lower())
        variables = set(
            re.findall(
                r"(?<![\\A-Za-z])[A-Za-z]", _COMMAND.sub(" ", re.sub(r"\\text\w*\{[^{}]*\}", "", other))
            )
        )
        if words[-1] in UNITS and not variables:
            return text[: match.start("tail")].strip()
    return text


def with_functions(text: str) -> str:
    """``cot x`` as ``\\cot x``: three letters in a row would be a product."""
    return _BARE_FUNCTION.sub(lambda match: f"\\{match[0]} ", text)


def percent_of(text: str) -> str | None:
    """``text`` without the percent sign at its end; None if it has none."""
    match = _PERCENT.search(text)
    return text[: match.start()].strip() if match and match.start() > 0 else None


def has_bare_letters(text: str) -> bool:
    """True if a letter stands in ``text`` that is neither in a command nor set as text: a variable, in an expected
    answer."""
    bare = re.sub(r"\\(?:text\w*|mbox|math\w+)\s*\{[^{}]*\}", " ", text)
    bare = re.sub(
        r"(?<=[\d\s}])\s+(?:[A-Za-z]{2,}\s*)+\Z",
        lambda m: "" if m[0].split()[-1].lower() in UNITS else m[0],
        bare,
    )
    return re.search(r"[A-Za-z]", _COMMAND.sub(" ", bare)) is not None


def _as_fraction(match: re.Match[str]) -> str:
    whole, fixed, again = match["whole"] or "0", match["fixed"], match["again"]
    sign, whole = ("-", whole[1:] or "0") if whole.startswith("-") else ("", whole)
    under = (10 ** len(again) - 1) * 10 ** len(fixed)
    over = int(whole + fixed + again) - int(whole + fixed)
    return f"{sign}\\frac{{{over}}}{{{under}}}"
