"""Options of the reference server: its schedule, and the faults and dialects it can imitate."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ReferenceOptions:
    """Every field is an option of ``python -m pytest_llmperf.load.reference_server.server``: ``ttft_ms`` is
    ``--ttft-ms``.

    A share is reached exactly and in a fixed order: with 0.5, every second request.
    """

    port: int = 0
    """0: any free one."""
    model: str = "reference"
    api_key: str = ""
    ttft_ms: float = 50.0
    """Request fully read (or a slot became free) → first token."""
    gap_ms: float = 10.0
    slots: int = 0
    """Streams served at a time; the others queue. 0: all."""
    eos_after: int = 0
    """Tokens after which an answer ends by itself unless ``ignore_eos`` is set. 0: never."""
    eos_always: bool = False
    """The answer ends there all the same, as with a server that does not know ``ignore_eos``."""
    tokens_per_chunk: int = 1
    """As with speculative decoding: so many tokens at once, every ``tokens_per_chunk`` gaps."""
    role_chunk: str = "first"
    """A chunk with the role and no text: ``first`` (just before the first token), ``early`` (at once),
    ``none``."""
    empty_deltas: bool = False
    """A chunk with empty text at once, and after each token."""
    reasoning_field: str = ""
    """``reasoning_content`` or ``reasoning``: where the first ``reasoning_tokens`` go."""
    reasoning_tokens: int = -1
    """−1: all."""
    think_tokens: int = 0
    """So many tokens of the content are a ``<think>…</think>``, the tags included."""
    freeze_ms: float = 0.0
    """An extra delay of every stream before token ``freeze_at``, which moves all later ones too."""
    freeze_at: int = 64
    http_500_share: float = 0.0
    hang_share: float = 0.0
    """Requests that are read and never answered."""
    error_after: int = -1
    """An error object in the stream instead of token number so many. −1: never."""
    cut_after: int = -1
    """The connection is cut instead of token number so many. −1: never."""
    no_done: bool = False
    no_usage: bool = False
    no_finish_reason: bool = False
    crlf: bool = False
    no_space: bool = False
    """``data:{`` instead of ``data: {``."""
    comments: bool = False
    split_utf8: bool = False
    """Tokens hold ``é世``; every event but its last part, cut within a character, comes with the token before
    it."""
    drop_reused: bool = False
    """A second request on a connection is answered by closing it: what a stale keep-alive looks like."""
    warm_share: float = 0.0
    """Share of all prompt tokens that ``/metrics`` claims as prefix-cache hits, besides true repetitions."""
    slow_share: float = 0.0
    """This share of requests waits ``slow_ms`` longer for its first token."""
    slow_ms: float = 0.0

    def argv(self) -> list[str]:
        """Command line that gives these options again; defaults are left out."""
        words: list[str] = []
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if value == option.default:
                continue
            name = "--" + option.name.replace("_", "-")
            words += [name] if value is True else [f"{name}={value}"]
        return words


def parse(argv: Sequence[str] | None = None) -> ReferenceOptions:
    """Options from a command line; ends the process with exit code 2 and usage for a mistake in it."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_llmperf.load.reference_server.server",
        description="A streaming server with a known schedule, to measure the error of a client.",
    )
    for option in dataclasses.fields(ReferenceOptions):
        name = "--" + option.name.replace("_", "-")
        if isinstance(option.default, bool):
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, type=type(option.default), default=option.default)
    return ReferenceOptions(**vars(parser.parse_args(argv)))


def falls_on(ordinal: int, share: float) -> bool:
    """True if the ``ordinal``-th request (from 0) belongs to that share: spread evenly, exact in the long
    run."""
    return int((ordinal + 1) * share + 1e-9) > int(ordinal * share + 1e-9)
