"""Compare two recorded runs: what differs beyond chance, and what cannot be compared and why. Pure.

* Answers to the same items are paired: McNemar's exact test of the items gained and lost; with several answers to an
  item, a paired test on the items' mean differences.
* Ratios candidate/baseline come from interleaved rounds, so each run has its own control: worse where the intervals
  are apart.
* Times and throughputs have no control. Two starts of one server differ without any change, so the intervals of single
  starts must be apart by more than :data:`BETWEEN_STARTS`.

Where there are p-values, a metric is called worse only if it holds up after Holm's correction over all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_llmperf.gates.verdict import NOT_MEASURED
from pytest_llmperf.record.summary import RightAnswers
from pytest_llmperf.record.tables import AnswerRow
from pytest_llmperf.stats import bounded_mean, holm, paired

if TYPE_CHECKING:
    from pytest_llmperf.record.model import AnswersEntry, MetricEntry, Record, ServerEntry

ALPHA = 0.05
BETWEEN_STARTS = 1.12
"""Largest ratio of the times per token of two starts of one model, on one H100 and without any change."""
ENOUGH_STARTS = 3
"""With this many starts of each side, their intervals cover the spread between starts."""

Rows = Sequence[AnswerRow]


class Change(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    SAME = "no difference shown"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Difference:
    """One metric in both runs. ``how`` says what was compared, or why it was not."""

    what: str
    unit: str
    before: float | None
    now: float | None
    outcome: Change
    how: str
    p_worse: float | None = None


@dataclass(frozen=True)
class Comparison:
    differences: Sequence[Difference]
    differs: Sequence[str] = ()
    """Settings that differ between the runs, and so may be the cause: one line each."""
    vanished: Sequence[str] = ()
    """Tests and gates of the first run that are missing in the second: test, or test and metric."""
    new: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def of(self, outcome: Change) -> list[Difference]:
        return [one for one in self.differences if one.outcome is outcome]

    @property
    def regressed(self) -> bool:
        return bool(self.of(Change.WORSE))

    @property
    def compared(self) -> bool:
        """Whether anything of the two runs could be compared."""
        return len(self.of(Change.NOT_COMPARED)) < len(self.differences)

    @property
    def gaps(self) -> list[str]:
        """Everything that the first run answers and the second does not: one line each."""
        lines = [f"{one.what}: {one.how}" for one in self.of(Change.NOT_COMPARED)]
        lines += [f"{test}: in the first run, and not in the second" for test in self.vanished]
        return lines if self.differences else [*lines, "nothing in the two records can be compared"]


def compare(before: Record, now: Record, answers_before: Rows = (), answers_now: Rows = ()) -> Comparison:
    """Compare the second run with the first; the answers are the rows of their tables, if there are any."""
    found = [
        *_accuracies(before, now, answers_before, answers_now),
        *_ratios(before, now),
        *_levels(before, now),
    ]
    tests_before, tests_now = _tests(before), _tests(now)
    notes = [
        f"the {which} run is partial: {record.partial}"
        for which, record in (("first", before), ("second", now))
        if record.partial
    ]
    return Comparison(
        _corrected(found),
        _differs(before, now),
        [test for test in tests_before if test not in tests_now] + _vanished_gates(before, now, tests_now),
        [test for test in tests_now if test not in tests_before],
        notes,
    )


def _vanished_gates(before: Record, now: Record, tests_now: Sequence[str]) -> list[str]:
    """Gates of the first run that the second one does not judge although it has their tests."""
    left = Counter(_gates(now))
    vanished = []
    for gate in _gates(before):
        if left[gate] > 0:
            left[gate] -= 1
        elif gate[0] in tests_now:
            vanished.append(f"{gate[0]}: the gate {gate[1]}")
    return vanished


def _gates(record: Record) -> list[tuple[str, str, str]]:
    """Test, metric and unit of every judged gate; the verdict of a test that judged nothing is no gate."""
    return [entry.gate for entry in record.verdicts if entry.method != NOT_MEASURED]


def _corrected(found: list[Difference]) -> list[Difference]:
    """Take back what is worse by its own test alone: of twenty such tests, chance alone fails one."""
    tested = [one for one in found if one.p_worse is not None]
    adjusted = dict(zip(map(id, tested), holm.adjusted([one.p_worse or 0.0 for one in tested]), strict=True))
    return [
        replace(one, outcome=Change.SAME, how=f"{one.how}; not beyond chance among {len(tested)} comparisons")
        if one.outcome is Change.WORSE and adjusted.get(id(one), 0.0) > ALPHA
        else one
        for one in found
    ]


# Accuracy


def _accuracies(before: Record, now: Record, then: Rows, today: Rows) -> Iterator[Difference]:
    others = {entry.key: entry for entry in now.answers}
    for entry in before.answers:
        row, task, variant = key = entry.key
        what = f"{row}: {task} accuracy" + (f", {variant}" if variant != "as promised" else "")
        other = others.get(key)
        if other is None or (why := _other_template(before, now, row)):
            why = "not measured in the second run" if other is None else why
            current = None if other is None else _share(other)
            yield Difference(what, "share", _share(entry), current, Change.NOT_COMPARED, why)
            continue
        pairs = _pairs([r for r in then if _key(r) == key], [r for r in today if _key(r) == key])
        yield _paired(what, pairs) if pairs else _unpaired(what, entry, other)


def _pairs(then: Rows, today: Rows) -> list[list[tuple[bool, bool]]]:
    """Right then and today, of every answer to the same question with the same expectation, by item."""

    def by_answer(rows: Rows) -> dict[tuple[str, int, str, str], bool]:
        return {
            (row["item"], row["sample"], row["question"], row["gold"]): row["outcome"] == "correct"
            for row in rows
            if row["outcome"] != "infra"
        }

    old, new = by_answer(then), by_answer(today)
    items: dict[str, list[tuple[bool, bool]]] = {}
    for answer, right in old.items():
        if answer in new:
            items.setdefault(answer[0], []).append((right, new[answer]))
    return list(items.values())


def _paired(what: str, items: Sequence[Sequence[tuple[bool, bool]]]) -> Difference:
    pairs = [pair for item in items for pair in item]
    gained = sum(now and not then for then, now in pairs)
    lost = sum(then and not now for then, now in pairs)
    if len(pairs) == len(items):
        p_worse, p_better = paired.mcnemar_p_worse(gained, lost), paired.mcnemar_p_worse(lost, gained)
        counted = f"{len(items)} items of both"
    else:
        # Answers to one item resemble each other: the items are the sample.
        means = [(sum(now for _, now in item) - sum(then for then, _ in item)) / len(item) for item in items]
        p_worse = bounded_mean.p_below(means, 1.0, 0.0)
        p_better = bounded_mean.p_above(means, -1.0, 0.0)
        counted = f"{len(pairs)} answers to {len(items)} items of both"
    outcome = Change.WORSE if p_worse <= ALPHA else Change.BETTER if p_better <= ALPHA else Change.SAME
    before, now = (sum(pair[side] for pair in pairs) / len(pairs) for side in (0, 1))
    how = f"{counted}: {gained} gained, {lost} lost"
    return Difference(what, "share", before, now, outcome, how, p_worse)


def _unpaired(what: str, before: AnswersEntry, now: AnswersEntry) -> Difference:
    first, second = _right(before), _right(now)
    if before.items_sha256 != now.items_sha256:
        how = "no item of both is the same, or their answers are not beside the records"
    elif first is None or second is None:
        how = "no answer came"
    else:
        outcome = _apart(first.interval(), second.interval(), better="higher")
        how = "intervals of the same items, unpaired"
        return Difference(what, "share", first.share, second.share, outcome, how)
    return Difference(what, "share", _share(before), _share(now), Change.NOT_COMPARED, how)


def _right(entry: AnswersEntry) -> RightAnswers | None:
    return RightAnswers.of(entry.outcomes, entry.items, entry.samples)


def _share(entry: AnswersEntry) -> float | None:
    found = _right(entry)
    return None if found is None else found.share


# Speed


def _ratios(before: Record, now: Record) -> Iterator[Difference]:
    others = {(entry.test, entry.metric): entry for entry in now.verdicts if entry.unit == "ratio"}
    for entry in before.verdicts:
        if entry.unit != "ratio" or entry.interval is None:
            continue
        what = f"{entry.metric}, candidate over baseline"
        other = others.get((entry.test, entry.metric))
        if other is None or other.interval is None:
            current, outcome, how = None, Change.NOT_COMPARED, "not measured in the second run"
        elif why := _other_machine(before, now):
            current, outcome, how = other.observed, Change.NOT_COMPARED, why
        else:
            better = "higher" if entry.level_unit == "tok/s" else "lower"
            outcome = _apart(entry.interval, other.interval, better=better)
            current, how = other.observed, "intervals over rounds in turn"
        yield Difference(what, "ratio", entry.observed, current, outcome, how)


def _levels(before: Record, now: Record) -> Iterator[Difference]:
    others = {_level(entry): entry for entry in now.metrics if entry.metric != "accuracy"}
    for entry in before.metrics:
        if entry.metric == "accuracy":
            continue
        what = f"{entry.row}: {entry.metric}, {entry.of}"
        other = others.get(_level(entry))
        if other is None:
            current, outcome, how = None, Change.NOT_COMPARED, "not measured in the second run"
        elif why := _other_machine(before, now):
            current, outcome, how = other.value, Change.NOT_COMPARED, why
        else:
            starts = min(_starts(record, entry.row) for record in (before, now))
            allowed = 1.0 if starts >= ENOUGH_STARTS else BETWEEN_STARTS
            how = (
                f"intervals over {starts} starts"
                if allowed == 1.0
                else f"intervals, and {allowed - 1:.0%} that starts differ by"
            )
            current = other.value
            outcome = _apart(entry.interval, other.interval, better=entry.better, allowed=allowed)
        yield Difference(what, entry.unit, entry.value, current, outcome, how)


def _apart(
    before: tuple[float | None, float | None],
    now: tuple[float | None, float | None],
    *,
    better: str,
    allowed: float = 1.0,
) -> Change:
    """SAME unless the intervals are disjoint, by a factor ``allowed`` at least; an unknown end separates nothing."""
    (low, high), (low_now, high_now) = before, now
    above = high is not None and low_now is not None and low_now > high * allowed
    below = low is not None and high_now is not None and high_now * allowed < low
    if above:
        return Change.BETTER if better == "higher" else Change.WORSE
    if below:
        return Change.WORSE if better == "higher" else Change.BETTER
    return Change.SAME


# What is the same, and what is not


def _key(answer: AnswerRow) -> tuple[str, str, str]:
    return answer["row"], answer["task"], answer["variant"]


def _level(entry: MetricEntry) -> tuple[str, str, str]:
    return entry.row, entry.metric, entry.of


def _tests(record: Record) -> Sequence[str]:
    return record.suite.tests or [entry.test for entry in record.tests]


def _starts(record: Record, row: str) -> int:
    seen = Counter(load.concurrency for load in record.load if load.row == row)
    return max(seen.values(), default=1)


def _server(record: Record, row: str) -> ServerEntry | None:
    return next((server for server in record.servers if server.row == row), None)


def _other_template(before: Record, now: Record, row: str) -> str:
    first, second = (
        server and server.template_sha256 for server in (_server(before, row), _server(now, row))
    )
    return "the chat template is another one" if first and second and first != second else ""


def _other_machine(before: Record, now: Record) -> str:
    first, second = _machine(before), _machine(now)
    return f"measured on {first}, then on {second}" if first != second else ""


def _machine(record: Record) -> str:
    """The device; a CPU with its model, where that is known."""
    name, cpu = record.device.name or "?", record.environment.cpu
    return f"{name} ({cpu})" if name == "CPU" and cpu else name


_OF_THE_MACHINE = ("plugin", "python", "driver", "cuda")
_OF_A_SERVER = (
    *("engine", "arguments", "weights", "revision", "weights_sha256", "dtype", "template_sha256"),
    *("adapter", "server_of"),
)


def _differs(before: Record, now: Record) -> list[str]:
    """One line for each difference: what, then → now."""
    lines = []
    if before.profile != now.profile:
        lines.append(f"profile: {before.profile} → {now.profile}")
    for name in _OF_THE_MACHINE:
        first, second = (getattr(record.environment, name) for record in (before, now))
        if first != second:
            lines.append(f"{name}: {first} → {second}")
    if before.suite.sha256 != now.suite.sha256:
        lines.append("the suite's files are not the same")
    for server in before.servers:
        other = _server(now, server.row)
        if other is None:
            continue
        for name in _OF_A_SERVER:
            first, second = getattr(server, name), getattr(other, name)
            if first != second:
                values = "" if name.endswith("sha256") else f": {_shown(first)} → {_shown(second)}"
                lines.append(f"{server.row}: another {name.replace('_sha256', '')}{values}")
        changed = [name for name, digest in server.files.items() if other.files.get(name, digest) != digest]
        lines += [f"{server.row}: other content of {name}" for name in changed]
    return lines


def _shown(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
