"""A running server, as everyone above this room sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.config.address import Address


@dataclass
class Capabilities:
    """Features of a server: each is probed once, when it is first needed, and kept with the server.

    None: not yet known.
    """

    tokenize: bool | None = None
    """True if ``POST /tokenize`` counts tokens."""
    no_tokenize: str = ""
    """Its answer instead of a count, in a few words."""
    metrics: bool | None = None
    """False: ``GET /metrics`` was left without an answer, and is not asked again."""
    prompt_logprobs: bool | None = None
    """False: the log probabilities of a prompt's tokens are not to be had."""
    refused: frozenset[str] = frozenset()
    """Request fields that it refuses, of those that we add by ourselves; as far as that is known."""
    asked: bool = False
    """True if ``refused`` is complete."""
    tokens_of_words: dict[bool, tuple[float, float]] = field(default_factory=dict)
    """For chats (True) and plain prompts (False): tokens of a prompt without words, and per word, by its ``usage``."""
    template_tokens: int | None = None
    """Tokens that the chat template adds to a message, by its own tokenizer or its ``usage``; an upper bound."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user about this server, one sentence each."""


@dataclass(frozen=True)
class Server:
    """One ready server. Plain values, but for the two last: it crosses process borders as JSON."""

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
    """The command that starts it by hand (no secrets)."""
    engine: str
    """Engine and version if known, e.g. ``vllm 0.32.0``."""
    counted_as: str | None = None
    """Name that ``/metrics`` labels its counters with, where several rows share the server; None: ``model``."""
    keeper_pid: int | None = None
    state_dir: Path | None = None
    """Directory of the keeper's socket, log and state."""
    capabilities: Capabilities = field(default_factory=Capabilities, compare=False, repr=False)
    silence_limit_s: float | None = field(default=None, compare=False)
    """Seconds without a byte, while requests wait, after which it counts as dead; None: never."""
    on_silence: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    """Called when it counts as dead; set only in the process that holds the server."""
    has_died: Callable[[], bool] | None = field(default=None, repr=False, compare=False)
    """Returns True once its death is known, after which nothing is sent again. Does not block."""

    @property
    def shown(self) -> str:
        """The address as it may be shown."""
        return Address.parse(self.base_url).shown()
