"""A claim, and its five possible outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pytest_llmperf.load.roofline import PLAIN, Architecture, Format


class Outcome(StrEnum):
    """Only CONFIRMED speaks for a claim; the last two say that nothing does, in either direction."""

    CONFIRMED = "confirmed"
    """Shown by a measurement, or by arithmetic on the model's own shapes."""
    REFUTED = "refuted"
    """Shown to be otherwise."""
    IMPOSSIBLE = "physically impossible"
    """Beyond what the bytes and operations of the model allow on any implementation."""
    UNDECIDED = "undecided"
    """There are data, and too few."""
    NOT_TESTABLE = "not testable here"
    """There are no data."""

    @property
    def decided(self) -> bool:
        return self not in (Outcome.UNDECIDED, Outcome.NOT_TESTABLE)


Kind = Literal[
    "size",
    "shrinkage",
    "speed",
    "first token",
    "cold start",
    "peak memory",
    "ratio",
    "accuracy",
    "difference",
    "averaging",
    "recommended",
    "starts",
    "context",
    "served id",
    "gate",
]
"""Subject of a claim, which determines how it is decided: see ``claims/deciding.py``."""
Holds = Literal["at most", "at least", "about"]


@dataclass(frozen=True)
class Protocol:
    """The stated way of obtaining the figure. ``items`` and ``samples`` (of each item): None where not told."""

    device: str | None = None
    items: int | None = None
    samples: int = 1
    prompts: str | None = None
    sampling: str | None = None


@dataclass(frozen=True)
class ModelFacts:
    """Facts that a model's makers publish about it: ``config.json`` and their recommendations."""

    name: str
    """Name of the row in ``models.toml``, by which a record knows it."""
    weights: str
    architecture: Architecture
    quantised_with: str | None
    """``quant_method`` of the checkpoint; None for plain weights."""
    recommended: Mapping[str, str | float]
    recommended_by: str


@dataclass(frozen=True)
class Build:
    """A model as it is stored: ``stored`` names the format of its weights, None for the published ones."""

    model: str
    stored: str | None = None

    @property
    def row(self) -> str:
        """The name that the build's row has in ``models.toml``: ``distill``, ``distill-int8``."""
        return self.model if self.stored is None else f"{self.model}-{self.stored}"


@dataclass(frozen=True)
class Claim:
    """One figure or rule in our own words.

    ``value`` is in ``unit`` (as in ``Verdict.unit``; text for a rule), and is kept ``about`` to the ``tolerance`` (a
    share of the value). ``written`` is the value as the file has it.
    """

    name: str
    words: str
    source: str
    kind: Kind
    model: ModelFacts
    value: float
    unit: str
    written: str
    holds: Holds = "about"
    tolerance: float = 0.0
    against: ModelFacts | None = None
    protocol: Protocol = field(default_factory=Protocol)
    stored: Format = PLAIN
    of: Kind | None = None
    """Quantity that a ratio compares."""
    concurrency: int = 1
    prompt_tokens: int = 1
    """The least that the prompt may have been; 1 where nothing is told."""
    figures: tuple[float, float] | None = None
    """The two published shares of a difference, or of runs that are to show it."""
    key: str = ""
    """Name of a recommendation, task of an accuracy (and what is made of one), metric of a gate."""
    variant: str = "as promised"
    missing: str = ""
    """Requirements of a test where neither arithmetic nor a record decides."""
    note: str = ""
    """Further facts, in half a sentence."""

    @property
    def build(self) -> Build:
        """The build that the claim is about."""
        return Build(self.model.name, None if self.stored.bits is None else self.stored.name)


@dataclass(frozen=True)
class Sheet:
    """A whole file of claims."""

    title: str
    profile: str
    """Profile of the catalogue: a record of another profile is about other models."""
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Decision:
    """The outcome of ``claim`` on ``device`` (``any`` where none matters).

    ``measured`` says what stands against the claim's value, or is empty; ``why`` is one sentence; ``n_needed`` is set
    for an undecided one where it can be told.
    """

    claim: Claim
    device: str
    outcome: Outcome
    measured: str
    why: str
    n_needed: int | None = None

    @property
    def name(self) -> str:
        return self.claim.name if self.device == ANY else f"{self.claim.name}, {self.device}"


ANY = "any"
