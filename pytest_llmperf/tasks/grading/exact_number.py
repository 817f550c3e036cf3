r"""Reading one number out of a short text, exactly: ``$1{,}234.50``, ``\frac{3}{4}``, ``２ 元``.

Everything is bounded (200 characters, 40 digits, exponents to 30), so that no answer can cost more than
microseconds. What is not surely one number is refused: a refusal is shown as ungraded, a wrong guess would be
believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_LONGEST = 200
_MOST_DIGITS = 40
_LARGEST_EXPONENT = 30


@dataclass(frozen=True)
class Number:
    """An exact value; ``percent`` if it was written with a percent sign (``value`` is 50 for ``50 %``)."""

    value: Fraction
    percent: bool = False

    def equals(self, gold: Number) -> bool:
        """True if this answers ``gold``. 50 % equals 0.5, and also 50 where the gold dropped its sign.

        Only an integer gold can have dropped its sign: 0.18 % is not 0.18.
        """
        if self.percent == gold.percent:
            return self.value == gold.value
        if gold.percent:
            return self.value in (gold.value, gold.value / 100)
        return self.value / 100 == gold.value or (self.value == gold.value and gold.value.denominator == 1)


def read_number(text: str) -> Number | None:
    """The number that ``text`` is, whatever currency, unit, ``x =`` or LaTeX is around it; else None."""
    if len(text) > _LONGEST:
        return None
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return Number(Fraction(text))
    text = _cleaned(text)
    if sum(map(str.isdigit, text)) > _MOST_DIGITS:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None or len(match["sign"] + match["inner_sign"]) > 1:
        return None
    if _ABBREVIATED.match(match["unit"]) or ".." in text:
        return None
    value, unit = _value(match), match["unit"].lower()
    words = _WORD.findall(unit)
    is_attached = unit[:1].isalpha()
    if value is None or not all(
        _is_unit(word, is_attached=is_attached and number == 0) for number, word in enumerate(words)
    ):
        return None
    if "-" in (match["sign"], match["inner_sign"]):
        value = -value
    for word in words:
        value *= _multiple(word)
    return Number(value, percent=_PERCENT.search(unit) is not None)


_PLAIN = re.compile(r"-?[0-9]{1,30}")

_FRACTIONS = {"½": " 1/2", "¼": " 1/4", "¾": " 3/4", "⅓": " 1/3", "⅔": " 2/3"}
_SIGNS = {**_FRACTIONS, "⁄": "/", "’": "'", "×": " x ", "²": "^2", "³": "^3"}
# Forms of one character that mean another. Not NFKC, which would turn 5² into 52.
_CHARACTERS = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
        **dict.fromkeys("−‐‑–﹣", "-"),
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000\t\r\n~", " "),
        **dict.fromkeys("\u200b\u2060\ufeff", None),
        **_SIGNS,
    }
)
_DELIMITERS = re.compile(r"\\[()\[\]]|\\(?:displaystyle|left|right|bf|rm|it)(?![A-Za-z])|\\!")
_SPACES = re.compile(r"\\(?:[,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))")
_STYLED = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boldsymbol|bm)\s*\{([^{}]*)\}"
)
_SYMBOLS = (
    ("{,}", ","),
    ("\\%", "%"),
    ("\\$", "$"),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\times", " x "),
    ("\\cdot", " x "),
    ("^\\circ", "°"),
    ("^{\\circ}", "°"),
    ("\\degree", "°"),
)
_EQUATION = re.compile(r"([^=,;<>!]*)=([^=]*)")
# What is equal to the number: its name ("x", "Total cost", "f(2)"), or a sum without unknowns. 2x = 18 is not 18.
_NAME = re.compile(
    r"(?:[^\W\d_][^\W\d_ ]*(?: +[^\W\d_]+)*|\\(?!sin|cos|tan|cot|sec|csc|log|ln|sqrt|frac|exp)[A-Za-z]+"
    r"(?: *\{? *[A-Za-z]+ *\}?)?|\|[A-Z]{2}\|)?"
    r"(?: *_ *(?:\{[^{}]*\}|\w))?'*(?: *\([^()]*\))?"
)
_ARITHMETIC = re.compile(r"(?:[0-9\s+\-*/÷().,^{}%]|(?<=\s)x(?=\s+[\d(])|\\frac|\\sqrt)*")
_LABEL = re.compile(r"[A-Za-z][A-Za-z ]{0,30}:(.*)")
_WRAPPED = re.compile(r"\{([^{}]*)\}|\(([^()]*)\)|\[([^\[\]]*)\]")


def _cleaned(text: str) -> str:
    """``text`` without LaTeX around the number, without wrappers, name and equals sign."""
    text = text.translate(_CHARACTERS)
    if "\\" in text or "{,}" in text:
        text = _DELIMITERS.sub("", text)
        text = _STYLED.sub(r" \1 ", text)
        text = _SPACES.sub(" ", text)
        for symbol, plain in _SYMBOLS:
            if symbol in text:
                text = text.replace(symbol, plain)
    # A dollar sign around (TeX) or before (money) the number says the same of its value.
    text = " ".join(text.replace("$", " ").split()).strip('*`"')
    if match := _LABEL.fullmatch(text):
        text = match[1].strip()
    if (match := _EQUATION.fullmatch(text)) and (
        _NAME.fullmatch(match[1].strip()) or _ARITHMETIC.fullmatch(match[1])
    ):
        text = match[2].strip()
    for _ in range(3):
        match = _WRAPPED.fullmatch(text)
        if match is None or (match[1] is None and "," in text):  # (1,234) is a point
            break
        text = (match[1] or match[2] or match[3] or "").strip()
    return text


# Not \w: to Python ² is a digit, and π a letter like any other.
_LETTER = r"A-Za-zÀ-ÖØ-öø-ɏ\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_GROUPED = r"[1-9][0-9]{0,2}(?P<separator>[ ,'])[0-9]{3}(?:(?P=separator)[0-9]{3})*(?:\.[0-9]+)?(?![0-9])"
_DECIMAL = r"[0-9]+\.?[0-9]*|\.[0-9]+"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?:[€£¥₹]|(?:US|USD|EUR|GBP|Rs\.?|RMB)(?![A-Za-z]))?\s*(?P<inner_sign>[+-]?)\s*"
    r"(?:"
    r"(?:(?P<frac_whole>[0-9]+)\s*)?\\frac\s*(?:\{\s*(?P<over>-?[0-9]+)\s*\}|(?P<over1>[0-9]))\s*"
    r"(?:\{\s*(?P<under>-?[0-9]+)\s*\}|(?P<under1>[0-9]))"
    r"|(?:(?P<whole>[0-9]+)\s+)?(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)(?![0-9.])"
    rf"|(?:(?P<grouped>{_GROUPED})|(?P<decimal>{_DECIMAL}))"
    r"(?:\s*x\s*10\s*\^\s*(?:\{\s*(?P<power>[+-]?[0-9]+)\s*\}|(?P<power1>[+-]?[0-9]+))|[eE](?P<power2>[+-]?[0-9]+))?"
    r")"
    rf"(?P<unit>(?:[{_LETTER}°%€£¥₹./ ]|-(?=[{_LETTER}])|(?<=[{_LETTER}]) ?\^ ?(?:[23]|\{{[23]\}}))*)"
)
_WORD = re.compile(f"[{_LETTER}]+")
_PERCENT = re.compile(r"%|\bper ?cent")
_NAMED_MULTIPLES = {
    "hundred": 100,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
_MULTIPLES = _NAMED_MULTIPLES | {f"{name}s": value for name, value in _NAMED_MULTIPLES.items()}
_CJK_MULTIPLES = {
    "百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8,
    "천": 10**3, "만": 10**4, "억": 10**8,
}  # fmt: skip
_CJK_MULTIPLE = re.compile(
    r"(?:百(?!分)|千(?![米克瓦卡焦赫升])|[万萬亿億]|[천만억](?=[천만억]|원|명|개|\Z))+"
)
_CJK_NO_UNIT = re.compile("[半多余几数打成折]|百分|または|또는|或")
"""A half more, some more, a dozen, tenths, or another number: what stands before is not the number."""
_ABBREVIATED = re.compile(r"(?:[kK]|\s*[MBT])(?![A-Za-z])")
"""18k and 18 M may be thousands and millions."""


def _multiple(word: str) -> int:
    """The factor by which a word multiplies the number before it: ``million``, and ``万`` in ``18万元``."""
    if (leading := _CJK_MULTIPLE.match(word)) is None:
        return _MULTIPLES.get(word, 1)
    product = 1
    for character in leading[0]:
        product *= _CJK_MULTIPLES[character]
    return product


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A letter that is no unit is a variable: 18xy is not 18.
_UNITS = _words(
    "m cm mm km nm dm ft in yd mi sq cu g kg mg lb lbs oz s sec secs ms min mins h hr hrs d wk wks yr yrs l ml cl dl "
    "gal qt pt c f k w kw kwh v j kj pa kpa n hz khz mhz ghz mph kph kmh kmph rpm bpm mol cal kcal kb mb gb tb "
    "usd eur gbp rs rmb cny jpy inr ct cts pct percent percentage deg degree degrees rad am pm "
    "dollar dollars cent cents euro euros pound pounds rupees yuan yen feet foot inch inches yard yards mile miles "
    "meter meters metre metres gram grams kilogram kilograms liter liters litre litres second seconds minute minutes "
    "hour hours day days week weeks month months year years million billion trillion thousand hundred"
)
_SMALL_WORDS = _words("of in on at is as an by us it we he my a")
# Words that make of a number something else: "18 or so", "5 choose", "2 pi", "7 factorial".
_NO_UNITS = _words(
    "or and to mod choose pi not factorial squared cubed sqrt log if e i half halves thirds plus minus times over "
    "divided multiplied theta alpha beta unless dozen dozens tens gross grand mil mille tausend millionen milliarden "
    "milliards millones"
)


def _value(match: re.Match[str]) -> Fraction | None:
    if (over := match["over"] or match["over1"]) is not None:
        return _mixed(match["frac_whole"], over, match["under"] or match["under1"])
    if match["top"] is not None:
        return _mixed(match["whole"], match["top"], match["bottom"])
    if (grouped := match["grouped"]) is not None:
        value = Fraction(grouped.replace(match["separator"], ""))
    else:
        value = Fraction(match["decimal"].rstrip("."))
    if power := match["power"] or match["power1"] or match["power2"]:
        if len(power) > 4 or abs(int(power)) > _LARGEST_EXPONENT:
            return None
        value *= Fraction(10) ** int(power)
    return value


def _mixed(whole: str | None, over: str, under: str) -> Fraction | None:
    numerator, denominator = int(over), int(under)
    if denominator == 0:
        return None
    if whole is None:
        return Fraction(numerator, denominator)
    # 1 234/5 is no mixed number, and may be a thousand and something: not surely one number.
    if not 0 <= numerator < denominator:
        return None
    return int(whole) + Fraction(numerator, denominator)


def _is_unit(word: str, *, is_attached: bool) -> bool:
    """True if a word leaves the number before it unchanged; ``is_attached``: no space is between the two."""
    if word in _NO_UNITS or _CJK_NO_UNIT.search(word):
        return False
    if word in _UNITS or word in _MULTIPLES or not word.isascii():
        return True
    if is_attached:
        return False
    # What is counted ("eggs", "points") is an open class; letters that make no word are variables.
    return word in _SMALL_WORDS or (len(word) > 2 and _VOWEL.search(word) is not None)


_VOWEL = re.compile(r"[aeiou]")
