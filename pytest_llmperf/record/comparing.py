"""What differs between two recorded runs, beyond chance; and what cannot be compared, with its reason. Pure.

* Answers to the same items are paired: McNemar's exact test of what was gained and lost; with several answers
  an item, the mean differences of the items.
* Ratios candidate/baseline come from rounds in turn, so that both runs have their own control: worse where their
  intervals are apart.
* Times and throughputs stand alone. Two starts of one server differ without any change, so that intervals of single
  starts must be apart by more than :data:`BETWEEN_STARTS`.

Of everything that is compared at once, what is called worse holds up after Holm's correction where there is a p-value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pytest_llmperf.gates.verdict import NOT_MEASURED
from pytest_llmperf.record.summing import RightAnswers
from pytest_llmperf.stats import clustered, holm, paired

ALPHA = 0.05
BETWEEN_STARTS = 1.12
"""Up to so much two starts of one model differed in time per token, on one H100 and without any change."""
ENOUGH_STARTS = 3
"""From so many starts of each side, their intervals cover what differs between starts."""

Rows = Sequence[Mapping[str, Any]]


class Outcome(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    SAME = "no difference shown"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Difference:
    """One metric of both runs. ``how`` says what was compared, or why it was not."""

    what: str
    unit: str
    before: float | None
    now: float | None
    outcome: Outcome
    how: str
    p_worse: float | None = None


@dataclass(frozen=True)
class Comparison:
    differences: Sequence[Difference]
    differs: Sequence[str] = ()
    """What is not the same in both runs and may be the cause."""
    vanished: Sequence[str] = ()
    """Tests of the first run that the second one does not have, and gates that it does not judge: test and metric."""
    new: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    def of(self, outcome: Outcome) -> list[Difference]:
        return [one for one in self.differences if one.outcome is outcome]

    @property
    def regressed(self) -> bool:
        return bool(self.of(Outcome.WORSE))

    @property
    def gaps(self) -> list[str]:
        """Everything that was asked of the first run and is not answered by the second: one line each."""
        lines = [f"{one.what}: {one.how}" for one in self.of(Outcome.NOT_COMPARED)]
        lines += [f"{test}: in the first run, and not in the second" for test in self.vanished]
        return lines if self.differences else [*lines, "nothing in the two records can be compared"]


def compare(
    before: Mapping[str, Any], now: Mapping[str, Any], answers_before: Rows = (), answers_now: Rows = ()
) -> Comparison:
    """The second run against the first; the answers are the rows of their tables, where they have them."""
    found = [
        *_accuracies(before, now, answers_before, answers_now),
        *_ratios(before, now),
        *_levels(before, now),
    ]
    tests_before, tests_now = (_tests(one) for one in (before, now))
    notes = [
        f"the {which} run is partial: {one['partial']}"
        for which, one in (("first", before), ("second", now))
        if one.get("partial")
    ]
    return Comparison(
        _corrected(found),
        _differs(before, now),
        [test for test in tests_before if test not in tests_now] + _vanished_gates(before, now, tests_now),
        [test for test in tests_now if test not in tests_before],
        notes,
    )


def _vanished_gates(before: Mapping[str, Any], now: Mapping[str, Any], tests_now: Sequence[str]) -> list[str]:
    """Gates of the first run that the second one does not judge although it has their tests."""
    left = Counter(_gates(now))
    vanished = []
    for gate in _gates(before):
        if left[gate] > 0:
            left[gate] -= 1
        elif gate[0] in tests_now:
            vanished.append(f"{gate[0]}: the gate {gate[1]}")
    return vanished


def _gates(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Test, metric and unit of every gate that was judged; what a test has that judged nothing is none."""
    return [
        (str(one.get("test")), str(one["metric"]), str(one.get("unit") or ""))
        for one in record.get("verdicts", ())
        if one.get("method") != NOT_MEASURED
    ]


def _corrected(found: list[Difference]) -> list[Difference]:
    """What looks worse by one test alone may be the one in twenty that chance gives."""
    tested = [one for one in found if one.p_worse is not None]
    adjusted = dict(zip(map(id, tested), holm.adjusted([one.p_worse or 0.0 for one in tested]), strict=True))
    return [
        replace(
            one, outcome=Outcome.SAME, how=f"{one.how}; not beyond chance among {len(tested)} comparisons"
        )
        if one.outcome is Outcome.WORSE and adjusted.get(id(one), 0.0) > ALPHA
        else one
        for one in found
    ]


