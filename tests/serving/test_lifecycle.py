"""Whatever ends a run: no process of ours stays, and the port is free within ten seconds (`run` looks)."""

from __future__ import annotations

import dataclasses
import os
import signal
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_llmperf.errors import ServerDied, StartError
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.lease import _connect, acquire
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.state import StateDirectory, write_json

if TYPE_CHECKING:
    from tests.serving.conftest import Run

Eventually = Callable[..., Any]
Generate = Callable[[Server], str]
ENGINES = pytest.mark.parametrize("engine", [{}, {"OWN_SESSION": 1}], ids=["same session", "own session"])


@ENGINES
def test_a_lease_given_back_leaves_no_process(run: Run, engine: dict[str, Any]) -> None:
    lease = acquire(run.spec(**engine), run.state_root)
    assert len(run.engines()) == 3
    released = lease.close()
    assert (released.last, released.survivors) == (True, ())
    assert len(released.pids) == 3
    assert run.is_clean(), run.left()


@ENGINES
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_holder_ended_by_a_signal_leaves_no_process(
    run: Run, engine: dict[str, Any], number: signal.Signals, eventually: Eventually
) -> None:
    holder = run.holder(run.spec(**engine))
    holder.hear()
    holder.kill(number)
    eventually(run.is_clean, "a clean machine")


@ENGINES
def test_an_api_process_killed_leaves_no_process(
    run: Run, engine: dict[str, Any], eventually: Eventually
) -> None:
    with acquire(run.spec(**engine), run.state_root) as lease:
        os.kill(api_pid(lease.server), signal.SIGKILL)
        eventually(lambda: not run.engines(), "the end of the orphaned engine")
        assert "SIGKILL" in str(lease.died(wait_s=5.0))


@ENGINES
def test_a_frozen_api_process_leaves_no_process_when_its_holder_is_killed(
    run: Run, engine: dict[str, Any], eventually: Eventually
) -> None:
    holder = run.holder(run.spec(**engine))
    os.kill(holder.hear()["root_pid"], signal.SIGSTOP)
    holder.kill(signal.SIGKILL)
    eventually(run.is_clean, "a clean machine")


def test_every_process_of_the_engine_frozen_leaves_no_process(run: Run, eventually: Eventually) -> None:
    holder = run.holder(run.spec(stop_grace_s=0.5))
    holder.hear()
    for pid in run.engines():
        os.kill(pid, signal.SIGSTOP)
    holder.kill(signal.SIGKILL)
    eventually(run.is_clean, "a clean machine")


def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(run: Run) -> None:
    lease = acquire(run.spec(IGNORE_TERM=1, stop_grace_s=0.3), run.state_root)
    released = lease.close()
    assert released.forced
    assert 0.3 <= released.seconds < 3.0


def test_an_engine_that_ends_in_order_is_not_forced(run: Run) -> None:
    assert not acquire(run.spec(), run.state_root).close().forced


def test_a_signal_to_the_keeper_does_not_end_the_server(run: Run, generate: Generate) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(lease.server.keeper_pid or 0, number)
        assert generate(lease.server)
        assert lease.died() is None


