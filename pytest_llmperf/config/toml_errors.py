"""Reading TOML strictly: every mistake is one line with file, section, key, value and what would be right."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pytest_llmperf.errors import CatalogError
from pytest_llmperf.home import shown
from pytest_llmperf.units import Unit, parse_quantity, plain

D = TypeVar("D")

_LONGEST_SHOWN = 60
_QUOTES = dict.fromkeys("“”„«»", '"') | dict.fromkeys("‘’", "'")
_LARGEST = 2**63


def read_toml(path: Path) -> Table:
    """The root table of ``path``. Raises :class:`CatalogError` if it is absent, unreadable or not TOML."""
    try:
        # An editor's byte order mark is no part of the text.
        text = path.read_bytes().decode("utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise CatalogError(f"{shown(path)}: no such file") from None
    except OSError as error:
        raise CatalogError(f"{shown(path)}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{path.name}: not UTF-8: byte {error.object[error.start]:#x} at {error.start}"
        ) from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError, an integer of 5,000 digits, 5,000 brackets
        raise CatalogError(f"{path.name}: not valid TOML: {error}{_lookalike(text, str(error))}") from None
    return Table(path.name, "", values)


def _lookalike(text: str, error: str) -> str:
    """What stands in the line of an error and only looks like a character of TOML; empty if nothing does."""
    if (place := re.search(r"at line (\d+)", error)) is None:
        return ""
    lines = text.splitlines()
    line = lines[int(place[1]) - 1] if int(place[1]) <= len(lines) else ""
    for character in line:
        if not character.isascii() and (meant := _QUOTES.get(character, plain(character))) != character:
            name = unicodedata.name(character, hex(ord(character)))
            return f"; the line holds {character!r} ({name}), write {meant!r}"
    return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean …?"`` if a known name is close, else the list of known names, else nothing."""
    names = list(known)
    folded = {n.lower(): n for n in names}
    if close := difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6):
        return f"; did you mean {folded[close[0]]}?"
    return f"; known: {', '.join(names)}" if names else ""


def show(value: object) -> str:
    """``value`` as TOML would write it, cut to one short line."""
    try:
        text = "{ … }" if isinstance(value, dict) else json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # nested beyond what json accepts
        text = type(value).__name__
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


@dataclass(frozen=True)
class Table:
    """One table of a file, and where it stands. Readers return the default if the key is absent."""

    file: str
    section: str
    values: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def mistake(self, key: str, what: str) -> CatalogError:
        """The error to raise: ``models.toml: [section] key = value: what``."""
        where = f"{self.file}: [{self.section}]" if self.section else f"{self.file}:"
        shown = f" = {show(self.values[key])}" if key in self.values else ""
        return CatalogError(f"{where} {_quoted(key)}{shown}: {what}")

    def only(self, known: Collection[str]) -> None:
        """Raise for a key that is not in ``known``."""
        for key in self.values:
            if key not in known:
                raise self.mistake(key, f"unknown key{nearest(key, known)}")

    def must_have(self, *keys: str) -> None:
        """Raise for a key that is missing."""
        for key in keys:
            if key not in self.values:
                raise self.mistake(key, "missing")

    def text(self, key: str, default: D) -> str | D:
        """A string with something in it."""
        value = self._get(key, str, "a string")
        if value is None:
            return default
        if not value.strip():
            raise self.mistake(key, "is empty")
        return self._without_nul(key, str(value))

    def choice(self, key: str, options: Collection[str], default: D) -> str | D:
        """One of ``options``."""
        value = self.text(key, None)
        if value is None:
            return default
        if value not in options:
            raise self.mistake(key, f"must be one of {', '.join(options)}")
        return value

    def boolean(self, key: str, default: D) -> bool | D:
        value = self._get(key, bool, "true or false")
        return default if value is None else bool(value)

    def integer(self, key: str, default: D, *, low: int, high: int | None = None) -> int | D:
        """An integer in ``low … high``, both included."""
        value = self._get(key, int, "an integer")
        return default if value is None else int(self._within(key, value, low, high))

    def number(self, key: str, default: D, *, low: float, high: float, above: bool = False) -> float | D:
        """A finite number in ``low … high``; ``above``: more than ``low``."""
        value = self._get(key, (int, float), "a number")
        if value is None:
            return default
        if above and value <= low:
            raise self.mistake(key, f"must be more than {low:g} and at most {high:g}")
        return float(self._within(key, value, low, high))

    def pair(self, key: str, default: D, *, low: float, high: float) -> tuple[float, float] | D:
        """``[lowest, highest]``, two numbers in ``low … high``."""
        value = self._get(key, list, f"a list of two numbers such as [{low:g}, {high:g}]")
        if value is None:
            return default
        if len(value) != 2 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
            raise self.mistake(key, f"must be two numbers such as [{low:g}, {high:g}]")
        first, last = float(value[0]), float(value[1])
        if not low <= first <= last <= high:
            raise self.mistake(key, f"must be [lowest, highest] within {low:g} to {high:g}")
        return first, last

    def texts(self, key: str, default: D) -> tuple[str, ...] | D:
        """A list of strings."""
        value = self._get(key, list, "a list of strings")
        if value is None:
            return default
        for entry in value:
            if not isinstance(entry, str):
                raise self.mistake(key, f"must hold strings only; write {show(str(entry))} for {show(entry)}")
            self._without_nul(key, entry)
        return tuple(value)

    def quantity(
        self, key: str, unit: Unit, default: D, *, low: float = 0.0, high: float = math.inf
    ) -> float | D:
        """A value with its unit, in SI units, finite and in ``low … high``."""
        if key not in self.values:
            return default
        self._get(key, (str, int, float), "a quantity with its unit")
        try:
            value = parse_quantity(self.values[key], unit)
        except ValueError as error:
            raise self.mistake(key, str(error)) from None
        return self._within(key, value, low, high)

    def table(self, key: str) -> Table:
        """A table inside this one; an empty one if it is absent."""
        section = f"{self.section}.{_quoted(key)}" if self.section else _quoted(key)
        return Table(self.file, section, self._get(key, dict, "a table") or {})

    def tables(self, *, but: Collection[str] = ()) -> dict[str, Table]:
        """Every value of this table, each of which must be a table, except the keys in ``but``."""
        return {key: self.table(key) for key in self.values if key not in but}

    def _without_nul(self, key: str, value: str) -> str:
        """A path, an argument and a variable end at a NUL character for the system: it must not be there."""
        if "\0" in value:
            raise self.mistake(key, "holds a NUL character")
        return value

    def _get(self, key: str, kind: type | tuple[type, ...], wanted: str) -> Any:
        value = self.values.get(key)
        # TOML's true is an int to Python, and never a number to a person.
        if value is not None and (
            not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        ):
            raise self.mistake(key, f"must be {wanted}")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise self.mistake(key, "is beyond the 64-bit integers that TOML has")
        return value

    def _within(self, key: str, value: float, low: float, high: float | None) -> float:
        if not math.isfinite(value):
            raise self.mistake(key, "must be finite")
        if value < low or (high is not None and value > high):
            upper = "" if high is None or math.isinf(high) else f" and at most {high:g}"
            raise self.mistake(key, f"must be at least {low:g}{upper}")
        return value


def _quoted(key: str) -> str:
    plain = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if plain else json.dumps(key, ensure_ascii=False)
