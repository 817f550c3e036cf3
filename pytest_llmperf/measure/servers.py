"""The servers of a run: one handle a row, started and ended together, and found when they are dead."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome, Trace
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.errors import GpuUnreadable, InfrastructureError, ServerDied, UsageError, first_line
from pytest_llmperf.measure.book import UNBOOKED, Book
from pytest_llmperf.measure.events import Events
from pytest_llmperf.measure.guest import Guest
from pytest_llmperf.measure.kv_cache_sizes import KvCacheSizes
from pytest_llmperf.measure.memory import MemoryWatch
from pytest_llmperf.measure.sampling import SamplingBook
from pytest_llmperf.measure.served import Served
from pytest_llmperf.serving import gpu
from pytest_llmperf.serving.run_gpus import RunGpus

_SLICE_S = 0.2
_CALLED_OFF_S = 1.6
"""Time for two starts that are called off to kill their processes."""
NEWS_S = 12.0
"""Time to wait for the death of an unhealthy server: vLLM's API process checks every five seconds whether its engine
has died, and answers with errors until it ends."""


class Servers:
    """Every server of one run with the watch on its memory, and what is told about them."""

    leases_gpus: ClassVar[bool] = True
    """False for a run that starts no server: it takes no GPU from others, and waits for none."""

    def __init__(
        self,
        settings: Settings,
        state_root: Path,
        progress: Callable[[str], None],
        book: Book = UNBOOKED,
        seed: int = 0,
    ) -> None:
        self.settings = settings
        self.seed = seed
        """Seed of the run: of the order of items and rounds and of generated prompts, the same for both sides."""
        self.sizes = settings.profile.sizes
        self.progress = progress
        """Shows one line that replaces the last one."""
        self.book = book
        self.will_need_baseline = False
        """True if some test of this run compares with the baseline, so that measuring in pairs costs nothing extra."""
        self.turn: Model = settings.candidates[0]
        """The candidate whose tests run now, where there are several."""
        self.concurrencies: tuple[int, ...] = ()
        """The concurrencies that the tests of this run will compare at, as far as they are known beforehand."""
        self._state_root = state_root
        self._served: dict[str, Served] = {}
        self._memory: dict[str, MemoryWatch] = {}
        self._kv_caches = KvCacheSizes()
        self._gpus = RunGpus(
            self._rows_to_start,
            state_root,
            progress,
            apart=settings.profile.placement == "apart",
            seed=seed,
            wait_s=settings.gpu_wait_s,
        )
        self._events = Events(state_root / "events.jsonl")
        self.sampling = SamplingBook(self.tell)

    def tell(self, text: str) -> None:
        """Report an event of the run, one line: shown at the end of the run, and kept in the record.

        The same text is told once. Safe to call from any thread.
        """
        self._events.tell(text)

    def events(self) -> list[dict[str, str]]:
        """The events of all processes of the run: ``{"time": ISO 8601 in UTC, "text": …}``, oldest first."""
        return self._events.all()

    @property
    def rows(self) -> tuple[Model, ...]:
        """Candidates and baseline."""
        return (*self.settings.candidates, self.settings.baseline)

    def served(self, model: Model) -> Served:
        """The handle of a row, the same at every call; does not start its server."""
        if model.name not in self._served:
            if model.host is not None:
                host = self.served(self.settings.hosts[model.host])
                self._served[model.name] = Guest(
                    model, host, self._state_root, self.progress, self.tell, self.book
                )
                return self._served[model.name]
            served = Served(
                model,
                self._state_root,
                self.progress,
                self.tell,
                self.settings.profile.silence_limit_s,
                self.book,
                self.settings.guests_of(model.name),
                self._gpus if self.leases_gpus else None,
            )
            self._served[model.name] = served
            self._memory[model.name] = MemoryWatch(served, self.tell)
        return self._served[model.name]

    def _rows_to_start(self) -> list[Model]:
        """The rows whose servers this run will start, the candidates first."""
        baseline = [self.settings.baseline] if self.will_need_baseline else []
        hosts = [
            row if row.host is None else self.settings.hosts[row.host]
            for row in (*self.settings.candidates, *baseline)
        ]
        rows = {host.name: host for host in hosts}
        return [row for row in rows.values() if engine_named(row.engine).is_started]

    def row(self, name: str) -> Served:
        """The handle of a row that :meth:`served` was called for; ``KeyError`` for another."""
        return self._served[name]

    def started(self) -> list[Served]:
        """The rows whose servers run, as far as is known: one that died may be among them."""
        return [served for served in self._served.values() if served.started]

    def were_started(self) -> list[Served]:
        """The rows whose servers were started so far, running or not."""
        return [served for served in self._served.values() if served.was_started]

    def engines(self) -> dict[str, str]:
        """Engine and version by row, of the servers that were started so far."""
        found = {served.name: served.facts()["engine"] for served in self.were_started()}
        return {row: engine for row, engine in found.items() if isinstance(engine, str)}

    def memory(self, served: Served) -> MemoryWatch:
        """The watch on a server's memory, running since the first call; starts the server."""
        self._start_both()
        watch = self._memory[served.host.name]
        watch.start()
        return watch

    def mark_logs(self) -> None:
        """Remember where the log of every server ends now."""
        for served in self._served.values():
            served.mark_log()

    def log_since_mark(self) -> str:
        """The last lines that each server has written since :meth:`mark_logs`; empty if there are none."""
        texts = {served.name: served.log_since_mark() for served in self._served.values()}
        return "\n".join(f"--- {name}\n{text}" for name, text in texts.items() if text)

    def close(self, *, at_once: bool = False) -> list[str]:
        """End every server of this run; returns what could not be cleaned up, one sentence each.

        ``at_once``: kill them without an orderly shutdown.
        """
        if not at_once:
            self._kv_caches.learn(self.started())
            self._kv_caches.keep()
        for watch in self._memory.values():
            watch.stop()
        for served in self._served.values():
            served.tell_changes()
        errors = [str(error) for error in close_together(self._served.values(), at_once=at_once)]
        self._gpus.close()
        return errors

    def end_unneeded(self, candidates: Collection[str]) -> list[str]:
        """End the servers that serve neither the baseline nor one of ``candidates``; a later question starts one again.

        Returns what could not be cleaned up, one sentence each.
        """
        needed = [model for model in self.settings.candidates if model.name in candidates]
        needed += [self.settings.baseline] if self.will_need_baseline else []
        hosts = {model.server_row for model in needed}
        running = [served for served in self.started() if served.host is served]
        ending = [served for served in running if served.name not in hosts and served.spec is not None]
        if not ending:
            return []
        self._kv_caches.learn(ending)
        for served in ending:
            served.tell_changes()
            self._memory[served.name].pause()
        others = [served for served in running if served not in ending and served.model.gpus]
        return [str(error) for error in close_together(ending, others)]

    def start_anew(self, *sides: Served) -> None:
        """End the servers of a comparison, in order, and start them again."""
        ending = dict.fromkeys(side.host for side in sides)
        self._kv_caches.learn(ending)
        for side in ending:
            self._memory[side.name].keep()
        others = [served for served in self.started() if served.host not in ending and served.model.gpus]
        for error in close_together(ending, others, anew=True):
            raise error
        self._gpus.exchange()
        self._start_both()

    def _start_both(self) -> None:
        """Start both sides of a comparison at the same time: most of a start is imports and compilation.

        On one GPU they can if neither measures how much memory is free (``measure.kv_cache_sizes``).
        """
        sides = [self.served(model) for model in (self.turn, self.settings.baseline)]
        distinct = list(dict.fromkeys(side.host for side in sides))
        if not self.will_need_baseline or any(side.started for side in distinct):
            return
        on_gpu = [side for side in distinct if side.model.gpus]
        if (
            len(on_gpu) > 1
            and not on_gpu[0].placement.is_apart_from(on_gpu[1].placement)
            and not self._kv_caches.fix(on_gpu)
        ):
            return
        _start_together(distinct)
        if failures := [why for side in on_gpu if (why := side.failed_with_fixed_cache())]:
            self._kv_caches.forget(on_gpu)
            self.tell(
                f"a start with the key-value cache of an earlier start's size failed ({first_line(failures[0])}): the "
                "servers start one after the other, and measure it anew"
            )
            for error in close_together(distinct):
                raise error
            for side in on_gpu:
                side.measure_kv_cache()


