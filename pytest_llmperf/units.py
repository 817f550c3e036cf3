"""Quantities: the one parser of what people write in TOML files, and the one formatter of what every output shows."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from typing import Literal

Unit = Literal[
    "s", "bytes", "tok/s", "req/s", "share", "points", "ratio", "J/tok", "J", "nat/tok", "tok/step"
]

_DECIMAL_BYTES = {"B": "1", "kB": "1e3", "MB": "1e6", "GB": "1e9", "TB": "1e12"}
_BINARY_BYTES = {"KiB": str(2**10), "MiB": str(2**20), "GiB": str(2**30), "TiB": str(2**40)}
# Decimals, because "70 %" must be the float 0.7 and not 70 * 0.01, and a bound is shown as it was written.
_SCALE: dict[Unit, dict[str, Decimal]] = {
    "s": {
        name: Decimal(s)
        for name, s in {"s": "1", "ms": "1e-3", "µs": "1e-6", "min": "60", "h": "3600"}.items()
    },
    "bytes": {name: Decimal(s) for name, s in {**_DECIMAL_BYTES, **_BINARY_BYTES}.items()},
    "tok/s": {"tok/s": Decimal(1)},
    "req/s": {"req/s": Decimal(1)},
    "share": {"%": Decimal("0.01")},
    "points": {"points": Decimal("0.01"), "point": Decimal("0.01")},
    "ratio": {"×": Decimal(1)},
    "J/tok": {"J/tok": Decimal(1), "mJ/tok": Decimal("1e-3")},
    "J": {"J": Decimal(1), "kJ": Decimal("1e3"), "mJ": Decimal("1e-3")},
    "nat/tok": {"nat/tok": Decimal(1)},
    "tok/step": {"tok/step": Decimal(1)},
}
# A bare number is only taken where it can mean one thing: 0.03 for "3 points" is also how 3 % is written.
_BARE: frozenset[Unit] = frozenset({"share", "ratio", "nat/tok", "tok/step"})
_ALIASES = {"us": "µs", "pts": "points"}
_EXAMPLE: dict[Unit, str] = {
    "s": '"90 s" or "80 ms"',
    "bytes": '"3.6 GB" or "4 GiB"',
    "tok/s": '"120 tok/s"',
    "req/s": '"2.5 req/s"',
    "share": '"5 %" or 0.05',
    "points": '"3 points"',
    "ratio": "1.05",
    "J/tok": '"0.8 J/tok" or "20 mJ/tok"',
    "J": '"150 J"',
    "nat/tok": "2e-6",
    "tok/step": '"2.5 tok/step"',
}
_QUANTITY = re.compile(r"\s*([+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?)\s*([^\s0-9]*)\s*")


def parse_quantity(value: object, unit: Unit) -> float:
    """``value`` in seconds, bytes, per second, or as a share, a difference of shares or a ratio.

    ``"80 ms"`` → 0.08, ``"4 GiB"`` → 4294967296.0, ``"5 %"`` → 0.05, ``"3 points"`` → 0.03. Raises
    :class:`ValueError` with one sentence that names the units that would do; the caller knows file and key.
    """
    scales = _SCALE[unit]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"must be a quantity; write {_EXAMPLE[unit]}")
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(plain(value).strip().removeprefix("×" if unit == "ratio" else ""))
        if match is None:
            raise ValueError(f"is not a number with a unit; write {_EXAMPLE[unit]}")
        number, name = match[1], _ALIASES.get(match[2], match[2])
    else:
        if not math.isfinite(value):
            raise ValueError(f"must be finite; write {_EXAMPLE[unit]}")
        number, name = repr(value), ""
    if not name:
        if unit not in _BARE:
            raise ValueError(f"needs a unit, one of {', '.join(scales)}; write {_EXAMPLE[unit]}")
        return float(number)
    if name not in scales:
        raise ValueError(f"unknown unit {name!r}, needs one of {', '.join(scales)}; write {_EXAMPLE[unit]}")
    return float(Decimal(number) * scales[name])


_MINUS = dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63", "-")
_MICRO = {"\u03bc": "\u00b5"}
_UNSEEN = dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad", "")


def plain(text: str) -> str:
    """``text`` with the characters that look like those of a quantity replaced by them.

    Word processors, web pages and keyboards of other scripts write a non-breaking space, a minus sign, Greek mu for
    micro, full-width letters or other decimal digits. Superscripts stay: 10² is not 102.
    """
    return "".join(map(_plain, text))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if 0xFF01 <= ord(character) <= 0xFF5E:  # full width: "．" for ".", "％" for "%"
        return chr(ord(character) - 0xFEE0)
    for table in (_MINUS, _MICRO, _UNSEEN):
        if character in table:
            return table[character]
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    return " " if unicodedata.category(character) == "Zs" else character


_DISPLAY_SCALES: dict[str, list[tuple[float, str]]] = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
}
"""Decimal, as budgets are written and as hubs and vendors count."""


def format_value(value: float | None, unit: Unit | str = "", extra_digits: int = 0) -> str:
    """Return a measured ``value`` of ``unit`` (see ``Verdict.unit``) for any output; an em dash for None.

    Shares and points have one decimal, ratios three, everything else three significant digits (divergences with an
    exponent); ``extra_digits`` adds more of them. A share that is not 0 or 1 is never rounded to 0 or 100 %.

    >>> format_value(0.0123, "s"), format_value(0.813, "share"), format_value(-0.034, "points")
    ('12.3 ms', '81.3 %', '−3.4 pts')
    >>> format_value(1.0382, "ratio"), format_value(0.00004, "share")
    ('×1.038', '0.004 %')
    >>> format_value(3.2e-5, "nat/tok"), format_value(0.0, "nat/tok")
    ('3.20e-5 nat/tok', '0 nat/tok')
    """
    if value is None:
        return "—"
    if math.isnan(value):
        return "not finite"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit == "share":
        return f"{_share_in_percent(value, extra_digits)} %"
    if unit == "points":
        number = _number(100 * value, f"+.{1 + extra_digits}f")
        return f"{number if number.strip('+−0.') else number[1:]} pts"
    if unit == "ratio":
        return f"×{_number(value, f'.{3 + extra_digits}f')}"
    if unit == "nat/tok" and 0.0 < abs(value) < 0.01:
        return f"{_scientific(f'{value:.{2 + extra_digits}e}')} {unit}"
    scaled, name = _scaled(value, unit)
    return f"{_significant(scaled, 3 + extra_digits)} {name}".rstrip()


def format_bound(bound: float | None, unit: Unit | str = "") -> str:
    """Return ``bound`` in the form of :func:`format_value` with the digits that its author wrote and no others.

    >>> format_bound(0.745, "share"), format_bound(-0.03, "points"), format_bound(1.05, "ratio")
    ('74.5 %', '−3 pts', '×1.05')
    """
    if bound is None or not math.isfinite(bound):
        return format_value(bound, unit)
    return f"{'+' if unit == 'points' and bound > 0 else ''}{_as_written(bound, unit, ',')}"


def format_size(value: float, unit: Unit | str) -> str:
    """Return a margin, a budget or an amount of damage as TOML files write it; :func:`parse_quantity` reads it back.

    >>> format_size(0.03, "points"), format_size(0.4, "share"), format_size(4.5e9, "bytes")
    ('3 pts', '40 %', '4.5 GB')
    """
    return _as_written(value, unit)


def _as_written(value: float, unit: Unit | str, grouping: str = "") -> str:
    if unit in {"share", "points"}:
        return f"{_number(100 * value, '.6g')} {'%' if unit == 'share' else 'pts'}"
    if unit == "ratio":
        return f"×{_number(value, '.6g')}"
    if unit == "nat/tok" and 0.0 < abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.5e}".partition("e")
        return f"{_scientific(f'{float(mantissa):g}e{exponent}')} {unit}"
    scaled, name = _scaled(value, unit)
    return f"{_number(scaled, f'{grouping}.6g')} {name}".rstrip()


def format_interval(interval: tuple[float | None, float | None] | None, unit: Unit | str = "") -> str:
    """Return ``low … high``, or an em dash where neither end is known."""
    if interval is None or interval == (None, None):
        return "—"
    return f"{format_value(interval[0], unit)} … {format_value(interval[1], unit)}"


def format_distinct(value: float, bound: float, unit: Unit | str) -> str:
    """Return ``value`` with as many digits as it takes to see on which side of ``bound`` it lies.

    >>> format_distinct(0.7396, 0.74, "share"), format_distinct(0.712, 0.74, "share")
    ('73.96 %', '71.2 %')
    """
    for extra_digits in range(6):
        text = format_value(value, unit, extra_digits)
        if text != format_value(bound, unit, extra_digits):
            return text
    return format_value(value, unit)


def percent(share: float) -> str:
    """Return a setting or a rough share without trailing zeros: ``95 %``, ``97.5 %``, ``0.8 %``."""
    return f"{_number(100 * share, '.3g')} %"


def _share_in_percent(share: float, extra_digits: int) -> str:
    for decimals in range(1 + extra_digits, 10):
        text = f"{100 * share:.{decimals}f}"
        if share in (0.0, 1.0) or abs(float(text)) not in (0.0, 100.0):
            break
    return text.replace("-", "−")


def _scaled(value: float, unit: Unit | str) -> tuple[float, str]:
    """Return ``value`` in the largest display unit of which it has at least one, and the name of that unit."""
    scales = _DISPLAY_SCALES.get(unit, [(1.0, str(unit))])
    if value == 0.0:
        return value, next(name for scale, name in scales if scale == 1.0)
    scale, name = next(((scale, name) for scale, name in scales if abs(value) >= scale), scales[-1])
    return value / scale, name


def _significant(value: float, digits: int) -> str:
    """Return ``value`` with ``digits`` significant digits or all of its whole part, never with an exponent."""
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _number(value, f",.{min(decimals, 9)}f")


def _scientific(text: str) -> str:
    """Return ``2.60e-06`` as ``2.60e-6``; :func:`plain` and ``float`` read it back."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa.replace('-', '−')}e{int(exponent)}"


def _number(value: float, spec: str) -> str:
    return format(value, spec).replace("-", "−")
