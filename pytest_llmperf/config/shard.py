"""A shard: the part of a run that one machine takes, ``2/4`` being the second of four."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

MOST = 10_000
"""More shards than any run has tests."""


@dataclass(frozen=True)
class RunShard:
    """``number`` counts from 1 to ``of``."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard of ``i/n``. ``ValueError``, the end of the sentence ``option: …``, for anything else."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
            raise ValueError(
                f"must be i/n with 1 ≤ i ≤ n ≤ {MOST:,}, as in 2/4 for the second of four shards"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
