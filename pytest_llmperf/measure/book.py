"""Where questions, and their errors, are noted while they are asked: the ledger of a run, or nothing."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

Question = TypeVar("Question", bound=Callable[..., Any])


class Book(Protocol):
    """What a run's ledger offers to the questions of its tests."""

    def asking(self, what: str, *, gated: bool = True) -> AbstractContextManager[None]:
        """Around a question. Errors inside it are noted, and raised on; ``gated``: only a gate judges the answer."""
        ...


class _Unbooked:
    """For questions outside of a run: nothing is noted."""

    @contextlib.contextmanager
    def asking(self, what: str, *, gated: bool = True) -> Iterator[None]:
        del what, gated
        yield


UNBOOKED: Book = _Unbooked()


def booked(what: str, *, gated: bool = True) -> Callable[[Question], Question]:
    """Note every call of a method in its object's ``book``; ``what`` is the fixture through which it is asked."""

    def decorate(question: Question) -> Question:
        @functools.wraps(question)
        def ask(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            with self.book.asking(what, gated=gated):
                return question(self, *args, **kwargs)

        return cast(Question, ask)

    return decorate
