"""Whatever is killed, alone or together with others, nothing of the server stays (`run` looks, ten seconds later)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.errors import ServerDied, StartError
from pytest_llmperf.serving import processes
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.state import KeeperState
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.serving.conftest import Holder, Run

Eventually = Callable[..., Any]
SOON_S = 3.0
"""The kernel and the guard act at once; the rest is for a machine that is busy."""
ENGINES = pytest.mark.parametrize("engine", [{}, {"OWN_SESSION": 1}], ids=["same session", "own session"])


def family(run: Run, holder: Holder) -> dict[str, int]:
    """Numbers of everything that can be killed, by its part."""
    server = holder.hear()
    keeper = processes.read(server["keeper_pid"])
    assert keeper is not None

    def child(of: int) -> int:
        return next((process.pid for process in processes.table().values() if process.parent == of), 0)

    # The server answers a moment before the last of its processes is forked.
    core = eventually(lambda: child(server["root_pid"]), "the engine core")
    worker = eventually(lambda: child(core), "its worker")
    # An engine in a session of its own is on the keeper's leash once the keeper has seen it.
    eventually(lambda: worker in noted(run), "the keeper's look at the worker")
    return {
        "holder": holder.process.pid,
        "guard": keeper.parent,
        "keeper": keeper.pid,
        "API": server["root_pid"],
        "core": core,
        "worker": worker,
    }


def test_an_engine_that_forks_after_the_server_is_ready_ends_with_its_keeper(
    run: Run, eventually: Eventually
) -> None:
    # Ready long before the engine has a session of its own: the keeper's look at that moment does not see it.
    pids = family(run, run.holder(run.spec(IGNORE_TERM=1, OWN_SESSION=1, LATE_S=2.5)))
    for name in ("guard", "keeper"):
        os.kill(pids[name], signal.SIGKILL)
    eventually(lambda: not run.engines() and not run.keepers(), "the end of everything", SOON_S)


def noted(run: Run) -> set[int]:
    """Numbers of the engine's processes that the keepers have written down."""
    states = (KeeperState.read(path) for path in run.state_root.glob("*/state.json"))
    return {key.pid for state in states if state is not None for key in state.family}


@ENGINES
@pytest.mark.parametrize(
    "victims",
    [
        "keeper",
        "keeper API",
        "holder keeper",
        "keeper core",
        "guard keeper",
        "holder keeper API",
        "guard keeper API",
        "holder guard keeper API",
        "holder guard keeper API core",
    ],
)
def test_a_server_ends_when_its_keeper_is_killed_with_any_others(
    run: Run, eventually: Eventually, victims: str, engine: dict[str, Any]
) -> None:
    pids = family(run, run.holder(run.spec(IGNORE_TERM=1, **engine)))
    for name in victims.split():
        # The end of the one before may have ended it already.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[name], signal.SIGKILL)
    eventually(lambda: not run.engines() and not run.keepers(), "the end of everything", SOON_S)


@pytest.mark.parametrize("victims", ["keeper API", "guard keeper API"])
def test_a_stopped_engine_ends_as_well_when_its_parents_are_killed(
    run: Run, eventually: Eventually, victims: str
) -> None:
    pids = family(run, run.holder(run.spec()))
    for name in ("core", "worker", "API"):
        os.kill(pids[name], signal.SIGSTOP)
    for name in victims.split():
        os.kill(pids[name], signal.SIGKILL)
    eventually(lambda: not run.engines(), "the end of the engine", SOON_S)


def test_a_server_whose_guard_was_killed_serves_on_and_ends_in_order(run: Run) -> None:
    holder = run.holder(run.spec())
    pids = family(run, holder)
    os.kill(pids["guard"], signal.SIGKILL)
    holder.tell("close")
    assert holder.hear() == {"last": True, "forced": False}


@pytest.mark.parametrize("victims", ["keeper", "guard keeper", "holder", "holder keeper"])
def test_an_engine_in_the_middle_of_its_start_ends_with_what_started_it(
    run: Run, eventually: Eventually, victims: str
) -> None:
    holder = run.holder(run.spec(START_S=60, IGNORE_TERM=1))
    eventually(lambda: len(run.engines()) == 3, "an engine in the middle of its start")
    [guard, keeper] = sorted(run.keepers(), key=lambda pid: pid in {p.pid for p in parents(run)})[::-1]
    pids = {"holder": holder.process.pid, "guard": guard, "keeper": keeper}
    for name in victims.split():
        os.kill(pids[name], signal.SIGKILL)
    eventually(lambda: not run.engines() and not run.keepers(), "the end of everything", SOON_S)


def parents(run: Run) -> list[processes.Process]:
    """Keepers that have a keeper for a child: the guards."""
    keepers = run.keepers()
    table = processes.table()
    return [table[table[pid].parent] for pid in keepers if table[pid].parent in keepers]


def test_a_holder_killed_while_the_keeper_itself_starts_leaves_nothing(
    run: Run, eventually: Eventually
) -> None:
    """At no moment between its birth and its first word has a keeper no holder to lose."""
    for delay_s in (0.0, 0.02, 0.05, 0.1, 0.2):
        holder = run.holder(run.spec(START_S=60))
        eventually(run.keepers, "a keeper that starts")
        time.sleep(delay_s)  # another moment of the start each time
        holder.kill(signal.SIGKILL)
        eventually(lambda: not run.engines() and not run.keepers(), "the end of everything", SOON_S)


