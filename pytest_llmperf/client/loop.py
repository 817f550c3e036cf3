"""One event loop for one measurement, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's if it is installed (a third of the CPU per token), else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def loop_name() -> str:
    """``uvloop`` or ``asyncio``: what :func:`new_loop` gives here."""
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return "asyncio"
    return "uvloop"


async def bounded(work: Callable[[S], Awaitable[T]], items: Sequence[S], concurrency: int) -> list[T]:
    """The results of ``work`` on each item, in order, with at most ``concurrency`` of them at a time."""
    results: dict[int, T] = {}
    waiting = iter(range(len(items)))

    async def worker() -> None:
        for index in waiting:
            results[index] = await work(items[index])

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(items))):
            group.create_task(worker())
    return [results[index] for index in range(len(items))]


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` to its end on a new loop and return its result, or raise what it raised.

    In a fresh thread, because the caller may have a running loop of its own (a pytest plugin for asyncio, a
    notebook), on which ``asyncio.run`` refuses. Ctrl-C in the caller cancels ``main`` and waits for its
    clean-up.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    started, ended = threading.Event(), threading.Event()
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []

    def body() -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:

                async def supervised() -> T:
                    task = asyncio.current_task()
                    assert task is not None
                    handle.append((asyncio.get_running_loop(), task))
                    started.set()
                    return await main()

                results.append(runner.run(supervised()))
        except BaseException as error:  # noqa: BLE001, RUF100 - carried over to the caller's thread
            errors.append(error)
        finally:
            started.set()
            ended.set()

    thread = threading.Thread(target=body, name="llmperf-client", daemon=True)
    try:
        thread.start()
        # Not thread.join: interrupted by Ctrl-C, it takes the thread for ended (CPython 3.11). And not one
        # long wait: a signal that the kernel gives to another thread would be noticed at its end only.
        while not ended.wait(0.5):
            pass
    except BaseException:
        started.wait(10)
        if handle and not ended.is_set():
            loop, task = handle[0]
            loop.call_soon_threadsafe(task.cancel)
            ended.wait(10)
        raise
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
