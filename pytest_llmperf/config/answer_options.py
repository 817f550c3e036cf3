"""How the answers of a run are collected, from its command line: strings in, values or a :class:`UsageError` out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import expand, shown

Reuse = Literal["nothing", "interrupted", "all"]
"""Which answers of earlier runs stand for this run's own: none, those of a run that did not come to its end, or
whatever is there."""


@dataclass(frozen=True)
class AnswerOptions:
    """The command line's strings about answers, as they stand."""

    samples: str | None = None
    order: str | None = None
    in_flight: str | None = None
    log: str | None = None
    fresh: bool = False
    reuse: bool = False


@dataclass(frozen=True)
class Collecting:
    """How answers are collected."""

    samples: int | None = None
    """Answers to each item wherever a row is sampled; None: as many as the row says."""
    order_seed: int = 0
    """What the order of the items is drawn from, the same for both sides of a comparison."""
    in_flight: int | None = None
    """Requests in flight; None: as the row says, else as many as keep its server busy."""
    log: Path | None = None
    """Directory of the answer log; None: the run's own choice (pytest's cache)."""
    reuse: Reuse = "interrupted"


def collecting(options: AnswerOptions) -> Collecting:
    """The values. Raises :class:`UsageError` with option, value and what it must be."""
    if options.fresh and options.reuse:
        raise UsageError(
            "--llmperf-fresh asks everything anew, --llmperf-reuse nothing that is known: give one of them"
        )
    log = expand(options.log) if options.log else None
    if log is not None and log.exists() and not log.is_dir():
        raise UsageError(f"--llmperf-answers {shown(log)}: is no directory")
    return Collecting(
        samples=whole_number("--llmperf-samples", options.samples, low=1),
        order_seed=whole_number("--llmperf-order", options.order, low=0) or 0,
        in_flight=whole_number("--llmperf-in-flight", options.in_flight, low=1),
        log=log,
        reuse="nothing" if options.fresh else "all" if options.reuse else "interrupted",
    )


def whole_number(option: str, given: str | None, *, low: int) -> int | None:
    """The value of an option; None if it was not given. Raises ``UsageError`` for anything else than digits."""
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal()) or int(given) < low:
        raise UsageError(f"{option}={given}: must be a whole number, {low} or more")
    return int(given)
