"""Take keys, tokens and the identity of the user out of everything that is written or shown.

Secrets are recognised by the environment variables that hold them (``HF_TOKEN``, names with ``API_KEY``, ``SECRET``, …)
and by their form (``hf_…``, ``sk-…``, ``Bearer …``), or were passed to :func:`hide`. A home directory becomes ``~``;
the user's name is removed where it is part of a path or an address. As a word of its own it is removed from logs only:
in an answer, ``alice`` may be who has three apples.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

GONE = "[redacted]"
SOMEBODY = "[user]"
LEAST = 8
"""Characters; a shorter value is no secret, and would match everywhere."""

_NAMES = re.compile(r"TOKEN(?!S|IZER)|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)
_LOOKS = (
    ("hf_", r"\bhf_[A-Za-z0-9]{16,}"),
    ("sk-", r"\bsk-[A-Za-z0-9_-]{16,}"),
    *((f"gh{kind}_", rf"\bgh{kind}_[A-Za-z0-9]{{16,}}") for kind in "pousr"),
    ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{16,}"),
    ("AKIA", r"\bAKIA[A-Z0-9]{16}\b"),
    ("://", r"(?<=://)[^/\s:@\"'<>]+:[^/\s@\"'<>]+(?=@)"),
    ("Bearer ", r"(?<=Bearer )[A-Za-z0-9._~+/=-]{8,}"),
)
"""Forms of secrets: a text that every match needs, and the pattern. Texts without the former are not searched."""

_EVERYBODY = {"root", "user", "admin", "runner", "ubuntu", "nobody", "vllm"}
"""User names that identify nobody."""

# Keys are made during a run, and every writer must know them: one set for the process, which only grows.
_HIDDEN: set[str] = set()


def hide(secret: str | None) -> None:
    """Remove ``secret`` from everything that this process writes from now on."""
    if secret and len(secret) >= LEAST:
        _HIDDEN.add(secret)


def redact(text: str) -> str:
    """``text`` without secrets, home directories and user names; the same text if there are none."""
    return redactor()(text, log=False)


def redact_log(text: str) -> str:
    """As :func:`redact`, also without the user's name as a word of its own."""
    return redactor()(text, log=True)


def redact_values(value: Any) -> Any:
    """A JSON value with all texts redacted, keys included."""
    remove = redactor()
    known: dict[str, str] = {}
    # Keys and names stand in a record thousands of times.

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            found = known.get(value)
            if found is None:
                found = known[value] = remove(value, log=False)
            return found
        if isinstance(value, Mapping):
            return {clean(key): clean(one) for key, one in value.items()}
        return [clean(one) for one in value] if isinstance(value, list | tuple) else value

    return clean(value)


def clean(text: str) -> str:
    """``text`` without secrets, and without what UTF-8 cannot hold: models emit anything."""
    return cleaner()(text)


def cleaner() -> Callable[[str], str]:
    """:func:`clean` with the secrets of this moment: for many texts, since looking for secrets takes 0.1 ms."""
    remove = redactor()
    return lambda text: remove(sound(text), log=False)


def clean_all(texts: Sequence[str], remove: Redactor) -> Sequence[str]:
    """:func:`clean` of each text by the :func:`redactor` of this moment.

    All are searched at once first, and one by one only if there may be something to find.
    """
    # NUL stands in no secret, since they come from the environment or are made of printable characters.
    together = "\0".join(texts)
    if sound(together) is together and not remove.may_change(together):
        return texts
    known = {text: remove(sound(text), log=False) for text in dict.fromkeys(texts)}
    return [known[text] for text in texts]


def clean_parts(parts: Sequence[str], clean: Callable[[str], str]) -> list[str]:
    """The consecutive ``parts`` of one text, cleaned as a whole: a secret may lie across several of them.

    There are as many parts as before. Everything from the first to the last change becomes :data:`GONE` in the first
    part that it touches, and is missing from the others.
    """
    text = "".join(parts)
    cleaned = clean(text)
    if cleaned == text:
        return list(parts)
    begin = _same(text, cleaned)
    end = len(text) - _same(text[:begin:-1], cleaned[:begin:-1])
    found, at, gone = [], 0, GONE
    for part in parts:
        touched = at < end and at + len(part) > begin
        found.append(part[: max(0, begin - at)] + gone + part[max(0, end - at) :] if touched else part)
        gone = "" if touched else gone
        at += len(part)
    return found


def _same(text: str, other: str) -> int:
    """The number of characters that both texts begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
    )


def sound(text: str) -> str:
    """``text`` as UTF-8 can hold it: halves of surrogate pairs are joined, and the lone ones become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Redactor:
    """Replace what is private in a text.

    Most texts hold nothing private, and a regular expression reads a megabyte in 0.2 s, a search for a literal in less
    than a millisecond. So every expression runs only on texts that hold a literal without which it cannot match.
    """

    def __init__(self, secrets: Sequence[str], homes: Sequence[str], user: str) -> None:
        # The longest first: one secret may begin like another.
        known = sorted(secrets, key=len, reverse=True)
        self._secrets = [*((secret, re.escape(secret)) for secret in known), *_LOOKS]
        self._homes = sorted(homes, key=len, reverse=True)
        places = "|".join(map(re.escape, self._homes))
        self._home = re.compile(rf"(?<![\w.~-])(?:{places})(?![\w.-])")
        name = re.escape(user)
        self._part = re.compile(rf"(?<=[/\\]){name}(?=[/\\@:]|$|\s)|(?<=pytest-of-){name}\b|\b{name}(?=@)")
        self._word = re.compile(rf"(?<![\w.-]){name}(?![\w.-])")
        self._user = user

    def may_change(self, text: str) -> bool:
        """Return False only if a call changes neither ``text`` nor any part of it."""
        literals = (*(literal for literal, _ in self._secrets), *self._homes, self._user)
        return any(literal in text for literal in literals if literal)

    def __call__(self, text: str, *, log: bool) -> str:
        # Alternatives of one expression, so that the leftmost secret counts where two overlap.
        if patterns := [pattern for literal, pattern in self._secrets if literal in text]:
            text = re.sub("|".join(patterns), GONE, text)
        if any(home in text for home in self._homes):
            text = self._home.sub("~", text)
        if self._user and self._user in text:
            text = self._part.sub(SOMEBODY, text)
            if log:
                text = self._word.sub(SOMEBODY, text)
        return text


def redactor() -> Redactor:
    """Return the redactor in force: the same object until another secret, home directory or user name is known."""
    return _redactor(_secrets(os.environ), _homes(), _user())


@lru_cache(maxsize=8)
def _redactor(secrets: frozenset[str], homes: frozenset[str], user: str) -> Redactor:
    return Redactor(sorted(secrets), sorted(homes), user)


def _secrets(environment: Mapping[str, str]) -> frozenset[str]:
    return frozenset(
        value for name, value in environment.items() if len(value) >= LEAST and _NAMES.search(name)
    ) | frozenset(_HIDDEN)


def _homes() -> frozenset[str]:
    """Home directories, from the environment and from the system."""
    homes = {os.path.expanduser("~"), os.environ.get("HOME", "")}  # noqa: PTH111
    return frozenset(home for home in (one.rstrip("/\\") for one in homes) if home)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return ""
    return "" if name in _EVERYBODY or len(name) < 3 else name
