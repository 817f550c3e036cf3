"""The messages between a keeper and the holders of its server: JSON objects, one a packet.

Standard library only, because the keeper imports it.
"""

from __future__ import annotations

import json
from typing import Literal, TypedDict, cast

from pytest_llmperf.json_values import object_of, parse_json

MESSAGE_BYTES = 64 * 1024


class Hello(TypedDict):
    """The greeting of every new holder."""

    event: Literal["hello"]
    keeper_pid: int


class Progress(TypedDict):
    """A server is starting."""

    event: Literal["progress"]
    phase: str
    elapsed_s: float


class ServerFields(TypedDict):
    """The fields of a ``Server`` that the keeper knows."""

    row: str
    model: str
    base_url: str
    api_key: str | None
    log: str
    root_pid: int
    ready_s: float
    engine: str
    keeper_pid: int
    state_dir: str


class Ready(TypedDict):
    """A server is ready; ``generation`` counts its starts from 1."""

    event: Literal["ready"]
    generation: int
    server: ServerFields


class Failure(TypedDict, total=False):
    """A server ``failed`` to start or ``died``; ``keeper``: it is gone because its keeper was killed."""

    event: Literal["failed", "died", "keeper"]
    phase: str
    """Phase that the start had reached; of ``failed`` alone."""
    tries: int
    """Processes that this start took; of ``failed`` alone."""
    generation: int
    restarts_left: int
    pids: list[int]
    """Every process that the server had."""
    replaced: bool
    """Another holder has asked for a restart, although it ran."""
    refused: bool
    """The restart that was asked for is one too many."""
    detail: str
    exit_code: int | None
    signal: int | None
    oom: bool
    """The kernel has killed a process for want of memory since the start."""
    log_offset: int
    """Offset in the log at which this start begins, bytes."""
    elapsed_s: float
    port: int


class Bye(TypedDict):
    """The answer to ``close``. After the ``last`` lease, ``ended`` follows."""

    event: Literal["bye"]
    last: bool


class EndReport(TypedDict):
    """Every process has ended, except for ``survivors`` of SIGKILL."""

    event: Literal["ended"]
    pids: list[int]
    seconds: float
    forced: bool
    survivors: list[int]


class NoMessage(TypedDict):
    """Made by the receiver: none came in time (``silence``), or no more will (``end``)."""

    event: Literal["silence", "end", "unknown"]


Message = Hello | Progress | Ready | Failure | Bye | EndReport | NoMessage


class Request(TypedDict, total=False):
    """A holder's message. ``condemn``: the server runs and no longer works; it is killed, and stays dead."""

    do: Literal["restart", "close", "end", "condemn"]
    generation: int
    at_once: bool
    detail: str


def encode(message: Message | Request) -> bytes:
    """Write one message as one packet."""
    return json.dumps(message).encode()


def decode(packet: bytes) -> Message:
    """Read the keeper's message in one packet; ``unknown`` for anything else."""
    message = object_of(parse_json(packet))
    return cast(Message, message) if "event" in message else {"event": "unknown"}


def decode_request(packet: bytes) -> Request:
    """Read a holder's message in one packet; an empty one for anything else."""
    return cast(Request, object_of(parse_json(packet)))
