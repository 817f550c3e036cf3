"""A running server, as everyone above this room sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Server:
    """One ready server. Plain values only: it crosses process borders as JSON."""

    row: str
    """Row of the catalogue."""
    model: str
    """Name that requests carry in ``model``."""
    base_url: str
    """Without a trailing slash and without ``/v1``: ``http://127.0.0.1:23456``."""
    api_key: str | None = field(repr=False)
    log: Path | None
    """None for a server that we did not start."""
    root_pid: int | None
    """The engine's API process; None for a server that we did not start."""
    ready_s: float | None
    """Start of the process → ready, seconds; None for a server that we did not start."""
    command: str
    """What would start it by hand (no secrets)."""
    engine: str
    """Engine and version if known, e.g. ``vllm 0.32.0``."""
    keeper_pid: int | None = None
    state_dir: Path | None = None
    """Where the keeper keeps socket, log and state."""