def test_a_killed_keeper_is_noticed_by_its_holder_at_once(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        os.kill(lease.server.keeper_pid or 0, signal.SIGKILL)
        began = time.monotonic()
        assert "keeper was killed" in str(lease.died(wait_s=5.0))
        assert time.monotonic() - began < 1.0
    assert run.is_clean(), "the lease is given back when the guard has ended everything"


def test_an_api_process_that_was_told_to_end_and_waits_is_a_death(run: Run, post: Callable[..., Any]) -> None:
    """As vLLM's does for minutes, at SIGTERM with requests in flight."""
    with acquire(run.spec(), run.state_root) as lease:
        post(lease.server, "/fake/close")
        death = str(lease.died(wait_s=10.0))
        assert "no longer listens on its port" in death
        assert run.engines() == []


def test_a_condemned_server_is_dead_for_every_holder_and_is_not_started_again(run: Run) -> None:
    spec = run.spec()
    with acquire(spec, run.state_root) as one, acquire(spec, run.state_root) as two:
        os.kill(two.server.root_pid or 0, signal.SIGSTOP)
        one.condemn("no byte came for 60 s")
        for lease in (one, two):
            assert "no byte came for 60 s" in str(lease.died(wait_s=5.0))
        assert run.engines() == []
        with pytest.raises(Exception, match="no byte came for 60 s"):
            two.restart()
    assert run.starts() == 1


def test_a_stopped_keeper_is_told_and_its_server_ends(run: Run, eventually: Eventually) -> None:
    lease = acquire(run.spec(), run.state_root)
    os.kill(lease.server.keeper_pid or 0, signal.SIGSTOP)
    released = lease.close()
    assert "its keeper was stopped (SIGSTOP)" in released.complaint
    assert released.last
    eventually(run.is_clean, "a clean machine", SOON_S)


def test_a_start_that_is_called_off_has_ended_when_it_says_so(run: Run, eventually: Eventually) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def start() -> None:
        try:
            acquire(run.spec(START_S=60, IGNORE_TERM=1), run.state_root, stop=stop)
        except StartError as error:
            errors.append(error)
            clean.append(run.left() if not run.is_clean() else "")

    clean: list[str] = []
    thread = threading.Thread(target=start)
    thread.start()
    eventually(lambda: len(run.engines()) == 3, "an engine in the middle of its start")
    began = time.monotonic()
    stop.set()
    thread.join(10)
    assert time.monotonic() - began < 2.0
    assert ["the run was interrupted" in str(error) for error in errors] == [True]
    assert clean == [""]


def test_nothing_of_the_first_lease_is_left_to_the_engine(run: Run) -> None:
    """A descriptor that it inherits would keep the lease, or the leash, after everybody else's end."""
    holder = run.holder(run.spec())
    pids = family(run, holder)
    for part in ("API", "core", "worker"):
        links = [str(link.readlink()) for link in (processes.PROC / str(pids[part]) / "fd").iterdir()]
        own = json.dumps(links)
        keepers = {str(link.readlink()) for link in (processes.PROC / str(pids["keeper"]) / "fd").iterdir()}
        shared = {link for link in keepers & set(links) if link.startswith(("socket:", "pipe:"))}
        assert not shared, own


def test_an_engine_that_freezes_at_its_first_generation_is_not_waited_for(run: Run) -> None:
    answers = run.path / "answers.py"
    answers.write_text("import os, signal\ndef answer(request): os.kill(os.getpid(), signal.SIGSTOP)\n")
    with pytest.raises(
        StartError, match=r"it is stuck: warming up.*none of its processes did anything for 2 s"
    ):
        acquire(run.spec(ANSWERS=answers, silence_limit_s=2.0), run.state_root)
    assert run.is_clean(), run.left()


def test_a_slow_first_generation_that_works_is_waited_for(run: Run) -> None:
    answers = run.path / "answers.py"
    answers.write_text(
        "import time\ndef answer(request):\n"
        "    began = time.monotonic()\n    while time.monotonic() < began + 4: pass\n    return 'done'\n"
    )
    with acquire(run.spec(ANSWERS=answers, silence_limit_s=2.0), run.state_root) as lease:
        assert lease.died() is None


@pytest.mark.parametrize("part", ["API", "core"])
def test_a_server_with_a_stopped_process_is_dead_after_the_limit_whoever_asks(run: Run, part: str) -> None:
    with acquire(run.spec(silence_limit_s=1.5), run.state_root) as lease:
        api = lease.server.root_pid or 0
        pid = api if part == "API" else next(p.pid for p in processes.descendants(api) if p.parent == api)
        os.kill(pid, signal.SIGSTOP)
        assert re.search(
            rf"its process {pid} .* was stopped \(SIGSTOP\) for [23] s", str(lease.died(wait_s=10.0))
        )
        with pytest.raises(ServerDied):
            lease.restart()
    assert run.starts() == 1


def test_a_server_that_was_stopped_for_a_moment_lives(run: Run, generate: Callable[..., str]) -> None:
    with acquire(run.spec(silence_limit_s=3.0), run.state_root) as lease:
        for _ in range(2):
            os.kill(lease.server.root_pid or 0, signal.SIGSTOP)
            assert lease.died(wait_s=2.0) is None
            os.kill(lease.server.root_pid or 0, signal.SIGCONT)
            assert lease.died(wait_s=1.5) is None
        assert generate(lease.server)