# Accuracy


def _accuracies(
    before: Mapping[str, Any], now: Mapping[str, Any], then: Rows, today: Rows
) -> Iterator[Difference]:
    others = {_key(one): one for one in now.get("answers", ())}
    for one in before.get("answers", ()):
        row, task, variant = key = _key(one)
        what = f"{row}: {task} accuracy" + (f", {variant}" if variant != "as promised" else "")
        about: dict[str, Any] = {"what": what, "unit": "share", "before": _share(one)}
        if key not in others:
            yield Difference(
                **about, now=None, outcome=Outcome.NOT_COMPARED, how="the second run did not ask"
            )
            continue
        other = others[key]
        if templates := _other_template(before, now, row):
            yield Difference(**about, now=_share(other), outcome=Outcome.NOT_COMPARED, how=templates)
            continue
        pairs = _pairs([r for r in then if _key(r) == key], [r for r in today if _key(r) == key])
        yield _paired(what, pairs) if pairs else _unpaired(what, one, other)


def _pairs(then: Rows, today: Rows) -> list[list[tuple[bool, bool]]]:
    """Right then and today, of every answer to the same question with the same expectation, by item."""

    def by_answer(rows: Rows) -> dict[tuple[Any, ...], bool]:
        keys = ("item", "sample", "question", "gold")
        return {tuple(r[k] for k in keys): r["outcome"] == "correct" for r in rows if r["outcome"] != "infra"}

    old, new = by_answer(then), by_answer(today)
    items: dict[Any, list[tuple[bool, bool]]] = {}
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
        p_worse = clustered.paired_p_below(means, 0.0)
        p_better = clustered.paired_p_below([-mean for mean in means], 0.0)
        counted = f"{len(pairs)} answers to {len(items)} items of both"
    outcome = Outcome.WORSE if p_worse <= ALPHA else Outcome.BETTER if p_better <= ALPHA else Outcome.SAME
    before, now = (sum(pair[side] for pair in pairs) / len(pairs) for side in (0, 1))
    how = f"{counted}: {gained} gained, {lost} lost"
    return Difference(what, "share", before, now, outcome, how, p_worse)