def test_the_engine_does_not_inherit_ignored_signals(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        status = (processes.PROC / str(lease.server.root_pid) / "status").read_text()
        ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
        assert not ignored & (1 << (signal.SIGHUP - 1) | 1 << (signal.SIGTERM - 1))


# -- leases -----------------------------------------------------------------------------------------


def test_several_processes_share_one_start(run: Run) -> None:
    spec = run.spec()
    heard = [holder.hear() for holder in [run.holder(spec) for _ in range(3)]]
    assert len({each["root_pid"] for each in heard}) == 1
    assert run.starts() == 1


def test_only_the_last_of_several_holders_ends_the_server(run: Run, generate: Generate) -> None:
    spec = run.spec()
    first = acquire(spec, run.state_root)
    second = acquire(spec, run.state_root)
    assert not first.close().last
    assert generate(second.server)
    assert second.close().last


def test_a_crashed_holder_gives_its_lease_back(run: Run, eventually: Eventually) -> None:
    holder = run.holder(run.spec())
    holder.hear()
    holder.tell("crash")
    assert holder.process.wait(10) == 7
    eventually(run.is_clean, "a clean machine")


def test_a_crashed_holder_does_not_take_the_server_from_the_others(run: Run, generate: Generate) -> None:
    spec = run.spec()
    holder = run.holder(spec)
    holder.hear()
    with acquire(spec, run.state_root) as lease:
        holder.tell("crash")
        holder.process.wait(10)
        assert generate(lease.server)
    assert run.starts() == 1


def test_a_forked_child_of_a_killed_holder_does_not_keep_the_server(run: Run, eventually: Eventually) -> None:
    holder = run.holder(run.spec())
    holder.hear()
    holder.tell("fork")
    children = eventually(lambda: processes.descendants(holder.process.pid), "the forked child")
    holder.kill(signal.SIGKILL)
    try:
        eventually(lambda: not run.engines(), "the end of the engine")
        assert processes.is_running(children[0].key)
    finally:
        os.kill(children[0].pid, signal.SIGKILL)


def test_a_server_can_be_had_again_after_its_end(run: Run) -> None:
    spec = run.spec()
    for _ in range(2):
        acquire(spec, run.state_root).close()
    assert run.starts() == 2


def test_a_server_is_had_again_while_its_predecessor_still_ends(run: Run, eventually: Eventually) -> None:
    spec = run.spec(IGNORE_TERM=1, stop_grace_s=1.0)
    acquire(spec, run.state_root).close(wait_s=0)
    eventually(lambda: not list(run.state_root.glob("*/socket")), "a keeper that lets nobody in")
    assert run.engines()
    with acquire(spec, run.state_root):
        assert run.starts() == 2


def test_a_lingering_server_serves_the_next_holder(run: Run) -> None:
    spec = run.spec(linger_s=1.5)
    first = acquire(spec, run.state_root)
    pid = first.server.root_pid
    assert not first.close().last
    with acquire(spec, run.state_root) as second:
        assert second.server.root_pid == pid


def test_two_runs_at_once_share_neither_server_nor_port(run: Run) -> None:
    spec = run.spec()
    with acquire(spec, run.path / "one") as one, acquire(spec, run.path / "two") as two:
        assert one.server.root_pid != two.server.root_pid
        assert one.server.base_url != two.server.base_url
        assert one.server.api_key != two.server.api_key


def test_a_state_directory_with_a_very_long_name_is_no_obstacle(run: Run) -> None:
    with acquire(run.spec(), run.path / ("long" * 50) / ("name" * 50)) as lease:
        assert lease.died() is None


def test_nothing_but_logs_and_locks_stays_in_the_state_directory(run: Run) -> None:
    acquire(run.spec(), run.state_root).close()
    [directory] = run.state_root.iterdir()
    assert {path.name for path in directory.iterdir()} == {"lock", "keeper.lock", "keeper.log", "server.log"}
    assert (directory / "keeper.log").read_text() == ""
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_secret_is_in_no_command_line_and_in_no_file(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        key = lease.server.api_key
        assert key
        assert key not in repr(lease.server)
        [directory] = run.state_root.iterdir()
        for path in directory.rglob("*"):
            assert not path.is_file() or key not in path.read_text()
        for pid in [*run.engines(), *run.keepers()]:
            assert key.encode() not in (processes.PROC / str(pid) / "cmdline").read_bytes()


# -- starts that fail -------------------------------------------------------------------------------


def test_a_start_that_fails_says_why_and_leaves_no_process(run: Run) -> None:
    with pytest.raises(StartError, match="quantization = awq") as caught:
        acquire(run.spec(FAIL="Value error, Cannot find the config file for awq"), run.state_root)
    assert "to try it by hand" in str(caught.value)
    assert run.is_clean(), run.left()


def test_a_start_that_fails_is_tried_once_a_run(run: Run) -> None:
    spec = run.spec(FAIL="RuntimeError: planted")
    holders = [run.holder(spec) for _ in range(3)]
    assert all("planted" in holder.hear()["text"] for holder in holders)
    with pytest.raises(StartError, match="planted"):
        acquire(spec, run.state_root)
    assert run.starts() == 1


def test_a_keeper_that_ends_between_two_looks_at_its_failure_is_not_replaced(run: Run) -> None:
    """Its start fails after the first look, and it is gone before it could greet."""

    class Ending(StateDirectory):
        def connect(self, timeout_s: float) -> NoReturn:
            del timeout_s
            write_json(self.failed, {"event": "failed", "phase": "start", "detail": "planted", "tries": 1})
            raise ConnectionRefusedError

    spec = run.spec()
    directory = Ending(run.state_root / spec.key)
    directory.create()
    with pytest.raises(StartError):
        _connect(spec, directory, None, None)
    assert run.starts() == 0


def test_a_start_that_failed_is_tried_again_when_asked(run: Run) -> None:
    spec = run.spec(FAIL="RuntimeError: planted", FAIL_TIMES=1)
    with pytest.raises(StartError, match="planted"):
        acquire(spec, run.state_root)
    with acquire(spec, run.state_root, retry_failed=True) as lease:
        assert lease.died() is None


def test_a_start_that_takes_too_long_is_ended(run: Run) -> None:
    with pytest.raises(StartError, match=r"not ready after 1 s \(still loading\)"):
        acquire(run.spec(NEVER_READY=1, IGNORE_TERM=1, ready_timeout_s=1.0), run.state_root)
    assert run.is_clean(), run.left()


def test_a_holder_killed_during_the_start_leaves_no_process(run: Run, eventually: Eventually) -> None:
    holder = run.holder(run.spec(START_S=60, IGNORE_TERM=1))
    eventually(lambda: len(run.engines()) == 3, "an engine in the middle of its start")
    holder.kill(signal.SIGKILL)
    eventually(run.is_clean, "a clean machine")


def test_a_port_taken_meanwhile_is_replaced_by_another(run: Run) -> None:
    with acquire(run.spec(FAIL="OSError: [Errno 98] Address already in use", FAIL_TIMES=2), run.state_root):
        assert len(set(run.ports())) == 3


def test_a_port_taken_three_times_is_an_explained_failure(run: Run) -> None:
    with pytest.raises(StartError, match="port was taken"):
        acquire(run.spec(FAIL="OSError: [Errno 98] Address already in use"), run.state_root)
    assert run.starts() == 3


def test_a_server_of_another_model_is_not_taken_for_ours(run: Run) -> None:
    with pytest.raises(StartError, match="serves other, not distill"):
        acquire(run.spec(SERVES="other"), run.state_root)


def test_a_server_that_cannot_generate_is_not_ready(run: Run) -> None:
    with pytest.raises(StartError, match="first generation failed: 500"):
        acquire(run.spec(BREAK="/v1/completions"), run.state_root)


def test_only_the_process_that_starts_the_server_checks_before(run: Run) -> None:
    checked: list[str] = []
    with acquire(run.spec(), run.state_root, before_start=lambda: checked.append("first")):
        acquire(run.spec(), run.state_root, before_start=lambda: checked.append("second")).close()
    assert checked == ["first"]


def test_a_check_that_refuses_starts_nothing(run: Run) -> None:
    def refuse() -> None:
        raise StartError("no room")

    with pytest.raises(StartError, match="no room"):
        acquire(run.spec(), run.state_root, before_start=refuse)
    assert run.starts() == 0
    with acquire(run.spec(), run.state_root) as lease:
        assert lease.died() is None


def test_an_interpreter_that_does_not_exist_is_named(run: Run) -> None:
    spec = run.spec()
    argv = ("/nowhere/python", *spec.argv[1:])
    with pytest.raises(StartError, match="/nowhere/python can't be executed"):
        acquire(dataclasses.replace(spec, argv=argv), run.state_root)


def test_every_shape_is_warmed_up(run: Run) -> None:
    with acquire(run.spec(warm_concurrency=(1, 4)), run.state_root) as lease:
        assert _metric(lease.server.base_url, "vllm:request_success_total") == 5


# -- deaths and restarts ----------------------------------------------------------------------------


def test_a_server_that_died_is_restarted_once(run: Run, generate: Generate) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        first = lease.server
        os.kill(api_pid(first), signal.SIGKILL)
        assert isinstance(lease.died(wait_s=5.0), ServerDied)
        second = lease.restart()
        assert second.root_pid != first.root_pid
        assert generate(second)
        assert lease.died() is None
        os.kill(api_pid(second), signal.SIGKILL)
        assert "stays dead" in str(lease.died(wait_s=5.0))
        with pytest.raises(ServerDied, match="restarted already"):
            lease.restart()
    assert run.starts() == 2


def test_the_other_holders_follow_to_the_restarted_server(run: Run, generate: Generate) -> None:
    spec = run.spec()
    with acquire(spec, run.state_root) as one, acquire(spec, run.state_root) as two:
        old = two.server
        os.kill(api_pid(old), signal.SIGKILL)
        assert one.died(wait_s=5.0)
        new = one.restart()
        assert two.died(), "the server that this holder knew is dead, whatever has replaced it since"
        assert two.restart() == new, "a restart that was made already is not made again"
        assert generate(two.server)
        assert two.died() is None
    assert run.starts() == 2


def test_a_death_by_engine_failure_is_explained(run: Run, post: Callable[..., Any]) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        post(lease.server, "/fake/exit")
        assert "RuntimeError: planted engine failure" in str(lease.died(wait_s=5.0))


def test_a_frozen_server_can_be_restarted(run: Run, generate: Generate) -> None:
    with acquire(run.spec(stop_grace_s=0.5), run.state_root) as lease:
        os.kill(api_pid(lease.server), signal.SIGSTOP)
        assert lease.died() is None
        assert generate(lease.restart())


def test_a_new_holder_finds_a_dead_server_restarted(run: Run, generate: Generate) -> None:
    spec = run.spec()
    with acquire(spec, run.state_root) as old:
        os.kill(api_pid(old.server), signal.SIGKILL)
        assert old.died(wait_s=5.0)
        with acquire(spec, run.state_root) as new:
            assert generate(new.server)
    assert run.starts() == 2


def api_pid(server: Server) -> int:
    assert server.root_pid is not None
    return server.root_pid


def _metric(base_url: str, name: str) -> float:
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=5) as response:
        lines: list[str] = response.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))
