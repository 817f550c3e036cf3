"""Many gates, one run: green only if every gate is, and the culprits named without blaming one by chance.

Requiring every gate to pass needs no correction (an intersection-union test: Berger 1982, Technometrics 24,
295). Saying *which* gate caught a real regression does, since of twenty gates at their bounds one fails by
chance: Holm's procedure over the gates' p-values names those that hold up. Gates that clearly meet their bound are left
out of it (``stats.holm.without_clear``): else a loss that stopped early, at a p-value of .01, would be named in no run
of more than five gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.judgement import Policy
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.stats import holm

LOOK_FIRST = 3
CLEAR = 0.9
"""P-value from which on a gate is left out of the correction. That of a PASS is .95 and more."""


@dataclass(frozen=True)
class RunVerdict:
    """The run in one word, and where to look.

    ``status``: INVALID beats FAIL beats INCONCLUSIVE beats PASS; a run that judged and checked nothing is INVALID.
    ``green`` is what the exit code should say: PASS, or INCONCLUSIVE under the policy ``"warn"``. ``culprits`` are the
    FAILs that stand after Holm's correction over all judged gates, the clearest first; ``look_first`` at most
    three lines.
    """

    status: Status
    green: bool
    counts: dict[Status, int]
    culprits: tuple[Verdict, ...]
    look_first: tuple[str, ...]
    why: str

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
    """Sum up; ``ValueError`` for a policy that is neither ``"fail"`` nor ``"warn"``.

    ``problems`` say why the run is INVALID whatever its gates say, ``failures`` why it is at least FAIL. ``checks``
    is the number of tests that passed by plain assertions about a model: with them a run needs no gate to be green.
    """
    if inconclusive not in ("fail", "warn"):
        raise ValueError(f"the policy for INCONCLUSIVE is 'fail' or 'warn', not {inconclusive!r}")
    counts = {status: sum(1 for v in verdicts if v.status is status) for status in Status}
    if problems or failures:
        known = (Status.INVALID,) if problems or counts[Status.INVALID] else (Status.FAIL,)
        culprits = _culprits(verdicts, alpha)
        first = [f"INVALID: {problem}" for problem in problems] + [f"FAIL: {why}" for why in failures]
        first = [*dict.fromkeys([*first, *_look_first(verdicts, culprits)])]
        why = "; ".join(
            [*problems, *failures, plural(len(verdicts), "gate") if verdicts else "no gate was judged"]
        )
        return RunVerdict(known[0], False, counts, culprits, tuple(first[:LOOK_FIRST]), why)
    if not verdicts and checks:
        why = f"no gate was judged; {plural(checks, 'test')} checked a model by plain assertions"
        return RunVerdict(Status.PASS, True, counts, (), (), why)
    if not verdicts:
        why = "no gate was judged, so nothing is known about the candidate"
        return RunVerdict(Status.INVALID, False, counts, (), (), why)
    order = (Status.INVALID, Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
    status = next(status for status in order if counts[status])
    green = status is Status.PASS or (status is Status.INCONCLUSIVE and inconclusive == "warn")
    culprits = _culprits(verdicts, alpha)
    said = [f"{counts[s]} {s.value}" for s in order if counts[s]]
    why = f"{plural(len(verdicts), 'gate')}: {', '.join(said)}"
    if counts[Status.FAIL]:
        named = _names(culprits) or "none of them alone"
        why += f"; shown to be out of bounds after Holm's correction: {named}"
    return RunVerdict(status, green, counts, culprits, _look_first(verdicts, culprits), why)


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