def _unpaired(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Difference:
    if before.get("items_sha256") != now.get("items_sha256"):
        how = "no item of both is the same, or their answers are not beside the records"
        return Difference(what, "share", _share(before), _share(now), Outcome.NOT_COMPARED, how)
    first, second = RightAnswers.of(before), RightAnswers.of(now)
    if first is None or second is None:
        return Difference(what, "share", _share(before), _share(now), Outcome.NOT_COMPARED, "no answer came")
    outcome = _apart(first.interval(), second.interval(), better="higher")
    return Difference(
        what, "share", first.share, second.share, outcome, "intervals of the same items, unpaired"
    )


def _share(one: Mapping[str, Any]) -> float | None:
    found = RightAnswers.of(one)
    return None if found is None else found.share


# Speed


def _ratios(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    others = {
        (one.get("test"), one["metric"]): one for one in now.get("verdicts", ()) if one.get("unit") == "ratio"
    }
    for one in before.get("verdicts", ()):
        key = (one.get("test"), one["metric"])
        if one.get("unit") != "ratio" or one.get("interval") is None:
            continue
        other = others.get(key)
        about: dict[str, Any] = {
            "what": f"{one['metric']}, candidate over baseline",
            "unit": "ratio",
            "before": one.get("observed"),
        }
        if other is None or other.get("interval") is None:
            how = "the second run has no such ratio"
            yield Difference(**about, now=None, outcome=Outcome.NOT_COMPARED, how=how)
        elif why := _other_machine(before, now):
            yield Difference(**about, now=other.get("observed"), outcome=Outcome.NOT_COMPARED, how=why)
        else:
            better = "higher" if one.get("level_unit") == "tok/s" else "lower"
            outcome = _apart(one["interval"], other["interval"], better=better)
            yield Difference(
                **about, now=other.get("observed"), outcome=outcome, how="intervals over rounds in turn"
            )


def _levels(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    others = {_level(one): one for one in now.get("metrics", ()) if one["metric"] != "accuracy"}
    for one in before.get("metrics", ()):
        if one["metric"] == "accuracy":
            continue
        about: dict[str, Any] = {
            "what": f"{one['row']}: {one['metric']}, {one['of']}",
            "unit": one["unit"],
            "before": one["value"],
        }
        other = others.get(_level(one))
        if other is None:
            how = "the second run did not measure it"
            yield Difference(**about, now=None, outcome=Outcome.NOT_COMPARED, how=how)
        elif why := _other_machine(before, now):
            yield Difference(**about, now=other["value"], outcome=Outcome.NOT_COMPARED, how=why)
        else:
            starts = min(_starts(run, one["row"]) for run in (before, now))
            allowed = 1.0 if starts >= ENOUGH_STARTS else BETWEEN_STARTS
            how = (
                f"intervals over {starts} starts"
                if allowed == 1.0
                else f"intervals, and {allowed - 1:.0%} that starts differ by"
            )
            outcome = _apart(one["interval"], other["interval"], better=one["better"], allowed=allowed)
            yield Difference(**about, now=other["value"], outcome=outcome, how=how)


def _apart(
    before: Sequence[float | None] | None,
    now: Sequence[float | None] | None,
    *,
    better: str,
    allowed: float = 1.0,
) -> Outcome:
    """Where the whole of one interval lies beyond the whole of the other; an end that is not known is nowhere."""
    (low, high), (low_now, high_now) = before or (None, None), now or (None, None)
    above = high is not None and low_now is not None and low_now > high * allowed
    below = low is not None and high_now is not None and high_now * allowed < low
    if above:
        return Outcome.BETTER if better == "higher" else Outcome.WORSE
    if below:
        return Outcome.WORSE if better == "higher" else Outcome.BETTER
    return Outcome.SAME


# What is the same, and what is not


def _key(one: Mapping[str, Any]) -> tuple[str, str, str]:
    return one["row"], one["task"], one["variant"]


def _level(one: Mapping[str, Any]) -> tuple[str, ...]:
    return one["row"], one["metric"], one["of"]


def _tests(record: Mapping[str, Any]) -> list[str]:
    suite = record.get("suite", {}).get("tests")
    return list(suite) if suite else [one["test"] for one in record.get("tests", ())]


def _starts(record: Mapping[str, Any], row: str) -> int:
    seen: dict[Any, int] = {}
    for one in record.get("load", ()):
        if one["row"] == row:
            seen[one.get("concurrency")] = seen.get(one.get("concurrency"), 0) + 1
    return max(seen.values(), default=1)


def _server(record: Mapping[str, Any], row: str) -> Mapping[str, Any]:
    return next((one for one in record.get("servers", ()) if one["row"] == row), {})


def _other_template(before: Mapping[str, Any], now: Mapping[str, Any], row: str) -> str:
    first, second = (_server(one, row).get("template_sha256") for one in (before, now))
    return "the chat template is another one" if first and second and first != second else ""


def _other_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    first, second = (_machine(one) for one in (before, now))
    return f"measured on {first}, then on {second}" if first != second else ""


def _machine(record: Mapping[str, Any]) -> str:
    """The device; of a CPU also which one, where the record tells."""
    name = str(record.get("device", {}).get("name", "?"))
    cpu = record.get("environment", {}).get("cpu")
    return f"{name} ({cpu})" if name == "CPU" and cpu else name


def _differs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line each: what, then → now."""
    lines = []
    if before.get("profile") != now.get("profile"):
        lines.append(f"profile: {before.get('profile')} → {now.get('profile')}")
    for name in ("plugin", "python", "driver", "cuda"):
        first, second = (one.get("environment", {}).get(name) for one in (before, now))
        if first != second:
            lines.append(f"{name}: {first} → {second}")
    if before.get("suite", {}).get("sha256") != now.get("suite", {}).get("sha256"):
        lines.append("the suite's files are not the same")
    for one in before.get("servers", ()):
        other = _server(now, one["row"])
        for name in (
            "engine",
            "arguments",
            "weights",
            "revision",
            "weights_sha256",
            "dtype",
            "template_sha256",
        ):
            if other and one.get(name) != other.get(name):
                told = "" if name.endswith("sha256") else f": {one.get(name)} → {other.get(name)}"
                lines.append(f"{one['row']}: another {name.replace('_sha256', '')}{told}")
        first, second = one.get("files"), other.get("files")
        if first is not None and second is not None:
            changed = [name for name in first if second.get(name) not in (None, first[name])]
            lines += [f"{one['row']}: other content of {name}" for name in changed]
    return lines
