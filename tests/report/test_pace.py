from __future__ import annotations

import pytest

from pytest_llmperf.report.progress import Pace, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_and_time_left_are_those_of_what_was_done_since(clock: Clock) -> None:
    pace = Pace(400, before=100, clock=clock)
    clock.now += 10.0
    assert pace.describe(150) == "150 of 400, 5.0/s, 50 s left at most"


def test_slow_work_says_how_long_each_takes(clock: Clock) -> None:
    pace = Pace(64, clock=clock)
    clock.now += 5.0
    assert pace.describe(2) == "2 of 64, 2.5 s each, 2 min 35 s left at most"


def test_nothing_is_promised_before_something_was_done(clock: Clock) -> None:
    pace = Pace(1500, before=3, clock=clock)
    assert pace.describe(3) == "3 of 1,500"
    clock.now += 5.0
    assert pace.describe(3) == "3 of 1,500"


def test_more_than_was_planned_leaves_no_negative_time(clock: Clock) -> None:
    pace = Pace(4, clock=clock)
    clock.now += 1.0
    assert pace.describe(8).endswith(" 0 s left at most")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_a_duration_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said