def _start_together(sides: Sequence[Served]) -> None:
    """Return when all have started or failed; a row raises its failure when its server is asked for."""
    ended = {side.name: threading.Event() for side in sides}

    def start(side: Served) -> None:
        with contextlib.suppress(InfrastructureError, UsageError):
            side.running()
        ended[side.name].set()

    try:
        for side in sides:
            # Daemons: an interrupted run must not wait for them when the interpreter ends.
            threading.Thread(
                target=start, args=[side], name=f"llmperf-start-{side.name}", daemon=True
            ).start()
        for side in sides:
            # Not one long wait: a signal that the kernel gives to another thread would be noticed at its end.
            while not ended[side.name].wait(_SLICE_S):
                pass
    except BaseException:
        for side in sides:
            side.call_off()
        deadline = time.monotonic() + _CALLED_OFF_S
        for side in sides:
            ended[side.name].wait(max(0.0, deadline - time.monotonic()))
        raise


def close_together(
    sides: Iterable[Served], running: Collection[Served] = (), *, anew: bool = False, at_once: bool = False
) -> list[InfrastructureError]:
    """Give the leases of ``sides`` back; returns what could not be cleaned up.

    All leases end first, and then the GPU is asked whether it has freed their memory: where the driver names no
    processes, the memory of a server that still runs could be taken for a leak of one that has ended. ``running``:
    servers on the same devices that go on, beside which such a driver cannot tell whose memory is left. ``anew``: a
    server that another process of the run goes on using is an error too, since it can't be started again. ``at_once``:
    kill them, and do not wait for the GPU; the run was interrupted.
    """
    errors: list[InfrastructureError] = []
    ended: list[tuple[Served, tuple[int, ...]]] = []
    for side in sides:
        try:
            released = side.release(at_once=at_once)
        except InfrastructureError as error:
            errors.append(error)
            continue
        if released is not None and released.last:
            ended.append((side, released.pids))
        elif released is not None and anew:
            errors.append(
                InfrastructureError(
                    f"{side.name}: cannot be started anew, another process of this run uses its server: run without -n"
                )
            )
    if at_once:
        return errors
    before = None if running else _lowest(side.used_before for side, _ in ended)
    for side, pids in ended:
        try:
            held = gpu.wait_released(side.nvml(), pids, before)
        except GpuUnreadable as error:
            # The other servers of the list must be asked about all the same.
            errors.append(error)
            continue
        if held:
            errors.append(
                InfrastructureError(
                    f"{side.name}: its processes have ended, and the GPU memory is not free: {held}"
                )
            )
    return errors


def _lowest(every: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Bytes by device before the first of them was started: what it must come back to."""
    lowest: dict[str, int] = {}
    for used in every:
        for device, size in used.items():
            lowest[device] = min(size, lowest.get(device, size))
    return lowest


def may_be_a_death(ended: Answer | Trace) -> bool:
    """True if a dying server explains how a request ended; it does not explain a refusal (HTTP 4xx)."""
    if ended.outcome is RequestOutcome.HTTP_ERROR:
        return not 400 <= ended.status < 500
    return ended.outcome in (RequestOutcome.CUT, RequestOutcome.CONNECT_ERROR, RequestOutcome.STREAM_ERROR)


def find_dead_server(*served: Served) -> ServerDied | None:
    """The first death among these servers; None if all live. Waits up to :data:`NEWS_S` for one that is not well."""
    for server in served:
        if death := server.death(wait_s=0.1):
            return death
    return next(
        (death for server in served if not server.is_healthy() and (death := server.death(wait_s=NEWS_S))),
        None,
    )


def raise_if_dead(served: Served) -> None:
    """Raise :class:`ServerDied` if the server has died since it was last used, or does so now."""
    if death := find_dead_server(served):
        raise death
