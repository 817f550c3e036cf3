"""Note questions and their errors while they are asked, in the ledger of a run (``runs.ledger``) or nowhere."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, cast

Question = TypeVar("Question", bound=Callable[..., Any])


class Book(Protocol):
    """The part of a run's ledger that the questions of its tests use."""

    def asking(self, what: str, *, gated: bool = True) -> AbstractContextManager[None]:
        """A context for a question. Errors inside it are noted and raised; ``gated``: only a gate judges the answer."""
        ...


class _Unbooked:
    """Notes nothing: for questions outside of a run."""

    @contextlib.contextmanager
    def asking(self, what: str, *, gated: bool = True) -> Iterator[None]:
        del what, gated
        yield


UNBOOKED: Book = _Unbooked()


def booked(what: str, *, gated: bool = True) -> Callable[[Question], Question]:
    """Decorate a method so that its object's ``book`` notes every call under ``what``, the name of the fixture."""

    def decorate(question: Question) -> Question:
        @functools.wraps(question)
        def ask(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            with self.book.asking(what, gated=gated):
                return question(self, *args, **kwargs)

        return cast(Question, ask)

    return decorate
