"""Count the false alarms and the detections of ``pytest-llmperf history --gate`` on simulated nights.

    python -m benchmarks.drift            # a table in Markdown; about two minutes of one core

Thirty metrics a night. The gate's own functions judge every series; the figures are those of
docs/how-to/pull-request-comment.md (2,000 nights).
"""

from __future__ import annotations

import argparse

import numpy as np

from pytest_llmperf.record.drift import ALPHA
from pytest_llmperf.stats import holm
from pytest_llmperf.stats.drift import LEAST, LEAST_SIGMAS, RECENT, comparisons, shifts

METRICS = 30
BURN_IN = 50


def noise(kind: str, count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` series of ``length`` nights: ``independent``, ``heavy tails``, or a correlation of neighbours."""
    if kind == "heavy tails":
        return rng.standard_t(3, (count, length))
    values = rng.standard_normal((count, length + BURN_IN))
    rho = 0.0 if kind == "independent" else float(kind)
    for place in range(1, values.shape[1]):
        values[:, place] = rho * values[:, place - 1] + np.sqrt(1.0 - rho * rho) * values[:, place]
    return values[:, -length:]


def alarms(nights: np.ndarray) -> np.ndarray:
    """By night and metric of ``nights`` (nights × metrics × length), whether the gate names that metric."""
    every, metrics, length = nights.shape
    level = ALPHA / (metrics * comparisons(length))
    found = np.zeros((every, metrics), dtype=bool)
    for night, series in enumerate(nights):
        tested = [shifts(values.tolist(), higher_is_worse=True, level=level) for values in series]
        adjusted = iter(holm.adjusted([shift.p_value for of in tested for shift in of]))
        for metric, of in enumerate(tested):
            found[night, metric] = any(
                p <= ALPHA and shift.sigmas >= LEAST_SIGMAS for shift, p in [(s, next(adjusted)) for s in of]
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nights", type=int, default=2000)
    count = parser.parse_args().nights
    rng = np.random.default_rng(1)
    print(f"| noise | false alarms, {LEAST} nights | 24 nights |\n|---|---:|---:|")
    for kind in ("independent", "0.5", "0.7", "heavy tails"):
        rates = []
        for length in (LEAST, 24):
            nights = noise(kind, count * METRICS, length, rng).reshape(count, METRICS, length)
            rates.append(f"{alarms(nights).any(axis=1).mean():.1%}")
        print(f"| {kind} | {' | '.join(rates)} |")
    for sigmas in (3, 4, 5, 6):
        nights = noise("independent", count * METRICS, 24, rng).reshape(count, METRICS, 24)
        nights[:, 0, -RECENT:] += sigmas
        print(f"a step of {sigmas} σ, seen in its third night: {alarms(nights)[:, 0].mean():.0%}")


if __name__ == "__main__":
    main()
