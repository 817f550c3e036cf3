"""One shard's part of the items of a gate, and the whole gate from the parts of all shards.

The items keep the order of the run. Unit of sampling ``u`` of that order (an item, or a group of items) belongs to
shard ``u mod n + 1``, so that the parts are joined by taking one unit of each in turn. A part has no verdict. The
joined gate looks at the answers after the same numbers of items as the run on one machine (``early_stopping.looks``),
and ignores what the parts asked beyond the look that decided: both judge the same data by the same rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import zip_longest
from typing import Any, NoReturn

from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.answers import AnswersGate
from pytest_llmperf.gates.base import Gate, gate_from_json
from pytest_llmperf.gates.outcomes import Endings, Outcome, Outcomes
from pytest_llmperf.gates.policy import TolerancePolicy
from pytest_llmperf.gates.verdict import Status, Verdict

SLICED = "part of the items"
"""Method of the verdict of a part, which is no verdict on the model."""


@dataclass(frozen=True, kw_only=True)
class GateSlice(Gate, kind="slice"):
    """Shard ``number`` of ``of`` has these items of a gate; the gate is judged when all parts are joined.

    ``whole``: the gate as JSON text, with the outcomes of this part only. ``endings``: by side, how the answers to each
    item of the part ended, in their order; empty where the gate has all its items at once. ``budget_policy``: the
    budget's own rule for INCONCLUSIVE, empty without one. ``advisory``, ``waived_until`` (ISO date), ``waiver_reason``,
    ``waives_invalid`` and ``today`` (ISO date, UTC): what lets the joined verdict through.
    """

    number: int
    of: int
    whole: str = field(repr=False)
    items: int
    unit: str
    available: int | None = None
    endings: Mapping[str, Sequence[Endings]] = field(default_factory=dict, repr=False)
    budget_policy: str = ""
    advisory: str = ""
    waived_until: str = ""
    waiver_reason: str = ""
    waives_invalid: bool = False
    today: str = ""

    @property
    def verdict_unit(self) -> str:
        return self.unit

    @property
    def size(self) -> int:
        return self.items

    def verdict(self, alpha: float) -> Verdict:
        del alpha
        return Verdict(
            status=Status.INCONCLUSIVE,
            metric=self.metric,
            observed=None,
            interval=None,
            bound=self.bound,
            n=self.items,
            n_needed=None,
            method=SLICED,
            why=(
                f"{self.metric}: slice {self.number} of {self.of}, {self.items} items, is not judged by itself; "
                "`pytest-llmperf merge` judges all slices together"
            ),
            unit=self.unit,
            # A part neither passes nor fails, and must not end its test before the next gate is measured.
            inconclusive="warn",
        )

    def merge(self, earlier: GateSlice) -> NoReturn:
        del earlier
        raise UsageError("a shard with a part of the items is not added to: add to the merged record")

    def mutate(self, by: float, seed: int = 0) -> NoReturn:
        del by, seed
        raise UsageError(
            f"{self.metric}: this record has slice {self.number} of {self.of} of the items; "
            "mutation-test the merged record"
        )

    def tolerance(self, test: str) -> TolerancePolicy:
        """Return what lets the joined verdict on ``test`` through."""
        waiver = None
        if self.waived_until:
            until = date.fromisoformat(self.waived_until)
            waiver = Waiver(test, until, self.waiver_reason, self.waives_invalid)
        return TolerancePolicy(self.advisory, waiver, date.fromisoformat(self.today))


def slice_of(gate: Gate, number: int, of: int, policy: TolerancePolicy, budget_policy: str) -> GateSlice:
    """Return this shard's part of ``gate``, asking all its items: only the joined gate can stop early.

    A gate that is not over the outcomes of items, or whose items cannot be asked, makes a part that is refused.
    """
    refused, part, endings = gate.refused, gate, {}
    if not isinstance(gate, AnswersGate):
        refused = refused or (
            f"{gate.label} is no share of items, and this test's items are cut: put the gate into a test of its own"
        )
    elif not refused and gate.bound is not None and gate.more is not None and gate.planned is not None:
        try:
            outcomes = gate.more(gate.planned)
            asked: dict[str, Any] = dict(zip(gate.sides, outcomes, strict=False))
            part = replace(gate, **asked)
            endings = _endings_of_each(gate, gate.planned)
        except NotMeasured as error:
            refused = str(error)
    waiver = policy.waiver
    return GateSlice(
        metric=gate.label,
        bound=gate.bound,
        origin=gate.origin,
        refused=refused,
        at_least=gate.at_least,
        number=number,
        of=of,
        whole=json.dumps(part.to_json()),
        items=part.size,
        unit=gate.verdict_unit,
        available=gate.available if isinstance(gate, AnswersGate) else None,
        endings=endings,
        budget_policy=budget_policy,
        advisory=policy.advisory,
        waived_until="" if waiver is None else waiver.until.isoformat(),
        waiver_reason="" if waiver is None else waiver.reason,
        waives_invalid=waiver is not None and waiver.invalid,
        today=policy.today.isoformat(),
    )


def _endings_of_each(gate: AnswersGate, planned: int) -> dict[str, list[Endings]]:
    """By side, how the answers ended to each place of the run's order; to one of another part, in no way."""
    if gate.ended is None:
        return {}
    found: dict[str, list[Endings]] = {}
    before: dict[str, Counter[str]] = {}
    for n in range(1, planned + 1):
        for side, counts in gate.ended(n).items():
            now = Counter(counts)
            found.setdefault(side, []).append(dict(now - before.get(side, Counter())))
            before[side] = now
    return found


