"""The exception tree, drawn before the code.

::

    LlmperfError
    ├── UsageError              the run cannot begin: exit code 4, nothing was started
    │   ├── CatalogError        models.toml, budgets.toml: file, key, value, nearest valid name
    │   └── DataError           a data set is missing, empty, or not the one that was pinned
    ├── InfrastructureError     nothing was learned about the model: never a wrong answer, never a pass
    │   ├── StartError          a server did not become ready: cause, remedy, last words
    │   ├── ServerDied          a ready server ended during a test
    │   ├── GpuUnreadable       a GPU or its driver is there, and NVML does not answer
    │   ├── WrongServer         something answers, but it is not the server that was asked for
    │   └── RequestFailed       a single request ended in an error
    ├── NotMeasured             a gate was asked to judge data that is absent, too little or not finite
    └── NeedsServer             planned only: what was asked for is known once a server has answered

Every message begins with one line that says what happened, the value seen and the value needed; what to do
next follows. ``str(error)`` is that whole text and is meant for a user.
"""

from __future__ import annotations


class LlmperfError(Exception):
    """Base of everything this package raises on purpose. ``str()`` has no control characters: it may quote a server."""

    def __str__(self) -> str:
        # Not at the top: a run that asks about no model loads these classes and never writes one.
        from pytest_llmperf.visible_text import printable

        text = super().__str__()
        return printable(text, len(text))


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not blank, after the class's name unless the error is one of ours."""
    lines = (line.strip() for line in str(error).splitlines())
    text, name = next((line for line in lines if line), ""), type(error).__name__
    if isinstance(error, LlmperfError):
        return text or name
    return f"{name}: {text}" if text else name


class UsageError(LlmperfError):
    """The command line, a catalogue or the data does not allow the run to begin."""


class CatalogError(UsageError):
    """A mistake in ``models.toml`` or ``budgets.toml``."""


class DataError(UsageError):
    """A data set is missing, empty, or its checksum differs from the pinned one."""


class InfrastructureError(LlmperfError):
    """Something other than the model failed."""


class StartError(InfrastructureError):
    """A server did not become ready.

    ``cause`` is one line, ``remedy`` says what to do, ``last_words`` are the log lines that matter and
    ``command`` is what to type to see the failure by hand.
    """

    def __init__(self, cause: str, *, remedy: str = "", last_words: str = "", command: str = "") -> None:
        self.cause, self.remedy, self.last_words, self.command = cause, remedy, last_words, command
        parts = [cause]
        if remedy:
            parts.append(f"what to do: {remedy}")
        if last_words:
            parts.append(f"last words of the server:\n{last_words}")
        if command:
            parts.append(f"to try it by hand: {command}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        state = {"remedy": self.remedy, "last_words": self.last_words, "command": self.command}
        return (_rebuild_start_error, (self.cause, state))


def _rebuild_start_error(cause: str, state: dict[str, str]) -> StartError:
    return StartError(cause, **state)


class ServerDied(InfrastructureError):
    """A server that had been ready ended before its lease was given back."""


class GpuUnreadable(InfrastructureError):
    """There are signs of an NVIDIA GPU or driver on this machine, and NVML does not show it.

    ``cause`` is what was seen, ``remedy`` what to repair.
    """

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = cause, remedy
        super().__init__(f"{cause}\nwhat to do: {remedy}")


class WrongServer(InfrastructureError):
    """The server at a URL refuses the key or serves another model."""


class RequestFailed(InfrastructureError):
    """One request ended in an HTTP error, a broken connection, a time-out or a malformed stream."""


class NotMeasured(LlmperfError):
    """There is nothing, too little, or nothing finite to judge."""


class NeedsServer(LlmperfError):
    """A run that is only planned was asked for what a server would have to say."""
