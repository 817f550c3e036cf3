"""Conversations as a suite writes them: the server's answers go back to it, and its prefix cache shows by turn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

pytestmark = pytest.mark.slow

SUITE = """
    def test_the_second_turn_is_cached(candidate, load, budget):
        assert load.conversations(candidate, users=3, turns=2, rounds=12).turn(2).cached_share >= budget.turns.cached[2]

    def test_as_much_as_the_baseline(candidate, baseline, load):
        ours = load.conversations(candidate, users=3, turns=2, rounds=12).turn(2).cached_share
        assert ours >= load.conversations(baseline, users=3, turns=2, rounds=12).turn(2).cached_share * 0.98

    def test_the_first_token_of_the_second_turn(candidate, load):
        assert load.conversations(candidate, users=3, turns=2, rounds=12).turn(2).ttft.p50 <= 3

    def test_a_recorded_load_shares_its_prefixes(candidate, load):
        assert load.replay(candidate, "trace.jsonl", unit="ms").cached_share >= 0.5

    def test_sessions_of_a_file(candidate, load):
        assert load.conversations(candidate, prompts="chats.jsonl", rounds=8).turn(2).cached_share >= 0.5

    def test_recorded_sessions(candidate, load):
        assert load.conversations(candidate, prompts="sessions.jsonl", rounds=8).turn(2).cached_share >= 0.5

    def test_the_rate_of_one_turn_of_them(candidate, load):
        assert load.conversations(candidate, prompts="sessions.jsonl", rounds=8).turn(2).throughput.p50 >= 0.1

    def test_a_file_and_users(candidate, load):
        assert load.conversations(candidate, users=3, prompts="chats.jsonl").turn(2).ttft.p50 <= 3

    def test_a_turn_that_there_is_not(candidate, load):
        assert load.conversations(candidate, users=3, turns=2, rounds=12).turn(3).ttft.p50 <= 3
"""
ANSWERS = """
    def answer(request):
        with open("{path}/asked.txt", "a") as file:
            roles = [message["role"] for message in request.get("messages", [])]
            file.write(f"{{roles}} {{'Well said' in request['text']}}\\n")
        return "Well said " + str(len(request["text"]))
"""


def recorded() -> list[dict[str, Any]]:
    """Two sessions that carry their answers, and one that is sent as it was."""
    begin = [{"role": "user", "content": "word " * 300}]
    more = {"role": "user", "content": "And recorded?"}
    deltas = [
        {"session_id": name, "message_mode": "delta", **line}
        for name, at in (("a", 5), ("b", 15))
        for line in ({"messages": begin, "timestamp": at}, {"messages": [more], "delay": 10})
    ]
    whole = [{"messages": begin, "timestamp": 0}, {"messages": [*begin, more], "timestamp": 60}]
    return [*deltas, *({"session_id": "c", **line} for line in whole)]


@pytest.fixture(scope="module")
def run(shared_project: Project) -> tuple[Result, list[dict[str, Any]]]:
    answers = shared_project.answers(ANSWERS.format(path=shared_project.path))
    shared_project.catalog(
        {
            "distill": {"PREFIX_CACHE": "blocks usage", "ANSWERS": answers},
            "off": {"PREFIX_CACHE": "off usage"},
            "math": {"PREFIX_CACHE": "blocks"},
        }
    )
    shared_project.shrink(prompt_tokens=400, answer_tokens=12)
    shared_project.write("budgets.toml", '[test.any.turns]\ncached = { 2 = "85 %" }\n')
    rows = [
        {"timestamp": 20 * n, "input_length": 64, "output_length": 3, "hash_ids": [1, 2, 3, 4 + n]}
        for n in range(90)
    ]
    shared_project.write("trace.jsonl", "\n".join(map(json.dumps, rows)))
    chats = [{"turns": [{"text": f"{n} " + "word " * 300}, {"text": "And?", "delay": 5}]} for n in range(3)]
    shared_project.write("chats.jsonl", "\n".join(map(json.dumps, chats)))
    shared_project.write("sessions.jsonl", "\n".join(map(json.dumps, recorded())))
    with (shared_project.path / "conftest.py").open("a") as conftest:
        conftest.write("from pytest_llmperf.load import run\nrun.LATE_ABOVE_S = 60.0\n")
    shared_project.suite(SUITE)
    return shared_project.judged("--model", "distill", "--model", "off", timeout_s=120)


def test_a_cache_that_works_passes_and_one_that_is_off_fails(
    run: tuple[Result, list[dict[str, Any]]],
) -> None:
    result, verdicts = run
    judged = [verdict for verdict in verdicts if verdict["metric"].startswith(("cached", "TTFT"))]
    assert [verdict["status"] for verdict in judged] == ["PASS"] * 6 + [
        "FAIL",
        "FAIL",
        "PASS",
        "FAIL",
        "FAIL",
        "FAIL",
    ], result.text
    rates = [verdict for verdict in verdicts if verdict["metric"].startswith("throughput")]
    assert [verdict["metric"] for verdict in rates] == [
        "throughput at sessions.jsonl, 3 sessions, turn 2 of 2 p50"
    ] * 2
    assert [verdict["status"] for verdict in rates] == ["INVALID"] * 2
    assert result.lines("one turn has no rate of its own"), result.text
    assert verdicts[0]["metric"] == "cached share at 3, turn 2 of 2"
    assert "cached share at 3, chats.jsonl, turn 2 of 2" in {verdict["metric"] for verdict in verdicts}
    assert result.lines("load.conversations needs users=8, or prompts=FILE", "given with users"), result.text
    assert result.lines("turn(3): there are turns 1 to 2"), result.text


def test_the_next_prompt_holds_the_servers_own_answer(
    run: tuple[Result, list[dict[str, Any]]], shared_project: Project
) -> None:
    del run
    asked = (shared_project.path / "asked.txt").read_text()
    assert "['user', 'assistant', 'user'] True" in asked
    loads = [load for load in shared_project.record()["scheduled_load"] if load["purpose"] == "conversations"]
    recorded = {
        f"turn {turn} of conversations of 2, as recorded in sessions.jsonl, 3 sessions, 3 prompts"
        for turn in (1, 2)
    }
    assert {load["workload"]["given"] for load in loads} == recorded | {
        f"turn {turn} of conversations of 2, {pace}, 3 prompts"
        for turn in (1, 2)
        for pace in ("32 words more after 0 s", "as in chats.jsonl, 3 sessions")
    }
    for load in loads:
        assert len(load["rounds"]) == (8 if "jsonl" in load["workload"]["given"] else 12)
        has_schedule = load["workload"]["given"] in recorded
        assert bool(load["schedule"]) is ("schedule_delay" in load["tails"]) is has_schedule
        assert all("cached_share" in one["totals"] for one in load["rounds"])


def test_a_plan_knows_them(run: tuple[Result, list[dict[str, Any]]], shared_project: Project) -> None:
    del run
    planned = shared_project.run(
        "--llmperf-plan=record.json",
        "-k",
        "not there_is_not and not file_and_users and not replay and not shares",
    )
    assert planned.code == 0, planned.text
    assert planned.lines("cached share at sessions.jsonl, 3 sessions, turn 2 of 2", "≥"), planned.text
    assert planned.lines("cached share at 3, turn 2 of 2", "≥"), planned.text
    assert planned.lines("llmperf: minutes: at most", "scheduled loads"), planned.text
    assert not planned.lines("not in that record"), planned.text
