"""Outcomes of answers by item (right, wrong, lost to infrastructure), and how answers ended (cut off, empty, …)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural

Outcome = bool | None
"""True: correct (or: shows the behaviour). False: not. None: an infrastructure error, which is neither."""
Outcomes = Mapping[str, Outcome | Sequence[Outcome]]
"""By item id: one outcome, or those of K samples."""
Endings = Mapping[str, int]
"""Number of answers that ended in each way; lost ones are not among them."""

READ = ("correct", "wrong")
"""Endings of answers that were read and graded. Every other one means that nothing is known of the answer."""
NOTABLE = 0.1
"""Share of unread answers from which on a verdict mentions them."""


@dataclass(frozen=True)
class Tally:
    """``scores``: by item id, the outcomes that count, as 0.0 and 1.0; items without any are left out."""

    scores: Mapping[str, Sequence[float]]
    lost: int
    answers: int

    @property
    def asked(self) -> int:
        """Answers asked for: those that count and those lost."""
        return self.answers + self.lost

    @property
    def sampled(self) -> bool:
        """Some item has more than one answer."""
        return any(len(scores) > 1 for scores in self.scores.values())


def tally(outcomes: Outcomes, *, lost_as: bool | None = None) -> Tally:
    """Count; ``NotMeasured`` when an outcome is neither True, False nor None (NaN, 0.7, "yes").

    ``lost_as``: the score of a lost outcome, for the worst and the best that it can have been; None: it is left out.
    """
    scores: dict[str, list[float]] = {}
    lost = answers = 0
    for item, given in outcomes.items():
        several = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else (given,)
        kept: list[float] = []
        for outcome in several:
            if outcome is None:
                lost += 1
                if lost_as is not None:
                    kept.append(1.0 if lost_as else 0.0)
            elif _is_bool(outcome):
                kept.append(1.0 if outcome else 0.0)
            else:
                raise NotMeasured(
                    f"the outcome of item {item!r} is {outcome!r}: True, False or None is needed"
                )
        if kept:
            scores[item] = kept
            answers += len(kept) - (lost_as is not None) * sum(outcome is None for outcome in several)
    return Tally(scores, lost, answers)


def _is_bool(outcome: object) -> bool:
    # numpy's bool is not a bool, and is what a comparison of arrays leaves behind
    return isinstance(outcome, bool) or type(outcome).__name__ in ("bool_", "bool")


def flips(candidate: Outcomes, baseline: Outcomes) -> dict[str, list[Outcome]]:
    """By item of both sides, whether exactly one of them is right; None where an answer of either was lost.

    Samples are paired in their order; where one side has fewer, each of its own is compared with several of the other.
    """
    found = {}
    for item in candidate:
        if item not in baseline:
            continue
        ours, theirs = _samples(candidate[item]), _samples(baseline[item])
        most = max(len(ours), len(theirs)) if ours and theirs else 0
        pairs = [(ours[n * len(ours) // most], theirs[n * len(theirs) // most]) for n in range(most)]
        found[item] = [None if a is None or b is None else a != b for a, b in pairs]
    return found


def _samples(given: Outcome | Sequence[Outcome]) -> Sequence[Outcome]:
    return given if isinstance(given, Sequence) else (given,)


def unread(endings: Endings) -> int:
    """Return how many answers could not be graded."""
    return sum(count for ending, count in endings.items() if ending not in READ)


def with_endings(verdict: Verdict, endings: Mapping[str, Endings]) -> Verdict:
    """Return ``verdict`` with how the answers of each side ended, where many could not be graded.

    A side of which not one answer could be graded is named in the sentence itself. A PASS over such a baseline is
    INVALID: what it would have answered was not measured.
    """
    lines = []
    for side, counts in endings.items():
        line, total = _describe(side, counts), sum(counts.values())
        if not line or unread(counts) < NOTABLE * total:
            continue
        if unread(counts) < total:
            lines.append(line)
            continue
        if verdict.status is Status.PASS and side == "baseline":
            verdict = replace(verdict, status=Status.INVALID, n_needed=None)
        if verdict.status is Status.PASS:
            lines.append(line)
        else:
            verdict = replace(verdict, why=f"{verdict.why}; {line}")
    return replace(verdict, detail="\n".join(filter(None, (verdict.detail, *lines))))


def _describe(side: str, endings: Endings) -> str:
    """``400 of the candidate's 400 answers could not be graded: 380 cut off, 20 empty``; empty if none."""
    if not unread(endings):
        return ""
    kinds = sorted(((n, ending) for ending, n in endings.items() if n and ending not in READ), reverse=True)
    listed = ", ".join(f"{n:,} {ending}" for n, ending in kinds)
    total = sum(endings.values())
    return f"{unread(endings):,} of the {side}'s {plural(total, 'answer')} could not be graded: {listed}"
