"""All outcomes of all looks at a margin, added up: the looks together err as seldom as promised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from pytest_llmperf.gates.early_stopping import looks, margin_levels
from pytest_llmperf.stats import paired, paired_exact

_WIDE = 5.5
"""Standard deviations that are added up on either side."""


def crossing(sizes: Sequence[int], difference: float, psi: float, levels: Sequence[float]) -> float:
    """P(the test of any look shows a difference above the true ``difference``), at discordance ``psi``."""
    import numpy as np
    from scipy import fft

    shares = [(psi + difference) / 2.0, (psi - difference) / 2.0]
    chances, first, crossed = np.ones((1, 1)), [0, 0], 0.0
    for (before, n), level in zip(pairwise([0, *sizes]), levels, strict=True):
        new = [_near(n - before, share) for share in shares]
        step = _trinomial(n - before, shares, new)
        shape = [a + b - 1 for a, b in zip(chances.shape, step.shape, strict=True)]
        pooled = fft.irfft2(fft.rfft2(chances, shape) * fft.rfft2(step, shape), shape)
        low = [a + b.start for a, b in zip(first, new, strict=True)]
        kept = [_near(n, share) for share in shares]
        first = [max(a, k.start) for a, k in zip(low, kept, strict=True)]
        ends = [min(a + size, k.stop) for a, size, k in zip(low, shape, kept, strict=True)]
        cut = tuple(slice(a - b, end - b) for a, b, end in zip(first, low, ends, strict=True))
        chances = pooled[cut].clip(0.0)
        counts = [np.arange(size) + a for size, a in zip(chances.shape, first, strict=True)]
        discordant = counts[0][:, None] + counts[1][None, :]
        fewest = _fewest_gained(n, difference, level, psi)
        shown = counts[0][:, None] >= fewest[np.minimum(discordant, n)]
        crossed += float(chances[shown].sum())
        chances[shown] = 0.0
    return crossed


def _near(n: int, share: float) -> range:
    half = _WIDE * math.sqrt(n * share * (1.0 - share)) + _WIDE
    return range(max(0, math.floor(n * share - half)), min(n, math.ceil(n * share + half)) + 1)


def _trinomial(n: int, shares: Sequence[float], counts: Sequence[range]) -> Any:
    import numpy as np
    from scipy.special import gammaln, xlogy

    (gained, lost), (gains, losses) = shares, counts
    g, l = np.array(gains)[:, None], np.array(losses)[None, :]  # noqa: E741
    same = np.maximum(0, n - g - l)
    ways = gammaln(n + 1) - gammaln(g + 1) - gammaln(l + 1) - gammaln(same + 1)
    logs = ways + xlogy(g, gained) + xlogy(l, lost) + xlogy(same, max(0.0, 1.0 - gained - lost))
    return np.where(g + l <= n, np.exp(logs), 0.0)


def _fewest_gained(n: int, difference: float, level: float, psi: float) -> Any:
    """By number of discordant items, how many must be gained; the critical value is interpolated between a few."""
    import numpy as np

    likely = _near(n, psi)
    at = sorted({round(count) for count in np.linspace(likely.start, likely.stop - 1, 7)})
    z = np.interp(range(n + 1), at, [paired_exact.critical_z(n, count, difference, level) for count in at])
    result, need = [], 0
    for discordant in range(n + 1):
        while need <= discordant and _z(need, discordant, n, difference) <= z[discordant]:
            need += 1
        while need > 0 and _z(need - 1, discordant, n, difference) > z[discordant]:
            need -= 1
        result.append(need)
    return np.array(result)


def _z(gained: int, discordant: int, n: int, difference: float) -> float:
    return paired.unchecked_tango_z(gained, max(0, discordant - gained), n, difference)


@pytest.mark.parametrize(
    ("planned", "margin", "psi"),
    [
        (200, 0.03, 0.05), (200, 0.03, 0.30), (200, 0.02, 0.84), (400, 0.05, 0.36), (400, 0.03, 0.10),
        (600, 0.03, 0.40),
    ],
)  # fmt: skip
def test_at_the_margin_all_looks_together_err_on_neither_side_more_often_than_promised(
    planned: int, margin: float, psi: float
) -> None:
    sizes = list(looks(planned))
    levels = margin_levels(sizes, 0.05)
    assert len(sizes) > 2
    for difference in (-margin, margin):
        rate = crossing(sizes, difference, psi, levels)
        assert 0.04 < rate <= 0.05


def test_a_look_that_is_added_errs_no_more_often_than_its_part() -> None:
    sizes = [400 + n for n in looks(300)]
    assert crossing(sizes, -0.03, 0.2, margin_levels(sizes, 0.025)) <= 0.025
