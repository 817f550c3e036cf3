"""What an entry comes to: judged, or INVALID with a reason, whatever the test did and in whichever process."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.errors import DataError, NotMeasured
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.runs.ledger import Ledger

PASS = Verdict(Status.PASS, "accuracy", 0.9, (0.8, 1.0), 0.5, 100, None, "exact", "accuracy is enough")
FAIL = Verdict(
    Status.FAIL, "accuracy", 0.4, (0.3, 0.5), 0.5, 100, None, "exact", "accuracy is below the floor"
)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger("fail")
    ledger.enter("t::a", needs="accuracy")
    return ledger


def gate(ledger: Ledger, verdict: Verdict, *, asserted: bool = True) -> None:
    _, _, on_assert = ledger.judged(verdict)
    if asserted:
        on_assert()


def statuses(ledger: Ledger) -> list[Status]:
    return [verdict.status for _, verdict in ledger.verdicts()]


def test_a_gate_that_was_asserted_is_the_verdict_of_its_test(ledger: Ledger) -> None:
    ledger.begin("t::a")
    gate(ledger, PASS)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.PASS]
    assert ledger.verdict().green


def test_a_gate_that_was_not_asserted_gates_nothing(ledger: Ledger) -> None:
    ledger.begin("t::a")
    gate(ledger, PASS, asserted=False)
    ledger.end("t::a")
    [(_, verdict)] = ledger.verdicts()
    assert (verdict.status, "not asserted" in verdict.why) == (Status.INVALID, True)


def test_beside_a_failed_gate_the_comparisons_after_it_are_not_missed(ledger: Ledger) -> None:
    ledger.begin("t::a")
    gate(ledger, FAIL)
    gate(ledger, PASS, asserted=False)
    ledger.raised("t::a", "call", "gate", FAIL.why)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.FAIL]


def test_the_last_try_counts_and_the_tries_are_counted(ledger: Ledger) -> None:
    for verdict in (FAIL, FAIL, PASS):
        ledger.begin("t::a")
        gate(ledger, verdict)
        ledger.end("t::a")
    assert statuses(ledger) == [Status.PASS]
    assert ledger.entries[0].tries == 3


def test_a_judgement_of_an_earlier_try_that_is_asserted_late_says_nothing_of_the_last(ledger: Ledger) -> None:
    ledger.begin("t::a")
    _, _, late = ledger.judged(PASS)
    ledger.end("t::a")
    ledger.begin("t::a")
    gate(ledger, FAIL, asserted=False)
    late()
    ledger.end("t::a")
    assert statuses(ledger) == [Status.INVALID]


def test_an_error_counts_where_it_is_raised_also_if_it_is_caught(ledger: Ledger) -> None:
    ledger.begin("t::a")
    with pytest.raises(NotMeasured), ledger.asking("accuracy"):
        raise NotMeasured("the server is gone")
    gate(ledger, PASS)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.PASS, Status.INVALID]


def test_an_error_that_another_question_has_made_something_of_is_none(ledger: Ledger) -> None:
    ledger.begin("t::a")
    with ledger.asking("load"):
        with pytest.raises(NotMeasured), ledger.asking("answers"):
            raise NotMeasured("one round was lost")
        gate(ledger, PASS)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.PASS]


def test_what_a_thread_of_the_test_asks_and_asserts_is_the_tests(ledger: Ledger) -> None:
    ledger.begin("t::a")
    thread = threading.Thread(target=gate, args=[ledger, FAIL])
    thread.start()
    thread.join()
    ledger.end("t::a")
    assert [entry.test for entry, _ in ledger.verdicts()] == ["t::a"]
    assert statuses(ledger) == [Status.FAIL]


def test_two_threads_that_run_tests_of_their_own_are_kept_apart() -> None:
    ledger = Ledger("fail")
    both = threading.Barrier(2)

    def run(test: str, verdict: Verdict) -> None:
        ledger.enter(test, needs="accuracy")
        ledger.begin(test)
        both.wait()
        gate(ledger, verdict)
        ledger.end(test)

    threads = [threading.Thread(target=run, args=args) for args in (("a", PASS), ("b", FAIL))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.test: verdict.status for entry, verdict in ledger.verdicts()} == {
        "a": Status.PASS,
        "b": Status.FAIL,
    }


def test_data_that_cannot_be_asked_are_told_from_what_was_not_measured(ledger: Ledger) -> None:
    ledger.begin("t::a")
    with pytest.raises(DataError), ledger.asking("accuracy"):
        raise DataError("an empty file")
    assert ledger.bad_data


def test_bad_data_that_are_waived_leave_a_run_green_whose_other_gates_pass() -> None:
    today = date(2026, 12, 1)
    for invalid in (True, False):
        waiver = Waiver("t::a", today, "the hub is down", invalid)
        ledger = Ledger("fail", waivers={"t::a": waiver}, today=today)
        for test in ("t::a", "t::b"):
            ledger.enter(test, needs="accuracy")
            ledger.begin(test)
            gate(ledger, PASS)
            ledger.end(test)
        ledger.begin("t::a")
        gate(ledger, PASS)
        with pytest.raises(DataError), ledger.asking("accuracy"):
            raise DataError("an empty file")
        ledger.end("t::a")
        assert (ledger.bad_data, ledger.verdict().green) == (not invalid, invalid)


def test_a_run_is_red_for_its_own_reasons_and_green_by_itself_beside_a_better_reference(
    ledger: Ledger,
) -> None:
    ledger.begin("t::a")
    gate(ledger, PASS)
    ledger.end("t::a")
    ledger.compared = "1 worse"
    assert (ledger.verdict().status, ledger.verdict().green) == (Status.FAIL, False)
    assert ledger.verdict(reference=False).green
    ledger.problem("the run was interrupted")
    assert ledger.verdict(reference=False).status is Status.INVALID


def test_plain_checks_are_green_without_a_gate_and_nothing_at_all_is_not() -> None:
    ledger = Ledger("fail")
    assert not ledger.verdict().green
    ledger.enter("t::plain")
    ledger.begin("t::plain")
    ledger.end("t::plain")
    assert ledger.verdict().green
    assert ledger.checks == 1


# Of several processes


def test_a_worker_that_died_leaves_its_test_open_and_another_may_run_it_again(tmp_path: Path) -> None:
    first, second = (Ledger("fail", tmp_path / f"gw{n}.jsonl") for n in range(2))
    for worker in (first, second):
        worker.enter("t::a", needs="accuracy")
    first.begin("t::a")
    gate(first, PASS)
    controller = Ledger("fail")
    controller.read(tmp_path)
    assert statuses(controller) == [Status.PASS, Status.INVALID]
    assert "died" in [verdict.why for _, verdict in controller.verdicts()][1]
    second.begin("t::a")
    gate(second, FAIL)
    second.end("t::a")
    controller.read(tmp_path)
    assert statuses(controller) == [Status.FAIL]


def test_half_a_line_of_a_worker_that_was_killed_is_not_read(tmp_path: Path) -> None:
    worker = Ledger("fail", tmp_path / "gw0.jsonl")
    worker.enter("t::a", needs="accuracy")
    with (tmp_path / "gw0.jsonl").open("a") as file:
        file.write('{"at": 1, "do": "end", "te')
    controller = Ledger("fail")
    controller.read(tmp_path)
    assert statuses(controller) == [Status.INVALID]


def test_a_worker_that_cannot_write_down_what_it_judged_has_judged_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ledgers" / "gw0.jsonl"
    worker = Ledger("fail", file)
    worker.enter("t::a", needs="accuracy")
    worker.begin("t::a")
    kept = file.read_bytes()
    file.unlink()
    file.mkdir()
    gate(worker, PASS)
    file.rmdir()
    file.write_bytes(kept)
    worker.end("t::a")
    controller = Ledger("fail")
    controller.read(tmp_path / "ledgers")
    assert Status.INVALID in statuses(controller)


def test_names_of_tests_are_kept_as_they_are_also_with_a_home_directory_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ledger = Ledger("fail")
    test = f"t::a[{tmp_path}/x]"
    ledger.enter(test, file=str(tmp_path / "t.py"), needs="accuracy")
    ledger.begin(test)
    gate(ledger, PASS)
    ledger.end(test)
    assert statuses(ledger) == [Status.PASS]
    assert ledger.entries[0].file == str(tmp_path / "t.py")


# Policy


def waived(days: int, **more: bool) -> Ledger:
    day = date(2026, 12, 1)
    waiver = Waiver("t::a", day + timedelta(days), "a known fault", **more)
    ledger = Ledger("fail", waivers={"t::a": waiver}, today=day)
    ledger.enter("t::a", needs="accuracy")
    ledger.begin("t::a")
    return ledger


@pytest.mark.parametrize(
    ("days", "note"),
    [
        (8, []),
        (7, ["the waiver of t::a ends in 7 days, after 2026-12-08 (a known fault)"]),
        (1, ["the waiver of t::a ends tomorrow, after 2026-12-02 (a known fault)"]),
        (0, ["the waiver of t::a ends today, after 2026-12-01 (a known fault)"]),
        (-1, ["the waiver of t::a ended on 2026-11-30 (a known fault)"]),
    ],
)
def test_a_waiver_is_told_from_a_week_before_its_end(days: int, note: list[str]) -> None:
    ledger = waived(days)
    gate(ledger, FAIL)
    ledger.end("t::a")
    assert ledger.notes == note
    assert ledger.verdict().green is (days >= 0)


def test_a_waiver_of_a_gate_that_passes_can_go() -> None:
    ledger = waived(90)
    gate(ledger, PASS)
    ledger.end("t::a")
    assert ledger.notes == ["the waiver of t::a can go: its gates pass (until 2027-03-01: a known fault)"]


def test_a_failed_gate_and_a_broken_teardown_are_both_told() -> None:
    ledger = waived(90)
    gate(ledger, FAIL)
    ledger.raised("t::a", "call", "gate", FAIL.why)
    ledger.raised("t::a", "teardown", "error", "KeyError: 'x' in its teardown")
    ledger.end("t::a")
    assert statuses(ledger) == [Status.FAIL, Status.INVALID]
    assert not ledger.verdict().green


def test_a_worker_tells_the_controller_that_a_test_is_advisory(tmp_path: Path) -> None:
    worker, controller = Ledger("fail", tmp_path / "gw0.jsonl"), Ledger("fail")
    worker.enter("t::a", needs="accuracy", advisory="on trial")
    worker.remark("the waiver of t::b matches no test")
    worker.begin("t::a")
    gate(worker, FAIL)
    worker.end("t::a")
    controller.read(tmp_path)
    assert controller.verdict().headline == "INVALID, 1 advisory failed"
    assert controller.notes == ["the waiver of t::b matches no test"]
    assert controller.checks == 0


def test_beside_a_waived_gate_a_comparison_that_is_not_asserted_is_invalid() -> None:
    """A waived gate lets its test go on, so that nothing excuses the comparisons after it."""
    today = date(2026, 12, 1)
    ledger = Ledger("fail", waivers={"t::a": Waiver("t::a", today, "known")}, today=today)
    ledger.enter("t::a", needs="accuracy")
    ledger.begin("t::a")
    gate(ledger, FAIL)
    gate(ledger, FAIL, asserted=False)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.FAIL, Status.INVALID]
    assert not ledger.verdict().green


def test_beside_a_gate_that_only_warns_a_comparison_that_is_not_asserted_is_invalid() -> None:
    ledger = Ledger("warn")
    ledger.enter("t::a", needs="accuracy")
    ledger.begin("t::a")
    gate(ledger, replace(PASS, status=Status.INCONCLUSIVE))
    gate(ledger, FAIL, asserted=False)
    ledger.end("t::a")
    assert statuses(ledger) == [Status.INCONCLUSIVE, Status.INVALID]
    assert not ledger.verdict().green
