"""Values with units, as people write them in ``models.toml`` and ``budgets.toml``: text in, SI floats out."""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from typing import Literal

Unit = Literal["s", "bytes", "tok/s", "req/s", "share", "points", "ratio", "J/tok", "J"]

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
}
# A bare number is only taken where it can mean one thing: 0.03 for "3 points" is also how 3 % is written.
_BARE: frozenset[Unit] = frozenset({"share", "ratio"})
_ALIASES = {"us": "µs"}
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
        match = _QUANTITY.fullmatch(plain(value))
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


def format_quantity(value: float, unit: Unit | str) -> str:
    """``value`` as it would be written in a catalogue: ``0.08, "s"`` → ``"80 ms"``."""
    if unit == "s":
        return f"{value * 1e3:.4g} ms" if abs(value) < 1 else f"{value:.4g} s"
    if unit == "bytes":
        for name, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if abs(value) >= scale:
                return f"{value / scale:.4g} {name}"
        return f"{value:.0f} B"
    if unit in ("share", "points"):
        return f"{value * 100:.4g} {'%' if unit == 'share' else 'points'}"
    if unit in ("tok/s", "req/s", "J/tok", "J"):
        return f"{value:.4g} {unit}"
    return f"{value:.4g}"
