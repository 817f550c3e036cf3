"""Read TOML strictly: every mistake is one line with file, section, key, value and what would be right.

What a table may hold is declared by a dataclass whose fields carry pydantic's types and validators (``config.fields``).
:meth:`Table.parse` turns pydantic's first error into our line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
import typing
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_llmperf.errors import CatalogError
from pytest_llmperf.home import shown
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.units import plain

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

_LONGEST_SHOWN = 60
_QUOTES = dict.fromkeys("“”„«»", '"') | dict.fromkeys("‘’", "'")
_LARGEST = 2**63
_TABLE = "must be a table"
_MESSAGES = {
    "missing": "missing",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list of strings",
    "mapping_type": _TABLE,
    "dict_type": _TABLE,
    "dataclass_type": _TABLE,
}
"""The value to write, by the type of pydantic's error."""


def read_toml(path: Path) -> TomlTable:
    """The root table of ``path``. Raises :class:`CatalogError` if it is absent, unreadable or not TOML."""
    try:
        # An editor's byte order mark is no part of the text.
        text = path.read_bytes().decode("utf-8-sig")
        root = TomlTable(path.name, "", tomllib.loads(text))
        root.check_values()
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
    return root


def _lookalike(text: str, error: str) -> str:
    """A hint at the character in the error's line that only looks like one of TOML; empty if there is none."""
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
    if close := closest(name, names, cutoff=0.6):
        return f"; did you mean {close}?"
    return f"; known: {', '.join(names)}" if names else ""


def closest(name: str, known: Iterable[str], *, cutoff: float) -> str | None:
    """The known name that is most like ``name``, upper and lower case apart; None below ``cutoff`` (0 … 1)."""
    folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else None


def show(value: object) -> str:
    """``value`` as TOML would write it, cut to one short line."""
    try:
        text = "{ … }" if isinstance(value, dict) else json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # nested beyond what json accepts
        text = type(value).__name__
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


@dataclass(frozen=True)
class TomlTable:
    """One table of a file, and where it stands. ``section`` is empty for the root."""

    file: str
    section: str
    values: JsonObject

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def mistake(self, key: str, what: str) -> CatalogError:
        """The error to raise: ``models.toml: [section] key = value: what``."""
        where = f"{self.file}: [{self.section}]" if self.section else f"{self.file}:"
        value = f" = {show(self.values[key])}" if key in self.values else ""
        return CatalogError(f"{where} {_quoted(key)}{value}: {what}")

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

    def table(self, key: str) -> TomlTable:
        """The table at ``key``; an empty one if it is absent."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise self.mistake(key, _TABLE)
        section = f"{self.section}.{_quoted(key)}" if self.section else _quoted(key)
        return TomlTable(self.file, section, value)

    def tables(self, *, but: Collection[str] = ()) -> dict[str, TomlTable]:
        """Every value of this table, each of which must be a table, except the keys in ``but``."""
        return {key: self.table(key) for key in self.values if key not in but}

    def parse(self, kind: type[T], values: JsonObject | None = None) -> T:
        """``values`` (default: those of this table) as an instance of the dataclass ``kind``.

        Raises :class:`CatalogError` for the first value that the declaration of ``kind`` does not allow.
        """
        from pydantic import ValidationError

        values = self.values if values is None else values
        try:
            # As JSON: pydantic's strict rules for it are those of TOML (a list is a tuple, true is no integer).
            return _adapter(kind).validate_json(json.dumps(values, default=_no_json), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            # A misspelt key explains why another one is missing.
            first = next(
                (each for each in details if each["type"] == "unexpected_keyword_argument"), details[0]
            )
            raise self._explained(kind, values, first) from None

    def _explained(self, kind: type[Any], values: JsonObject, error: ErrorDetails) -> CatalogError:
        """The error at pydantic's ``loc``: keys of nested tables, a key, and an index where that holds a list."""
        table, keys = TomlTable(self.file, self.section, values), list(error["loc"])
        while len(keys) > 1 and isinstance(keys[1], str):
            step = str(keys.pop(0))
            table, kind = table.table(step), _keys(kind).get(step) or kind
        key, *index = keys
        value = table.values.get(str(key))
        for place in index:
            value = value[place] if isinstance(value, (list, tuple)) and isinstance(place, int) else value
        return table.mistake(str(key), _what(error, kind, str(key), value))

    def check_values(self) -> None:
        """Raise for text that the system cannot be given (it ends at a NUL), and for integers that TOML has not."""
        for key, value in self.values.items():
            if isinstance(value, dict):
                self.table(key).check_values()
            for entry in value if isinstance(value, list) else (value,):
                if isinstance(entry, str) and "\0" in entry:
                    raise self.mistake(key, "holds a NUL character")
                if isinstance(entry, int) and abs(entry) > _LARGEST:
                    raise self.mistake(key, "is beyond the 64-bit integers that TOML has")


def keys_of(kind: type[Any]) -> tuple[str, ...]:
    """The keys of a table that a dataclass declares: names of its fields, or their aliases."""
    return tuple(_keys(kind))


def _keys(kind: type[Any]) -> dict[str, type[Any] | None]:
    """Every key of a table that ``kind`` declares, with the dataclass of the table that it holds, if it is one."""
    found: dict[str, type[Any] | None] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in (field.name for field in dataclasses.fields(kind)):
        parts = [hints[name], *typing.get_args(hints[name]), *getattr(hints[name], "__metadata__", ())]
        alias = next((part.alias for part in parts if getattr(part, "alias", None)), name)
        found[alias] = next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)
    return found


def _adapter(kind: type[T]) -> TypeAdapter[T]:
    from pydantic import TypeAdapter

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _what(error: ErrorDetails, kind: type[Any], key: str, value: object) -> str:
    """The mistake in ``value`` at ``key`` of a table that ``kind`` declares, and the remedy."""
    name, context = error["type"], error.get("ctx", {})
    if name == "value_error":
        return str(context["error"])
    if name == "literal_error":
        return "must be one of " + ", ".join(re.findall(r"'([^']*)'", context["expected"]))
    if name == "unexpected_keyword_argument":
        return f"unknown key{nearest(key, keys_of(kind))}"
    if name == "string_type":
        if isinstance(error["loc"][-1], int):
            return f"must hold strings only; write {show(str(value))} for {show(value)}"
        written = value if isinstance(value, float) else str(value).lower()
        plain_value = isinstance(value, (bool, int, float))
        return "must be a string" + (f'; write "{written}"' if plain_value else "")
    return _MESSAGES.get(name, error["msg"])


def _no_json(value: object) -> object:
    """A date or time of TOML, which nothing here takes, as an object that is of no type that is wanted."""
    return {"": str(value)}


def _quoted(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else json.dumps(key, ensure_ascii=False)
