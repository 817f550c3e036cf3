"""Many gates, one run: green only if every gate is, and the culprits named without blaming one by chance.

Requiring every gate to pass needs no correction (an intersection-union test: Berger 1982, Technometrics 24,
295). Saying *which* gate caught a real regression does, since of twenty gates at their bounds one fails by
chance: Holm's procedure over the gates' p-values names those that hold up. Gates that clearly meet their bound are left
out of it (``stats.holm.without_clear``): else a loss that stopped early, at a p-value of .01, would be named in no run
of more than five gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.judgement import Policy, check_policy, is_green
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import excuse, plural
from pytest_llmperf.stats import holm

LOOK_FIRST = 3
CLEAR = 0.9
"""P-value from which on a gate is left out of the correction. That of a PASS is .95 and more."""


@dataclass(frozen=True)
class RunVerdict:
    """The run in one word, and where to look.

    ``status``: INVALID beats FAIL beats INCONCLUSIVE beats PASS, over the gates that count; a run that judged and
    checked nothing is INVALID, and so is one whose gates are all advisory. ``green`` is what the exit code should say:
    PASS, or INCONCLUSIVE where that only warns. ``counts`` are of all gates. ``culprits`` are the FAILs that stand
    after Holm's correction over the gates that count, the clearest first; ``look_first`` at most three lines.
    """

    status: Status
    green: bool
    counts: dict[Status, int]
    culprits: tuple[Verdict, ...]
    look_first: tuple[str, ...]
    why: str
    undecided: bool = False
    """Nothing worse than INCONCLUSIVE makes the run red, and that has an exit code of its own (policy ``"exit"``)."""
    waived: int = 0
    """Verdicts that a waiver lets through."""
    advisory_failed: int = 0
    """Advisory gates that did not pass."""
    let_through: tuple[str, ...] = ()
    """A line for each waived verdict and each advisory gate that did not pass, with the reason."""

    @property
    def headline(self) -> str:
        """``PASS, 1 waived, 1 advisory failed``."""
        more = [(self.waived, "waived"), (self.advisory_failed, "advisory failed")]
        return ", ".join([self.status.value, *(f"{count} {what}" for count, what in more if count)])

    @property
    def culprit_names(self) -> str:
        """Metrics of the culprits, each once; empty without any."""
        return _names(self.culprits)


def run_verdict(
    verdicts: Sequence[Verdict],
    *,
    inconclusive: Policy = "fail",
    alpha: float = ALPHA,
    problems: Sequence[str] = (),
    failures: Sequence[str] = (),
    checks: int = 0,
) -> RunVerdict:
    """Sum up; ``ValueError`` for a policy that there is not.

    ``problems`` say why the run is INVALID whatever its gates say, ``failures`` why it is at least FAIL. ``checks``
    is the number of tests that passed by plain assertions about a model: with them a run needs no gate to be green.
    """
    check_policy(inconclusive)
    counting = [v for v in verdicts if not v.excused]
    waived = [v for v in verdicts if v.waived]
    found = _summed(verdicts, counting, inconclusive, alpha, problems, failures, checks)
    return replace(
        found,
        waived=len(waived),
        advisory_failed=sum(1 for v in verdicts if v.advisory and v.status is not Status.PASS),
        let_through=tuple(dict.fromkeys(_let_through(verdicts))),
    )


def _let_through(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for v in verdicts:
        if v.excused and v.status is not Status.PASS:
            yield f"{excuse(v)} — {v.status.value}: {v.why}"


def _summed(
    every: Sequence[Verdict],
    verdicts: Sequence[Verdict],
    inconclusive: Policy,
    alpha: float,
    problems: Sequence[str],
    failures: Sequence[str],
    checks: int,
) -> RunVerdict:
    """The verdict of a run by the ``verdicts`` that count, of ``every`` one."""
    counts = {status: sum(1 for v in every if v.status is status) for status in Status}
    counted = {status: sum(1 for v in verdicts if v.status is status) for status in Status}
    gates = plural(len(every), "gate")
    if problems or failures:
        known = (Status.INVALID,) if problems or counted[Status.INVALID] else (Status.FAIL,)
        culprits = _culprits(verdicts, alpha)
        first = [f"INVALID: {problem}" for problem in problems] + [f"FAIL: {why}" for why in failures]
        first = [*dict.fromkeys([*first, *_look_first(verdicts, culprits)])]
        why = "; ".join([*problems, *failures, gates if every else "no gate was judged"])
        return RunVerdict(known[0], False, counts, culprits, tuple(first[:LOOK_FIRST]), why)
    said = ", ".join(_said(every))
    if not verdicts and checks:
        judged = f"{gates}: {said}" if every else "no gate was judged"
        why = f"{judged}; {plural(checks, 'test')} checked a model by plain assertions"
        return RunVerdict(Status.PASS, True, counts, (), (), why)
    if not every:
        why = "no gate was judged, so nothing is known about the candidate"
        return RunVerdict(Status.INVALID, False, counts, (), (), why)
    if not verdicts and not any(v.waived and v.status is not Status.INVALID for v in every):
        why = f"no gate that counts was judged, so nothing is required of the candidate; {gates}: {said}"
        return RunVerdict(Status.INVALID, False, counts, (), (), why)
    status = next((status for status in _WORST_FIRST if counted[status]), Status.PASS)
    red = [v for v in verdicts if not is_green(v, inconclusive)]
    undecided = bool(red) and all(
        v.status is Status.INCONCLUSIVE and (v.inconclusive or inconclusive) == "exit" for v in red
    )
    culprits = _culprits(verdicts, alpha)
    why = f"{gates}: {said}"
    if counted[Status.FAIL]:
        named = _names(culprits) or "none of them alone"
        why += f"; shown to be out of bounds after Holm's correction: {named}"
    return RunVerdict(status, not red, counts, culprits, _look_first(verdicts, culprits), why, undecided)


_WORST_FIRST = (Status.INVALID, Status.FAIL, Status.INCONCLUSIVE, Status.PASS)


def _said(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """``1 FAIL``, ``18 PASS``, ``1 FAIL waived``, ``1 FAIL advisory``: those that count first, each the worst first."""
    for kind in ("", " waived", " advisory"):
        of = [
            v.status
            for v in verdicts
            if (" waived" if v.waived else " advisory" if v.advisory else "") == kind
        ]
        yield from (f"{of.count(s)} {s.value}{kind}" for s in _WORST_FIRST if s in of)


def _names(verdicts: Sequence[Verdict]) -> str:
    return ", ".join(dict.fromkeys(v.metric for v in verdicts))


def _culprits(verdicts: Sequence[Verdict], alpha: float) -> tuple[Verdict, ...]:
    tested = [v for v in verdicts if v.status is not Status.INVALID and v.p_value is not None]
    adjusted = holm.without_clear([v.p_value for v in tested if v.p_value is not None], CLEAR)
    # a single measurement has no chance in it that could be corrected for
    named = [(0.0, v) for v in verdicts if v.status is Status.FAIL and v.p_value is None]
    named += [(p, v) for p, v in zip(adjusted, tested, strict=True) if v.status is Status.FAIL and p <= alpha]
    return tuple(v for _, v in sorted(named, key=lambda entry: entry[0]))


def _look_first(verdicts: Sequence[Verdict], culprits: Sequence[Verdict]) -> tuple[str, ...]:
    """Sentences on what was not measured, then on what is shown to be wrong, then on the rest that is not green; each
    sentence once.
    """
    others = [v for s in (Status.FAIL, Status.INCONCLUSIVE) for v in verdicts if v.status is s]
    ordered = [v for v in verdicts if v.status is Status.INVALID] + [*culprits] + others
    lines = dict.fromkeys(f"{v.status.value}: {v.why}" for v in ordered)
    return tuple(lines)[:LOOK_FIRST]
