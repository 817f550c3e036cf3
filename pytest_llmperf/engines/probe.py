"""The keeper's view of an engine: the port in its command, and the paths by which its server is found ready.

A module of its own, because the keeper imports it: standard library only, and nothing of the engines.
"""

from __future__ import annotations

from dataclasses import dataclass

PORT = "{port}"
"""Stands for the server's port in a command."""


@dataclass(frozen=True)
class Probe:
    """The paths by which the keeper finds out that a server is ready."""

    health: str = "/health"
    """Answers 200 once the server takes requests; asked without the key."""
    models: str = "/v1/models"
    """Lists the served model; empty: the server has no such list, and the name is not checked."""
    generate: str = "/v1/completions"
    """Takes the discarded generations: ``/v1/completions``, or ``/v1/chat/completions``."""
    version: str = "/version"
    """States ``{"version": "…"}``; empty: the server has no such path."""