def joined_gate(slices: Sequence[GateSlice]) -> AnswersGate:
    """Return the gate over the items of all ``slices``, with as many of them as decide it.

    ``slices`` are those of shard 1 to n, none refused. Raises :class:`NotMeasured` with the number of the slice if they
    are not all parts of one gate, or together not exactly its items.
    """
    first, gates = slices[0], [gate_from_json(json.loads(part.whole)) for part in slices]
    whole = gates[0]
    if not isinstance(whole, AnswersGate):
        raise NotMeasured(f"{first.metric} is no share of items: its slices cannot be joined")
    parts: list[AnswersGate] = []
    for place, (part, gate) in enumerate(zip(slices, gates, strict=True), start=1):
        if (part.number, part.of) != (place, len(slices)):
            raise NotMeasured(
                f"slice {place} of {len(slices)} of {first.metric} is missing: slice {part.number} of {part.of} is in "
                "its place"
            )
        if not isinstance(gate, AnswersGate) or not _same(whole, gate):
            raise NotMeasured(
                f"slice {place} of {first.metric} asked something else than slice 1: another bound, or other settings"
            )
        parts.append(gate)
    sides = [_interleaved([getattr(part, side) for part in parts], first.metric) for side in whole.sides]
    if whole.planned is None:
        counts = {
            side: dict(sum((Counter(part.endings.get(side, {})) for part in parts), Counter()))
            for side in whole.endings
        }
        given: dict[str, Any] = dict(zip(whole.sides, sides, strict=True))
        return replace(whole, **given, endings=counts, available=first.available)
    if len(sides[0]) != whole.planned:
        raise NotMeasured(
            f"the slices of {first.metric} have {len(sides[0])} items together, {whole.planned} are needed"
        )
    return _replayed(whole, sides, slices)


def _same(whole: AnswersGate, gate: AnswersGate) -> bool:
    alike = (gate.bound, gate.planned, tuple(gate.spent), gate.stands, gate.before)
    return whole.same_question(gate) and alike == (
        whole.bound,
        whole.planned,
        tuple(whole.spent),
        whole.stands,
        whole.before,
    )


def _interleaved(parts: Sequence[Outcomes], metric: str) -> dict[str, Outcome | Sequence[Outcome]]:
    """Return the outcomes of all parts in the order of the run."""
    sizes = [len(part) for part in parts]
    needed = [(sum(sizes) + len(parts) - 1 - place) // len(parts) for place in range(len(parts))]
    for place, (size, need) in enumerate(zip(sizes, needed, strict=True), start=1):
        if size != need:
            raise NotMeasured(f"slice {place} of {metric} has {size} items, {need} are needed")
    turns = zip_longest(*(part.items() for part in parts))
    pairs = [pair for turn in turns for pair in turn if pair is not None]
    twice = [item for item, count in Counter(item for item, _ in pairs).items() if count > 1]
    if twice:
        raise NotMeasured(f"{len(twice)} items of {metric} are in several slices, the first: {twice[0]}")
    return dict(pairs)


def _replayed(whole: AnswersGate, sides: Sequence[Outcomes], slices: Sequence[GateSlice]) -> AnswersGate:
    """Return the gate after the look that decides it, as it would have been collected on one machine."""
    ordered = [[*side.items()] for side in sides]

    def more(n: int) -> tuple[Outcomes, Outcomes]:
        ours, *theirs = [dict(side[:n]) for side in ordered]
        return ours, theirs[0] if theirs else {}

    names = slices[0].endings
    totals = {
        side: [
            sum((Counter(e) for e in at), Counter())
            for at in zip(*(s.endings[side] for s in slices), strict=True)
        ]
        for side in names
    }

    def ended(n: int) -> Mapping[str, Endings]:
        return {side: dict(sorted(sum(each[:n], Counter()).items())) for side, each in totals.items()}

    return replace(whole, more=more, ended=ended if names else None, available=slices[0].available).settled()
