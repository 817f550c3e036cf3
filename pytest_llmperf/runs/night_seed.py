"""The seed of a run, a new one each time: nights are draws, so that an error rate of one in a hundred nights is one.

With the same seed every night, the same items would be asked first and sampled alike, and a wrong verdict would come
back night after night. All processes of a run have one seed, and so have runs whose data belong together: a run that
goes on with the answers of an interrupted one, and a further look at the gates of an earlier one.
"""

from __future__ import annotations

import random
from pathlib import Path

from pytest_llmperf.client.answer_cache import AnswerCache
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.store import read_record

SEEDS = range(1, 1_000_000)
"""Seeds that are drawn; 0 and others can be given."""


def night_seed(settings: Settings, state_root: Path, log: AnswerCache | None) -> int:
    """Return the seed of this run: the one given, or that of the run it belongs to, or else a new one.

    ``state_root`` is the directory that all processes of the run share, ``log`` the answers of earlier runs.
    """
    path = state_root / "seed"
    if path.exists():
        return int(path.read_text())
    seed = settings.order_seed
    if seed is None and settings.add is not None:
        seed = _seed_of(settings.add)
    if seed is None and log is not None:
        seed = log.seed_to_resume()
    if seed is None:
        seed = random.SystemRandom().choice(SEEDS)
    path.write_text(str(seed))
    return seed


def _seed_of(record: Path) -> int | None:
    try:
        earlier = read_record(record)
    except LlmperfError:
        return None  # A further look refuses a record that cannot be read, and says why.
    # Records that are older than the run's own seed have one beside each order that was drawn.
    drawn = [*(each.order_seed for each in earlier.answers), *(each.order_seed for each in earlier.load)]
    seeds = (earlier.order_seed, *drawn)
    return next((seed for seed in seeds if seed is not None), None)
