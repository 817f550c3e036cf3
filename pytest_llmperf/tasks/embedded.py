"""The task of the embedded pair: 2,000 generated word problems that neither of its models was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.tasks.grading.number import gold_number
from pytest_llmperf.tasks.task import Item, Task

_SEED = 2026
_COUNT = 2_000


@dataclass(frozen=True)
class HeldOutProblems:
    """Drawn from the generator's held-out side: the same on any machine, nothing to fetch."""

    seed: int = _SEED
    count: int = _COUNT
    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        from pytest_llmperf.embedded.problems import eval_problems

        del data_dir

        return [
            Item(p.id, p.question, str(p.answer), {"family": p.family, "steps": p.steps, "level": p.level})
            for p in eval_problems(self.count, self.seed)
        ]

    def describe(self) -> str:
        return f"{self.count} generated problems, seed {self.seed}"


EMBEDDED = Task(
    name="embedded",
    source=HeldOutProblems(),
    max_tokens=1024,
    check_gold=gold_number,
)
