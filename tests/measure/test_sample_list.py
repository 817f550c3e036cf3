"""Samples are asked for as far as a gate needs them, and what they show is told by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.measure.book import UNBOOKED
from pytest_llmperf.measure.sample_list import OutcomesOnDemand, SampleList, all_failed, outcomes


@dataclass(frozen=True)
class Reply:
    item: str
    right: bool = True
    error: str = ""

    @property
    def usable(self) -> bool:
        return not self.error


class Asker:
    """Answers every item with ``right`` or not, ``per_item`` times, and remembers how it was asked."""

    def __init__(self, right: bool = True, error: str = "", per_item: int = 1) -> None:
        self.right, self.error, self.per_item = right, error, per_item
        self.calls: list[tuple[list[str], int, int]] = []

    def __call__(self, items: Sequence[str], before: int, planned: int) -> tuple[list[Reply], float]:
        self.calls.append(([*items], before, planned))
        replies = [Reply(item, self.right, self.error) for item in items for _ in range(self.per_item)]
        return replies, 2.0


def samples(asker: Asker, count: int = 10, **how: object) -> SampleList[str, Reply]:
    items = [f"i{n}" for n in range(count)]
    return SampleList(items=items, ask=asker, per_item=asker.per_item, **how)  # type: ignore[arg-type]


def right(replies: Sequence[Reply]) -> Outcomes:
    return outcomes(replies, lambda reply: reply.right)


def test_no_item_is_asked_twice_and_the_list_grows_as_it_is_read() -> None:
    asker = Asker(per_item=2)
    replies = samples(asker)
    assert len(replies.first(2)) == 4
    assert len(replies.first(1)) == 2
    assert len(replies.first(5)) == 10
    assert asker.calls == [(["i0", "i1"], 0, 2), (["i2", "i3", "i4"], 2, 5)]
    assert (replies.items_asked, replies.seconds) == (5, 4.0)


def test_a_plan_is_what_progress_counts_to_and_never_more_than_there_is() -> None:
    asker = Asker()
    replies = samples(asker)
    assert (replies.plan(7), replies.plan(4), replies.planned) == (7, 4, 7)
    replies.first(1)
    assert asker.calls == [(["i0"], 0, 7)]
    assert replies.plan(99) == 10


@pytest.mark.parametrize("error", [InfrastructureError("refused"), NotMeasured("the server is gone")])
def test_a_failure_to_ask_is_remembered_also_for_items_that_are_there(error: Exception) -> None:
    asker = Asker()
    replies = samples(asker)
    replies.first(2)

    def fail(items: Sequence[str], before: int, planned: int) -> tuple[list[Reply], float]:
        raise error

    replies.ask = fail
    with pytest.raises(type(error)):
        replies.first(3)
    replies.ask = asker
    with pytest.raises(type(error), match=str(error)):
        replies.first(1)
    assert len(asker.calls) == 1


def test_what_is_refused_is_not_asked() -> None:
    asker = Asker()
    with pytest.raises(NotMeasured, match="other data"):
        samples(asker, refused="other data than the look before").first(1)
    assert asker.calls == []


def test_outcomes_are_by_item_and_none_for_a_request_that_failed() -> None:
    replies = [Reply("a"), Reply("a", right=False), Reply("b", error="HTTP 500"), Reply("c", right=False)]
    assert outcomes(replies, lambda reply: reply.right) == {"a": [True, False], "b": None, "c": False}
    assert outcomes(replies[3:], lambda reply: [reply.right, True]) == {"c": [False, True]}


def test_nothing_is_judged_where_every_request_failed_and_the_first_error_is_told() -> None:
    failed = [Reply("a", error="HTTP 500: no"), Reply("b", error="cut")]
    assert all_failed(failed) == "nothing was measured, all 2 requests failed; the first: HTTP 500: no"
    assert all_failed([*failed, Reply("c")]) == ""
    assert all_failed([]) == ""
    replies = samples(Asker(error="HTTP 500: no"))
    assert "all 3 requests failed" in replies.why_unusable(3)
    with pytest.raises(NotMeasured, match="all 4 requests failed; the first: HTTP 500: no"):
        OutcomesOnDemand(replies, 10, right, UNBOOKED).first(4)


def test_errors_of_a_late_question_go_to_the_book() -> None:
    class Book:
        seen: list[str] = []  # noqa: RUF012

        @contextmanager
        def asking(self, what: str, *, gated: bool = True) -> Iterator[None]:
            try:
                yield
            except NotMeasured as error:
                self.seen.append(f"{what}: {error}")
                raise

    book = Book()
    with pytest.raises(NotMeasured):
        OutcomesOnDemand(samples(Asker(error="cut")), 10, right, book).first(2)
    assert book.seen == ["answers: nothing was measured, all 2 requests failed; the first: cut"]


def test_a_gate_asks_both_sides_for_the_same_items_and_no_more_than_it_needs() -> None:
    ours, theirs = Asker(right=False), Asker(right=True)
    seen: list[Status] = []

    def judge(case: Gate) -> Judgement:
        verdict = case.settled().judge()
        seen.append(verdict.status)
        return Judgement(verdict)

    def share(asker: Asker) -> Share:
        growing = OutcomesOnDemand(samples(asker, 1000), 1000, right, UNBOOKED)
        return Share("accuracy", {}, growing=growing, judge=judge)

    _ = share(ours) >= share(theirs) - points(3)
    assert seen == [Status.FAIL]
    assert [items for items, _, _ in ours.calls] == [items for items, _, _ in theirs.calls]
    assert 0 < sum(len(items) for items, _, _ in ours.calls) < 1000
