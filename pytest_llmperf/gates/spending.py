"""How the promised error is divided among several looks at one gate: a run, and re-runs that add their data to it.

Each look has its own part, and a wrong decision of any of them has at most the chance of all parts together (union
bound; alpha spending after Lan and DeMets 1983, Biometrika 70, with fixed parts). The bound holds whatever the sizes
of the looks and the methods of the gates, and although a look holds the data of those before it; the true chance is
smaller for that reason (Armitage, McPherson and Rowe 1969).
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.gates.decision import ALPHA

EARLY_SHARE = 5
"""One part in five of the first look's error is spent on looking while its answers come in."""


def spending(look: int, declared: int | None = None) -> tuple[float, ...]:
    """What each look up to number ``look`` (from 1) may spend, in order.

    ``declared``: looks that were announced before the first one; they share 5 % equally, and there are no more of them.
    None: nothing was announced, so that the first look has spent the 5 %; each further one adds half of what the look
    before it had, and all of them together stay below 10 %. ``ValueError`` for a look that there is not.
    """
    if look < 1 or (declared is not None and look > declared):
        raise ValueError(f"look {look} of {declared or 'any number'}: there is no such look")
    if declared is not None:
        return (ALPHA / declared,) * look
    return tuple(ALPHA / 2**number for number in range(look))


def early(spent: Sequence[float]) -> float:
    """For betting while answers come in: a part of the first look's error, and it goes on through all looks."""
    return spent[0] / EARLY_SHARE


def final(spent: Sequence[float]) -> float:
    """For the gate on all answers of the last look, where they could have ended the questions before."""
    return spent[0] - early(spent) if len(spent) == 1 else spent[-1]


def told(spent: Sequence[float]) -> str:
    """The line below a verdict of a second or later look; empty for the first."""
    if len(spent) == 1:
        return ""
    return (
        f"look {len(spent)}, with the data of the looks before: decides at {100 * spent[-1]:.3g} %, "
        f"all looks together err in at most {100 * sum(spent):.3g} %"
    )
